"""The training command: bad input is answered with exit code 2 before anything is started."""

from __future__ import annotations

import errno
import hashlib
import os
import pty
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.stub
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import train
from crosstrain.command import OperationFailedError, run_command
from crosstrain.files import SCRIPTS
from crosstrain.training import runs
from crosstrain.training.execution import ExecutionResult
from crosstrain.training.progress import Progress
from crosstrain.training.runs import Clients
from crosstrain.training.stack import STACK_VARIABLE


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder, and fail if the embedded AWS is asked for."""

    def started(*_: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(train, "open_training_stack", started)
    monkeypatch.delenv(STACK_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def write(name: str, content: bytes | pd.DataFrame) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pd.DataFrame):
        content.to_csv(path, index=False)
    else:
        path.write_bytes(content)
    return name


def houses() -> pd.DataFrame:
    return pd.DataFrame({"rooms": np.arange(20), "price": np.arange(20) / 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.csv", "--target", "price"], '"nowhere.csv" does not exist'),
        (["--data", "houses.csv"], "Say which column to predict"),
        (["--data", "houses.csv", "--target", "prise"], 'Did you mean "price"?'),
        (["--data", "houses.csv", "--target", "price", "--split-column", "split"], 'The split column "split" is not'),
        (["--data", "houses.csv", "--target", "price", "--estimator", "rigde"], 'Did you mean "ridge"?'),
        (["--data", "houses.csv", "--target", "price", "--metric", "rsme"], 'Did you mean "rmse"'),
        (["--data", "houses.csv", "--target", "price", "--problem", "regresion"], 'Did you mean "regression"?'),
        (["--data", "houses.csv", "--target", "price", "--test-fraction", "1"], '"test_fraction" is 1.0'),
        (["--data", "houses.csv", "--target", "price", "--threshold", "nan"], '"threshold" is nan'),
        (
            ["--data", "houses.csv", "--target", "price", "--estimator", "ridge", "--hyperparameters", '{"alfa": 1}'],
            'Did you mean "alpha"?',
        ),
        (["--data", "empty.csv", "--target", "price"], "is empty"),
        (["--data", "false.parquet", "--target", "price"], "cannot be read as Parquet"),
        (["--data", "nothing", "--target", "price"], "is a folder without a data file"),
        (["--data", "mixed", "--target", "price"], 'ignored: "readme.md"'),
        (["--data", "s3://bucket/houses.csv", "--target", "price"], "name the deployed stack"),
        (
            ["--data", "houses.csv", "--target", "price", "--out", "empty.csv/out"],
            'cannot be written to "empty.csv/out"',
        ),
        (["--data", "houses.csv", "--target", "price", "--out", "empty.csv"], '"empty.csv" is no folder'),
        (["--data", "houses.csv", "--target", "price", "--out", "taken"], '"taken/model.json" is a folder'),
        (["--data", "houses.csv", "--target", "price", "--out", "dangling"], 'dangling" is no folder'),
        (["--data", "~/houses.csv", "--target", "prise"], 'Did you mean "price"?'),
        (["--data", "~nobody-like-it/houses.csv"], '"~nobody-like-it/houses.csv" does not exist'),
    ],
)
def test_bad_input_is_named_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write("houses.csv", houses())
    write("empty.csv", b"")
    write("false.parquet", b"PAR1price\n1\n")
    write("mixed/readme.md", b"")
    Path("nothing").mkdir()
    Path("taken/model.json").mkdir(parents=True)
    Path("dangling").symlink_to("not-there")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    assert train.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("text", ["{", "[1]", "alpha=1"])
def test_hyperparameters_are_a_json_object(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(["--hyperparameters", text])
    assert caught.value.code == 2
    assert "JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 60_000, "nests too deep"),
        ('{"a":' * 20_000 + "1" + "}" * 20_000, "nests too deep"),
        (f'{{"alpha": {"9" * 5000}}}', "is not JSON"),
        ('{"alpha": 1, "alpha": 2}', "the key 'alpha' is there twice"),
    ],
)
@pytest.mark.parametrize("flag", ["--hyperparameters", "--split-key"])
def test_json_of_the_worst_kind_ends_in_one_sentence(
    capsys: pytest.CaptureFixture[str], flag: str, text: str, message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main([flag, text if flag == "--hyperparameters" else f"[{text}]"])
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()[-1]) < 300


@pytest.mark.parametrize("text", ['{"alpha": NaN}', '{"alpha": 1e999}', '{"\\ud800": 1}', '{"solver": "\\ud800"}'])
def test_what_only_python_takes_for_json_is_refused_by_the_request(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    write("houses.csv", houses())
    arguments = ["--data", "houses.csv", "--target", "price", "--estimator", "ridge", "--hyperparameters", text]
    assert train.main(arguments) == 2
    assert "The hyperparameters of ridge cannot be used" in capsys.readouterr().err


NO_UTF8 = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    ("data", "out"),
    [
        (f"{NO_UTF8}.csv", "out"),
        (f"folder{NO_UTF8}", "out"),
        (f"folder{NO_UTF8}/houses.csv", "out"),
        ("folder", "out"),
        (f"nowhere{NO_UTF8}.csv", "out"),
        ("houses.csv", f"out{NO_UTF8}"),
    ],
)
def test_a_name_that_is_no_utf8_is_refused(capsys: pytest.CaptureFixture[str], data: str, out: str) -> None:
    for name in (f"{NO_UTF8}.csv", f"folder{NO_UTF8}/houses.csv", f"folder/{NO_UTF8}.csv", "houses.csv"):
        write(name, houses())
    assert train.main(["--data", data, "--target", "price", "--out", out]) == 2
    error = capsys.readouterr().err
    assert r"\xff" in error
    assert "is not UTF-8: give it another name." in error
    error.encode()


def test_a_column_that_is_no_utf8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write("houses.csv", houses())
    assert train.main(["--data", "houses.csv", "--target", f"price{NO_UTF8}"]) == 2
    capsys.readouterr().err.encode()


class Store:
    """S3 of which a file is fetched until the disk is full."""

    def __init__(self, room: int) -> None:
        self._room = room

    def download_file(self, _bucket: str, key: str, path: str, **_: object) -> None:
        """Write a file, or as much of it as there is room for."""
        Path(path).write_text(key)
        self._room -= 1
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("out", ["out", "not/yet/there"])
@pytest.mark.parametrize("room", [0, 4])
def test_a_full_disk_leaves_the_results_that_were_there(tmp_path: Path, out: str, room: int) -> None:
    write("out/report.html", b"earlier")
    output: dict[str, Any] = {}
    for step, kind in runs.FILES.values():
        files = output.setdefault(step, {"sha256": {}})
        files[f"{kind}_uri"] = f"s3://bucket/{kind}"
        files["sha256"][kind] = hashlib.sha256(kind.encode()).hexdigest()
    stack = Clients("arn", "bucket", Store(room), None)  # type: ignore[arg-type]
    with pytest.raises(OperationFailedError, match="No space left on device") as caught:
        runs._fetch(stack, ExecutionResult("SUCCEEDED", 1.0, output), Path(out), Progress(Console(quiet=True)))
    assert f'"{out}"' in str(caught.value)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["out", "out/report.html"]
    assert Path("out/report.html").read_text() == "earlier"


SESSION = boto3.Session


class Session:
    """A boto3 session whose CloudFormation answers as it is told to."""

    def __init__(self, answer: dict[str, Any] | str) -> None:
        self._answer = answer

    def client(self, service: str) -> Any:
        """Return a client that cannot reach AWS."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = SESSION(region_name="eu-west-1", **keys).client(service)  # type: ignore[call-overload]
        if service == "cloudformation":
            stubber = botocore.stub.Stubber(client)
            if isinstance(self._answer, str):
                stubber.add_client_error("describe_stacks", self._answer)
            else:
                stubber.add_response("describe_stacks", {"Stacks": [self._answer]}, {"StackName": "prod"})
            stubber.activate()
        return client


