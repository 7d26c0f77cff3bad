"""What the tools account keeps, against the traps of cross-account delivery, and what pipeline.yaml imports of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crosstrain.delivery.functions import FUNCTIONS
from delivery_templates import PRODUCTION, TEST, of_type, properties, read, resolver

REPOSITORIES = tuple(f"{name}Repository" for name in FUNCTIONS.values())
# What holds data, or is a data scientist's.
DATA = (
    "AWS::KMS::Key",
    "AWS::S3::Bucket",
    "AWS::ECR::Repository",
    "AWS::DynamoDB::Table",
    "AWS::CodeCommit::Repository",
)


@pytest.fixture(scope="module")
def template(project: Path) -> Any:
    return read(project, "tools-account.yaml")


@pytest.fixture(scope="module")
def pipeline(project: Path) -> Any:
    return read(project, "pipeline.yaml")


@pytest.mark.parametrize("name", REPOSITORIES)
def test_traps_1_and_2_accounts_and_lambda_pull_images_of_this_region(template: Any, name: str) -> None:
    by_id = {each["Sid"]: each for each in properties(template, name)["RepositoryPolicyText"]["Statement"]}
    for stage, account, short in (("Test", TEST, "test"), ("Production", PRODUCTION, "prod")):
        assert by_id[f"{stage}Account"]["Principal"] == {"AWS": f"arn:aws:iam::{account}:root"}
        functions = by_id[f"{stage}Functions"]
        assert functions["Principal"] == {"Service": "lambda.amazonaws.com"}
        source = functions["Condition"]["ArnLike"]["aws:SourceArn"]
        assert source == f"arn:aws:lambda:eu-west-1:{account}:function:crosstrain-{short}-*"
    for statement in by_id.values():
        assert statement["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_traps_3_and_4_tags_never_change_and_no_live_digest_expires(template: Any, name: str) -> None:
    repository = properties(template, name)
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    (rule,) = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    # Every image of a build has a tag: none expires by number or age, however many others push.
    assert rule["selection"]["tagStatus"] == "untagged"


def test_trap_13_one_customer_managed_key_by_its_arn(template: Any, pipeline: Any) -> None:
    key = properties(template, "ArtifactKey")
    assert key["EnableKeyRotation"] is True
    use = {"kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey"}
    use |= {"kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"}
    by_id = {each["Sid"]: each for each in key["KeyPolicy"]["Statement"]}
    for sid in ("ToolsAccount", "TestStage", "ProductionStage"):
        assert set(by_id[sid]["Action"]) == use
    store = properties(pipeline, "Pipeline")["ArtifactStore"]
    assert store["EncryptionKey"] == {"Id": "<crosstrain-ArtifactKeyArn>", "Type": "KMS"}
    for name in of_type(pipeline, "AWS::CodeBuild::Project"):
        assert properties(pipeline, name)["EncryptionKey"] == "<crosstrain-ArtifactKeyArn>"


def test_trap_14_the_artifact_bucket_is_private_versioned_encrypted_and_tls_only(template: Any) -> None:
    bucket = properties(template, "ArtifactBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "<ArtifactKey.Arn>"
    deny = properties(template, "ArtifactBucketPolicy")["PolicyDocument"]["Statement"][0]
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_trap_16_no_policy_has_a_role_of_another_account_as_its_principal(template: Any) -> None:
    for name in ("ArtifactKey", "ArtifactBucketPolicy"):
        resolved = properties(template, name)
        document = resolved.get("KeyPolicy") or resolved["PolicyDocument"]
        principals = [each["Principal"] for each in document["Statement"]]
        assert not [each for each in principals if ":role/" in json.dumps(each)]


def test_trap_25_data_outlives_the_stack_but_not_a_creation_that_fails(template: Any) -> None:
    """Else the repositories, whose names are fixed, would be in the way of the next try."""
    kept = [each for kind in DATA for each in of_type(template, kind).values()]
    assert len(kept) == 5 + len(REPOSITORIES)
    for each in kept:
        assert (each["DeletionPolicy"], each["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_no_data_is_in_the_stack_that_the_pipeline_updates(pipeline: Any) -> None:
    kinds = {each["Type"] for each in pipeline["Resources"].values()}
    assert kinds.isdisjoint({*DATA, "AWS::KMS::Alias", "AWS::S3::BucketPolicy", "AWS::SageMaker::UserProfile"})
    # Nor anything else that would stay behind.
    assert {each.get("DeletionPolicy", "Delete") for each in pipeline["Resources"].values()} == {"Delete"}


def imports(node: Any) -> Iterator[Any]:
    """Yield the argument of each Fn::ImportValue in a part of a template."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from imports(child)
    if isinstance(node, dict) and "Fn::ImportValue" in node:
        yield node["Fn::ImportValue"]


def test_the_exports_are_what_the_pipeline_imports(template: Any, pipeline: Any) -> None:
    exported = {name: each["Export"]["Name"] for name, each in template["Outputs"].items() if "Export" in each}
    imported = [each["Fn::Sub"] for each in imports(pipeline)]

    assert exported == {name: {"Fn::Sub": f"${{ProjectName}}-{name}"} for name in exported}
    assert set(imported) == {f"${{ProjectName}}-{name}" for name in exported}
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-importvalue.html
    assert not list(imports(pipeline["Conditions"]))


def test_what_both_stacks_are_told_is_asked_for_alike(template: Any, pipeline: Any) -> None:
    shared = set(template["Parameters"]) & set(pipeline["Parameters"])
    assert shared == {
        "ConnectionArn",
        "ProjectName",
        "TestAccountId",
        "ProductionAccountId",
        "InfrastructureRepository",
        "ModelRepository",
    }
    for name in shared:
        mine, theirs = template["Parameters"][name], pipeline["Parameters"][name]
        assert (mine["Type"], mine.get("Default")) == (theirs["Type"], theirs.get("Default")), name


def test_repositories_of_a_connection_are_not_made_in_codecommit(template: Any) -> None:
    for name in ("InfrastructureRepository", "ModelRepository"):
        pattern = template["Parameters"][name]["AllowedPattern"]
        assert re.fullmatch(pattern, template["Parameters"][name]["Default"])
        assert not re.fullmatch(pattern, "team/model")


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, set()),
        ({"CreateRepositories": "true"}, {"InfrastructureCodeRepository", "ModelCodeRepository"}),
        ({"CreateRepositories": "true", "ModelRepository": ""}, {"InfrastructureCodeRepository"}),
        ({"StudioDomainId": "d-a", "StudioUserProfileName": "ann"}, {"StudioUserProfile"}),
        ({"StudioDomainId": "d-a"}, set()),
    ],
)
def test_repositories_and_a_profile_are_made_where_they_are_asked_for(
    template: Any, given: dict[str, str], made: set[str]
) -> None:
    conditional = {name: each["Condition"] for name, each in template["Resources"].items() if "Condition" in each}
    resolved = resolver(template, **given)
    assert {name for name, condition in conditional.items() if resolved.condition(condition)} == made


def test_the_profile_has_the_model_repository_or_the_only_one(template: Any) -> None:
    def url(**given: str) -> str:
        profile = resolver(template, **given).resolve(template["Resources"]["StudioUserProfile"]["Properties"])
        (repository,) = profile["UserSettings"]["JupyterLabAppSettings"]["CodeRepositories"]
        return str(repository["RepositoryUrl"])

    assert url() == "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/crosstrain-model"
    assert url(ModelRepository="").endswith("/crosstrain-infrastructure")
