"""Each role of the delivery reaches what its work needs, and nothing else.

The roles of the templates are deployed to the embedded AWS, without the types that it does not know, and IAM's policy
simulator is asked about each row of a table. Who may assume a role is tried with real calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from crosstrain.local.server import ACCOUNT, Credentials, LocalAws, root_of
from embedded_cloudformation import create_stack, deploy_tools_account, known_part
from policy_evaluation import is_allowed_with, policies_of

HERE = f"us-east-1:{ACCOUNT}"
IAM = f"arn:aws:iam::{ACCOUNT}"
# The other accounts begin with zeros, which a template that takes them for numbers loses.
TEST_ACCOUNT = "000000000012"
PRODUCTION_ACCOUNT = "000000000034"
BUCKET = "arn:aws:s3:::{bucket}"
OBJECT = "arn:aws:s3:::{bucket}/pipeline/object"
OTHERS_OBJECT = "arn:aws:s3:::somebody-elses/pipeline/object"
LEDGER = f"arn:aws:dynamodb:{HERE}:table/{{ledger}}"
IMAGES = f"arn:aws:ecr:{HERE}:repository/crosstrain/model-training"
OTHERS_IMAGES = f"arn:aws:ecr:{HERE}:repository/other/model-training"
PIPELINE = f"arn:aws:codepipeline:{HERE}:crosstrain"
OTHERS_PIPELINE = f"arn:aws:codepipeline:{HERE}:other"
TEST_STACK = f"arn:aws:cloudformation:us-east-1:{TEST_ACCOUNT}:stack/crosstrain-test/1"
CHANGE_SETS = (
    "cloudformation:CreateChangeSet cloudformation:DescribeChangeSet cloudformation:ExecuteChangeSet "
    "cloudformation:DeleteChangeSet cloudformation:DescribeStacks cloudformation:DescribeStackEvents"
)
EXTENSIONS_TRANSFORM = "arn:aws:cloudformation:us-east-1:aws:transform/LanguageExtensions"
SAM_TRANSFORM = "arn:aws:cloudformation:us-east-1:aws:transform/Serverless-2016-10-31"
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
    account: str = ACCOUNT


DOCS = "https://docs.aws.amazon.com"
AUTHORIZATION = f"{DOCS}/service-authorization/latest/reference"
TOOLS_TABLE = (
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
            ("cloudformation:CreateChangeSet", EXTENSIONS_TRANSFORM),
            ("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{HERE}:stack/crosstrain-tools/1"),
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
        "crosstrain-pipeline-notification",
        f"{DOCS}/eventbridge/latest/userguide/eb-use-resource-based.html",
        allowed=(("sns:Publish", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),),
        denied=(
            ("sns:Publish", f"arn:aws:sns:{HERE}:another"),
            ("sns:SetTopicAttributes", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),
        ),
    ),
    Rights(
        "crosstrain-pipeline-update",
        f"{DOCS}/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html",
        allowed=(
            ("codepipeline:GetPipeline codepipeline:UpdatePipeline", PIPELINE),
            ("codebuild:UpdateProject", f"arn:aws:codebuild:{HERE}:project/crosstrain-build"),
            ("iam:CreateRole iam:PutRolePolicy iam:GetRole", f"{IAM}:role/crosstrain-pipeline-verify"),
            ("events:PutRule", f"arn:aws:events:{HERE}:rule/crosstrain-pipeline-failure"),
            ("sns:SetTopicAttributes", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),
            ("logs:PutRetentionPolicy", f"arn:aws:logs:{HERE}:log-group:/aws/codebuild/crosstrain-build"),
        ),
        denied=(
            ("codepipeline:DeletePipeline", PIPELINE),
            # What tools-account.yaml makes is an administrator's alone, be it to change or only to look at.
            (
                (
                    "kms:ScheduleKeyDeletion kms:DisableKey kms:Decrypt kms:Encrypt kms:DescribeKey kms:PutKeyPolicy "
                    "kms:GetKeyPolicy kms:EnableKeyRotation kms:TagResource kms:CreateAlias kms:DeleteAlias"
                ),
                "{key}",
            ),
            ("kms:CreateAlias kms:UpdateAlias kms:DeleteAlias", f"arn:aws:kms:{HERE}:alias/crosstrain-pipeline"),
            ("kms:CreateKey kms:ListAliases", "*"),
            (
                (
                    "s3:DeleteBucket s3:PutBucketPolicy s3:DeleteBucketPolicy s3:GetBucketPolicy s3:ListBucket "
                    "s3:PutEncryptionConfiguration s3:PutLifecycleConfiguration s3:PutBucketVersioning "
                    "s3:PutBucketPublicAccessBlock s3:PutBucketOwnershipControls"
                ),
                BUCKET,
            ),
            ("s3:GetObject s3:PutObject s3:DeleteObject", OBJECT),
            (
                (
                    "ecr:CreateRepository ecr:DeleteRepository ecr:BatchDeleteImage ecr:SetRepositoryPolicy "
                    "ecr:GetRepositoryPolicy ecr:PutLifecyclePolicy ecr:PutImageTagMutability ecr:DescribeRepositories "
                    "ecr:PutImage"
                ),
                IMAGES,
            ),
            (
                (
                    "dynamodb:DeleteTable dynamodb:UpdateTable dynamodb:DescribeTable dynamodb:PutItem "
                    "dynamodb:UpdateContinuousBackups dynamodb:TagResource"
                ),
                LEDGER,
            ),
            (
                "codecommit:CreateRepository codecommit:GetRepository codecommit:DeleteRepository",
                f"arn:aws:codecommit:{HERE}:crosstrain-model",
            ),
            (
                "sagemaker:CreateUserProfile sagemaker:DeleteUserProfile",
                f"arn:aws:sagemaker:{HERE}:user-profile/d-a/ann",
            ),
            # What a template does without: a transform, and a right to look exports up.
            ("cloudformation:CreateChangeSet", EXTENSIONS_TRANSFORM),
            ("cloudformation:ListExports cloudformation:ListImports", "*"),
            ("iam:CreateRole iam:PutRolePolicy", f"{IAM}:role/Admin"),
            ("iam:AttachRolePolicy", f"{IAM}:role/crosstrain-pipeline-verify"),
            ("iam:CreateUser", f"{IAM}:user/new"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-action"),
        ),
    ),
    Rights(
        "crosstrain-pipeline-update",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        allowed=(
            ("iam:PassRole", f"{IAM}:role/crosstrain-pipeline"),
            ("iam:PassRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-cloudformation"),
            ("iam:PassRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-prod-action"),
        ),
        denied=(
            ("iam:PassRole", f"{IAM}:role/Admin"),
            ("iam:PassRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/Admin"),
            ("iam:PassRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-prod-system-test"),
        ),
        context={"iam:PassedToService": "codepipeline.amazonaws.com"},
    ),
    Rights(
        "crosstrain-pipeline-update",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        denied=(
            ("iam:PassRole", f"{IAM}:role/crosstrain-pipeline"),
            ("iam:PassRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-test-cloudformation"),
        ),
        context=TO_LAMBDA,
    ),
)


def stage_table(stage: str, account: str, other: str, other_account: str) -> tuple[Rights, ...]:
    """Return the rows of the roles of one stage, whose account is not that of the other stage."""
    here, iam = f"us-east-1:{account}", f"arn:aws:iam::{account}"
    stack = f"arn:aws:cloudformation:{here}:stack/crosstrain-{stage}/1"
    function = f"arn:aws:lambda:{here}:function:crosstrain-{stage}-ModelTrainingFunction-1"
    others_stack = f"arn:aws:cloudformation:{here}:stack/crosstrain-{other}/1"
    return (
        Rights(
            f"crosstrain-{stage}-action",
            f"{DOCS}/codepipeline/latest/userguide/action-reference-CloudFormation.html",
            allowed=(
                (
                    CHANGE_SETS,
                    stack,
                ),
                (
                    "cloudformation:CreateChangeSet",
                    "arn:aws:cloudformation:us-east-1:aws:transform/Serverless-2016-10-31",
                ),
                ("s3:GetObject s3:GetObjectVersion", OBJECT),
                (KEY_USE, "{key}"),
            ),
            denied=(
                ("cloudformation:CreateChangeSet cloudformation:ExecuteChangeSet", others_stack),
                ("cloudformation:DeleteStack cloudformation:UpdateStack cloudformation:SetStackPolicy", stack),
                ("s3:PutObject s3:DeleteObject", OBJECT),
                ("s3:GetObject", OTHERS_OBJECT),
                ("kms:ScheduleKeyDeletion", "{key}"),
                ("iam:CreateRole iam:PutRolePolicy", f"{iam}:role/crosstrain-{stage}-NewRole-1"),
                ("iam:CreateUser", f"{iam}:user/new"),
                (
                    "lambda:UpdateFunctionCode",
                    f"arn:aws:lambda:{here}:function:crosstrain-{stage}-ModelTrainingFunction-1",
                ),
                ("sts:AssumeRole", f"arn:aws:iam::{other_account}:role/crosstrain-{other}-action"),
            ),
            account=account,
        ),
        Rights(
            f"crosstrain-{stage}-action",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            allowed=(("iam:PassRole", f"{iam}:role/crosstrain-{stage}-cloudformation"),),
            denied=(
                ("iam:PassRole", f"{iam}:role/crosstrain-{other}-cloudformation"),
                ("iam:PassRole", f"{iam}:role/Admin"),
            ),
            account=account,
            context=TO_CLOUDFORMATION,
        ),
        Rights(
            f"crosstrain-{stage}-action",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            denied=(("iam:PassRole", f"{iam}:role/crosstrain-{stage}-cloudformation"),),
            account=account,
            context=TO_LAMBDA,
        ),
        Rights(
            f"crosstrain-{stage}-cloudformation",
            f"{AUTHORIZATION}/list_awslambda.html",
            allowed=(
                ("lambda:CreateFunction", function),
                ("ecr:BatchGetImage ecr:GetDownloadUrlForLayer", IMAGES),
                ("states:CreateStateMachine", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-training"),
                ("s3:CreateBucket", f"arn:aws:s3:::crosstrain-{stage}-artifactbucket-1"),
                ("s3:GetObject", OBJECT),
                ("kms:Decrypt", "{key}"),
                ("dynamodb:CreateTable", f"arn:aws:dynamodb:{here}:table/crosstrain-{stage}-ModelRegistry-1"),
                ("iam:CreateRole iam:PutRolePolicy", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),
                ("cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{here}:alarm:crosstrain-{stage}-failed-runs"),
                ("logs:DescribeLogGroups", "*"),
            ),
            denied=(
                ("lambda:CreateFunction lambda:DeleteFunction", f"arn:aws:lambda:{here}:function:other"),
                ("lambda:CreateFunction", f"arn:aws:lambda:{here}:function:crosstrain-{other}-ModelTrainingFunction-1"),
                ("lambda:InvokeFunction", function),
                ("ecr:BatchGetImage", OTHERS_IMAGES),
                ("ecr:PutImage", IMAGES),
                ("states:StartExecution", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-training"),
                ("s3:DeleteBucket", "arn:aws:s3:::somebody-elses"),
                ("s3:GetObject", f"arn:aws:s3:::crosstrain-{stage}-artifactbucket-1/data/x.csv"),
                ("s3:PutObject", OBJECT),
                ("kms:ScheduleKeyDeletion", "{key}"),
                ("dynamodb:DeleteTable", f"arn:aws:dynamodb:{here}:table/crosstrain-{other}-ModelRegistry-1"),
                ("iam:CreateRole iam:PutRolePolicy", f"{iam}:role/Admin"),
                ("iam:PutRolePolicy iam:UpdateAssumeRolePolicy", f"{iam}:role/crosstrain-{stage}-cloudformation"),
                ("iam:PutRolePolicy", f"{iam}:role/crosstrain-{stage}-action"),
                ("iam:AttachRolePolicy", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),
                ("iam:CreateUser", f"{iam}:user/new"),
            ),
            account=account,
        ),
        Rights(
            f"crosstrain-{stage}-cloudformation",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            allowed=(("iam:PassRole", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),),
            denied=(("iam:PassRole", f"{iam}:role/Admin"), ("iam:PassRole", f"{iam}:role/crosstrain-{stage}-action")),
            account=account,
            context=TO_LAMBDA,
        ),
        Rights(
            f"crosstrain-{stage}-cloudformation",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            denied=(("iam:PassRole", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),),
            account=account,
            context={"iam:PassedToService": "ec2.amazonaws.com"},
        ),
        Rights(
            f"crosstrain-{stage}-system-test",
            f"{AUTHORIZATION}/list_awsstepfunctions.html",
            allowed=(
                ("cloudformation:DescribeStacks", stack),
                ("s3:PutObject", f"arn:aws:s3:::crosstrain-{stage}-artifactbucket-1/data/system-test/diabetes.csv"),
                ("states:StartExecution", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-training"),
                (
                    "states:GetExecutionHistory",
                    f"arn:aws:states:{here}:execution:crosstrain-{stage}-training:system-test-1",
                ),
            ),
            denied=(
                ("cloudformation:DeleteStack cloudformation:ExecuteChangeSet", stack),
                ("cloudformation:DescribeStacks", others_stack),
                ("s3:PutObject", f"arn:aws:s3:::crosstrain-{stage}-artifactbucket-1/data/houses.csv"),
                ("s3:GetObject", f"arn:aws:s3:::crosstrain-{stage}-artifactbucket-1/data/houses.csv"),
                ("s3:PutObject", "arn:aws:s3:::somebody-elses/data/system-test/diabetes.csv"),
                ("states:StartExecution", f"arn:aws:states:{here}:stateMachine:other"),
                ("states:UpdateStateMachine", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-training"),
                ("iam:PassRole", f"{iam}:role/crosstrain-{stage}-cloudformation"),
            ),
            account=account,
        ),
    )


TABLE = (
    *TOOLS_TABLE,
    *stage_table("test", TEST_ACCOUNT, "prod", PRODUCTION_ACCOUNT),
    *stage_table("prod", PRODUCTION_ACCOUNT, "test", TEST_ACCOUNT),
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


def deploy_delivery(aws: LocalAws, project: Path, prefix: str, **more: str) -> dict[str, str]:
    """Deploy the templates of the delivery to three accounts, and return what the table's resources are called."""
    # Key and bucket policies of other accounts are not what is asked about here.
    accounts = {"TestAccountId": TEST_ACCOUNT, "ProductionAccountId": PRODUCTION_ACCOUNT, "ToolsAccountId": ACCOUNT}
    given = {"ProjectName": prefix, **accounts, **more}
    outputs = deploy_tools_account(aws.client("cloudformation"), project, f"{prefix}-tools", given)
    pipeline = known_part(project / "pipeline.yaml")
    pipeline["Outputs"].pop("PipelineName")
    create_stack(aws.client("cloudformation"), json.dumps(pipeline), f"{prefix}-pipeline", given)
    for stage, account in (("test", TEST_ACCOUNT), ("prod", PRODUCTION_ACCOUNT)):
        create_stack(
            aws.client("cloudformation", root_of(account)),
            (project / "target-account.yaml").read_text(),
            f"{prefix}-{stage}-roles",
            {**given, **outputs, "Stage": stage},
        )
    return {
        "bucket": outputs["ArtifactBucketName"],
        "key": outputs["ArtifactKeyArn"],
        "ledger": outputs["LedgerTableName"],
    }