STACK = {"StackName": "prod", "CreationTime": "2024-01-01T00:00:00Z", "StackStatus": "CREATE_COMPLETE"}


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ("ValidationError", 2, 'There is no stack "prod" in this account and region'),
        (STACK, 2, 'The stack "prod" has no output'),
        ("AccessDenied", 1, "AccessDenied"),
    ],
)
def test_a_stack_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, Any] | str,
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(boto3, "Session", lambda: Session(answer))
    write("houses.csv", houses())
    assert train.main(["--data", "houses.csv", "--target", "price", "--stack", "prod"]) == code
    assert message in capsys.readouterr().err


def test_the_stack_that_the_environment_names_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STACK_VARIABLE, "prod")
    monkeypatch.setattr(boto3, "Session", lambda: Session("ValidationError"))
    write("houses.csv", houses())
    assert train.main(["--data", "houses.csv", "--target", "price"]) == 2
    assert 'There is no stack "prod"' in capsys.readouterr().err


def test_missing_aws_settings_say_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "nowhere")
    write("houses.csv", houses())
    assert train.main(["--data", "houses.csv", "--target", "price", "--stack", "prod"]) == 2
    assert "Set AWS_PROFILE and AWS_REGION" in capsys.readouterr().err


def test_a_pipe_with_a_data_files_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To open it would wait for ever for somebody to write."""
    os.mkfifo(tmp_path / "data.csv")
    assert train.main(["--data", str(tmp_path / "data.csv"), "--target", "y"]) == 2
    assert "is neither a file nor a folder" in capsys.readouterr().err


def test_who_stops_waiting_for_a_run_on_aws_is_told_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is stopped here is the command alone."""
    write("houses.csv", houses())
    machine = "arn:aws:states:eu-west-1:123456789012:stateMachine:prod-training"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    clients = runs.Clients(machine, "bucket", *[SimpleNamespace(upload_file=lambda *_: None)] * 2)
    monkeypatch.setattr(
        runs, "find_stack", lambda _: SimpleNamespace(output=None, session=SimpleNamespace(client=None))
    )
    monkeypatch.setattr(runs.Clients, "of", lambda *_: clients)
    monkeypatch.setattr(runs, "start", interrupted)
    assert train.main(["--data", "houses.csv", "--target", "price", "--stack", "prod"]) == 130
    shown = " ".join(capsys.readouterr().err.split())
    assert "goes on: aws stepfunctions stop-execution --execution-arn" in shown
    assert "execution:prod-training:20" in shown


