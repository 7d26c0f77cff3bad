"""A task's job: what its state machine is told, whatever becomes of the handler."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from common import job

HANDLERS = """
    import os, signal, sys, time
    from pathlib import Path
    from common.errors import InvalidDatasetError

    def returning(event, context):
        return {**event, "left": context.get_remaining_time_in_millis() > 0}

    def refusing(event, context):
        raise InvalidDatasetError("The file is empty.")

    def killed(event, context):
        os.kill(os.getpid(), signal.SIGKILL)

    def leaving(event, context):
        sys.exit(3)

    def stopped(event, context):
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)

    def slow(event, context):
        Path(event["pid"]).write_text(str(os.getpid()))
        time.sleep(event["seconds"])
        return {}

    def not_json(event, context):
        return {"value": float("nan")}
"""


class States:
    """A Step Functions client that remembers what it is told, and fails as it is said."""

    def __init__(self, *heartbeats: Exception | None, success: Exception | None = None) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.heartbeats, self._answers, self._success = 0, list(heartbeats), success

    def send_task_heartbeat(self, **_: str) -> None:
        """Count it."""
        self.heartbeats += 1
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer

    def send_task_success(self, **arguments: str) -> None:
        """Take a result."""
        if self._success is not None:
            raise self._success
        self.told.append(("success", json.loads(arguments["output"])))

    def send_task_failure(self, **arguments: str) -> None:
        """Take an error."""
        self.told.append((arguments["error"], json.loads(arguments["cause"])))


Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs a handler as a job."""
    (tmp_path / "handlers_of_a_job.py").write_text(textwrap.dedent(HANDLERS), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "8192")
    before = signal.getsignal(signal.SIGTERM)

    def work(handler: str, states: States, event: dict[str, Any] | None = None) -> int:
        monkeypatch.setenv("EVENT", json.dumps(event or {}))
        try:
            return job.Job(f"handlers_of_a_job.{handler}", cast("Any", states), "token").run()
        finally:
            signal.signal(signal.SIGTERM, before)

    return work


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "SendTaskHeartbeat")


def test_a_result_is_the_answer_of_the_state(run: Run) -> None:
    states = States()
    assert run("returning", states, {"run_id": "one"}) == 0
    assert states.told == [("success", {"run_id": "one", "left": True})]
    assert states.heartbeats == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("handler", "name", "message"),
    [
        ("refusing", "InvalidDatasetError", "The file is empty."),
        ("killed", "OutOfMemoryError", "more than its 8192 MB"),
        ("leaving", "JobDiedError", "exit code 3"),
        ("stopped", "JobStoppedError", "stopped before it had finished"),
        ("not_json", "ValueError", "not JSON compliant"),
    ],
)
def test_an_error_has_its_name_and_the_form_that_lambda_gives_it(
    handler: str, name: str, message: str, run: Run
) -> None:
    states = States()
    assert run(handler, states) == 1
    ((told, cause),) = states.told
    assert told == cause["errorType"] == name
    assert message in cause["errorMessage"]


@pytest.mark.slow
def test_a_task_that_nobody_waits_for_ends_itself(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTBEAT_SECONDS", "1.5")
    states = States(None, client_error("TaskTimedOut"))
    assert run("slow", states, {"pid": str(tmp_path / "pid"), "seconds": 60}) == 1
    assert states.told == []
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_heartbeats_that_get_lost_end_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTBEAT_SECONDS", "0.05")
    states = States(EndpointConnectionError(endpoint_url="https://states"), client_error("ThrottlingException"))
    assert run("slow", states, {"pid": str(tmp_path / "pid"), "seconds": 0.2}) == 0
    assert states.heartbeats > 2
    assert states.told == [("success", {})]


def test_a_result_that_is_refused_is_an_error_at_once(run: Run) -> None:
    states = States(success=client_error("InvalidOutput"))
    assert run("returning", states) == 1
    ((name, cause),) = states.told
    assert name == "AnswerRefusedError"
    assert "InvalidOutput" in cause["errorMessage"]


def test_a_command_that_lacks_something_says_what(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVENT", raising=False)
    monkeypatch.delenv("TASK_TOKEN", raising=False)
    assert job.main(["model_training.app.handler"]) == 2
    assert "EVENT" in capsys.readouterr().err
