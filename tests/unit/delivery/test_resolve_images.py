"""Resolving a release: everything that is wrong in one error, and whole files only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

import resolve_images
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery import parameters, repositories
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Ledger, Release
from crosstrain.delivery.parameters import configure, read_parameters, sam_words
from crosstrain.delivery.repositories import ECR
from crosstrain.delivery.stages import read_base
from crosstrain.files import write_whole

ACCOUNT = "123456789012"
HOST = f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com"
RELEASE = Release(
    f"{'a' * 12}-{'b' * 12}",
    {name: f"{HOST}/{name.lower()}@sha256:{'c' * 64}" for name in FUNCTIONS.values()},
    1,
    "a" * 40,
    "b" * 40,
)


@pytest.fixture
def template(project: Path) -> dict[str, Any]:
    return read_parameters(project / "template.yaml")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find the release whatever it is asked for."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr(Ledger, "resolve", lambda _self, _reference: RELEASE)
    monkeypatch.setattr(Ledger, "deployed", lambda _self, _stage: None)


def manifest(name: str) -> str:
    """Return the manifest of an image of one layer, another one for each name."""
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1, "digest": name}
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [{**config, "digest": name}]})


def test_the_document_of_a_stage(template: dict[str, Any]) -> None:
    base = {"Parameters": {"LogRetentionDays": "90"}, "Tags": {"Team": "churn"}}
    document = configure(RELEASE, template, stage="prod", base=base, check_registry=False)

    assert document == {
        "Parameters": {
            "LogRetentionDays": "90",
            **{f"{name}ImageUri": uri for name, uri in RELEASE.images.items()},
            "Release": RELEASE.id,
            "Commit": "a" * 40,
            "Stage": "prod",
        },
        "Tags": {"Team": "churn", "stage": "prod"},
    }
    assert base == {"Parameters": {"LogRetentionDays": "90"}, "Tags": {"Team": "churn"}}


def test_trap_27_everything_that_is_wrong_is_in_one_error(template: dict[str, Any]) -> None:
    images = {"DataPreparation": f"{HOST}/datapreparation:latest", "ModelTraining": RELEASE.images["ModelTraining"]}
    template["NewParameter"] = {"Type": "String"}
    base = {
        "Parameters": {"NoSuch": "1", "LogRetentionDays": "2", "ModelTrainingMemory": 2048, "Release": "mine"},
        "Tags": [],
        "StackPolicy": {},
    }
    with pytest.raises(BadInputError) as caught:
        configure(replace(RELEASE, images=images), template, stage="test", base=base, check_registry=False)

    for message in (
        "it has no image of ModelEvaluation",
        "the image of DataPreparation is not given by digest",
        "the template has no parameter NoSuch",
        "the template needs the parameter NewParameter",
        "LogRetentionDays cannot be 2: the template takes 1, 3, 5",
        "ModelTrainingMemory in the stage's file is no text: put 2048 in quotes",
        "Release in the stage's file is set by the release",
        "Tags of the stage's file is no object",
        "has StackPolicy, which is none of Parameters, Tags",
    ):
        assert message in str(caught.value), message
    assert "\n" not in str(caught.value)


def test_an_image_that_the_template_does_not_accept_is_refused(template: dict[str, Any]) -> None:
    images = {
        name: uri.replace(HOST, "12345678901.dkr.ecr.eu-central-1.amazonaws.com")
        for name, uri in RELEASE.images.items()
    }
    with pytest.raises(BadInputError, match="ModelTrainingImageUri cannot be 12345678901"):
        configure(replace(RELEASE, images=images), template, stage="test", check_registry=False)


@pytest.mark.parametrize("suffix", ["amazonaws.com", "amazonaws.com.cn", "amazonaws.eu"])
def test_images_of_every_partition_are_accepted(template: dict[str, Any], suffix: str) -> None:
    images = {name: uri.replace("amazonaws.com", suffix) for name, uri in RELEASE.images.items()}
    document = configure(replace(RELEASE, images=images), template, stage="test", check_registry=False)
    assert document["Parameters"]["ModelTrainingImageUri"] == images["ModelTraining"]
    match = ECR.fullmatch(images["ModelTraining"].partition("@")[0])
    assert match is not None
    assert match["suffix"] == suffix


def test_account_ids_keep_their_zeros(template: dict[str, Any], tmp_path: Path) -> None:
    zeros = "0" * 12
    images = {name: uri.replace(ACCOUNT, zeros) for name, uri in RELEASE.images.items()}
    document = configure(replace(RELEASE, images=images), template, stage="test", check_registry=False)
    out = tmp_path / "parameters-test.json"
    write_whole(out, json.dumps(document))

    assert json.loads(out.read_text())["Parameters"]["ModelTrainingImageUri"].startswith(f"{zeros}.dkr")
    template["ToolsAccount"] = {"Type": "String"}
    with pytest.raises(BadInputError, match="ToolsAccount in the stage's file is no text"):
        configure(RELEASE, template, base={"Parameters": {"ToolsAccount": 12345678901}}, check_registry=False)


@mock_aws
def test_images_that_are_gone_are_named(template: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ecr = boto3.client("ecr", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
    repositories.ecr_client.cache_clear()
    monkeypatch.setattr("crosstrain.delivery.repositories.make_client", lambda _service, _region: ecr)
    images = {}
    for name in FUNCTIONS.values():
        ecr.create_repository(repositoryName=name.lower())
        image = ecr.put_image(repositoryName=name.lower(), imageManifest=manifest(name), imageTag="tag")
        images[name] = f"{HOST}/{name.lower()}@{image['image']['imageId']['imageDigest']}"
    release = replace(RELEASE, images=images)
    assert configure(release, template, stage="test")

    for name in ("DataPreparation", "ModelEvaluation"):
        digest = images[name].partition("@")[2]
        ecr.batch_delete_image(repositoryName=name.lower(), imageIds=[{"imageDigest": digest}])
    ecr.delete_repository(repositoryName="modeltraining", force=True)
    with pytest.raises(BadInputError) as caught:
        configure(release, template, stage="test")
    assert str(caught.value).count("is gone from its registry") == 2
    assert f"There is no repository {HOST}/modeltraining" in str(caught.value)
    repositories.ecr_client.cache_clear()


def test_what_the_stage_runs_has_to_be_there_to_go_back_to(
    template: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a deployment that fails ends in UPDATE_ROLLBACK_FAILED."""
    digests = {name: uri.replace("c" * 64, "d" * 64) for name, uri in RELEASE.images.items()}
    running = replace(RELEASE, id=f"{'d' * 12}-{'b' * 12}", images=digests)
    gone = digests["ModelTraining"]
    monkeypatch.setattr(
        parameters, "find_images", lambda images: {name: None if uri == gone else uri for name, uri in images.items()}
    )
    assert configure(RELEASE, template, stage="test")
    assert configure(running, template, stage="test", replaced=running, check_registry=False)
    with pytest.raises(BadInputError) as caught:
        configure(RELEASE, template, stage="test", replaced=running)
    assert f"the stage runs {running.id}, to which a deployment that fails could not go back" in str(caught.value)
    assert f"the image of ModelTraining is gone from its registry: {gone}" in str(caught.value)
    assert "--without-way-back" in str(caught.value)


