"""Finding a deployed stack, and how commands end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from common.errors import InvalidDatasetError, InvalidRequestError, UntrustedModelError
from crosstrain.command import BadInputError, OperationFailedError, result_console, run_command
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.stack import STACK_VARIABLE, find_stack


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """Let every session give a stubbed client."""
    client = boto3.client("cloudformation", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
    monkeypatch.setattr(boto3.Session, "client", lambda *_: client)
    monkeypatch.delenv(STACK_VARIABLE, raising=False)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def described(name: str) -> dict[str, Any]:
    outputs = [{"OutputKey": "Key", "OutputValue": "value"}]
    return {"Stacks": [{"StackName": name, "CreationTime": 0, "StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}


def test_a_stack_is_found_by_its_name_or_by_the_variable(
    cloudformation: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STACK_VARIABLE, "by-variable")
    for name, found in (("by-name", "by-name"), (None, "by-variable")):
        cloudformation.add_response("describe_stacks", described(found), {"StackName": found})
        assert find_stack(name).output("Key") == "value"


def test_an_output_that_is_not_there_is_named(cloudformation: Stubber) -> None:
    cloudformation.add_response("describe_stacks", described("old"))
    with pytest.raises(BadInputError, match='The stack "old" has no output ModelRegistryTableName'):
        find_stack("old").output("ModelRegistryTableName")


@pytest.mark.usefixtures("cloudformation")
def test_without_a_stack_both_ways_are_told() -> None:
    with pytest.raises(BadInputError, match=r"--stack NAME .*`make local-aws` .*CROSSTRAIN_STACK"):
        find_stack(None)


def test_a_stack_that_is_not_there_is_named(cloudformation: Stubber) -> None:
    cloudformation.add_client_error("describe_stacks", "ValidationError")
    with pytest.raises(BadInputError, match='There is no stack "nowhere"'):
        find_stack("nowhere")


@pytest.mark.parametrize(
    ("endpoint", "way_out"), [(None, "Set AWS_PROFILE"), ("http://127.0.0.1:9", "whether `make local-aws` is still")]
)
def test_an_aws_that_cannot_be_reached_is_told(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, way_out: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    def refuse(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url=endpoint or "https://aws")

    monkeypatch.setattr(boto3.Session, "client", refuse)
    with pytest.raises(BadInputError, match=f"AWS cannot be called: Could not connect .*{way_out}"):
        find_stack("name")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInputError("it [is] so"), 2),
        (InvalidDatasetError("it [is] so"), 2),
        (InvalidRequestError("it [is] so"), 2),
        (OperationFailedError("it [is] so"), 1),
        (UntrustedModelError("it [is] so"), 1),
    ],
)
def test_an_error_is_one_sentence_on_stderr(capsys: pytest.CaptureFixture[str], error: Exception, code: int) -> None:
    def work(_: object) -> None:
        with errors_of_functions():
            raise error

    assert run_command(work) == code
    assert tuple(capsys.readouterr()) == ("", "error: it [is] so\n")


def test_success_is_0_and_ctrl_c_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    assert run_command(lambda _: result_console().print("[bold]")) == 0
    assert run_command(interrupted) == 130
    assert tuple(capsys.readouterr()) == ("[bold]\n", "Stopped; nothing is left running.\n")


def test_a_reader_who_has_enough_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)

        def work(_: object) -> None:
            raise BrokenPipeError

        assert run_command(work) == 1
