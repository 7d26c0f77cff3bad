"""Each role of the delivery reaches what its work needs, and nothing else.

The roles of both templates are deployed to the embedded AWS, without the types that it does not know, and IAM's policy
simulator is asked about each row of a table. Who may assume a role is tried with real calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document
from samcli.yamlhelper import yaml_parse

from local_aws import ACCOUNT, Credentials, LocalAws

HERE = f"us-east-1:{ACCOUNT}"
IAM = f"arn:aws:iam::{ACCOUNT}"
# The other accounts begin with zeros, which a template that takes them for numbers loses.
TEST_ACCOUNT = "000000000012"
PRODUCTION_ACCOUNT = "000000000034"
UNKNOWN = ("AWS::CodePipeline::", "AWS::CodeCommit::", "AWS::SageMaker::", "AWS::Events::", "AWS::SNS::TopicPolicy")
BUCKET = "arn:aws:s3:::{bucket}"
OBJECT = "arn:aws:s3:::{bucket}/pipeline/object"
OTHERS_OBJECT = "arn:aws:s3:::somebody-elses/pipeline/object"
LEDGER = f"arn:aws:dynamodb:{HERE}:table/{{ledger}}"
IMAGES = f"arn:aws:ecr:{HERE}:repository/crosstrain/model-training"
OTHERS_IMAGES = f"arn:aws:ecr:{HERE}:repository/other/model-training"
PIPELINE = f"arn:aws:codepipeline:{HERE}:crosstrain"
OTHERS_PIPELINE = f"arn:aws:codepipeline:{HERE}:other"
TEST_STACK = f"arn:aws:cloudformation:{HERE}:stack/crosstrain-test/1"
PROD_STACK = f"arn:aws:cloudformation:{HERE}:stack/crosstrain-prod/1"
KEY_USE = "kms:Decrypt kms:Encrypt kms:GenerateDataKey kms:ReEncryptFrom kms:ReEncryptTo kms:DescribeKey"
TO_CLOUDFORMATION = {"iam:PassedToService": "cloudformation.amazonaws.com"}
TO_LAMBDA = {"iam:PassedToService": "lambda.amazonaws.com"}


@dataclass(frozen=True)
class Rights:
    """Rows of the table that one page of a service's documentation stands for: actions and the resource they are on."""

    role: str
    page: str
    allowed: tuple[tuple[str, str], ...] = ()
    denied: tuple[tuple[str, str], ...] = ()
    context: Mapping[str, str] | None = None


