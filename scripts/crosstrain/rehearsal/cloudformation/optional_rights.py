"""The rights of CloudFormation's role that target-account.yaml gives where a parameter asks for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ministack.core.iam_evaluator import evaluate, parse_policy_document

from crosstrain.local.server import REGION
from crosstrain.rehearsal.authorization import evaluation_request
from crosstrain.rehearsal.cloudformation.intrinsics import Resolver
from crosstrain.rehearsal.cloudformation.resource_permissions import Call

_STAGES = ("test", "prod")


class OptionalRights:
    """Knows which parameter gives a right.

    Parameters
    ----------
    template
        target-account.yaml, or the like of it.
    parameters : mapping
        The values of its parameters besides the stage.
    """

    def __init__(self, template: Any, parameters: Mapping[str, str]) -> None:
        self._template, self._parameters = template, parameters

    def parameter_for(self, role_arn: str, action: str, call: Call) -> str | None:
        """Return the parameter with which a role of the template might make a call, or None."""
        request = evaluation_request(role_arn, action, call.resource, call.context)
        for parameter, document in self._policies(role_arn.split(":")[4]):
            if evaluate(request, [parse_policy_document(json.dumps(document))]).decision == "Allow":
                return parameter
        return None

    def _policies(self, account: str) -> Iterator[tuple[str, Any]]:
        """Yield each policy that hangs on a parameter, with that parameter."""
        pseudo = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": account}
        for resource in self._template["Resources"].values():
            match resource["Type"], self._template.get("Conditions", {}).get(resource.get("Condition")):
                case "AWS::IAM::Policy", {"Fn::Equals": [{"Ref": str() as parameter}, "true"]}:
                    for stage in _STAGES:
                        resolver = Resolver(self._template, {**self._parameters, "Stage": stage}, pseudo)
                        yield parameter, resolver.resolve(resource["Properties"]["PolicyDocument"])
