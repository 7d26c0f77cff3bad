"""What CloudFormation's role is asked about for a change: the actions, on what, and with which condition keys."""

from __future__ import annotations

from typing import Any

from samcli.yamlhelper import yaml_parse

from rehearsal.resource_permissions import Call, StackResources

ACCOUNT = "000000000002"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
TEMPLATE = """
Parameters:
  PermissionsBoundaryName: { Type: String, Default: "" }
Conditions:
  HasPermissionsBoundary: !Not [!Equals [!Ref PermissionsBoundaryName, ""]]
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      PermissionsBoundary: !If
        - HasPermissionsBoundary
        - !Sub arn:${AWS::Partition}:iam::${AWS::AccountId}:policy/${PermissionsBoundaryName}
        - !Ref AWS::NoValue
"""


def resources(text: str = TEMPLATE, **parameters: str) -> StackResources:
    return StackResources(yaml_parse(text), parameters, "crosstrain-test", ACCOUNT, {})


def calls(found: StackResources, name: str, kind: str, action: str = "Add") -> list[Call]:
    change: dict[str, Any] = {"LogicalResourceId": name, "ResourceType": kind, "Action": action}
    return found.calls(change)


def test_a_role_is_made_with_the_boundary_that_it_gets() -> None:
    (bounded,) = calls(resources(PermissionsBoundaryName="boundary"), "Role", "AWS::IAM::Role")
    (free,) = calls(resources(), "Role", "AWS::IAM::Role")

    assert "iam:CreateRole" in bounded.actions
    assert bounded.context == {"iam:PermissionsBoundary": BOUNDARY}
    assert free.context == {}
