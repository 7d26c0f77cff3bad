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
from embedded_cloudformation import PRODUCTION_ACCOUNT, TEST_ACCOUNT, deploy_delivery
from policy_evaluation import is_allowed_with, policies_of

HERE = f"us-east-1:{ACCOUNT}"
IAM = f"arn:aws:iam::{ACCOUNT}"
BUCKET = "arn:aws:s3:::{bucket}"
OBJECT = "arn:aws:s3:::{bucket}/crosstrain/InfraSourc/1a2b3c4"
IMAGES_ARTIFACT = "arn:aws:s3:::{bucket}/crosstrain/Images/1a2b3c4"
RELEASE_ARTIFACT = "arn:aws:s3:::{bucket}/crosstrain/Release/1a2b3c4"
PACKAGE = "arn:aws:s3:::{bucket}/packaged/0123456789abcdef"
OTHERS_OBJECT = "arn:aws:s3:::somebody-elses/crosstrain/object"
LEDGER = f"arn:aws:dynamodb:{HERE}:table/{{ledger}}"
IMAGES = f"arn:aws:ecr:{HERE}:repository/crosstrain/model-training"
OTHERS_IMAGES = f"arn:aws:ecr:{HERE}:repository/other/model-training"
PIPELINE = f"arn:aws:codepipeline:{HERE}:crosstrain"
OTHERS_PIPELINE = f"arn:aws:codepipeline:{HERE}:other"
PIPELINE_STACK = f"arn:aws:cloudformation:{HERE}:stack/crosstrain-pipeline/1"
TEST_STACK = f"arn:aws:cloudformation:us-east-1:{TEST_ACCOUNT}:stack/crosstrain-test/1"
CHANGE_SETS = (
    "cloudformation:DescribeChangeSet cloudformation:ExecuteChangeSet "
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
# What the ledger's items of each kind begin with: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
ITEMS = ("IMAGE#1", "RELEASE#1", "LATEST", "STAGE#test", "STAGE#prod")


def ledger_rows(role: str, *, reads: tuple[str, ...], writes: tuple[str, ...]) -> tuple[Rights, ...]:
    """Return the rows of what a role of the tools account may read and put of each kind of the ledger's items."""
    return tuple(
        Rights(
            f"crosstrain-us-east-1-pipeline-{role}",
            f"{DOCS}/amazondynamodb/latest/developerguide/specifying-conditions.html",
            allowed=((action, LEDGER),) if item in items else (),
            denied=() if item in items else ((action, LEDGER),),
            context={"dynamodb:LeadingKeys": item},
        )
        for action, items in (("dynamodb:GetItem", reads), ("dynamodb:PutItem", writes))
        for item in ITEMS
    )


TOOLS_TABLE = (
    Rights(
        "crosstrain-us-east-1-pipeline",
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
            ("codebuild:StartBuild codebuild:BatchGetBuilds", f"arn:aws:codebuild:{HERE}:project/crosstrain-images"),
            (
                "cloudformation:ExecuteChangeSet cloudformation:DescribeStacks",
                f"arn:aws:cloudformation:{HERE}:stack/crosstrain-pipeline/1",
            ),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-action"),
            ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-us-east-1-prod-action"),
            ("sns:Publish", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),
        ),
        denied=(
            ("s3:GetObject s3:PutObject", OTHERS_OBJECT),
            ("s3:DeleteObject", OBJECT),
            ("s3:PutObject", PACKAGE),
            ("s3:DeleteBucket s3:PutBucketPolicy", BUCKET),
            ("kms:ScheduleKeyDeletion kms:PutKeyPolicy kms:DisableKey", "{key}"),
            ("kms:Decrypt", f"arn:aws:kms:{HERE}:key/other"),
            ("codecommit:GitPush codecommit:DeleteRepository", f"arn:aws:codecommit:{HERE}:crosstrain-model"),
            ("codecommit:GetBranch", f"arn:aws:codecommit:{HERE}:other"),
            ("codebuild:StartBuild", f"arn:aws:codebuild:{HERE}:project/other"),
            ("codebuild:UpdateProject", f"arn:aws:codebuild:{HERE}:project/crosstrain-images"),
            ("cloudformation:DeleteStack", f"arn:aws:cloudformation:{HERE}:stack/crosstrain-pipeline/1"),
            ("cloudformation:CreateChangeSet", TEST_STACK),
            # With no role, or another one than its own, CloudFormation could work with an administrator's.
            ("cloudformation:CreateChangeSet", PIPELINE_STACK),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-cloudformation"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/other"),
            ("sts:AssumeRole", "arn:aws:iam::999999999999:role/crosstrain-us-east-1-prod-action"),
            ("iam:CreateUser iam:CreateAccessKey", f"{IAM}:user/new"),
            ("iam:CreateRole iam:PutRolePolicy", f"{IAM}:role/crosstrain-us-east-1-pipeline"),
            ("dynamodb:DeleteTable dynamodb:PutItem", LEDGER),
            ("ecr:PutImage", IMAGES),
            ("cloudformation:CreateChangeSet", EXTENSIONS_TRANSFORM),
            ("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{HERE}:stack/crosstrain-tools/1"),
        ),
    ),
    Rights(
        "crosstrain-us-east-1-pipeline",
        f"{DOCS}/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html",
        allowed=(("cloudformation:CreateChangeSet", PIPELINE_STACK),),
        denied=(("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{HERE}:stack/crosstrain-tools/1"),),
        context={"cloudformation:RoleArn": f"{IAM}:role/crosstrain-us-east-1-pipeline-update"},
    ),
    Rights(
        "crosstrain-us-east-1-pipeline",
        f"{DOCS}/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html",
        denied=(("cloudformation:CreateChangeSet", PIPELINE_STACK),),
        context={"cloudformation:RoleArn": f"{IAM}:role/Admin"},
    ),
    Rights(
        "crosstrain-us-east-1-pipeline",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        allowed=(("iam:PassRole", f"{IAM}:role/crosstrain-us-east-1-pipeline-update"),),
        denied=(
            ("iam:PassRole", f"{IAM}:role/crosstrain-us-east-1-pipeline-images"),
            ("iam:PassRole", f"{IAM}:role/Admin"),
        ),
        context=TO_CLOUDFORMATION,
    ),
    Rights(
        "crosstrain-us-east-1-pipeline",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        denied=(("iam:PassRole", f"{IAM}:role/crosstrain-us-east-1-pipeline-update"),),
        context=TO_LAMBDA,
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-verify",
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
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-action"),
            ("codepipeline:StartPipelineExecution", PIPELINE),
            ("iam:CreateUser", f"{IAM}:user/new"),
        ),
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-images",
        f"{DOCS}/AmazonECR/latest/userguide/image-push-iam.html",
        allowed=(
            ("ecr:GetAuthorizationToken ecr-public:GetAuthorizationToken", "*"),
            (
                (
                    "ecr:BatchCheckLayerAvailability ecr:InitiateLayerUpload ecr:UploadLayerPart "
                    "ecr:CompleteLayerUpload ecr:PutImage ecr:BatchGetImage ecr:DescribeImages"
                ),
                IMAGES,
            ),
            ("s3:GetObject", OBJECT),
            ("s3:PutObject", IMAGES_ARTIFACT),
            (KEY_USE, "{key}"),
            (
                "logs:CreateLogStream logs:PutLogEvents",
                f"arn:aws:logs:{HERE}:log-group:/aws/codebuild/crosstrain-images:log-stream:1",
            ),
        ),
        denied=(
            ("ecr:PutImage ecr:BatchGetImage", OTHERS_IMAGES),
            ("ecr:BatchDeleteImage ecr:DeleteRepository ecr:SetRepositoryPolicy ecr:PutImageTagMutability", IMAGES),
            ("dynamodb:DeleteItem dynamodb:DeleteTable dynamodb:UpdateItem dynamodb:Scan", LEDGER),
            ("dynamodb:PutItem", f"arn:aws:dynamodb:{HERE}:table/other"),
            # The template of a stage, its package and its sources are none of the model repository's business.
            ("s3:PutObject", RELEASE_ARTIFACT),
            ("s3:PutObject s3:GetObject", PACKAGE),
            ("s3:PutObject s3:DeleteObject", OBJECT),
            ("s3:PutObject", "arn:aws:s3:::{bucket}/other"),
            ("s3:GetObject s3:PutObject", OTHERS_OBJECT),
            ("s3:ListBucket", BUCKET),
            ("codepipeline:StartPipelineExecution codepipeline:ListPipelineExecutions", PIPELINE),
            ("kms:ScheduleKeyDeletion kms:PutKeyPolicy", "{key}"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-system-test"),
            ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-us-east-1-prod-action"),
            ("iam:CreateUser", f"{IAM}:user/new"),
            ("iam:PassRole", f"{IAM}:role/crosstrain-us-east-1-pipeline-update"),
        ),
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-release",
        f"{DOCS}/codebuild/latest/userguide/setting-up-service-role.html",
        allowed=(
            ("s3:GetObject", OBJECT),
            ("s3:GetObject", IMAGES_ARTIFACT),
            ("s3:PutObject", RELEASE_ARTIFACT),
            ("s3:GetObject s3:PutObject", PACKAGE),
            ("s3:ListBucket", BUCKET),
            (KEY_USE, "{key}"),
            ("ecr:BatchGetImage", IMAGES),
            ("codepipeline:ListPipelineExecutions", PIPELINE),
            (
                "logs:CreateLogStream logs:PutLogEvents",
                f"arn:aws:logs:{HERE}:log-group:/aws/codebuild/crosstrain-release:log-stream:1",
            ),
        ),
        denied=(
            ("ecr:PutImage ecr:InitiateLayerUpload ecr:BatchDeleteImage", IMAGES),
            ("ecr:GetAuthorizationToken", "*"),
            ("ecr:BatchGetImage", OTHERS_IMAGES),
            ("s3:PutObject", IMAGES_ARTIFACT),
            ("s3:PutObject s3:DeleteObject", OBJECT),
            ("s3:DeleteObject", PACKAGE),
            ("s3:GetObject s3:PutObject", OTHERS_OBJECT),
            ("dynamodb:DeleteItem dynamodb:DeleteTable dynamodb:UpdateItem dynamodb:Scan", LEDGER),
            ("codepipeline:StartPipelineExecution codepipeline:UpdatePipeline", PIPELINE),
            ("codepipeline:ListPipelineExecutions", OTHERS_PIPELINE),
            ("kms:ScheduleKeyDeletion kms:PutKeyPolicy", "{key}"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-action"),
            ("iam:PassRole", f"{IAM}:role/crosstrain-us-east-1-pipeline-update"),
        ),
    ),
    *ledger_rows("images", reads=("IMAGE#1",), writes=("IMAGE#1",)),
    *ledger_rows("release", reads=("LATEST", "RELEASE#1", "STAGE#test", "STAGE#prod"), writes=("LATEST", "RELEASE#1")),
    *ledger_rows("test-system-test", reads=("RELEASE#1", "STAGE#test"), writes=("STAGE#test",)),
    *ledger_rows("prod-system-test", reads=("RELEASE#1", "STAGE#prod"), writes=("STAGE#prod",)),
    *(
        Rights(
            f"crosstrain-us-east-1-pipeline-{stage}-system-test",
            f"{DOCS}/IAM/latest/UserGuide/tutorial_cross-account-with-roles.html",
            allowed=(
                ("s3:GetObject", OBJECT),
                ("kms:Decrypt", "{key}"),
                ("sts:AssumeRole", f"arn:aws:iam::{account}:role/crosstrain-us-east-1-{stage}-system-test"),
            ),
            denied=(
                # The other stage's, which one role for both could borrow before the approval.
                ("sts:AssumeRole", f"arn:aws:iam::{other_account}:role/crosstrain-us-east-1-{other}-system-test"),
                ("sts:AssumeRole", f"arn:aws:iam::{account}:role/crosstrain-us-east-1-{stage}-action"),
                ("sts:AssumeRole", f"arn:aws:iam::{account}:role/crosstrain-us-east-1-{stage}-cloudformation"),
                ("s3:PutObject", OBJECT),
                ("s3:PutObject", PACKAGE),
                ("dynamodb:DeleteItem dynamodb:DeleteTable", LEDGER),
                ("ecr:PutImage", IMAGES),
            ),
        )
        for stage, account, other, other_account in (
            ("test", TEST_ACCOUNT, "prod", PRODUCTION_ACCOUNT),
            ("prod", PRODUCTION_ACCOUNT, "test", TEST_ACCOUNT),
        )
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-trigger",
        f"{DOCS}/eventbridge/latest/userguide/eb-use-identity-based.html",
        allowed=(("codepipeline:StartPipelineExecution", PIPELINE),),
        denied=(("codepipeline:StartPipelineExecution", OTHERS_PIPELINE), ("codepipeline:UpdatePipeline", PIPELINE)),
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-notification",
        f"{DOCS}/eventbridge/latest/userguide/eb-use-resource-based.html",
        allowed=(("sns:Publish", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),),
        denied=(
            ("sns:Publish", f"arn:aws:sns:{HERE}:another"),
            ("sns:SetTopicAttributes", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),
        ),
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-update",
        f"{DOCS}/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html",
        allowed=(
            ("codepipeline:GetPipeline codepipeline:UpdatePipeline", PIPELINE),
            ("codebuild:UpdateProject", f"arn:aws:codebuild:{HERE}:project/crosstrain-images"),
            (
                "iam:GetRole iam:UpdateRole iam:DeleteRole",
                f"{IAM}:role/crosstrain-us-east-1-pipeline-verify",
            ),
            ("events:PutRule", f"arn:aws:events:{HERE}:rule/crosstrain-pipeline-failure"),
            ("sns:SetTopicAttributes", f"arn:aws:sns:{HERE}:crosstrain-pipeline-notifications"),
            ("logs:PutRetentionPolicy", f"arn:aws:logs:{HERE}:log-group:/aws/codebuild/crosstrain-images"),
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
            ("iam:AttachRolePolicy", f"{IAM}:role/crosstrain-us-east-1-pipeline-verify"),
            # Without the boundary.
            (
                "iam:CreateRole iam:PutRolePolicy iam:DeleteRolePermissionsBoundary",
                f"{IAM}:role/crosstrain-us-east-1-pipeline-verify",
            ),
            ("iam:CreatePolicyVersion iam:DeletePolicy", f"{IAM}:policy/crosstrain-us-east-1-pipeline-boundary"),
            ("iam:CreateUser", f"{IAM}:user/new"),
            ("sts:AssumeRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-action"),
        ),
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-update",
        f"{DOCS}/IAM/latest/UserGuide/access_policies_boundaries.html",
        allowed=(
            (
                "iam:CreateRole iam:PutRolePolicy iam:PutRolePermissionsBoundary",
                f"{IAM}:role/crosstrain-us-east-1-pipeline-verify",
            ),
        ),
        denied=(
            ("iam:CreateRole iam:PutRolePolicy iam:PutRolePermissionsBoundary", f"{IAM}:role/Admin"),
            # Itself.
            (
                (
                    "iam:CreateRole iam:PutRolePolicy iam:PutRolePermissionsBoundary iam:DeleteRolePolicy "
                    "iam:DeleteRole iam:UpdateRole iam:UpdateAssumeRolePolicy"
                ),
                f"{IAM}:role/crosstrain-us-east-1-pipeline-update",
            ),
        ),
        context={"iam:PermissionsBoundary": f"{IAM}:policy/crosstrain-us-east-1-pipeline-boundary"},
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-update",
        f"{DOCS}/IAM/latest/UserGuide/access_policies_boundaries.html",
        denied=(
            (
                "iam:CreateRole iam:PutRolePolicy iam:PutRolePermissionsBoundary",
                f"{IAM}:role/crosstrain-us-east-1-pipeline-verify",
            ),
        ),
        context={"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-update",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        allowed=(
            ("iam:PassRole", f"{IAM}:role/crosstrain-us-east-1-pipeline"),
            ("iam:PassRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-cloudformation"),
            ("iam:PassRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-us-east-1-prod-action"),
        ),
        denied=(
            ("iam:PassRole", f"{IAM}:role/Admin"),
            ("iam:PassRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/Admin"),
            ("iam:PassRole", f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/crosstrain-us-east-1-prod-system-test"),
        ),
        context={"iam:PassedToService": "codepipeline.amazonaws.com"},
    ),
    Rights(
        "crosstrain-us-east-1-pipeline-update",
        f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
        denied=(
            ("iam:PassRole", f"{IAM}:role/crosstrain-us-east-1-pipeline"),
            ("iam:PassRole", f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-us-east-1-test-cloudformation"),
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
            f"crosstrain-us-east-1-{stage}-action",
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
                # Without a role.
                ("cloudformation:CreateChangeSet", stack),
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
                ("sts:AssumeRole", f"arn:aws:iam::{other_account}:role/crosstrain-us-east-1-{other}-action"),
            ),
            account=account,
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-action",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            allowed=(("iam:PassRole", f"{iam}:role/crosstrain-us-east-1-{stage}-cloudformation"),),
            denied=(
                ("iam:PassRole", f"{iam}:role/crosstrain-us-east-1-{other}-cloudformation"),
                ("iam:PassRole", f"{iam}:role/Admin"),
            ),
            account=account,
            context=TO_CLOUDFORMATION,
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-action",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            denied=(("iam:PassRole", f"{iam}:role/crosstrain-us-east-1-{stage}-cloudformation"),),
            account=account,
            context=TO_LAMBDA,
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-cloudformation",
            f"{AUTHORIZATION}/list_awslambda.html",
            allowed=(
                ("lambda:CreateFunction", function),
                ("ecr:BatchGetImage ecr:GetDownloadUrlForLayer", IMAGES),
                ("states:CreateStateMachine", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-training"),
                ("s3:CreateBucket", f"arn:aws:s3:::crosstrain-{stage}-artifactbucket-1"),
                ("s3:GetObject", OBJECT),
                ("kms:Decrypt", "{key}"),
                ("dynamodb:CreateTable", f"arn:aws:dynamodb:{here}:table/crosstrain-{stage}-ModelRegistry-1"),
                ("iam:GetRole iam:DeleteRole", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),
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
                (
                    "iam:PutRolePolicy iam:UpdateAssumeRolePolicy",
                    f"{iam}:role/crosstrain-us-east-1-{stage}-cloudformation",
                ),
                ("iam:PutRolePolicy", f"{iam}:role/crosstrain-us-east-1-{stage}-action"),
                # Without the boundary.
                (
                    "iam:CreateRole iam:PutRolePolicy iam:DeleteRolePermissionsBoundary",
                    f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1",
                ),
                ("iam:AttachRolePolicy", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),
                ("iam:CreateUser", f"{iam}:user/new"),
            ),
            account=account,
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-action",
            f"{DOCS}/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html",
            allowed=(("cloudformation:CreateChangeSet", stack),),
            denied=(("cloudformation:CreateChangeSet", others_stack),),
            account=account,
            context={"cloudformation:RoleArn": f"{iam}:role/crosstrain-us-east-1-{stage}-cloudformation"},
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-action",
            f"{DOCS}/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html",
            denied=(("cloudformation:CreateChangeSet", stack),),
            account=account,
            context={"cloudformation:RoleArn": f"{iam}:role/Admin"},
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-cloudformation",
            f"{DOCS}/IAM/latest/UserGuide/access_policies_boundaries.html",
            allowed=(
                (
                    "iam:CreateRole iam:PutRolePolicy iam:PutRolePermissionsBoundary",
                    f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1",
                ),
            ),
            denied=(("iam:CreateRole iam:PutRolePolicy iam:PutRolePermissionsBoundary", f"{iam}:role/Admin"),),
            account=account,
            context={"iam:PermissionsBoundary": f"{iam}:policy/crosstrain-us-east-1-{stage}-boundary"},
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-cloudformation",
            f"{DOCS}/IAM/latest/UserGuide/access_policies_boundaries.html",
            denied=(
                (
                    "iam:CreateRole iam:PutRolePolicy iam:PutRolePermissionsBoundary",
                    f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1",
                ),
            ),
            account=account,
            context={"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"},
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-cloudformation",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            allowed=(("iam:PassRole", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),),
            denied=(
                ("iam:PassRole", f"{iam}:role/Admin"),
                ("iam:PassRole", f"{iam}:role/crosstrain-us-east-1-{stage}-action"),
            ),
            account=account,
            context=TO_LAMBDA,
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-cloudformation",
            f"{DOCS}/IAM/latest/UserGuide/id_roles_use_passrole.html",
            denied=(("iam:PassRole", f"{iam}:role/crosstrain-{stage}-ModelTrainingRole-1"),),
            account=account,
            context={"iam:PassedToService": "ec2.amazonaws.com"},
        ),
        Rights(
            f"crosstrain-us-east-1-{stage}-system-test",
            f"{AUTHORIZATION}/list_awsstepfunctions.html",
            allowed=(
                ("cloudformation:DescribeStacks", stack),
                ("s3:PutObject", f"arn:aws:s3:::crosstrain-{stage}-artifactbucket-1/data/system-test/diabetes.csv"),
                ("states:StartExecution", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-system-test"),
                (
                    "states:GetExecutionHistory",
                    f"arn:aws:states:{here}:execution:crosstrain-{stage}-system-test:1",
                ),
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
                # Whoever starts it may name any model: the champion of production could be replaced.
                ("states:StartExecution", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-training"),
                ("states:StartExecution", f"arn:aws:states:{here}:stateMachine:other"),
                ("states:GetExecutionHistory", f"arn:aws:states:{here}:execution:crosstrain-{stage}-training:1"),
                ("states:UpdateStateMachine", f"arn:aws:states:{here}:stateMachine:crosstrain-{stage}-training"),
                ("iam:PassRole", f"{iam}:role/crosstrain-us-east-1-{stage}-cloudformation"),
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
    ours = {name for name in deployed if re.fullmatch(r"crosstrain-us-east-1-(pipeline.*|(test|prod)-[a-z-]+)", name)}
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
    for name in ("", "-images", "-release", "-test-system-test", "-prod-system-test"):
        role = f"crosstrain-us-east-1-pipeline{name}"
        # In place of the service, this user gets a session; what the session may do is the role's own policy.
        statement = {"Effect": "Allow", "Principal": {"AWS": f"{IAM}:user/curious"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        local_aws.client("iam").update_assume_role_policy(RoleName=role, PolicyDocument=trust)
        found[f"pipeline{name}"] = session_of(local_aws, f"{IAM}:role/{role}", user)
    return found


@pytest.mark.parametrize(("stage", "account"), [("test", TEST_ACCOUNT), ("prod", PRODUCTION_ACCOUNT)])
@pytest.mark.parametrize(
    ("who", "borrowed"),
    [
        ("pipeline", "action"),
        ("pipeline-{stage}-system-test", "system-test"),
        ("pipeline-{other}-system-test", None),
        ("pipeline-images", None),
        ("pipeline-release", None),
        ("a user who may assume any role", None),
    ],
)
def test_only_the_right_role_of_the_tools_account_borrows_a_role(
    local_aws: LocalAws, sessions: dict[str, Credentials], stage: str, account: str, who: str, borrowed: str | None
) -> None:
    for role in ("action", "cloudformation", "system-test"):
        arn = f"arn:aws:iam::{account}:role/crosstrain-us-east-1-{stage}-{role}"
        if role == borrowed:
            assert session_of(
                local_aws, arn, sessions[who.format(stage=stage, other={"test": "prod", "prod": "test"}[stage])]
            ).session_token
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                session_of(
                    local_aws, arn, sessions[who.format(stage=stage, other={"test": "prod", "prod": "test"}[stage])]
                )


def test_with_a_boundary_no_role_is_made_without(local_aws: LocalAws, project: Path) -> None:
    deploy_delivery(local_aws, project, "bounded", PermissionsBoundaryName="boundary")

    for account, prefix, creator in (
        (ACCOUNT, "bounded-us-east-1-pipeline", "bounded-us-east-1-pipeline-update"),
        (TEST_ACCOUNT, "bounded-test-NewRole", "bounded-us-east-1-test-cloudformation"),
        (PRODUCTION_ACCOUNT, "bounded-prod-NewRole", "bounded-us-east-1-prod-cloudformation"),
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


@pytest.mark.slow
def test_a_second_region_of_the_same_accounts_gets_roles_of_its_own(
    local_aws: LocalAws, names: dict[str, str], project: Path
) -> None:
    deployed = deploy_delivery(local_aws, project, "crosstrain", region="eu-west-1")
    assert deployed["ledger"] != names["ledger"] or deployed["bucket"] != names["bucket"]
    for account in (ACCOUNT, TEST_ACCOUNT, PRODUCTION_ACCOUNT):
        roles = {each["RoleName"] for each in local_aws.client("iam", root_of(account)).list_roles()["Roles"]}
        here = {name for name in roles if name.startswith("crosstrain-us-east-1-")}
        there = {name.replace("eu-west-1", "us-east-1") for name in roles if name.startswith("crosstrain-eu-west-1-")}
        # By names, for the embedded AWS makes a role again that is there already, where AWS refuses.
        assert len(here) >= 3
        assert here == there
    # Neither region's pipeline reaches into the other's stage.
    policies = policies_of(local_aws.client("iam"), "crosstrain-eu-west-1-pipeline")
    for region, expected in (("eu-west-1", True), ("us-east-1", False)):
        role = f"arn:aws:iam::{TEST_ACCOUNT}:role/crosstrain-{region}-test-action"
        assert is_allowed_with({}, policies, "sts:AssumeRole", role) == expected
