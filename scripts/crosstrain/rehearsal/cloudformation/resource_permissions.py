"""What CloudFormation calls for a change of a stack: the actions of the resource's type, and the ARN that they are on.

A resource that does not exist yet has the name that the template gives it or, without one, the
one that CloudFormation makes of the stack's and its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from crosstrain.command import OperationFailedError
from crosstrain.local.server import REGION
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.cloudformation.intrinsics import NOTHING, Resolver
from crosstrain.rehearsal.cloudformation.resource_types import (
    HANDLERS,
    KINDS,
    OF_PROPERTIES,
    PARTS,
    TRANSFORMED,
    actions_of,
)
from crosstrain.rehearsal.codepipeline.declaration import EMBEDDED_SUFFIX

# How the resolver writes what refers to another resource.
_REFERENCE = re.compile(r"<(?P<name>\w+)(\.\w+)?>")


@dataclass(frozen=True)
class Call:
    """Actions on one resource that CloudFormation's role needs, with the condition keys that they have."""

    actions: frozenset[str]
    resource: str
    context: Mapping[str, str]


class StackResources:
    """The resources of a stack that is about to change.

    Parameters
    ----------
    template
        The template, its transforms not applied.
    parameters : mapping
        The values of its parameters.
    stack, account : str
        The stack's name, and its account.
    existing : mapping
        The physical id of each resource that there is.
    """

    def __init__(
        self,
        template: Any,
        parameters: Mapping[str, str],
        stack: str,
        account: str,
        existing: Mapping[str, str],
    ) -> None:
        pseudo = {
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::AccountId": account,
            "AWS::StackName": stack,
            "AWS::URLSuffix": "amazonaws.com",
        }
        # A copy, for the template itself is adapted to the embedded AWS, the pipeline's role left out.
        self._resolver = Resolver(deepcopy(template), parameters, pseudo)
        self._stack, self._account, self._existing = stack, account, existing

    def calls(self, change: Mapping[str, Any]) -> list[Call]:
        """Return what CloudFormation's role is used for by one change of a change set."""
        logical_id, kind, action = change["LogicalResourceId"], change["ResourceType"], change["Action"]
        if kind == "AWS::SSM::Parameter" and logical_id.endswith(EMBEDDED_SUFFIX):
            # AWS has no such resource.
            return []
        # The pipeline's stand-in is deployed with the rights that the pipeline takes.
        kind = "AWS::CodePipeline::Pipeline" if kind == "AWS::SSM::Parameter" else kind
        handlers = set(HANDLERS[action])
        if change.get("Replacement") == "True":
            handlers |= {"create", "delete"}
        arn = self.arn(logical_id, kind)
        # What is called of other services is for roles, keys and logs that the resource uses, not for itself.
        needed = actions_of(kind, handlers, self._properties_in_use(logical_id))
        own = {each for each in needed if each.startswith(f"{arn.split(':')[2]}:")}
        calls = [Call(frozenset(own), arn, self._context(logical_id, kind))]
        if looked_up := {each for each in needed if each.startswith("ec2:Describe")}:
            # They have no resource level.
            calls.append(Call(frozenset(looked_up), "*", {}))
        if action != "Remove" and kind in KINDS:
            calls += [
                Call(frozenset({service_calls.PASS_ROLE}), role, {service_calls.PASSED_TO: service})
                for path, service in KINDS[kind].passes
                for role in self._roles(logical_id, path)
            ]
        return calls

    def arn(self, logical_id: str, kind: str | None = None) -> str:
        """Return the ARN of a resource, whether it is there already or not.

        Raises
        ------
        OperationFailedError
            If its type is none that this module knows.
        """
        resource = self._resolver.resources.get(logical_id, {})
        kind = kind or TRANSFORMED.get(resource.get("Type"), resource.get("Type"))
        if kind in PARTS:
            of = self._resolver.resolve(self._property(logical_id, PARTS[kind]) or self._existing.get(logical_id, ""))
            whole = self._arn_of(of[0] if isinstance(of, list) else of)
            # `Bucket` is a name; what the others refer to is an ARN.
            return whole if whole.startswith("arn:") else KINDS["AWS::S3::Bucket"].arn.format(name=whole)
        if kind not in KINDS:
            raise OperationFailedError(
                f"What CloudFormation calls for {logical_id} ({kind}) is not known: add the type to resource_types.py."
            )
        physical = self._existing.get(logical_id)
        if physical and physical.startswith("arn:"):
            return physical
        name = physical or self._name(logical_id, kind, resource)
        return KINDS[kind].arn.format(region=REGION, account=self._account, name=name)

    def is_wanted(self, logical_id: str) -> bool:
        """Return whether no condition keeps a resource out of the stack."""
        # The parameter in which a resource is embedded has the condition of that resource.
        resource = self._resolver.resources.get(logical_id.removesuffix(EMBEDDED_SUFFIX), {})
        condition = self._resolver.resources.get(logical_id, resource).get("Condition")
        return condition is None or self._resolver.condition(condition)

    def boundary(self, logical_id: str) -> str | None:
        """Return the ARN of the permissions boundary that the template gives a role, or None."""
        boundary = self._resolver.resolve(self._property(logical_id, "PermissionsBoundary"))
        return boundary if isinstance(boundary, str) else None

    def _property(self, logical_id: str, name: str) -> Any:
        """Return a property as the template has it, its functions not resolved, or None."""
        return self._resolver.resources.get(logical_id, {}).get("Properties", {}).get(name)

    def _name(self, logical_id: str, kind: str, resource: Mapping[str, Any]) -> str:
        given = resource.get("Properties", {}).get(KINDS[kind].name)
        resolved = self._resolver.resolve(given) if given is not None else NOTHING
        if isinstance(resolved, str):
            return resolved
        made = f"{self._stack}-{logical_id}-0123456789AB"
        return made.lower() if kind == "AWS::S3::Bucket" else made

    def _properties_in_use(self, logical_id: str) -> list[str]:
        """Return the properties that a resource sets of those that need more rights than others of its type."""
        values = {name: self._property(logical_id, name) for name in OF_PROPERTIES}
        return [
            name for name, value in values.items() if value is not None and self._resolver.resolve(value) is not NOTHING
        ]

    def _context(self, logical_id: str, kind: str) -> dict[str, str]:
        """Return the condition keys that the calls for a resource have."""
        if kind == "AWS::Lambda::Url":
            # https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html#urls-governance
            return {"lambda:FunctionUrlAuthType": str(self._property(logical_id, "AuthType"))}
        if kind == "AWS::ApiGatewayV2::Route":
            return {"apigateway:Request/RouteAuthorizationType": str(self._property(logical_id, "AuthorizationType"))}
        if kind == "AWS::Lambda::Permission":
            return {"lambda:Principal": str(self._property(logical_id, "Principal"))}
        if kind.startswith("AWS::EC2::SecurityGroup"):
            # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-resource-tags.html
            return {
                "aws:ResourceTag/aws:cloudformation:stack-name": self._stack,
                "ec2:CreateAction": "CreateSecurityGroup",
            }
        boundary = self.boundary(logical_id) if kind == "AWS::IAM::Role" else None
        return {"iam:PermissionsBoundary": boundary} if boundary is not None else {}

    def _roles(self, logical_id: str, path: str) -> Iterator[str]:
        """Yield the ARNs that a resource has where a path leads, * being each element of a list."""
        first, *steps = path.split(".")
        found = _at(self._resolver.resolve(self._property(logical_id, first)), steps)
        yield from (self._arn_of(each) for each in found if isinstance(each, str))

    def _arn_of(self, resolved: str) -> str:
        """Return the ARN of what a resolved property refers to."""
        reference = _REFERENCE.fullmatch(resolved)
        return self.arn(reference["name"]) if reference else resolved


def _at(node: Any, steps: list[str]) -> Iterator[Any]:
    if not steps:
        yield node
    elif steps[0] == "*":
        for each in node if isinstance(node, list) else []:
            yield from _at(each, steps[1:])
    elif isinstance(node, dict):
        yield from _at(node.get(steps[0]), steps[1:])
