"""The boundaries of the training stack's and of the pipeline's roles: what they do is within, and nothing else is."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ministack.core.iam_evaluator import parse_policy_document
from samcli.yamlhelper import yaml_parse

from crosstrain.local.server import ACCOUNT, LocalAws, root_of
from crosstrain.rehearsal.authorization import Authorizer
from crosstrain.rehearsal.cloudformation.intrinsics import Resolver
from crosstrain.rehearsal.cloudformation.resource_permissions import StackResources
from crosstrain.rehearsal.service_calls import LAMBDA
from delivery_templates import PSEUDO, listed, of_type, statements
from embedded_cloudformation import TEST_ACCOUNT, deploy_delivery
from policy_evaluation import is_allowed_with

# What a template would let its roles do if it could.
ESCALATIONS = (
    ("iam:CreateUser iam:CreateRole iam:PutRolePolicy iam:PassRole iam:DeleteRolePermissionsBoundary", "*"),
    ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/Admin"),
    ("cloudformation:CreateStack cloudformation:CreateChangeSet ec2:RunInstances organizations:LeaveOrganization", "*"),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:us-east-1:{TEST_ACCOUNT}:function:crosstrain-test-a"),
    ("lambda:InvokeFunction", f"arn:aws:lambda:us-east-1:{TEST_ACCOUNT}:function:payroll"),
    ("states:StartExecution", f"arn:aws:states:us-east-1:{TEST_ACCOUNT}:stateMachine:payroll"),
    ("s3:GetObject s3:PutObject s3:ListBucket", "arn:aws:s3:::payroll/2026.csv"),
    ("s3:DeleteObject s3:PutBucketPolicy s3:DeleteBucket", "arn:aws:s3:::crosstrain-test-artifactbucket-1"),
    ("dynamodb:GetItem dynamodb:PutItem", f"arn:aws:dynamodb:us-east-1:{TEST_ACCOUNT}:table/payroll"),
    ("dynamodb:DeleteTable", f"arn:aws:dynamodb:us-east-1:{TEST_ACCOUNT}:table/crosstrain-test-Registry-1"),
    ("kms:Decrypt", f"arn:aws:kms:us-east-1:{TEST_ACCOUNT}:key/other"),
    ("sns:Publish", f"arn:aws:sns:us-east-1:{TEST_ACCOUNT}:payroll"),
    ("secretsmanager:GetSecretValue ssm:GetParameter", "*"),
)  # fmt: skip
# What a merge to the infrastructure repository would let the pipeline's roles do if it could.
TOOLS = f"us-east-1:{ACCOUNT}"
PIPELINE_ESCALATIONS = (
    ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/mine"),
    (
        "iam:CreateRole iam:PutRolePolicy iam:DeleteRolePermissionsBoundary iam:UpdateAssumeRolePolicy iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/bounding-us-east-1-pipeline-verify",
    ),
    ("iam:CreatePolicyVersion", f"arn:aws:iam::{ACCOUNT}:policy/bounding-us-east-1-pipeline-boundary"),
    ("iam:PassRole sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/Admin"),
    ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/bounding-us-east-1-test-cloudformation"),
    ("cloudformation:CreateStack cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{TOOLS}:stack/mine/1"),
    # Stacks that may remember an administrator's role.
    ("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{TOOLS}:stack/bounding-tools/1"),
    ("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{TOOLS}:stack/crosstrain-pipeline/1"),
    ("lambda:CreateFunction", f"arn:aws:lambda:{TOOLS}:function:mine"),
    ("s3:GetObject s3:PutObject", "arn:aws:s3:::payroll/2026.csv"),
    ("s3:DeleteObject", "arn:aws:s3:::{bucket}/bounding/object"),
    ("s3:PutBucketPolicy s3:DeleteBucket", "arn:aws:s3:::{bucket}"),
    ("dynamodb:GetItem dynamodb:PutItem", f"arn:aws:dynamodb:{TOOLS}:table/payroll"),
    ("dynamodb:DeleteTable", f"arn:aws:dynamodb:{TOOLS}:table/{{ledger}}"),
    ("kms:Decrypt", f"arn:aws:kms:{TOOLS}:key/other"),
    ("kms:ScheduleKeyDeletion kms:PutKeyPolicy", "{key}"),
    ("ecr:DeleteRepository ecr:BatchDeleteImage", f"arn:aws:ecr:{TOOLS}:repository/bounding/model-training"),
    ("codecommit:GetRepository", f"arn:aws:codecommit:{TOOLS}:payroll"),
    ("codeconnections:UseConnection", f"arn:aws:codeconnections:{TOOLS}:connection/aaaa"),
    ("codebuild:StartBuild", f"arn:aws:codebuild:{TOOLS}:project/payroll"),
    ("sns:Publish", f"arn:aws:sns:{TOOLS}:payroll"),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{TOOLS}:secret:payroll"),
)
CONNECTION = f"arn:aws:codeconnections:us-east-1:{ACCOUNT}:connection/aaaaaaaa-bbbb"
# How sources may be had, each with a boundary of its own.
SOURCES: dict[str, dict[str, str]] = {
    "bounding": {},
    "single": {"ModelRepository": ""},
    "connected": {"ConnectionArn": CONNECTION, "InfrastructureRepository": "a/b", "ModelRepository": "a/c"},
    "connected-one": {"ConnectionArn": CONNECTION, "InfrastructureRepository": "a/b", "ModelRepository": ""},
}
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/bounding/model-training@sha256:{'0' * 64}"
DATASETS = {"DatasetBucketName": "datasets", "DatasetKeyArn": f"arn:aws:kms:us-east-1:{TEST_ACCOUNT}:key/datasets"}


@pytest.fixture(scope="module")
def names(local_aws: LocalAws, project: Path) -> dict[str, str]:
    """Deploy the delivery of a project whose stage reads another bucket too, and return what is called how."""
    return deploy_delivery(local_aws, project, "bounding", **DATASETS)


@pytest.fixture(scope="module")
def boundary(local_aws: LocalAws, names: dict[str, str]) -> Any:
    """Return the boundary of the test stage."""
    assert names
    return _policy(local_aws, TEST_ACCOUNT, "bounding-us-east-1-test-boundary")


@pytest.fixture(scope="module")
def pipeline_boundary(local_aws: LocalAws, names: dict[str, str]) -> Any:
    """Return the boundary of the pipeline's roles."""
    assert names
    return _policy(local_aws, ACCOUNT, "bounding-us-east-1-pipeline-boundary")


