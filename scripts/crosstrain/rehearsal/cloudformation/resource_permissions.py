"""What CloudFormation calls for a resource: the actions that its provider declares, and the ARN that they are on.

The actions are those that the schemas of cfn-lint list for each type, without those for properties that the project's
templates do not set. A resource that does not exist yet has the name that the template gives it or, without one, the
one that CloudFormation makes of the stack's and its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from crosstrain.command import OperationFailedError
from crosstrain.local.server import REGION
from crosstrain.rehearsal.cloudformation.intrinsics import NOTHING, Resolver
from crosstrain.rehearsal.codepipeline.declaration import EMBEDDED_SUFFIX

# CloudFormation's lists are for every property of a type. These are for properties that the templates do not set.
UNUSED = re.compile(
    r"ec2:|elasticfilesystem:|s3files:|s3tables:|kinesis:|firehose:|iam:(CreateServiceLinkedRole|PassRole|GetRole$)"
    r"|iam:(Attach|Detach|DeleteRolePermissionsBoundary)"
    r"|kms:(CreateGrant|Decrypt|Disable.*|EnableKey$|Encrypt|GenerateDataKey|RetireGrant)"
    r"|lambda:(Put|PublishVersion|Delete(FunctionConcurrency|FunctionCodeSigning)|GetLayer|GetCodeSigning|PassCapacity)"
    r"|dynamodb:(.*Import.*|UpdateTimeToLive|UpdateContributor.*|(Enable|Disable|Update)Kinesis.*|(Put|Delete)Resource.*"
    r"|.*Replica|Scan|Query|(Update|Put|Get|Delete)Item|BatchWriteItem)"
    r"|[sS]3:.*(Abac|Analytics|CORS|Cors|Inventory|Metrics|Notification|Replication|Website|Accelerate|Acl|ObjectLock"
    r"|IntelligentTiering|Metadata|Logging|DeleteObject|DeleteBucketEncryption|DeleteBucketLifecycle|REST)"
    # IAM has no action for the deletion of tags: PutBucketTagging stands for it.
    r"|s3:(GetObject|GetObjectVersion|DeleteBucketTagging)"
    r"|logs:(.*Delivery|.*IndexPolicy|.*KmsKey|PutDataProtection.*|.*ResourcePolicy$|.*BearerToken.*|.*DeletionProtection"
    r"|(CreateLogStream|DescribeLogStreams|PutLogEvents))"
    r"|sns:PutDataProtectionPolicy"
    r"|ecr:Delete(LifecyclePolicy|RepositoryPolicy)"
    r"|codepipeline:(En|Dis)ableStageTransition|codestar-connections:"
)
# Of those, what is needed all the same where a resource sets one of these properties.
_OF_PROPERTIES: Mapping[str, str] = {
    "AbacStatus": "s3:.*Abac",
    "AccelerateConfiguration": "s3:.*Accelerate",
    "AccessControl": "s3:.*BucketAcl",
    "AnalyticsConfigurations": "s3:.*Analytics",
    "BearerTokenAuthenticationEnabled": "logs:.*BearerToken",
    "CapacityProviderConfig": "lambda:PassCapacity",
    "CodeSigningConfigArn": "lambda:.*CodeSigning",
    "ContributorInsightsSpecification": "dynamodb:UpdateContributor",
    "CorsConfiguration": "s3:.*(CORS|Cors)",
    "DataProtectionPolicy": "(logs|sns):PutDataProtection",
    "DeletionProtectionEnabled": "logs:.*DeletionProtection",
    "DisableInboundStageTransitions": "codepipeline:.*StageTransition",
    "Enabled": "kms:(En|Dis)ableKey$",
    "FieldIndexPolicies": "logs:.*IndexPolicy",
    "FunctionScalingConfig": "lambda:PutFunctionScaling",
    "ImportSourceSpecification": "dynamodb:.*Import",
    "IntelligentTieringConfigurations": "s3:.*IntelligentTiering",
    "InventoryConfigurations": "s3:.*Inventory",
    "KinesisStreamSpecification": "dynamodb:.*Kinesis",
    "KmsKeyId": "logs:.*KmsKey",
    "Layers": "lambda:GetLayer",
    "LoggingConfiguration": "s3:.*Logging",
    "ManagedPolicyArns": "iam:(At|De)tachRolePolicy",
    "MetadataConfiguration": "s3:.*Metadata",
    "MetadataTableConfiguration": "s3:.*Metadata",
    "MetricsConfigurations": "s3:.*Metrics",
    "NotificationConfiguration": "s3:.*Notification",
    "ObjectLockConfiguration": "s3:.*ObjectLock",
    "ObjectLockEnabled": "s3:.*ObjectLock",
    "RecursiveLoop": "lambda:PutFunctionRecursion",
    "ReplicationConfiguration": "s3:.*Replication",
    "ReservedConcurrentExecutions": "lambda:.*FunctionConcurrency",
    "ResourcePolicy": "dynamodb:.*ResourcePolicy",
    "ResourcePolicyDocument": "logs:.*ResourcePolicy",
    "RuntimeManagementConfig": "lambda:PutRuntimeManagement",
    "TimeToLiveSpecification": "dynamodb:UpdateTimeToLive",
    "VpcConfig": "ec2:Describe",
    "WebsiteConfiguration": "s3:.*Website",
}
# What SAM makes of its own types.
TRANSFORMED = {
    "AWS::Serverless::Function": "AWS::Lambda::Function",
    "AWS::Serverless::StateMachine": "AWS::StepFunctions::StateMachine",
}
# The one type in use whose schema tells no actions.
_WITHOUT_HANDLERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "AWS::CodeBuild::Project": {
        "create": ("codebuild:CreateProject",),
        "read": ("codebuild:BatchGetProjects",),
        "update": ("codebuild:UpdateProject",),
        "delete": ("codebuild:DeleteProject",),
    }
}
# For each kind of change, whose handlers run.
_HANDLERS = {"Add": ("create", "read"), "Modify": ("update", "read"), "Remove": ("delete", "read")}


@dataclass(frozen=True)
class _Kind:
    """The ARN of a type, the property that names a resource, and the paths of properties that hold a service's role."""

    arn: str
    name: str = ""
    passes: tuple[tuple[str, str], ...] = ()