@pytest.mark.parametrize(("option", "asked"), [([], 1), (["--without-way-back"], 0), (["--skip-registry"], 0)])
@pytest.mark.usefixtures("ledger")
def test_the_command_asks_for_what_the_stage_runs(
    monkeypatch: pytest.MonkeyPatch, option: list[str], asked: int
) -> None:
    stages: list[str] = []
    monkeypatch.setattr(Ledger, "deployed", lambda _self, stage: stages.append(stage))
    monkeypatch.setattr(parameters, "find_images", lambda images: images)
    assert resolve_images.main(["latest", "--ledger", "t", "--stage", "prod", *option]) == 0
    assert stages == ["prod"] * asked


@pytest.mark.parametrize(
    ("stage", "base", "expected"),
    [
        ("test", {}, "crosstrain-eu-central-1-test-boundary"),
        ("prod", {}, "crosstrain-eu-central-1-prod-boundary"),
        ("prod", {"PermissionsBoundaryName": "our-own"}, "our-own"),
        ("dev", {}, None),
        (None, {}, None),
    ],
)
def test_a_stage_of_the_pipeline_has_the_boundary_of_its_account(
    template: dict[str, Any], stage: str | None, base: dict[str, str], expected: str | None
) -> None:
    images = {name: uri.replace(f"{HOST}/", f"{HOST}/crosstrain/") for name, uri in RELEASE.images.items()}
    release, base_document = replace(RELEASE, images=images), {"Parameters": base}
    document = configure(release, template, stage=stage, base=base_document, check_registry=False)
    assert document["Parameters"].get("PermissionsBoundaryName") == expected
    older = {name: each for name, each in template.items() if name != "PermissionsBoundaryName"}
    if not base:
        document = configure(release, older, stage=stage, check_registry=False)
        assert "PermissionsBoundaryName" not in document["Parameters"]