def _policy(aws: LocalAws, account: str, name: str) -> Any:
    iam, arn = aws.client("iam", root_of(account)), f"arn:aws:iam::{account}:policy/{name}"
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def test_the_boundary_allows_what_the_roles_of_the_training_stack_do(boundary: Any, project: Path) -> None:
    template = yaml_parse((project / "template.yaml").read_text())
    schedules = dict.fromkeys(("TrainingSchedule", "ScoringSchedule"), "rate(1 day)")
    tasks = {
        "JobSubnetIds": "subnet-00000000",
        "JobVpcId": "vpc-00000000",
        "ModelTrainingImageUri": IMAGE,
        "LargestCluster": "2",
    }
    given = {**DATASETS, **schedules, **tasks, "ScoringPrefix": "incoming/", "PermissionsBoundaryName": "boundary"}
    resources = StackResources(template, given, "bounding-test", TEST_ACCOUNT, {})
    pseudo = {**PSEUDO, "AWS::Region": "us-east-1", "AWS::AccountId": TEST_ACCOUNT, "AWS::StackName": "bounding-test"}
    resolver = Resolver(template, given, pseudo)
    asked: list[tuple[str, str, str]] = []
    limit = [parse_policy_document(json.dumps(boundary))]
    for name, role in of_type(template, "AWS::IAM::Role").items():
        # A reference to a resource is resolved to its name or ARN in angle brackets.
        policies = json.dumps(resolver.resolve(role["Properties"]["Policies"]))
        found = json.loads(re.sub(r"<(\w+)(\.\w+)?>", lambda match: resources.arn(match[1]), policies))
        for statement in statements(found):
            context = {key: value for keys in statement.get("Condition", {}).values() for key, value in keys.items()}
            for action, resource in product(listed(statement["Action"]), listed(statement["Resource"])):
                asked.append((name, action, resource))
                assert is_allowed_with(context, limit, action, resource, account=TEST_ACCOUNT), asked[-1]
    assert len(asked) > 40
    assert len(re.sub(r"\s", "", json.dumps(boundary))) < 6144


@pytest.mark.parametrize(
    ("action", "resource"), [(action, resource) for actions, resource in ESCALATIONS for action in actions.split()]
)
def test_the_boundary_allows_nothing_else(boundary: Any, action: str, resource: str) -> None:
    limit = [parse_policy_document(json.dumps(boundary).replace("bounding-", "crosstrain-"))]
    assert not is_allowed_with({}, limit, action, resource, account=TEST_ACCOUNT)


