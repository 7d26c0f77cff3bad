"""What is refused before taskcat runs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from crosstrain.command import BadInputError
from crosstrain.delivery import taskcat
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.taskcat import Deployment

CONFIGURATION: dict[str, Any] = {
    "project": {"regions": ["us-east-1", "eu-west-1"]},
    "tests": {
        "training": {"template": "template.yaml", "auth": {"us-east-1": "crosstrain-test"}},
        "roles": {
            "template": "target-account.yaml",
            "regions": ["eu-west-1"],
            "auth": {"eu-west-1": "crosstrain-test"},
        },
    },
}
DIGEST = "0" * 64
RELEASE = {
    **{
        f"{name}ImageUri": f"012345678901.dkr.ecr.us-east-1.amazonaws.com/crosstrain/{name.lower()}@sha256:{DIGEST}"
        for name in FUNCTIONS.values()
    },
    "Release": "a-b",
    "Commit": "a",
}


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[crosstrain-test]\naws_access_key_id = x\naws_secret_access_key = y\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def changed(test: str, **changes: Any) -> dict[str, Any]:
    configuration = copy.deepcopy(CONFIGURATION)
    configuration["tests"][test] |= changes
    return configuration


def test_a_test_takes_the_regions_of_the_project_unless_it_has_its_own() -> None:
    assert taskcat.plan(CONFIGURATION, "us-east-1", "training") == [
        Deployment("training", "template.yaml", "crosstrain-test")
    ]
    assert taskcat.plan(CONFIGURATION, "eu-west-1", " roles ") == [
        Deployment("roles", "target-account.yaml", "crosstrain-test")
    ]


@pytest.mark.parametrize(
    ("configuration", "region", "names", "message"),
    [
        (CONFIGURATION, "us-east-1", "training,rols", "no test 'rols'; its tests are training, roles"),
        (CONFIGURATION, "us-east-1", "", "no test ''"),
        (CONFIGURATION, "us-east-1", None, "test roles of .taskcat.yml is not for us-east-1, but for eu-west-1"),
        (
            CONFIGURATION,
            "us-east-11",
            "training",
            "is not for us-east-11, but for us-east-1, eu-west-1: set AWS_REGION",
        ),
        (CONFIGURATION, "eu-west-1", "training", "names no profile for eu-west-1"),
        (changed("training", auth={"default": "crosstrain-test"}), "us-east-1", "training", "a default would not do"),
        (changed("training", auth={"us-east-1": "other"}), "us-east-1", "training", 'no AWS profile "other"'),
        (changed("training", role_name="arn:aws:iam::1:role/x"), "us-east-1", "training", "the role's name alone"),
        (changed("training", regions=[]), "us-east-1", "training", "but for no region"),
    ],
)
def test_what_taskcat_would_pass_over_is_refused(
    configuration: dict[str, Any], region: str, names: str | None, message: str
) -> None:
    with pytest.raises(BadInputError) as error:
        taskcat.plan(configuration, region, names)

    assert message in str(error.value)


@pytest.mark.parametrize("content", ["tests: [", "project: {name: a}", "- 1", "tests: 1", "tests: {a: {}}"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / ".taskcat.yml").write_text(content)
    with pytest.raises(BadInputError, match=r"\.taskcat\.yml"):
        taskcat.read_configuration(tmp_path / ".taskcat.yml")


@pytest.mark.parametrize(
    ("changes", "region", "message"),
    [
        ({"ModelTrainingImageUri": None, "Commit": ""}, "us-east-1", "does not say ModelTrainingImageUri, Commit"),
        ({"ModelTrainingImageUri": "host/name:tag"}, "us-east-1", "ModelTrainingImageUri in .* is no image by digest"),
        ({}, "eu-west-1", "Lambda runs no image of another region"),
    ],
)
def test_a_release_that_cannot_run_there_is_refused(
    tmp_path: Path, changes: dict[str, Any], region: str, message: str
) -> None:
    path = tmp_path / "parameters.json"
    path.write_text(json.dumps({"Parameters": RELEASE | changes}))
    with pytest.raises(BadInputError, match=message):
        taskcat.release_parameters(path, region)


def test_only_what_belongs_to_the_release_is_taken_from_the_stage(tmp_path: Path) -> None:
    path = tmp_path / "parameters.json"
    path.write_text(json.dumps({"Parameters": RELEASE | {"Stage": "test", "RetentionPolicy": "Retain"}}))

    assert taskcat.release_parameters(path, "us-east-1") == RELEASE


def test_the_tools_account_keeps_its_leading_zeros() -> None:
    key = "arn:aws:kms:us-east-1:012345678901:key/1"
    outputs = {"ProjectName": "houses", "ArtifactBucketName": "bucket", "ArtifactKeyArn": key}

    assert taskcat.tools_parameters("tools", outputs) == {
        "ProjectName": "houses",
        "ArtifactBucketName": "bucket",
        "ArtifactKeyArn": key,
        "ToolsAccountId": "012345678901",
    }
    with pytest.raises(BadInputError, match=r"no output ArtifactKeyArn: it is not of tools-account\.yaml"):
        taskcat.tools_parameters("tools", {"ProjectName": "a", "ArtifactBucketName": "b"})