_IN_ACCOUNT = "{region}:{account}"
_KINDS: Mapping[str, _Kind] = {
    "AWS::CloudWatch::Alarm": _Kind(f"arn:aws:cloudwatch:{_IN_ACCOUNT}:alarm:{{name}}", "AlarmName"),
    "AWS::CloudWatch::Dashboard": _Kind("arn:aws:cloudwatch::{account}:dashboard/{name}", "DashboardName"),
    "AWS::CodeBuild::Project": _Kind(
        f"arn:aws:codebuild:{_IN_ACCOUNT}:project/{{name}}", "Name", (("ServiceRole", "codebuild.amazonaws.com"),)
    ),
    "AWS::CodePipeline::Pipeline": _Kind(
        f"arn:aws:codepipeline:{_IN_ACCOUNT}:{{name}}", "Name", (("RoleArn", "codepipeline.amazonaws.com"),)
    ),
    "AWS::DynamoDB::Table": _Kind(f"arn:aws:dynamodb:{_IN_ACCOUNT}:table/{{name}}", "TableName"),
    "AWS::ECR::Repository": _Kind(f"arn:aws:ecr:{_IN_ACCOUNT}:repository/{{name}}", "RepositoryName"),
    "AWS::Events::Rule": _Kind(
        f"arn:aws:events:{_IN_ACCOUNT}:rule/{{name}}", "Name", (("Targets.*.RoleArn", "events.amazonaws.com"),)
    ),
    "AWS::IAM::Role": _Kind("arn:aws:iam::{account}:role/{name}", "RoleName"),
    "AWS::KMS::Alias": _Kind(f"arn:aws:kms:{_IN_ACCOUNT}:{{name}}", "AliasName"),
    "AWS::KMS::Key": _Kind(f"arn:aws:kms:{_IN_ACCOUNT}:key/{{name}}"),
    "AWS::Lambda::Function": _Kind(
        f"arn:aws:lambda:{_IN_ACCOUNT}:function:{{name}}", "FunctionName", (("Role", "lambda.amazonaws.com"),)
    ),
    "AWS::Logs::LogGroup": _Kind(f"arn:aws:logs:{_IN_ACCOUNT}:log-group:{{name}}", "LogGroupName"),
    "AWS::S3::Bucket": _Kind("arn:aws:s3:::{name}", "BucketName"),
    "AWS::SNS::Topic": _Kind(f"arn:aws:sns:{_IN_ACCOUNT}:{{name}}", "TopicName"),
    "AWS::Scheduler::Schedule": _Kind(
        f"arn:aws:scheduler:{_IN_ACCOUNT}:schedule/default/{{name}}",
        "Name",
        (("Target.RoleArn", "scheduler.amazonaws.com"),),
    ),
    "AWS::StepFunctions::StateMachine": _Kind(
        f"arn:aws:states:{_IN_ACCOUNT}:stateMachine:{{name}}", "Name", (("Role", "states.amazonaws.com"),)
    ),
}
# How the resolver writes what refers to another resource.
_REFERENCE = re.compile(r"<(?P<name>\w+)(\.\w+)?>")
# Types that are a part of another resource, and the property that says of which.
_PARTS = {"AWS::S3::BucketPolicy": "Bucket", "AWS::SNS::TopicPolicy": "Topics", "AWS::SNS::Subscription": "TopicArn"}


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
        handlers = set(_HANDLERS[action])
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
        if action != "Remove" and kind in _KINDS:
            calls += [
                Call(frozenset({"iam:PassRole"}), role, {"iam:PassedToService": service})
                for path, service in _KINDS[kind].passes
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
        if kind in _PARTS:
            of = self._resolver.resolve(self._property(logical_id, _PARTS[kind]) or self._existing.get(logical_id, ""))
            whole = self._arn_of(of[0] if isinstance(of, list) else of)
            # A bucket is told by its name, everything else by its ARN.
            return whole if whole.startswith("arn:") else _KINDS["AWS::S3::Bucket"].arn.format(name=whole)
        if kind not in _KINDS:
            raise OperationFailedError(
                f"What CloudFormation calls for {logical_id} ({kind}) is not known: teach {__name__} its ARN."
            )
        physical = self._existing.get(logical_id)
        if physical and physical.startswith("arn:"):
            return physical
        name = physical or self._name(logical_id, kind, resource)
        return _KINDS[kind].arn.format(region=REGION, account=self._account, name=name)

    def is_wanted(self, logical_id: str) -> bool:
        """Return whether no condition keeps a resource out of the stack."""
        # A carrier has the condition of what it carries.
        resource = self._resolver.resources.get(logical_id.removesuffix(EMBEDDED_SUFFIX), {})
        condition = self._resolver.resources.get(logical_id, resource).get("Condition")
        return condition is None or self._resolver.condition(condition)

    def _property(self, logical_id: str, name: str) -> Any:
        """Return a property as the template has it, its functions not resolved, or None."""
        return self._resolver.resources.get(logical_id, {}).get("Properties", {}).get(name)

    def _name(self, logical_id: str, kind: str, resource: Mapping[str, Any]) -> str:
        given = resource.get("Properties", {}).get(_KINDS[kind].name)
        resolved = self._resolver.resolve(given) if given is not None else NOTHING
        if isinstance(resolved, str):
            return resolved
        made = f"{self._stack}-{logical_id}-0123456789AB"
        return made.lower() if kind == "AWS::S3::Bucket" else made

    def _properties_in_use(self, logical_id: str) -> list[str]:
        """Return the properties that a resource sets of those that need more rights than others of its type."""
        values = {name: self._property(logical_id, name) for name in _OF_PROPERTIES}
        return [
            name for name, value in values.items() if value is not None and self._resolver.resolve(value) is not NOTHING
        ]

    def _context(self, logical_id: str, kind: str) -> dict[str, str]:
        """Return the condition keys that the calls for a resource have."""
        if kind != "AWS::IAM::Role":
            return {}
        boundary = self._resolver.resolve(self._property(logical_id, "PermissionsBoundary"))
        return {"iam:PermissionsBoundary": boundary} if isinstance(boundary, str) else {}

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


def actions_of(kind: str, handlers: set[str], properties: Iterable[str] = ()) -> set[str]:
    """Return the actions that the handlers of a type need, for what the templates use and properties that need more.

    Raises
    ------
    OperationFailedError
        If the schemas know no such type, or not what it needs.
    """
    declared: Mapping[str, Any] = _WITHOUT_HANDLERS.get(kind, {})
    if not declared:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
        if "handlers" not in schema:
            raise OperationFailedError(f"What CloudFormation calls for {kind} is told by no schema.")
        declared = {name: each.get("permissions", ()) for name, each in schema["handlers"].items()}
        # Stacks have tags, which CloudFormation gives each resource that can have any.
        handlers, declared["tagging"] = handlers | {"tagging"}, schema.get("tagging", {}).get("permissions", ())
    needed = {action for handler in handlers for action in declared.get(handler, ())}
    # Keys of others are reached by those who use them, not by whoever makes what is encrypted.
    is_key = kind.startswith("AWS::KMS::")
    in_use = {each for each in needed if not UNUSED.match(each) and (is_key or not each.startswith("kms:"))}
    more = [_OF_PROPERTIES[name] for name in properties if name in _OF_PROPERTIES]
    return in_use | {each for each in needed if any(re.match(pattern, each) for pattern in more)}