def test_a_bucket_of_another_account_is_not_the_stages(boundary: Any) -> None:
    limit, arn = [parse_policy_document(json.dumps(boundary))], "arn:aws:s3:::bounding-test-looks-like-ours/stolen.csv"
    assert is_allowed_with({}, limit, "s3:PutObject", arn, account=TEST_ACCOUNT)
    # The evaluator takes the caller's account for the bucket's.
    assert not is_allowed_with({}, limit, "s3:PutObject", arn, account="999999999999")


def test_a_template_that_gives_its_role_everything_gets_nothing(local_aws: LocalAws, project: Path) -> None:
    """A commit to the model repository once made an administrator of the test account; tried with real calls."""
    deploy_delivery(local_aws, project, "greedy")
    role, root = "greedy-test-GreedyRole-1", local_aws.client("iam", root_of(TEST_ACCOUNT))
    trust = {"Effect": "Allow", "Principal": {"Service": LAMBDA}, "Action": "sts:AssumeRole"}
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    # By root, for the embedded AWS does not say which boundary a call names; the table asks about that.
    root.create_role(
        RoleName=role,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        PermissionsBoundary=f"arn:aws:iam::{TEST_ACCOUNT}:policy/greedy-us-east-1-test-boundary",
    )
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    root.put_role_policy(RoleName=role, PolicyName="greedy", PolicyDocument=document)

    greedy = Authorizer(local_aws).service_session(LAMBDA, f"arn:aws:iam::{TEST_ACCOUNT}:role/{role}").credentials
    assert local_aws.client("sts", greedy).get_caller_identity()["Account"] == TEST_ACCOUNT
    for service, method, arguments in (
        ("iam", "create_user", {"UserName": "mine"}),
        ("iam", "delete_role_permissions_boundary", {"RoleName": role}),
        ("cloudformation", "describe_stacks", {}),
        ("s3", "list_buckets", {}),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(local_aws.client(service, greedy), method)(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("project_name", SOURCES)
def test_the_boundary_of_the_pipeline_allows_what_its_roles_do(
    local_aws: LocalAws, project: Path, names: dict[str, str], project_name: str
) -> None:
    assert names
    if project_name != "bounding":
        deploy_delivery(local_aws, project, project_name, **SOURCES[project_name])
    policy = _policy(local_aws, ACCOUNT, f"{project_name}-us-east-1-pipeline-boundary")
    iam, limit = local_aws.client("iam", root_of(ACCOUNT)), [parse_policy_document(json.dumps(policy))]
    known = {each["RoleName"] for page in iam.get_paginator("list_roles").paginate() for each in page["Roles"]}
    roles = {name for name in known if name.startswith(f"{project_name}-us-east-1-pipeline")}
    asked: list[tuple[str, str, str]] = []
    for name in roles - {f"{project_name}-us-east-1-pipeline-update"}:
        for each in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"]
            for statement in statements(document):
                context = {
                    key: value for keys in statement.get("Condition", {}).values() for key, value in keys.items()
                }
                for action, resource in product(listed(statement["Action"]), listed(statement["Resource"])):
                    asked.append((name, action, resource))
                    assert is_allowed_with(context, limit, action, re.sub(r"\*$", "each", resource)), asked[-1]
    # With a connection nothing triggers the pipeline but the connection.
    assert len(roles) == (8 if project_name.startswith("connected") else 9)
    assert len(asked) > 100
    assert len(re.sub(r"\s", "", json.dumps(policy))) < 6144


@pytest.mark.parametrize(
    ("action", "resource"),
    [(action, resource) for actions, resource in PIPELINE_ESCALATIONS for action in actions.split()],
)
def test_the_boundary_of_the_pipeline_allows_nothing_else(
    pipeline_boundary: Any, names: dict[str, str], action: str, resource: str
) -> None:
    everything = [
        parse_policy_document(json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))
    ]
    context = {
        "iam:PassedToService": "cloudformation.amazonaws.com",
        "cloudformation:RoleArn": f"arn:aws:iam::{ACCOUNT}:role/bounding-us-east-1-pipeline-update",
    }
    asked = (context, action, resource.format(**names))
    assert is_allowed_with(asked[0], everything, *asked[1:])
    assert not is_allowed_with(asked[0], [parse_policy_document(json.dumps(pipeline_boundary))], *asked[1:])