@pytest.fixture(scope="module")
def names(local_aws: LocalAws, project: Path) -> dict[str, str]:
    return deploy_delivery(local_aws, project, "crosstrain")


@pytest.mark.parametrize(("rights", "action", "resource", "expected"), ROWS)
def test_a_role_may_do_its_work_and_nothing_else(
    local_aws: LocalAws, names: dict[str, str], rights: Rights, action: str, resource: str, *, expected: bool
) -> None:
    arn = resource.format(**names)
    iam = local_aws.client("iam", root_of(rights.account))
    if rights.context is None:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{rights.account}:role/{rights.role}",
            ActionNames=[action],
            ResourceArns=[arn],
        )
        assert [each["EvalDecision"] == "allowed" for each in answer["EvaluationResults"]] == [expected]
    else:
        assert is_allowed_with(rights.context, policies_of(iam, rights.role), action, arn) == expected


def test_for_each_role_at_least_as_much_is_denied_as_allowed() -> None:
    for role in {rights.role for rights in TABLE}:
        mine = [rights for rights in TABLE if rights.role == role]
        assert sum(len(each.denied) for each in mine) >= sum(len(each.allowed) for each in mine), role


def test_the_table_knows_every_role(local_aws: LocalAws, names: dict[str, str]) -> None:
    assert names
    deployed = {
        role["RoleName"]
        for account in (ACCOUNT, TEST_ACCOUNT, PRODUCTION_ACCOUNT)
        for role in local_aws.client("iam", root_of(account)).list_roles()["Roles"]
    }
    ours = {name for name in deployed if re.fullmatch(r"crosstrain-(pipeline.*|(test|prod)-[a-z-]+)", name)}
    assert ours == {rights.role for rights in TABLE}


