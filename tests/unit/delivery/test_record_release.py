"""Recording a release: what is no release, and how its order is found."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

import record_release
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery import releases
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Ledger
from crosstrain.delivery.releases import execution_start, parse_images

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
REPOSITORIES = {name: f"{HOST}/crosstrain/{name}" for name in FUNCTIONS}
IMAGES = {name: f"{uri}@sha256:{'a' * 64}" for name, uri in REPOSITORIES.items()}
COMMITS = ["--model-commit", "a" * 40, "--infrastructure-commit", "b" * 40]


@pytest.fixture
def codepipeline() -> Any:
    return boto3.client("codepipeline", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106


def summary(name: str, millisecond: int) -> dict[str, Any]:
    started = datetime.fromtimestamp(1_800_000_000 + millisecond / 1000, UTC)
    return {"pipelineExecutionId": name, "startTime": started}


def test_images_are_named_as_the_template_names_them() -> None:
    assert parse_images(json.dumps(IMAGES), REPOSITORIES) == {kind: IMAGES[name] for name, kind in FUNCTIONS.items()}


@pytest.mark.parametrize("text", ["", "[]", "{", '"text"'])
def test_what_is_no_list_of_images(text: str) -> None:
    with pytest.raises(BadInputError, match=r"as build_images\.py prints it"):
        parse_images(text, REPOSITORIES)


def test_everything_that_is_wrong_is_in_one_error() -> None:
    images = {"data_preparation": f"{HOST}/data_preparation:latest", "model_training": None, "other": "x"}
    with pytest.raises(BadInputError) as caught:
        parse_images(json.dumps(images), REPOSITORIES)

    for message in (
        "model_evaluation has no image",
        "other is no function",
        "data_preparation is not given by digest",
        "model_training is not given by digest",
    ):
        assert message in str(caught.value)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "999999999999.dkr.ecr.eu-central-1.amazonaws.com/crosstrain/model_training",
        f"{HOST}/crosstrain/data_preparation",
    ],
)
def test_an_image_of_another_repository_is_none_of_the_release(elsewhere: str) -> None:
    """What the build of images prints is decided by whoever commits to the model repository."""
    images = {**IMAGES, "model_training": f"{elsewhere}@sha256:{'a' * 64}"}
    with pytest.raises(BadInputError, match=f"the image of model_training is not in {HOST}/crosstrain/model_training"):
        parse_images(json.dumps(images), REPOSITORIES)


def test_the_order_is_the_start_of_the_execution_on_whichever_page(codepipeline: Any) -> None:
    with Stubber(codepipeline) as stub:
        first = {"pipelineExecutionSummaries": [summary("newer", 5)], "nextToken": "token"}
        stub.add_response("list_pipeline_executions", first, {"pipelineName": "delivery"})
        second = {"pipelineExecutionSummaries": [summary("wanted", 3)]}
        stub.add_response("list_pipeline_executions", second, {"pipelineName": "delivery", "nextToken": "token"})
        assert execution_start(codepipeline, "delivery", "wanted") == 1_800_000_000_003


def test_an_execution_that_is_not_there(codepipeline: Any) -> None:
    with Stubber(codepipeline) as stub:
        stub.add_response("list_pipeline_executions", {"pipelineExecutionSummaries": [summary("other", 1)]})
        with pytest.raises(BadInputError, match="has no execution wanted"):
            execution_start(codepipeline, "delivery", "wanted")


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("PipelineNotFoundException", BadInputError, 'There is no pipeline "delivery"'),
        ("AccessDeniedException", OperationFailedError, "needs codepipeline:ListPipelineExecutions"),
    ],
)
def test_a_pipeline_that_cannot_be_read(codepipeline: Any, code: str, error: type[Exception], message: str) -> None:
    with Stubber(codepipeline) as stub:
        stub.add_client_error("list_pipeline_executions", code)
        with pytest.raises(error, match=message):
            execution_start(codepipeline, "delivery", "wanted")


def test_the_command_records(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    recorded: list[Any] = []
    monkeypatch.setattr(Ledger, "record_release", lambda _self, each: recorded.append(each) or True)
    monkeypatch.setattr(releases, "find_images", lambda images: dict.fromkeys(images, "sha256:found"))
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(IMAGES)))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

    for name, uri in REPOSITORIES.items():
        monkeypatch.setenv(f"REPOSITORY_{name.upper()}", uri)

    assert record_release.main([*COMMITS, "--ledger", "table", "--order", "7"]) == 0
    assert capsys.readouterr().out == f"{'a' * 12}-{'b' * 12}\n"
    assert (recorded[0].order, recorded[0].model_commit) == (7, "a" * 40)


@pytest.mark.parametrize("text", ["{}", None])
def test_bad_input_records_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any, text: str | None
) -> None:
    monkeypatch.setattr(Ledger, "record_release", lambda *_arguments: pytest.fail("it was recorded"))
    for name, uri in REPOSITORIES.items():
        monkeypatch.setenv(f"REPOSITORY_{name.upper()}", uri)
    path = tmp_path / "images.json"
    if text is not None:
        path.write_text(text)
    assert record_release.main([*COMMITS, "--ledger", "table", "--order", "7", "--images", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")


@pytest.mark.parametrize(
    ("found", "code", "message"),
    [
        (None, 2, f"the registry does not hold {IMAGES['model_training']}."),
        (OperationFailedError("It does not answer."), 1, "It does not answer."),
    ],
)
def test_an_image_that_is_nowhere_never_becomes_the_latest_release(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: Any, code: int, message: str
) -> None:
    monkeypatch.setattr(Ledger, "record_release", lambda *_arguments: pytest.fail("it was recorded"))
    monkeypatch.setattr(
        releases,
        "find_images",
        lambda images: {name: found if name == "ModelTraining" else "sha256:found" for name in images},
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(IMAGES)))
    for name, uri in REPOSITORIES.items():
        monkeypatch.setenv(f"REPOSITORY_{name.upper()}", uri)

    assert record_release.main([*COMMITS, "--ledger", "table", "--order", "7"]) == code
    assert message in capsys.readouterr().err.replace("\n", "")


def test_the_order_has_to_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        record_release.main([*COMMITS, "--ledger", "table", "--pipeline", "delivery"])
    assert caught.value.code == 2
    assert "say --order N, or --pipeline NAME and --execution ID" in capsys.readouterr().err


@pytest.mark.parametrize("order", ["99999999999999999", "0", "-5"])
def test_an_order_that_is_no_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], order: str
) -> None:
    monkeypatch.setattr(Ledger, "record_release", lambda *_arguments: pytest.fail("it was recorded"))
    monkeypatch.setattr(releases, "find_images", lambda images: dict.fromkeys(images, "sha256:found"))
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(IMAGES)))
    for name, uri in REPOSITORIES.items():
        monkeypatch.setenv(f"REPOSITORY_{name.upper()}", uri)
    assert record_release.main([*COMMITS, "--ledger", "table", f"--order={order}"]) == 2
    assert "is no time in milliseconds" in capsys.readouterr().err.replace("\n", " ")