DOCS = "https://docs.aws.amazon.com"
AUTHORIZATION = f"{DOCS}/service-authorization/latest/reference"
TABLE = (
    Rights(
        "crosstrain-pipeline",
        f"{DOCS}/codepipeline/latest/userguide/how-to-custom-role.html",
        allowed=(
            ("s3:GetObject s3:GetObjectVersion s3:PutObject", OBJECT),
            ("s3:GetBucketVersioning", BUCKET),
            (KEY_USE, "{key}"),
            (
                (
                    "codecommit:GetBranch codecommit:GetCommit codecommit:UploadArchive "
                    "codecommit:GetUploadArchiveStatus codecommit:CancelUploadArchive"
                ),
                f"arn:aws:codecommit:{HERE}:crosstrain-model",
            ),
            ("codebuild:StartBuild codebuild:BatchGetBuilds", f"arn:aws:codebuild:{HERE}:project/crosstrain-build"),
            (
                "cloudformation:CreateChangeSet cloudformation:ExecuteChangeSet cloudformation:DescribeStacks",
                f"arn:aws:cloudformation:{HERE}:stack/crosstrain-pipeline/1",
            ),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-action"),
            ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-prod-action"),
            ("sns:Publish", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),
        ),
        denied=(
            ("s3:GetObject s3:PutObject", OTHERS_OBJECT),
            ("s3:DeleteObject", OBJECT),
            ("s3:DeleteBucket s3:PutBucketPolicy", BUCKET),
            ("kms:ScheduleKeyDeletion kms:PutKeyPolicy kms:DisableKey", "{key}"),
            ("kms:Decrypt", f"arn:aws:kms:{HERE}:key/other"),
            ("codecommit:GitPush codecommit:DeleteRepository", f"arn:aws:codecommit:{HERE}:crosstrain-model"),
            ("codecommit:GetBranch", f"arn:aws:codecommit:{HERE}:other"),
            ("codebuild:StartBuild", f"arn:aws:codebuild:{HERE}:project/other"),
            ("codebuild:UpdateProject", f"arn:aws:codebuild:{HERE}:project/crosstrain-build"),
            ("cloudformation:DeleteStack", f"arn:aws:cloudformation:{HERE}:stack/crosstrain-pipeline/1"),
            ("cloudformation:CreateChangeSet", TEST_STACK),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-cloudformation"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/other"),
            ("sts:AssumeRole", "arn:aws:iam::999999999999:role/crosstrain-prod-action"),
            ("iam:CreateUser iam:CreateAccessKey", f"{IAM}:user/new"),
            ("iam:CreateRole iam:PutRolePolicy", f"{IAM}:role/crosstrain-pipeline"),
            ("dynamodb:DeleteTable dynamodb:PutItem", LEDGER),
            ("ecr:PutImage", IMAGES),
        ),
    ),
    Rights(
        "crosstrain-pipeline",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        allowed=(("iam:PassRole", f"{IAM}:role/crosstrain-pipeline-update"),),
        denied=(("iam:PassRole", f"{IAM}:role/crosstrain-pipeline-build"), ("iam:PassRole", f"{IAM}:role/Admin")),
        context=TO_CLOUDFORMATION,
    ),
    Rights(
        "crosstrain-pipeline",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        denied=(("iam:PassRole", f"{IAM}:role/crosstrain-pipeline-update"),),
        context=TO_LAMBDA,
    ),
    Rights(
        "crosstrain-pipeline-verify",
        f"{DOCS}/codebuild/latest/userguide/setting-up-service-role.html",
        allowed=(
            ("s3:GetObject s3:GetObjectVersion", OBJECT),
            ("kms:Decrypt", "{key}"),
            (
                (
                    "codebuild:CreateReportGroup codebuild:CreateReport codebuild:UpdateReport "
                    "codebuild:BatchPutTestCases codebuild:BatchPutCodeCoverages"
                ),
                f"arn:aws:codebuild:{HERE}:report-group/crosstrain-verify-unit-tests",
            ),
            (
                "logs:CreateLogStream logs:PutLogEvents",
                f"arn:aws:logs:{HERE}:log-group:/aws/codebuild/crosstrain-verify:log-stream:1",
            ),
        ),
        denied=(
            ("s3:PutObject s3:DeleteObject", OBJECT),
            ("s3:GetObject", OTHERS_OBJECT),
            ("kms:Encrypt kms:GenerateDataKey kms:ScheduleKeyDeletion", "{key}"),
            ("ecr:PutImage ecr:BatchGetImage", IMAGES),
            ("dynamodb:PutItem dynamodb:GetItem", LEDGER),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-action"),
            ("codepipeline:StartPipelineExecution", PIPELINE),
            ("iam:CreateUser", f"{IAM}:user/new"),
        ),
    ),
    Rights(
        "crosstrain-pipeline-build",
        f"{DOCS}/AmazonECR/latest/userguide/image-push-iam.html",
        allowed=(
            ("ecr:GetAuthorizationToken", "*"),
            (
                (
                    "ecr:BatchCheckLayerAvailability ecr:InitiateLayerUpload ecr:UploadLayerPart "
                    "ecr:CompleteLayerUpload ecr:PutImage ecr:BatchGetImage ecr:DescribeImages"
                ),
                IMAGES,
            ),
            ("dynamodb:GetItem dynamodb:PutItem", LEDGER),
            ("codepipeline:ListPipelineExecutions", PIPELINE),
            ("s3:GetObject s3:PutObject", OBJECT),
            ("s3:ListBucket", BUCKET),
            (KEY_USE, "{key}"),
            (
                "logs:CreateLogStream logs:PutLogEvents",
                f"arn:aws:logs:{HERE}:log-group:/aws/codebuild/crosstrain-build:log-stream:1",
            ),
        ),
        denied=(
            ("ecr:PutImage ecr:BatchGetImage", OTHERS_IMAGES),
            ("ecr:BatchDeleteImage ecr:DeleteRepository ecr:SetRepositoryPolicy ecr:PutImageTagMutability", IMAGES),
            ("dynamodb:DeleteItem dynamodb:DeleteTable dynamodb:UpdateItem dynamodb:Scan", LEDGER),
            ("dynamodb:PutItem", f"arn:aws:dynamodb:{HERE}:table/other"),
            ("codepipeline:StartPipelineExecution codepipeline:UpdatePipeline", PIPELINE),
            ("codepipeline:ListPipelineExecutions", OTHERS_PIPELINE),
            ("s3:GetObject s3:PutObject", OTHERS_OBJECT),
            ("s3:DeleteObject", OBJECT),
            ("kms:ScheduleKeyDeletion kms:PutKeyPolicy", "{key}"),
            ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-prod-action"),
            ("iam:CreateUser", f"{IAM}:user/new"),
            ("iam:PassRole", f"{IAM}:role/crosstrain-pipeline-update"),
        ),
    ),
    Rights(
        "crosstrain-pipeline-system-test",
        f"{DOCS}/IAM/latest/UserGuide/tutorial_cross-account-with-roles.html",
        allowed=(
            ("s3:GetObject", OBJECT),
            ("kms:Decrypt", "{key}"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-system-test"),
            ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-prod-system-test"),
        ),
        denied=(
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-action"),
            ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-prod-cloudformation"),
            ("s3:PutObject", OBJECT),
            ("dynamodb:DeleteItem dynamodb:DeleteTable", LEDGER),
            ("ecr:PutImage", IMAGES),
        ),
    ),
    Rights(
        "crosstrain-pipeline-system-test",
        f"{DOCS}/amazondynamodb/latest/developerguide/specifying-conditions.html",
        allowed=(("dynamodb:GetItem dynamodb:PutItem", LEDGER),),
        context={"dynamodb:LeadingKeys": "STAGE#test"},
    ),
    Rights(
        "crosstrain-pipeline-system-test",
        f"{DOCS}/amazondynamodb/latest/developerguide/specifying-conditions.html",
        denied=(("dynamodb:PutItem", LEDGER),),
        context={"dynamodb:LeadingKeys": "RELEASE#1"},
    ),
    Rights(
        "crosstrain-pipeline-model-trigger",
        f"{DOCS}/eventbridge/latest/userguide/eb-use-identity-based.html",
        allowed=(("codepipeline:StartPipelineExecution", PIPELINE),),
        denied=(("codepipeline:StartPipelineExecution", OTHERS_PIPELINE), ("codepipeline:UpdatePipeline", PIPELINE)),
    ),
    Rights(
        "crosstrain-pipeline-infrastructure-trigger",
        f"{DOCS}/eventbridge/latest/userguide/eb-use-identity-based.html",
        allowed=(("codepipeline:StartPipelineExecution", PIPELINE),),
        denied=(("codepipeline:StartPipelineExecution", OTHERS_PIPELINE), ("codepipeline:DeletePipeline", PIPELINE)),
    ),
    Rights(
        "crosstrain-pipeline-update",
        f"{DOCS}/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html",
        allowed=(
            ("codepipeline:GetPipeline codepipeline:UpdatePipeline", PIPELINE),
            ("codebuild:UpdateProject", f"arn:aws:codebuild:{HERE}:project/crosstrain-build"),
            ("iam:CreateRole iam:PutRolePolicy iam:GetRole", f"{IAM}:role/crosstrain-pipeline-verify"),
            ("kms:PutKeyPolicy", "{key}"),
            ("s3:PutBucketPolicy", BUCKET),
            ("ecr:SetRepositoryPolicy", IMAGES),
            ("dynamodb:UpdateTable", LEDGER),
            ("events:PutRule", f"arn:aws:events:{HERE}:rule/crosstrain-pipeline-failure"),
        ),
        denied=(
            ("codepipeline:DeletePipeline", PIPELINE),
            ("kms:ScheduleKeyDeletion kms:DisableKey kms:Decrypt", "{key}"),
            ("s3:DeleteBucket", BUCKET),
            ("s3:GetObject", OBJECT),
            ("ecr:DeleteRepository ecr:BatchDeleteImage", IMAGES),
            ("dynamodb:DeleteTable dynamodb:PutItem", LEDGER),
            ("iam:CreateRole iam:PutRolePolicy", f"{IAM}:role/Admin"),
            ("iam:AttachRolePolicy", f"{IAM}:role/crosstrain-pipeline-verify"),
            ("iam:CreateUser", f"{IAM}:user/new"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-action"),
        ),
    ),
    Rights(
        "crosstrain-test-action",
        f"{DOCS}/codepipeline/latest/userguide/action-reference-CloudFormation.html",
        allowed=(
            (
                (
                    "cloudformation:CreateChangeSet cloudformation:DescribeChangeSet cloudformation:ExecuteChangeSet "
                    "cloudformation:DeleteChangeSet cloudformation:DescribeStacks cloudformation:DescribeStackEvents"
                ),
                TEST_STACK,
            ),
            ("cloudformation:CreateChangeSet", "arn:aws:cloudformation:us-east-1:aws:transform/Serverless-2016-10-31"),
            ("s3:GetObject s3:GetObjectVersion", OBJECT),
            (KEY_USE, "{key}"),
        ),
        denied=(
            ("cloudformation:CreateChangeSet cloudformation:ExecuteChangeSet", PROD_STACK),
            ("cloudformation:DeleteStack cloudformation:UpdateStack cloudformation:SetStackPolicy", TEST_STACK),
            ("s3:PutObject s3:DeleteObject", OBJECT),
            ("s3:GetObject", OTHERS_OBJECT),
            ("kms:ScheduleKeyDeletion", "{key}"),
            ("iam:CreateRole iam:PutRolePolicy", f"{IAM}:role/crosstrain-test-NewRole-1"),
            ("iam:CreateUser", f"{IAM}:user/new"),
            ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{HERE}:function:crosstrain-test-ModelTrainingFunction-1"),
            ("sts:AssumeRole", f"{IAM}:role/crosstrain-prod-action"),
        ),
    ),
    Rights(
        "crosstrain-test-action",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        allowed=(("iam:PassRole", f"{IAM}:role/crosstrain-test-cloudformation"),),
        denied=(("iam:PassRole", f"{IAM}:role/crosstrain-prod-cloudformation"), ("iam:PassRole", f"{IAM}:role/Admin")),
        context=TO_CLOUDFORMATION,
    ),
    Rights(
        "crosstrain-test-action",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        denied=(("iam:PassRole", f"{IAM}:role/crosstrain-test-cloudformation"),),
        context=TO_LAMBDA,
    ),
    Rights(
        "crosstrain-test-cloudformation",
        f"{AUTHORIZATION}/list_awslambda.html",
        allowed=(
            ("lambda:CreateFunction", f"arn:aws:lambda:{HERE}:function:crosstrain-test-ModelTrainingFunction-1"),
            ("ecr:BatchGetImage ecr:GetDownloadUrlForLayer", IMAGES),
            ("states:CreateStateMachine", f"arn:aws:states:{HERE}:stateMachine:crosstrain-test-training"),
            ("s3:CreateBucket", "arn:aws:s3:::crosstrain-test-artifactbucket-1"),
            ("s3:GetObject", OBJECT),
            ("kms:Decrypt", "{key}"),
            ("dynamodb:CreateTable", f"arn:aws:dynamodb:{HERE}:table/crosstrain-test-ModelRegistry-1"),
            ("iam:CreateRole iam:PutRolePolicy", f"{IAM}:role/crosstrain-test-ModelTrainingRole-1"),
            ("cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{HERE}:alarm:crosstrain-test-failed-runs"),
            ("logs:DescribeLogGroups", "*"),
        ),
        denied=(
            ("lambda:CreateFunction lambda:DeleteFunction", f"arn:aws:lambda:{HERE}:function:other"),
            ("lambda:CreateFunction", f"arn:aws:lambda:{HERE}:function:crosstrain-prod-ModelTrainingFunction-1"),
            ("lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:crosstrain-test-ModelTrainingFunction-1"),
            ("ecr:BatchGetImage", OTHERS_IMAGES),
            ("ecr:PutImage", IMAGES),
            ("states:StartExecution", f"arn:aws:states:{HERE}:stateMachine:crosstrain-test-training"),
            ("s3:DeleteBucket", "arn:aws:s3:::somebody-elses"),
            ("s3:GetObject", "arn:aws:s3:::crosstrain-test-artifactbucket-1/data/x.csv"),
            ("s3:PutObject", OBJECT),
            ("kms:ScheduleKeyDeletion", "{key}"),
            ("dynamodb:DeleteTable", f"arn:aws:dynamodb:{HERE}:table/crosstrain-prod-ModelRegistry-1"),
            ("iam:CreateRole iam:PutRolePolicy", f"{IAM}:role/Admin"),
            ("iam:PutRolePolicy iam:UpdateAssumeRolePolicy", f"{IAM}:role/crosstrain-test-cloudformation"),
            ("iam:PutRolePolicy", f"{IAM}:role/crosstrain-test-action"),
            ("iam:AttachRolePolicy", f"{IAM}:role/crosstrain-test-ModelTrainingRole-1"),
            ("iam:CreateUser", f"{IAM}:user/new"),
        ),
    ),
    Rights(
        "crosstrain-test-cloudformation",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        allowed=(("iam:PassRole", f"{IAM}:role/crosstrain-test-ModelTrainingRole-1"),),
        denied=(("iam:PassRole", f"{IAM}:role/Admin"), ("iam:PassRole", f"{IAM}:role/crosstrain-test-action")),
        context=TO_LAMBDA,
    ),
    Rights(
        "crosstrain-test-cloudformation",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        denied=(("iam:PassRole", f"{IAM}:role/crosstrain-test-ModelTrainingRole-1"),),
        context={"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    Rights(
        "crosstrain-test-system-test",
        f"{AUTHORIZATION}/list_awsstepfunctions.html",
        allowed=(
            ("cloudformation:DescribeStacks", TEST_STACK),
            ("s3:PutObject", "arn:aws:s3:::crosstrain-test-artifactbucket-1/data/system-test/diabetes.csv"),
            ("states:StartExecution", f"arn:aws:states:{HERE}:stateMachine:crosstrain-test-training"),
            ("states:GetExecutionHistory", f"arn:aws:states:{HERE}:execution:crosstrain-test-training:system-test-1"),
        ),
        denied=(
            ("cloudformation:DeleteStack cloudformation:ExecuteChangeSet", TEST_STACK),
            ("cloudformation:DescribeStacks", PROD_STACK),
            ("s3:PutObject", "arn:aws:s3:::crosstrain-test-artifactbucket-1/data/houses.csv"),
            ("s3:GetObject", "arn:aws:s3:::crosstrain-test-artifactbucket-1/data/houses.csv"),
            ("s3:PutObject", "arn:aws:s3:::somebody-elses/data/system-test/diabetes.csv"),
            ("states:StartExecution", f"arn:aws:states:{HERE}:stateMachine:other"),
            ("states:UpdateStateMachine", f"arn:aws:states:{HERE}:stateMachine:crosstrain-test-training"),
            ("iam:PassRole", f"{IAM}:role/crosstrain-test-cloudformation"),
        ),
    ),
)
ROWS = [
    pytest.param(
        rights, action, resource, expected, id=f"{rights.role} {'may' if expected else 'may not'} {action} {n}"
    )
    for rights in TABLE
    for expected, cells in ((True, rights.allowed), (False, rights.denied))
    for n, (actions, resource) in enumerate(cells)
    for action in actions.split()
]


def deploy(aws: LocalAws, template: str, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create a stack whose roles have names of their own, and return its outputs."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=template,
        Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


@pytest.fixture(scope="module")
def names(local_aws: LocalAws, project: Path) -> dict[str, str]:
    """Deploy the roles of both templates, and return what the table's resources are called."""
    template = yaml_parse((project / "pipeline.yaml").read_text())
    # Key and bucket policies of other accounts are not what is asked about here.
    known = {name: each for name, each in template["Resources"].items() if not each["Type"].startswith(UNKNOWN)}
    template["Resources"] = known
    template["Outputs"].pop("PipelineName")
    outputs = deploy(
        local_aws,
        json.dumps(template),
        "crosstrain-pipeline",
        {"TestAccountId": TEST_ACCOUNT, "ProductionAccountId": PRODUCTION_ACCOUNT, "RetentionPolicy": "Delete"},
    )
    for stage in ("test", "prod"):
        deploy(
            local_aws,
            (project / "target-account.yaml").read_text(),
            f"crosstrain-{stage}-roles",
            {
                "Stage": stage,
                "ToolsAccountId": ACCOUNT,
                "ArtifactBucketName": outputs["ArtifactBucketName"],
                "ArtifactKeyArn": outputs["ArtifactKeyArn"],
            },
        )
    return {
        "bucket": outputs["ArtifactBucketName"],
        "key": outputs["ArtifactKeyArn"],
        "ledger": outputs["LedgerTableName"],
    }


@pytest.mark.parametrize(("rights", "action", "resource", "expected"), ROWS)
def test_a_role_may_do_its_work_and_nothing_else(
    local_aws: LocalAws, names: dict[str, str], rights: Rights, action: str, resource: str, *, expected: bool
) -> None:
    arn = resource.format(**names)
    if rights.context is None:
        answer = local_aws.client("iam").simulate_principal_policy(
            PolicySourceArn=f"{IAM}:role/{rights.role}", ActionNames=[action], ResourceArns=[arn]
        )
        assert [each["EvalDecision"] == "allowed" for each in answer["EvaluationResults"]] == [expected]
    else:
        assert is_allowed_with(rights.context, policies_of(local_aws, rights.role), action, arn) == expected


def policies_of(aws: LocalAws, role: str) -> list[Any]:
    """Return the policies that a deployed role has, as the evaluator of the embedded AWS takes them."""
    iam = aws.client("iam")
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [parse_policy_document(json.dumps(document)) for document in documents]


def is_allowed_with(context: Mapping[str, str], policies: list[Any], action: str, arn: str) -> bool:
    """Ask the evaluator of the embedded AWS itself, whose simulator does not look at context entries."""
    request = EvalContext(
        principal_arn=f"{IAM}:role/asked",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=arn,
        region="us-east-1",
        source_ip="127.0.0.1",
        secure_transport=True,
        service_context={name.lower(): value for name, value in context.items()},
    )
    return bool(evaluate(request, policies).decision == "Allow")


def test_for_each_role_at_least_as_much_is_denied_as_allowed() -> None:
    for role in {rights.role for rights in TABLE}:
        mine = [rights for rights in TABLE if rights.role == role]
        assert sum(len(each.denied) for each in mine) >= sum(len(each.allowed) for each in mine), role


def session_of(aws: LocalAws, role: str, credentials: Credentials) -> Credentials:
    """Assume a role for real."""
    answer = aws.client("sts", credentials).assume_role(RoleArn=f"{IAM}:role/{role}", RoleSessionName="trial")
    key = answer["Credentials"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])


@pytest.fixture(scope="module")
def sessions(local_aws: LocalAws, names: dict[str, str]) -> dict[str, Credentials]:
    """Return sessions of the tools account's roles, which a service has otherwise, and of a user who may assume any."""
    assert names
    policy = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": f"{IAM}:role/*"}
    user = local_aws.create_user("curious", {"Version": "2012-10-17", "Statement": [policy]})
    iam = local_aws.client("iam")
    found = {"a user who may assume any role": user}
    for role in ("crosstrain-pipeline", "crosstrain-pipeline-build", "crosstrain-pipeline-system-test"):
        statement = {"Effect": "Allow", "Principal": {"AWS": f"{IAM}:user/curious"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=trust)
        # The table's roles name other accounts; here all is in one.
        allow = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
        iam.put_role_policy(RoleName=role, PolicyName="trial", PolicyDocument=allow)
        found[role] = session_of(local_aws, role, user)
        iam.delete_role_policy(RoleName=role, PolicyName="trial") if role == "crosstrain-pipeline-build" else None
    return found


@pytest.mark.parametrize("stage", ["test", "prod"])
@pytest.mark.parametrize(
    ("who", "borrowed"),
    [
        ("crosstrain-pipeline", "action"),
        ("crosstrain-pipeline-system-test", "system-test"),
        ("crosstrain-pipeline-build", None),
        ("a user who may assume any role", None),
    ],
)
def test_only_the_right_role_of_the_tools_account_borrows_a_role(
    local_aws: LocalAws, sessions: dict[str, Credentials], stage: str, who: str, borrowed: str | None
) -> None:
    for role in ("action", "cloudformation", "system-test"):
        if role == borrowed:
            assert session_of(local_aws, f"crosstrain-{stage}-{role}", sessions[who]).session_token
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                session_of(local_aws, f"crosstrain-{stage}-{role}", sessions[who])