@pytest.mark.parametrize(
    ("closed", "data", "message"),
    [
        ("houses.csv", "houses.csv", '"houses.csv" cannot be read: you have no right to.'),
        ("folder", "folder", '"folder" cannot be read'),
        ("inner", "folder", '"folder/inner" cannot be read'),
        ("out", "houses.csv", '"out" is no folder that may be written to'),
    ],
)
def test_what_may_not_be_read_or_written_is_named_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], closed: str, data: str, message: str
) -> None:
    for name in ("houses.csv", "folder/inner/houses.csv"):
        write(name, houses())
    Path("out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != closed)
    assert train.main(["--data", data, "--target", "price"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "cause", "code", "told"),
    [
        ("InvalidDatasetError", "PrepareData: It: is bad.", 2, "error: It: is bad."),
        ("InvalidRequestError", "TrainModel: It is bad.", 2, "error: It is bad."),
        ("InvalidDatasetError", None, 1, "InvalidDatasetError: no cause is given"),
        ("UntrustedModelError", "EvaluateModel: It is bad.", 1, "failed in EvaluateModel: UntrustedModelError: It is"),
        ("Timeout", "EvaluateModel: no cause was given.", 1, "failed in EvaluateModel: Timeout: no cause was given."),
        ("Sandbox.Timedout", "EvaluateModel: 900 seconds.", 1, "Sandbox.Timedout: 900 seconds. Lambda has stopped its"),
    ],
)
def test_the_exit_code_says_whose_fault_it_was(
    capsys: pytest.CaptureFixture[str], error: str, cause: str | None, code: int, told: str
) -> None:
    result = ExecutionResult("FAILED", 1.0, error=error, cause=cause, failed_state="EvaluateModel")

    def work(_errors: object) -> None:
        raise runs.failure_of("20260101T000000-0", result)

    assert run_command(work) == code
    shown = capsys.readouterr().err
    assert told in shown
    assert ("20260101T000000-0" in shown) == (code == 1)


@pytest.mark.parametrize(
    ("there", "decision", "kept"),
    [
        ({}, "reject", False),
        ({"evaluation.json": '{"decision": "promote"}'}, "reject", True),
        ({"evaluation.json": '{"decision": "promote"}'}, "promote", False),
        ({"evaluation.json": '{"decision": "reject"}', "model.json": ""}, "reject", False),
        ({"evaluation.json": "[" * 100_000}, "reject", True),
        ({"evaluation.json": "[]"}, "reject", True),
        ({"model.skops": ""}, "reject", True),
        ({"notes.txt": ""}, "reject", False),
    ],
)
def test_a_rejected_run_leaves_what_may_have_been_promoted(
    tmp_path: Path, there: dict[str, str], decision: str, kept: bool
) -> None:
    for name, text in there.items():
        (tmp_path / name).write_text(text)
    assert (
        runs._keeps_promoted(tmp_path, ExecutionResult("SUCCEEDED", 1, {"evaluation": {"decision": decision}})) is kept
    )


_AT_WORK = """
import time
from crosstrain.command import run_command
from crosstrain.training.execution import StateEvent
from crosstrain.training.progress import Progress

def work(errors):
    with Progress(errors).states() as show:
        show(StateEvent("TrainModel", "Task", "entered", 0.0, 1))
        time.sleep(60)

raise SystemExit(run_command(work))
"""


def test_ctrl_c_gives_the_cursor_back() -> None:
    """A terminal sends it as a signal to whoever is in the foreground."""
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(SCRIPTS)}
        os.execve(sys.executable, [sys.executable, "-c", _AT_WORK], environment)  # noqa: S606 - pty.fork leaves this to us
    shown = b""
    try:
        while b"TrainModel" not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, b"\x03")
        # Linux answers with an error once nobody is left at the other end.
        with suppress(OSError):
            while more := os.read(terminal, 4096):
                shown += more
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert re.findall(rb"\x1b\[\?25[lh]", shown)[-1] == b"\x1b[?25h"
    assert b"Stopped" in shown
