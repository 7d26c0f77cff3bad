"""What CloudFormation's role is asked about for a change: the actions, on what, and with which condition keys."""

from __future__ import annotations

from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from crosstrain.command import OperationFailedError
from crosstrain.rehearsal.cloudformation.intrinsics import Resolver
from crosstrain.rehearsal.cloudformation.resource_permissions import Call, StackResources
from crosstrain.rehearsal.codepipeline import declaration

ACCOUNT = "000000000002"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
TEMPLATE = """
Parameters:
  PermissionsBoundaryName: { Type: String, Default: "" }
Conditions:
  HasPermissionsBoundary: !Not [!Equals [!Ref PermissionsBoundaryName, ""]]
Resources:
  Bucket: { Type: AWS::S3::Bucket }
  PolicyByRef: { Type: AWS::S3::BucketPolicy, Properties: { Bucket: !Ref Bucket } }
  PolicyBySub: { Type: AWS::S3::BucketPolicy, Properties: { Bucket: !Sub "${Bucket}" } }
  PolicyByName: { Type: AWS::S3::BucketPolicy, Properties: { Bucket: !Sub "${AWS::StackName}-data" } }
  Table: { Type: AWS::DynamoDB::Table, Properties: { TableName: plain } }
  Expiring:
    Type: AWS::DynamoDB::Table
    Properties: { TableName: expiring, TimeToLiveSpecification: { AttributeName: until, Enabled: true } }
  Function: { Type: AWS::Serverless::Function, Properties: { FunctionName: free, Role: !GetAtt Role.Arn } }
  Api: { Type: AWS::ApiGatewayV2::Api, Properties: { Name: api, ProtocolType: HTTP } }
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties: { ApiId: !Ref Api, RouteKey: $default, AuthorizationType: NONE }
  Caller:
    Type: AWS::Lambda::Permission
    Properties: { FunctionName: !Ref Function, Action: lambda:InvokeFunction, Principal: apigateway.amazonaws.com }
  Open: { Type: AWS::Lambda::Url, Properties: { TargetFunctionArn: !GetAtt Function.Arn, AuthType: NONE } }
  Reserved:
    Type: AWS::Serverless::Function
    Properties: { FunctionName: reserved, Role: !GetAtt Role.Arn, ReservedConcurrentExecutions: 1 }
  Inside:
    Type: AWS::Serverless::Function
    Properties: { FunctionName: inside, Role: !GetAtt Role.Arn, VpcConfig: { SubnetIds: [one] } }
  Timer: { Type: AWS::Scheduler::Schedule, Properties: { Name: timer, Target: { RoleArn: !GetAtt Role.Arn } } }
  Rule:
    Type: AWS::Events::Rule
    Properties: { Name: rule, Targets: [{ Arn: one }, { RoleArn: !Sub "${Role.Arn}" }, { RoleArn: "arn:of:another" }] }
  Pipeline: { Type: AWS::CodePipeline::Pipeline, Properties: { Name: delivery, RoleArn: !GetAtt Role.Arn } }
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


@pytest.mark.parametrize(
    ("plain", "more", "kind", "action"),
    [
        ("Function", "Reserved", "AWS::Lambda::Function", "lambda:PutFunctionConcurrency"),
        ("Table", "Expiring", "AWS::DynamoDB::Table", "dynamodb:UpdateTimeToLive"),
    ],
)
def test_a_property_that_needs_more_is_asked_about_where_it_is_set(
    plain: str, more: str, kind: str, action: str
) -> None:
    assert action not in calls(resources(), plain, kind)[0].actions
    assert action in calls(resources(), more, kind)[0].actions


def test_a_url_is_of_its_function_and_for_whom_it_is_for() -> None:
    (url,) = calls(resources(), "Open", "AWS::Lambda::Url")
    assert "lambda:CreateFunctionUrlConfig" in url.actions
    assert url.resource == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:free"
    assert url.context == {"lambda:FunctionUrlAuthType": "NONE"}


def test_a_route_is_of_its_api_and_asks_for_what_its_callers_need() -> None:
    (route,) = calls(resources(), "Route", "AWS::ApiGatewayV2::Route")
    assert route.actions == {"apigateway:GET", "apigateway:POST"}
    assert route.resource == "arn:aws:apigateway:us-east-1::/apis/crosstrain-test-Api-0123456789AB"
    assert route.context == {"apigateway:Request/RouteAuthorizationType": "NONE"}


def test_a_permission_is_on_its_function_and_for_whom_it_is_for() -> None:
    (permission,) = calls(resources(), "Caller", "AWS::Lambda::Permission")
    assert permission.actions == {"lambda:AddPermission", "lambda:GetPolicy"}
    assert permission.resource == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:free"
    assert permission.context == {"lambda:Principal": "apigateway.amazonaws.com"}


def test_a_function_in_a_network_looks_the_network_up() -> None:
    def networks(name: str) -> list[str]:
        found = calls(resources(), name, "AWS::Lambda::Function")
        return [each.resource for each in found if "ec2:DescribeSubnets" in each.actions]

    assert networks("Function") == []
    assert networks("Inside") == ["*"]


def test_roles_of_schedules_and_of_the_targets_of_rules_are_passed() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/crosstrain-test-Role-0123456789AB"

    def passed(name: str, kind: str) -> list[tuple[str, Any]]:
        found = [each for each in calls(resources(), name, kind) if "iam:PassRole" in each.actions]
        return [(each.resource, each.context["iam:PassedToService"]) for each in found]

    assert passed("Function", "AWS::Lambda::Function") == [(role, "lambda.amazonaws.com")]
    assert passed("Timer", "AWS::Scheduler::Schedule") == [(role, "scheduler.amazonaws.com")]
    assert passed("Rule", "AWS::Events::Rule") == [
        (role, "events.amazonaws.com"),
        ("arn:of:another", "events.amazonaws.com"),
    ]


def test_the_role_of_the_pipeline_is_passed_although_a_parameter_takes_its_place() -> None:
    whole = yaml_parse(TEMPLATE)["Resources"]
    template = {"Resources": {name: whole[name] for name in ("Pipeline", "Role")}}
    found = StackResources(template, {}, "crosstrain-pipeline", ACCOUNT, {})
    declaration.embed(template)

    (_, passing) = calls(found, "Pipeline", "AWS::SSM::Parameter", "Modify")
    assert passing.resource == f"arn:aws:iam::{ACCOUNT}:role/crosstrain-pipeline-Role-0123456789AB"


@pytest.mark.parametrize(
    ("name", "bucket"),
    [
        ("PolicyByRef", "crosstrain-test-bucket-0123456789ab"),
        ("PolicyBySub", "crosstrain-test-bucket-0123456789ab"),
        ("PolicyByName", "crosstrain-test-data"),
    ],
)
def test_a_policy_is_a_part_of_its_bucket_however_it_says_so(name: str, bucket: str) -> None:
    assert resources().arn(name) == f"arn:aws:s3:::{bucket}"


def test_a_policy_that_goes_is_a_part_of_the_bucket_that_it_was_for() -> None:
    found = StackResources(yaml_parse(TEMPLATE), {}, "crosstrain-test", ACCOUNT, {"Gone": "was-here"})

    assert found.arn("Gone", "AWS::S3::BucketPolicy") == "arn:aws:s3:::was-here"


def test_functions_of_conditions_count_and_an_unknown_one_is_refused() -> None:
    either = {"Fn::Or": [{"Fn::Equals": ["a", "b"]}, {"Fn::Equals": ["a", "a"]}]}
    neither = {"Fn::Or": [{"Fn::Equals": ["a", "b"]}, {"Fn::Equals": ["b", "a"]}]}
    strange = {"Fn::FindInMap": ["Map", "a", "b"]}
    # The default of a parameter is a text, where a number stands beside it.
    number = {"Fn::Equals": [{"Ref": "Count"}, 0]}
    conditions = {"Either": either, "Neither": neither, "Strange": strange, "Number": number}
    template = {"Parameters": {"Count": {"Default": 0}}, "Conditions": conditions, "Resources": {}}
    resolver = Resolver(template, {}, {})

    assert resolver.condition("Either")
    assert not resolver.condition("Neither")
    assert resolver.condition("Number")
    assert not Resolver(template, {"Count": "2"}, {}).condition("Number")
    with pytest.raises(OperationFailedError, match=r"does not know the function Fn::FindInMap"):
        resolver.condition("Strange")
    # What is no function is no function by its name alone.
    assert resolver.resolve({"Or": ["a"]}) == {"Or": ["a"]}
