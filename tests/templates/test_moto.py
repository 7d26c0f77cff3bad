"""The four templates once more, by moto: another CloudFormation, and services that refuse what the embedded AWS takes.

moto reads each policy by IAM's grammar, knows that a role's name is taken, and looks at the role of a pipeline. What
its CloudFormation has no model of is made by calls of the services, whose parameters botocore checks by AWS's models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from botocore.stub import ANY, Stubber
from moto import mock_aws
from samcli.yamlhelper import yaml_parse

from crosstrain.delivery.functions import FUNCTIONS
from delivery_templates import TEMPLATES, of_type, read
from moto_stacks import ACCOUNT, REFUSED, MotoStack, unknown_types

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
REGION = "us-east-1"
STACKS = {
    "tools-account.yaml": "crosstrain-tools",
    "pipeline.yaml": "crosstrain-pipeline",
    "target-account.yaml": "crosstrain-test-roles",
    "template.yaml": "crosstrain-test",
}
IMAGES = {
    f"{name}ImageUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/crosstrain/{name.lower()}@sha256:{'a' * 64}"
    for name in FUNCTIONS.values()
}
GIVEN = {
    **dict.fromkeys(("TestAccountId", "ProductionAccountId", "ToolsAccountId"), ACCOUNT),
    **IMAGES,
    "Stage": "test",
    "CreateRepositories": "true",
    "StudioDomainId": "d-abc",
    "StudioUserProfileName": "ann",
    "NotificationEmail": "team@example.org",
    "DatasetBucketName": "datasets",
    "DatasetKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/datasets",
    "TrainingSchedule": "rate(1 day)",
    "ScoringSchedule": "rate(1 day)",
    "ScoringPrefix": "incoming/",
    "ScoringRequest": '{"model_name": "houses"}',
    "RetrainOn": "drift",
    "RetrainPrefix": "data/sales/",
    "RetrainSchedule": "rate(1 day)",
    "ServeModel": "houses",
    "JwtIssuer": "https://issuer.example.com",
    "JwtAudience": "callers",
    "CaptureShare": "10",
    "WatchSchedule": "rate(1 day)",
}
DEFINITIONS = "definitions"


def client(service: str, region: str = REGION) -> Any:
    return boto3.client(service, region_name=region)


def packaged(project: Path, name: str) -> Any:
    """Return a template, the definitions of its state machines where `sam package` puts them: in a bucket."""
    template = read(project, name)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::StateMachine":
            key = resource["Properties"]["DefinitionUri"]
            client("s3").put_object(Bucket=DEFINITIONS, Key=key, Body=(project / key).read_bytes())
            resource["Properties"]["DefinitionUri"] = {"Bucket": DEFINITIONS, "Key": key}
    return template


@pytest.fixture(scope="module")
def stacks(project: Path) -> Iterator[dict[str, MotoStack]]:
    """Yield all stacks of one account, made in the order in which people make them."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"lambda": {"use_docker": False}}):
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        client("s3").create_bucket(Bucket=DEFINITIONS)
        vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        given, made = {**GIVEN, "JobSubnetIds": "subnet-00000000", "JobVpcId": vpc, "LargestCluster": "2"}, {}
        for name, stack in STACKS.items():
            made[name] = MotoStack(client("cloudformation"), packaged(project, name), stack, given)
            given |= made[name].create()
        yield made


@pytest.fixture(scope="module")
def exports(stacks: Mapping[str, MotoStack]) -> dict[str, str]:
    """Return what stacks import from the tools account, as the resolver names it."""
    assert stacks
    return {each["Name"]: each["Value"] for each in client("cloudformation").list_exports()["Exports"]}


def test_moto_has_no_model_of_these_types_alone(project: Path) -> None:
    """One that it gets a model of is to be deployed here, too."""
    assert set().union(*(unknown_types(project, name) for name in TEMPLATES)) == REFUSED


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKS)
def test_every_other_resource_is_made(stacks: Mapping[str, MotoStack], name: str) -> None:
    stack = stacks[name]
    assert set(stack.physical_ids()) == set(stack.template["Resources"]) - set(stack.refused)
    assert len(stack.physical_ids()) >= 4


def lowered(node: Any) -> Any:
    """Return properties by the names that APIs have which begin theirs with a small letter; a configuration's stay."""
    if isinstance(node, dict):
        names = {"BuildSpec": "buildspec"}
        return {
            names.get(key, key[0].lower() + key[1:]): each if key == "Configuration" else lowered(each)
            for key, each in node.items()
        }
    return [lowered(each) for each in node] if isinstance(node, list) else node


def make_pipeline(properties: Any) -> None:
    # CloudFormation's own: the API has no such field.
    assert properties.pop("RestartExecutionOnUpdate") is True
    found = client("codepipeline").create_pipeline(pipeline=lowered(properties))["pipeline"]
    assert [each["name"] for each in found["stages"]] == [each["Name"] for each in properties["Stages"]]


def take(service: str, operation: str, parameters: Any) -> None:
    """Let botocore check a call that moto has not, or refuses where AWS does not."""
    called = client(service)
    with Stubber(called) as stub:
        stub.add_response(operation, {}, dict.fromkeys(parameters, ANY))
        getattr(called, operation)(**parameters)


def make_policy_of_topic(properties: Any) -> None:
    for topic in properties["Topics"]:
        policy = json.dumps(properties["PolicyDocument"])
        client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)


def make_rule(properties: Any) -> None:
    # Where a reference is to an attribute, a resource's ARN stands.
    group, other = (properties[name].rpartition("/")[2] for name in ("GroupId", "DestinationSecurityGroupId"))
    rule = {name: properties[name] for name in ("IpProtocol", "FromPort", "ToPort")}
    client("ec2").authorize_security_group_egress(
        GroupId=group,
        IpPermissions=[{**rule, "UserIdGroupPairs": [{"GroupId": other, "Description": properties["Description"]}]}],
    )


