"""Rolling back: to which release, by which commands, and what happens when one of them fails."""

from __future__ import annotations

import json
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

import rollback
from crosstrain.command import BadInputError
from crosstrain.delivery import rollback as logic
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Ledger, Release, release_id
from crosstrain.files import PROJECT

TABLE = "image-ledger"


def release(number: int, project: str = "crosstrain") -> Release:
    commits = (f"{number:012x}" * 3, "f" * 40)
    host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    images = {name: f"{host}/{project}/{name.lower()}@sha256:{number:064x}" for name in FUNCTIONS.values()}
    return Release(release_id(*commits), images, number, *commits)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, create_table: Callable[..., None]) -> Iterator[Ledger]:
    """Yield a ledger by which prod runs the second of two releases; another commit than theirs is checked out."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("LEDGER_TABLE", TABLE)
    monkeypatch.setenv("ARTIFACT_BUCKET", "artifacts")
    monkeypatch.setattr(logic, "_checked_out", lambda folder: None if folder == tmp_path else "e" * 40)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/prod.json").write_text('{"Tags": {"project": "tested"}}')
    monkeypatch.chdir(tmp_path)
    with mock_aws():
        dynamodb = boto3.client("dynamodb")
        create_table(dynamodb, "ImageLedger", TABLE)
        made = Ledger(dynamodb, TABLE)
        for number in (1, 2):
            made.record_release(release(number))
            made.mark_deployed("prod", release(number).id)
        yield made


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the stacks of the stage's account, with the status of each and the release that it was deployed with."""
    there = {"crosstrain-prod": f"UPDATE_COMPLETE {release(2).id}"}

    def describe(**names: str) -> dict[str, Any]:
        if names["StackName"] not in there:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "DescribeStacks")
        status, _, deployed = there[names["StackName"]].partition(" ")
        parameters = [{"ParameterKey": "Release", "ParameterValue": deployed}]
        outputs = [{"OutputKey": "ArtifactBucketName", "OutputValue": "stage-bucket"}]
        return {"Stacks": [{"StackStatus": status, "Parameters": parameters, "Outputs": outputs}]}

    client = SimpleNamespace(describe_stacks=describe)
    session = SimpleNamespace(client=lambda _service: client)
    monkeypatch.setattr(logic, "boto3", SimpleNamespace(Session=lambda **_profile: session))
    return there


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, stacks: dict[str, str]) -> list[list[str]]:
    """Return what is executed, in place of executing it."""
    assert stacks
    executed: list[list[str]] = []
    monkeypatch.setattr(rollback, "execute", executed.append)
    return executed


def test_the_commands_are_said(ledger: Ledger, run: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert rollback.main(["prod", "--profile", "production"]) == 0

    switch, resolve, package, deploy, mark = map(shlex.split, capsys.readouterr().out.splitlines())
    # The template goes back too.
    assert switch == ["git", "-C", str(PROJECT), "switch", "--detach", "f" * 40]
    assert resolve[1].endswith("scripts/resolve_images.py")
    assert resolve[2:7] == [release(1).id, "--ledger", TABLE, "--stage", "prod"]
    assert resolve[resolve.index("--base") + 1] == str(PROJECT / "config/prod.json")
    repository = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/crosstrain/datapreparation"
    assert package[:4] == ["make", "-C", str(PROJECT), "package"]
    assert package[4:] == ["ARTIFACT_BUCKET=artifacts", f"REPOSITORY_DATA_PREPARATION={repository}"]
    assert deploy[0].endswith("sam")
    assert deploy[deploy.index("--template-file") + 1] == str(PROJECT / "build/packaged.yaml")
    assert deploy[deploy.index("--config-env") + 1] == "packaged"
    assert deploy[deploy.index("--stack-name") + 1] == "crosstrain-prod"
    assert deploy[deploy.index("--image-repository") + 1] == repository
    assert deploy[deploy.index("--s3-bucket") + 1] == "stage-bucket"
    assert deploy[deploy.index("--parameter-overrides") + 1] == Path(resolve[-1]).as_uri()
    assert deploy[-5:] == ["--tags", "project=crosstrain", "stage=prod", "--profile", "production"]
    assert mark[-2:] == ["--mark-deployed", release(1).id]
    assert run == []
    assert ledger.resolve("stage:prod").id == release(2).id


def test_the_settings_for_a_packaged_template_make_nothing_in_the_stages_account(project: Path) -> None:
    settings = tomllib.loads((project / "samconfig.toml").read_text())["packaged"]["deploy"]["parameters"]
    assert not {"resolve_s3", "resolve_image_repos", "s3_bucket"} & settings.keys()
    assert settings["capabilities"] == "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"


def test_the_bucket_of_packages_has_to_be_named(
    ledger: Ledger, stacks: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ledger is not None
    assert stacks
    monkeypatch.delenv("ARTIFACT_BUCKET")
    assert rollback.main(["prod"]) == 2
    assert "--artifact-bucket" in capsys.readouterr().err


def test_a_rollback_is_carried_out(ledger: Ledger, tmp_path: Path, run: list[list[str]]) -> None:
    assert ledger is not None
    assert rollback.main(["prod", "--template", str(tmp_path / "packaged.yaml"), "--execute"]) == 0
    assert [Path(step[1] if step[0] == sys.executable else step[0]).name for step in run] == [
        "resolve_images.py",
        "sam",
        "rollback.py",
    ]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--stack", "crosstrain-prdo"], None, 'There is no stack "crosstrain-prdo" in this account'),
        (
            ["--profile", "stage"],
            None,
            'no stack "crosstrain-prod" in the account of the profile stage, and a rollback',
        ),
        ([], "REVIEW_IN_PROGRESS", 'There is no stack "crosstrain-prod" in this account'),
    ],
)
def test_a_stack_that_is_not_there_is_not_made(
    ledger: Ledger,
    tmp_path: Path,
    run: list[list[str]],
    stacks: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    *,
    options: list[str],
    status: str | None,
    message: str,
) -> None:
    assert ledger is not None
    stacks.clear()
    stacks |= {"crosstrain-prod": status} if status else {}
    assert rollback.main(["prod", "--template", str(tmp_path / "packaged.yaml"), "--execute", *options]) == 2
    assert run == []
    assert message in capsys.readouterr().err


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(BadInputError, match=r"The config profile \(nobody\) could not be found: see --profile"):
        logic.deployed("crosstrain-prod", "nobody")