def session_of(aws: LocalAws, arn: str, credentials: Credentials) -> Credentials:
    """Assume a role for real."""
    answer = aws.client("sts", credentials).assume_role(RoleArn=arn, RoleSessionName="trial")
    key = answer["Credentials"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])


@pytest.fixture(scope="module")
def sessions(local_aws: LocalAws, names: dict[str, str]) -> dict[str, Credentials]:
    """Return sessions of the tools account's roles, which a service has otherwise, and of a user who may assume any."""
    assert names
    anything = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/*"}
    user = local_aws.create_user("curious", {"Version": "2012-10-17", "Statement": [anything]})
    found = {"a user who may assume any role": user}
    for role in ("crosstrain-pipeline", "crosstrain-pipeline-build", "crosstrain-pipeline-system-test"):
        # In place of the service, this user gets a session; what the session may do is the role's own policy.
        statement = {"Effect": "Allow", "Principal": {"AWS": f"{IAM}:user/curious"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        local_aws.client("iam").update_assume_role_policy(RoleName=role, PolicyDocument=trust)
        found[role] = session_of(local_aws, f"{IAM}:role/{role}", user)
    return found


@pytest.mark.parametrize(("stage", "account"), [("test", TEST_ACCOUNT), ("prod", PRODUCTION_ACCOUNT)])
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
    local_aws: LocalAws, sessions: dict[str, Credentials], stage: str, account: str, who: str, borrowed: str | None
) -> None:
    for role in ("action", "cloudformation", "system-test"):
        arn = f"arn:aws:iam::{account}:role/crosstrain-{stage}-{role}"
        if role == borrowed:
            assert session_of(local_aws, arn, sessions[who]).session_token
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                session_of(local_aws, arn, sessions[who])


def test_with_a_boundary_no_role_is_made_without(local_aws: LocalAws, project: Path) -> None:
    deploy_delivery(local_aws, project, "bounded", PermissionsBoundaryName="boundary")

    for account, prefix, creator in (
        (ACCOUNT, "bounded-pipeline", "bounded-pipeline-update"),
        (TEST_ACCOUNT, "bounded-test-NewRole", "bounded-test-cloudformation"),
        (PRODUCTION_ACCOUNT, "bounded-prod-NewRole", "bounded-prod-cloudformation"),
    ):
        boundary = f"arn:aws:iam::{account}:policy/boundary"
        role = f"arn:aws:iam::{account}:role/{prefix}-1"
        policies = policies_of(local_aws.client("iam", root_of(account)), creator)
        for action in ("iam:CreateRole", "iam:PutRolePermissionsBoundary"):
            assert is_allowed_with({"iam:PermissionsBoundary": boundary}, policies, action, role)
            assert not is_allowed_with({"iam:PermissionsBoundary": f"{boundary}-2"}, policies, action, role)
            assert not is_allowed_with({}, policies, action, role)
        assert not is_allowed_with({}, policies, "iam:DeleteRolePermissionsBoundary", role)


def test_what_the_pipeline_imports_cannot_be_deleted_under_it(local_aws: LocalAws, names: dict[str, str]) -> None:
    assert names
    with pytest.raises(ClientError, match=r"imported by .*crosstrain-pipeline"):
        local_aws.client("cloudformation").delete_stack(StackName="crosstrain-tools")
