"""The templates for moto's CloudFormation, which lacks transforms, some types, and `AWS::NoValue` in a list."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from moto.cloudformation.parsing import get_model_map
from samtranslator.translator.transform import transform

from crosstrain.rehearsal.cloudformation.intrinsics import Resolver
from crosstrain.rehearsal.cloudformation.resource_permissions import StackResources
from delivery_templates import PSEUDO, read

ACCOUNT = "123456789012"
# What moto's CloudFormation has no model of; its services are called with the properties of these in its place.
REFUSED = frozenset(
    {
        "AWS::ApiGatewayV2::Api",
        "AWS::ApiGatewayV2::Authorizer",
        "AWS::ApiGatewayV2::Integration",
        "AWS::ApiGatewayV2::Route",
        "AWS::ApiGatewayV2::Stage",
        "AWS::CloudWatch::Alarm",
        "AWS::CodeBuild::Project",
        "AWS::CodeCommit::Repository",
        "AWS::CodePipeline::Pipeline",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::Lambda::Url",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SNS::TopicPolicy",
        "AWS::SageMaker::UserProfile",
        "AWS::Scheduler::Schedule",
    }
)
_POLICIES = ("DeletionPolicy", "UpdateReplacePolicy")


class MotoStack:
    """A stack in moto, by the real template, and the rest of it for the services.

    Parameters
    ----------
    client
        A client of moto's CloudFormation.
    template
        The template, as it is written.
    name : str
        The stack's name.
    given : mapping
        The values of its parameters; those that the template lacks are left out.
    """

    def __init__(self, client: Any, template: Any, name: str, given: Mapping[str, str]) -> None:
        self._client, self.name = client, name
        self.given = {key: value for key, value in given.items() if key in template["Parameters"]}
        region = client.meta.region_name
        pseudo = {**PSEUDO, "AWS::Region": region, "AWS::AccountId": ACCOUNT, "AWS::StackName": name}
        self.resolver = Resolver(template, self.given, pseudo)
        self.template = transformed(self._decided(template), self.given)
        self.refused = {
            logical_id: each for logical_id, each in self.template["Resources"].items() if each["Type"] in REFUSED
        }

    def create(self) -> dict[str, str]:
        """Create the stack without what moto refuses, and return its outputs."""
        resources = {key: each for key, each in self.template["Resources"].items() if key not in self.refused}
        kept = {**self.template, "Resources": resources}
        self._client.create_stack(
            StackName=self.name,
            TemplateBody=json.dumps(_without_references(kept, self.refused)),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in self.given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        (stack,) = self._client.describe_stacks(StackName=self.name)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack.get("StackStatusReason")
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def physical_ids(self) -> dict[str, str]:
        """Return the physical id of each resource that was made."""
        found = self._client.list_stack_resources(StackName=self.name)["StackResourceSummaries"]
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}

    def properties(self, logical_id: str, exports: Mapping[str, str]) -> Any:
        """Return the resolved properties of a resource, with what the others are called in moto."""
        made = self.physical_ids()
        arns = StackResources(self.template, self.given, self.name, ACCOUNT, made)

        def named(match: re.Match[str]) -> str:
            name, attribute = match["name"], match["attribute"]
            if name in exports:
                return exports[name]
            return arns.arn(name) if attribute else made.get(name, name)

        resolved = json.dumps(self.resolver.resolve(self.template["Resources"][logical_id]["Properties"]))
        return json.loads(re.sub(r"<(?P<name>[\w-]+)(?P<attribute>\.\w+)?>", named, resolved))

    def _decided(self, template: Any) -> Any:
        """Return the template with its conditions decided, without the deletion policies that moto does not know."""
        resources = {
            key: {name: part for name, part in each.items() if name not in ("Condition", *_POLICIES)}
            for key, each in template["Resources"].items()
            if "Condition" not in each or self.resolver.condition(each["Condition"])
        }
        outputs = {
            key: {name: part for name, part in each.items() if name != "Condition"}
            for key, each in template["Outputs"].items()
            if "Condition" not in each or self.resolver.condition(each["Condition"])
        }
        whole = {**template, "Resources": resources, "Outputs": outputs}
        kept = {key: whole[key] for key in ("Parameters", "Globals", "Resources", "Outputs") if key in whole}
        return {"AWSTemplateFormatVersion": "2010-09-09", **self._without_conditions(kept)}

    def _without_conditions(self, node: Any) -> Any:
        if isinstance(node, dict):
            if set(node) == {"Fn::If"}:
                name, yes, no = node["Fn::If"]
                return self._without_conditions(yes if self.resolver.condition(name) else no)
            decided = {key: self._without_conditions(each) for key, each in node.items()}
            return {key: each for key, each in decided.items() if each != {"Ref": "AWS::NoValue"}}
        if isinstance(node, list):
            decided_items = [self._without_conditions(each) for each in node]
            return [each for each in decided_items if each != {"Ref": "AWS::NoValue"}]
        return node


class _NoManagedPolicies:
    """The templates name none, so nothing has to be looked up for SAM."""

    def load(self) -> dict[str, str]:
        return {}


def transformed(template: Any, given: Mapping[str, str]) -> Any:
    """Return the template as SAM's own transform makes it."""
    kinds = {each["Type"] for each in template["Resources"].values()}
    if not any(kind.startswith("AWS::Serverless::") for kind in kinds):
        return template
    # It looks for a region as clients do.
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": "us-east-1"}):
        found = transform({**template, "Transform": "AWS::Serverless-2016-10-31"}, dict(given), _NoManagedPolicies())
    found.pop("Transform", None)
    return found


def _without_references(node: Any, names: Mapping[str, Any]) -> Any:
    """Return a part of a template in which what refers to resources is their names."""
    if isinstance(node, dict):
        if node.get("Ref") in names:
            return node["Ref"]
        if isinstance(node.get("Fn::GetAtt"), list) and node["Fn::GetAtt"][0] in names:
            return f"arn:aws:service:::{node['Fn::GetAtt'][0]}"
        return {key: _without_references(each, names) for key, each in node.items()}
    if isinstance(node, list):
        return [_without_references(each, names) for each in node]
    if isinstance(node, str):
        return re.sub(r"\$\{(\w+)\}", lambda match: match[1] if match[1] in names else match[0], node)
    return node


def unknown_types(project: Path, name: str) -> set[str]:
    """Return the types of a template that moto's CloudFormation has no model of, those of SAM but for."""
    kinds = {each["Type"] for each in read(project, name)["Resources"].values()}
    return {kind for kind in kinds - set(get_model_map()) if not kind.startswith("AWS::Serverless::")}