def test_a_stack_is_named_after_the_project_of_its_images() -> None:
    assert logic.stack_name(release(1), "test") == "crosstrain-test"
    assert logic.stack_name(release(1, "forecasts"), "prod") == "forecasts-prod"
    images = {name: uri.replace("crosstrain/", "") for name, uri in release(1).images.items()}
    with pytest.raises(BadInputError, match="--stack"):
        logic.stack_name(replace(release(1), images=images), "prod")


def test_a_checkout_of_another_commit_is_not_deployed(
    ledger: Ledger, run: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ledger is not None
    assert rollback.main(["prod", "--execute"]) == 2
    assert run == []
    assert f"git switch --detach {'f' * 40}" in capsys.readouterr().err


def test_a_deployment_is_marked(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollback.main(["prod", "--mark-deployed", release(1).id]) == 0
    assert json.loads(capsys.readouterr().out)["release"] == release(1).id
    assert ledger.resolve("stage:prod").id == release(1).id


@pytest.fixture
def back(tmp_path: Path) -> list[str]:
    """Return the arguments that take prod back to the last release that passed there."""
    return ["prod", "--to", "stage:prod", "--template", str(tmp_path / "packaged.yaml"), "--execute"]


def test_the_running_release_needs_no_rollback(
    ledger: Ledger, run: list[list[str]], capsys: pytest.CaptureFixture[str], back: list[str]
) -> None:
    assert rollback.main(back) == 0
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.splitlines()[1:] == ["crosstrain-prod runs it already: there is nothing to do."]
    assert run == []
    assert ledger.resolve("stage:prod").id == release(2).id


def test_a_release_that_failed_its_system_test_is_taken_back(
    ledger: Ledger, run: list[list[str]], stacks: dict[str, str], back: list[str]
) -> None:
    ledger.record_release(release(3))
    stacks["crosstrain-prod"] = f"UPDATE_COMPLETE {release(3).id}"
    assert rollback.main(back) == 0
    assert len(run) == 3
    assert release(2).id in run[0]


def test_a_deployment_that_was_not_recorded_is_recorded(
    ledger: Ledger, run: list[list[str]], stacks: dict[str, str], back: list[str]
) -> None:
    assert ledger is not None
    stacks["crosstrain-prod"] = f"UPDATE_COMPLETE {release(1).id}"
    assert rollback.main([*back, "--to", release(1).id]) == 0
    assert run[-1][-2:] == ["--mark-deployed", release(1).id]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test"], "deployed in stage test"),
        (["prod", "--to", "0-0"], "holds no release 0-0"),
    ],
)
def test_there_is_nothing_to_go_back_to(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert ledger is not None
    assert rollback.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "message"), [("false", "stopped with status 1 at: false"), ("no-such", "cannot be run")]
)
@pytest.mark.usefixtures("stacks")
def test_a_step_that_fails_ends_the_rollback(
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    program: str,
    message: str,
) -> None:
    steps: list[Any] = [[program], ["touch", str(tmp_path / "after")]]
    monkeypatch.setattr(rollback, "commands", lambda *_arguments: steps)
    assert rollback.main(["prod", "--template", str(tmp_path / "template.yaml"), "--execute"]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert not (tmp_path / "after").exists()
    assert ledger.resolve("stage:prod").id == release(2).id