MAKE: Mapping[str, Callable[[Any], object]] = {
    # The parts belong to an API that is not made.
    "AWS::ApiGatewayV2::Api": lambda found: take("apigatewayv2", "create_api", found),
    "AWS::ApiGatewayV2::Authorizer": lambda found: take("apigatewayv2", "create_authorizer", found),
    "AWS::ApiGatewayV2::Integration": lambda found: take("apigatewayv2", "create_integration", found),
    "AWS::ApiGatewayV2::Route": lambda found: take("apigatewayv2", "create_route", found),
    "AWS::ApiGatewayV2::Stage": lambda found: take("apigatewayv2", "create_stage", found),
    "AWS::CloudWatch::Alarm": lambda found: client("cloudwatch").put_metric_alarm(**found),
    # moto wants a location of each source; those that a pipeline hands on have none.
    "AWS::CodeBuild::Project": lambda found: take("codebuild", "create_project", lowered(found)),
    "AWS::CodeCommit::Repository": lambda found: client("codecommit").create_repository(**lowered(found)),
    "AWS::CodePipeline::Pipeline": make_pipeline,
    "AWS::EC2::SecurityGroupEgress": make_rule,
    "AWS::Lambda::Url": lambda found: client("lambda").create_function_url_config(
        FunctionName=found["TargetFunctionArn"], AuthType=found["AuthType"]
    ),
    "AWS::S3::BucketPolicy": lambda found: client("s3").put_bucket_policy(
        Bucket=found["Bucket"], Policy=json.dumps(found["PolicyDocument"])
    ),
    "AWS::SNS::Subscription": lambda found: client("sns").subscribe(**found),
    "AWS::SNS::TopicPolicy": make_policy_of_topic,
    # moto has none.
    "AWS::SageMaker::UserProfile": lambda found: take("sagemaker", "create_user_profile", found),
    "AWS::Scheduler::Schedule": lambda found: client("scheduler").create_schedule(**found),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_cloudformation_refuses_its_service_takes(
    stacks: Mapping[str, MotoStack], exports: dict[str, str], kind: str
) -> None:
    found = [(stack, name) for stack in stacks.values() for name, each in stack.refused.items() if each["Type"] == kind]
    assert found
    for stack, name in found:
        MAKE[kind](stack.properties(name, exports))


def test_a_service_would_refuse_what_it_does_not_know(stacks: Mapping[str, MotoStack], exports: dict[str, str]) -> None:
    properties = stacks["pipeline.yaml"].properties("Pipeline", exports)
    properties["Stages"][0]["BeforeEverything"] = {}
    with pytest.raises(ParamValidationError, match="beforeEverything"):
        make_pipeline(properties)


# Moto's stack has no tasks, which need a VPC.
ROLES = [
    (file, name)
    for file in TEMPLATES
    for name, role in of_type(read(Path(__file__).parents[2], file), "AWS::IAM::Role").items()
    if role.get("Condition") != "HasTasks"
]


@pytest.mark.parametrize(("file", "name"), ROLES)
def test_iam_can_read_every_policy_of_a_role(
    stacks: Mapping[str, MotoStack], exports: dict[str, str], file: str, name: str
) -> None:
    """Moto's CloudFormation takes any; its IAM reads them when they are put."""
    iam, properties = client("iam"), stacks[file].properties(name, exports)
    role, trust = stacks[file].physical_ids()[name], properties["AssumeRolePolicyDocument"]
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
    for policy in properties["Policies"]:
        iam.put_role_policy(
            RoleName=role, PolicyName=policy["PolicyName"], PolicyDocument=json.dumps(policy["PolicyDocument"])
        )


@pytest.mark.parametrize(
    "planted",
    [{"Effect": "Permit"}, {"Action": "s3GetObject"}, {"Resource": "bucket/*"}, {"Acton": "a"}],
)
def test_a_policy_that_iam_cannot_read_is_refused(
    stacks: Mapping[str, MotoStack], exports: dict[str, str], planted: dict[str, str]
) -> None:
    stack = stacks["target-account.yaml"]
    document = stack.properties("SystemTestRole", exports)["Policies"][0]["PolicyDocument"]
    document["Statement"][0] |= planted
    role = stack.physical_ids()["SystemTestRole"]
    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        client("iam").put_role_policy(RoleName=role, PolicyName="planted", PolicyDocument=json.dumps(document))


def test_in_a_second_region_no_name_is_taken(stacks: Mapping[str, MotoStack], project: Path) -> None:
    assert stacks
    other, given = client("cloudformation", "eu-west-1"), dict(GIVEN)
    for name in ("tools-account.yaml", "pipeline.yaml", "target-account.yaml"):
        given |= MotoStack(other, read(project, name), STACKS[name], given).create()


def test_without_the_region_in_it_a_name_would_be_taken(stacks: Mapping[str, MotoStack], project: Path) -> None:
    assert stacks
    text = (project / "target-account.yaml").read_text().replace("-${AWS::Region}-", "-")
    given = {
        **GIVEN,
        "ProjectName": "global",
        "ArtifactBucketName": "a-bucket",
        "ArtifactKeyArn": GIVEN["DatasetKeyArn"],
    }
    MotoStack(client("cloudformation"), yaml_parse(text), "global-roles", given).create()
    with pytest.raises(ClientError, match="already exists"):
        MotoStack(client("cloudformation", "eu-west-1"), yaml_parse(text), "global-roles", given).create()
