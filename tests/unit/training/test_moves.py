"""What is asked of the state machine that rolls back, and what is made of its answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training import execution
from crosstrain.training.moves import ChampionMovedError, move_challenger, move_champion

MACHINE = "arn:aws-cn:states:cn-north-1:123456789012:stateMachine:tested-rollback"
POINTER = {"model_name": "default", "entry": "champion", "champion_version": "b", "moves": 4}
RECORDED = {"from_version": "b", "to_version": "a", "move": 5}
LOST = EndpointConnectionError(endpoint_url="https://states.cn-north-1.amazonaws.com.cn")


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Operation")


class StepFunctions:
    """A client whose one execution ends as it is told; `lost` says what its calls raise."""

    def __init__(self, event: dict[str, Any], **lost: BaseException) -> None:
        self.event, self.lost, self.started = event, lost, list[dict[str, Any]]()

    def start_execution(self, **arguments: Any) -> dict[str, Any]:
        """Note what is asked."""
        self.started.append(arguments)
        if "start" in self.lost:
            raise self.lost["start"]
        return {"executionArn": f"{MACHINE.replace(':stateMachine:', ':execution:')}:{arguments['name']}"}

    def get_execution_history(self, **arguments: Any) -> dict[str, Any]:
        """Return the end of the execution."""
        assert arguments["executionArn"] == f"{MACHINE.replace('stateMachine', 'execution')}:{self.started[0]['name']}"
        if "history" in self.lost:
            raise self.lost["history"]
        return {"events": [{"id": 1, "timestamp": datetime(2026, 1, 1, tzinfo=UTC), **self.event}]}


def succeeded() -> dict[str, Any]:
    return {"type": "ExecutionSucceeded", "executionSucceededEventDetails": {"output": json.dumps(RECORDED)}}


def failed(error: str, cause: str) -> dict[str, Any]:
    return {"type": "ExecutionFailed", "executionFailedEventDetails": {"error": error, "cause": cause}}


def move(sfn: Any, pointer: dict[str, Any] = POINTER) -> Any:
    return move_champion(sfn, MACHINE, pointer, "a", reason="it drifts")


def test_the_champion_that_was_read_is_part_of_what_is_asked() -> None:
    sfn = StepFunctions(succeeded())
    assert move(sfn) == RECORDED
    (started,) = sfn.started
    assert started["stateMachineArn"] == MACHINE
    assert json.loads(started["input"]) == {
        "model_name": "default",
        "version": "a",
        "reason": "it drifts",
        "expected": {"champion_version": "b", "moves": 4},
    }


def test_a_champion_whose_moves_nobody_counted_has_moved_no_times() -> None:
    sfn = StepFunctions(succeeded())
    move(sfn, {name: value for name, value in POINTER.items() if name != "moves"})
    assert json.loads(sfn.started[0]["input"])["expected"] == {"champion_version": "b", "moves": 0}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ChampionMovedError", ChampionMovedError),
        ("InvalidRequestError", BadInputError),
        ("RollbackRefusedError", OperationFailedError),
        ("RollbackFailedError", OperationFailedError),
    ],
)
def test_what_the_state_machine_refuses_is_told_in_its_words(error: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^Somebody else\.$"):
        move(StepFunctions(failed(error, "Somebody else.")))


def test_a_first_attempt_whose_answer_was_lost_is_followed() -> None:
    assert move(StepFunctions(succeeded(), start=client_error("ExecutionAlreadyExists"))) == RECORDED


def test_a_start_that_is_refused_is_told_as_it_is() -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        move(StepFunctions(succeeded(), start=client_error("AccessDeniedException")))


@pytest.mark.parametrize(
    ("event", "lost", "why"),
    [
        (succeeded(), {"start": LOST}, "Could not connect"),
        (succeeded(), {"history": LOST}, "Could not connect"),
        (succeeded(), {"history": client_error("ExpiredTokenException")}, "ExpiredTokenException"),
        (succeeded(), {"history": KeyboardInterrupt()}, "interrupted"),
        ({"type": "ExecutionAborted", "executionAbortedEventDetails": {}}, {}, "ABORTED: no cause is given"),
        ({"type": "ExecutionTimedOut", "executionTimedOutEventDetails": {}}, {}, "TIMED_OUT: no cause is given"),
        (failed("Timeout", "FindVersion: no answer."), {}, "Timeout: FindVersion: no answer)"),
    ],
)
def test_whoever_does_not_know_whether_it_has_moved_is_told_how_to_look(
    event: dict[str, Any], lost: dict[str, BaseException], why: str
) -> None:
    sfn = StepFunctions(event, **lost)
    with pytest.raises(OperationFailedError, match="is not known") as raised:
        move(sfn)
    message = str(raised.value)
    assert why in message
    assert "`models.py champion --model-name default`" in message
    assert message.endswith(f":execution:tested-rollback:{sfn.started[0]['name']}.")
    assert len(sfn.started[0]["name"]) == len(execution.new_run_id())


def test_the_challenger_that_was_read_is_part_of_what_is_asked() -> None:
    for pointer, entry in ((POINTER, ""), ({**POINTER, "challenger_entry": "canary#1"}, "canary#1")):
        sfn: Any = StepFunctions(succeeded())
        assert move_challenger(sfn, MACHINE, pointer, "begin", "a", share=10, reason="to see") == RECORDED
        assert json.loads(sfn.started[0]["input"]) == {
            "action": "begin",
            "model_name": "default",
            "version": "a",
            "share": 10,
            "reason": "to see",
            "expected": {"champion_version": "b", "moves": 4, "challenger": entry},
        }


@pytest.mark.parametrize("error", ["CanaryRefusedError", "CanaryFailedError"])
def test_a_canary_that_the_state_machine_refuses_has_changed_nothing(error: str) -> None:
    sfn: Any = StepFunctions(failed(error, "c was rejected."))
    with pytest.raises(OperationFailedError, match=r"^c was rejected\.$"):
        move_challenger(sfn, MACHINE, POINTER, "begin", "c", share=10, reason="")