def test_a_registry_that_does_not_answer_is_no_bad_input(
    template: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        parameters, "find_images", lambda images: dict.fromkeys(images, OperationFailedError("denied."))
    )
    with pytest.raises(OperationFailedError, match="the image of ModelTraining: denied; "):
        configure(RELEASE, template, stage="test")


@pytest.mark.usefixtures("ledger")
def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "parameters-test.json"
    assert (
        resolve_images.main(["latest", "--ledger", "t", "--stage", "test", "--skip-registry", "--out", str(out)]) == 0
    )
    assert json.loads(out.read_text())["Parameters"]["Stage"] == "test"
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["parameters-test.json"]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("base", ['{"Parameters": {"NoSuch": "1"}}', "[]", "{", None])
def test_bad_input_leaves_the_file_as_it_was(tmp_path: Path, base: str | None) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    given, out = tmp_path / "in/base.json", tmp_path / "out/parameters-test.json"
    out.write_text("before")
    if base is not None:
        given.write_text(base)
    options = ["--ledger", "t", "--stage", "test", "--base", str(given), "--skip-registry", "--out", str(out)]
    assert resolve_images.main(["latest", *options]) == 2
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["before"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "parameters-test.json"
    out.write_text("before")

    def fail(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OperationFailedError, match="No space left on device"):
        write_whole(out, "after")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.usefixtures("ledger")
def test_words_for_sam(capsys: pytest.CaptureFixture[str]) -> None:
    from samcli.cli.types import CfnParameterOverridesType  # noqa: PLC0415

    options = ["latest", "--ledger", "t", "--stage", "prod", "--skip-registry", "--format", "sam"]
    assert resolve_images.main(options) == 0
    read = CfnParameterOverridesType().convert(tuple(capsys.readouterr().out.split()), None, None)
    assert read["ModelTrainingImageUri"] == RELEASE.images["ModelTraining"]
    assert (read["Stage"], read["Release"]) == ("prod", RELEASE.id)


@pytest.mark.usefixtures("ledger")
def test_a_file_for_sam(tmp_path: Path) -> None:
    from samcli.cli.types import CfnParameterOverridesType  # noqa: PLC0415

    out = tmp_path / "parameters.yaml"
    base = tmp_path / "base.json"
    base.write_text('{"Parameters": {"NotificationEmail": "", "DatasetPrefix": "a b/"}}')
    options = ["latest", "--ledger", "t", "--stage", "prod", "--skip-registry", "--format", "sam", "--base", str(base)]
    assert resolve_images.main([*options, "--out", str(out)]) == 0
    read = CfnParameterOverridesType().convert((out.as_uri(),), None, None)
    assert (read["Stage"], read["DatasetPrefix"]) == ("prod", "a b/")


def test_words_that_a_shell_would_take_apart_are_refused() -> None:
    assert sam_words({"A": "", "B": "1"}) == ['A=""', "B=1"]
    with pytest.raises(BadInputError, match=r"A, B cannot be an argument"):
        sam_words({"A": "cron(0 3 * * ? *)", "B": 'say "x"', "C": "c"})


@pytest.mark.usefixtures("ledger")
def test_the_stage_is_told_by_the_reference(tmp_path: Path) -> None:
    out = tmp_path / "parameters.json"
    assert resolve_images.main(["previous:prod", "--ledger", "t", "--skip-registry", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["Parameters"]["Stage"] == "prod"
    with pytest.raises(SystemExit):
        resolve_images.main(["latest", "--ledger", "t", "--out", str(out)])


@pytest.mark.parametrize("text", [None, "Resources: {}", "a: [", "- 1"])
def test_a_template_without_parameters(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "template.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInputError, match=r"The template .*template\.yaml"):
        read_parameters(path)


def test_templates_are_read_as_cfn_lint_reads_them(project: Path, template: dict[str, Any]) -> None:
    from cfnlint.decode import decode  # noqa: PLC0415

    read, problems = decode(str(project / "template.yaml"))
    assert not problems
    assert list(template) == list(read["Parameters"])
    assert all(("Default" in template[name]) == ("Default" in each) for name, each in read["Parameters"].items())


def test_a_base_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="stage's file"):
        read_base(tmp_path / "none.json")
