"""Starting and following runs, against a stubbed client that asserts each request."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from crosstrain.command import BadInputError
from crosstrain.training import execution
from crosstrain.training.execution import ExecutionResult, StateEvent

MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:training"
RUN = "arn:aws:states:eu-central-1:123456789012:execution:training:run-1"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_LOOK = {"executionArn": RUN, "reverseOrder": True, "maxResults": 100}


@pytest.fixture
def sfn() -> Any:
    return boto3.client("stepfunctions", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106


@pytest.fixture
def stub(sfn: Any) -> Iterator[Stubber]:
    with Stubber(sfn) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


class Sleep:
    """A clock that does not wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        """Note the wait."""
        self.waits.append(round(seconds, 3))


@pytest.fixture
def sleep() -> Sleep:
    return Sleep()


def history(*events: tuple[str, dict[str, Any]], begin: int = 1) -> list[dict[str, Any]]:
    """Return events, newest first, one second apart; the details' field is named as AWS names it."""
    fields = {
        "StateEntered": "stateEnteredEventDetails",
        "StateExited": "stateExitedEventDetails",
    }
    made = []
    for number, (kind, details) in enumerate(events, start=begin):
        suffix = next((each for each in fields if kind.endswith(each)), None)
        field = fields[suffix] if suffix else f"{kind[0].lower()}{kind[1:]}EventDetails"
        event = {"id": number, "type": kind, "timestamp": BEGIN + timedelta(seconds=number)}
        made.append({**event, field: details} if details else event)
    return made[::-1]


def entered(name: str, kind: str = "Task") -> tuple[str, dict[str, Any]]:
    return f"{kind}StateEntered", {"name": name}


def exited(name: str, kind: str = "Task") -> tuple[str, dict[str, Any]]:
    return f"{kind}StateExited", {"name": name}


SCHEDULED: tuple[str, dict[str, Any]] = ("LambdaFunctionScheduled", {"resource": "arn:aws:lambda:eu:1:function:f"})
THROTTLED: tuple[str, dict[str, Any]] = (
    "LambdaFunctionFailed",
    {"error": "Lambda.TooManyRequestsException", "cause": "Rate Exceeded."},
)
STARTED: tuple[str, dict[str, Any]] = ("ExecutionStarted", {})
SUCCEEDED: tuple[str, dict[str, Any]] = ("ExecutionSucceeded", {"output": '{"run_id": "run-1"}'})


def test_start_names_the_execution_after_the_run(sfn: Any, stub: Stubber) -> None:
    stub.add_response(
        "start_execution",
        {"executionArn": RUN, "startDate": BEGIN},
        {"stateMachineArn": MACHINE, "name": "run-1", "input": '{"target": "price"}'},
    )

    assert execution.start(sfn, MACHINE, {"target": "price"}, "run-1") == RUN


@pytest.mark.parametrize(("code", "message"), [("ExecutionAlreadyExists", "exists"), ("InvalidName", "letters")])
def test_start_says_what_is_wrong_with_a_run_id(sfn: Any, stub: Stubber, code: str, message: str) -> None:
    stub.add_client_error("start_execution", code)

    with pytest.raises(BadInputError, match=f'"run-1".*{message}'):
        execution.start(sfn, MACHINE, {}, "run-1")


def follow(sfn: Any, sleep: Sleep) -> list[StateEvent]:
    """Return what happens to each state of a run, in its order."""
    events: list[StateEvent] = []
    execution.outcome(sfn, RUN, on_event=events.append, sleep=sleep)
    return events


def test_the_history_is_read_on_over_pages_and_polled(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    events = history(STARTED, entered("PrepareData"), SCHEDULED, exited("PrepareData"), SUCCEEDED)
    # The first look finds one event, the second nothing new, the third the rest, spread over two pages.
    stub.add_response("get_execution_history", {"events": events[-2:]}, FIRST_LOOK)
    stub.add_response("get_execution_history", {"events": events[-2:]}, FIRST_LOOK)
    stub.add_response("get_execution_history", {"events": events[:2], "nextToken": "older"}, FIRST_LOOK)
    stub.add_response("get_execution_history", {"events": events[2:]}, {**FIRST_LOOK, "nextToken": "older"})

    assert follow(sfn, sleep) == [
        StateEvent("PrepareData", "Task", "entered", 0.0, 1),
        StateEvent("PrepareData", "Task", "succeeded", 2.0, 1),
    ]
    assert sleep.waits == [0.05, 0.1]


def test_pages_that_were_seen_are_not_read_again(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    events = history(STARTED, entered("PrepareData"), exited("PrepareData"), SUCCEEDED)
    stub.add_response("get_execution_history", {"events": events[2:]}, FIRST_LOOK)
    # There is an older page, but this one reaches back to what is known.
    stub.add_response("get_execution_history", {"events": events[:3], "nextToken": "older"}, FIRST_LOOK)

    assert [event.kind for event in follow(sfn, sleep)] == ["entered", "succeeded"]


def test_a_retry_is_no_failure(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    events = history(
        STARTED, entered("TrainModel"), SCHEDULED, THROTTLED, SCHEDULED, THROTTLED, exited("TrainModel"),
        entered("RunFailed", "Fail"), ("ExecutionFailed", {"error": "X", "cause": "TrainModel: Rate Exceeded."}),
    )  # fmt: skip
    stub.add_response("get_execution_history", {"events": events}, FIRST_LOOK)

    assert follow(sfn, sleep) == [
        StateEvent("TrainModel", "Task", "entered", 0.0, 1),
        StateEvent("TrainModel", "Task", "retried", 3.0, 1, "Lambda.TooManyRequestsException", "Rate Exceeded."),
        StateEvent("TrainModel", "Task", "failed", 5.0, 2, "Lambda.TooManyRequestsException", "Rate Exceeded."),
        StateEvent("RunFailed", "Fail", "entered", 0.0, 1),
    ]


def test_what_happens_to_the_items_of_a_map_is_left_out(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    """As AWS has it: the states of items that run at once stand between each other."""
    iteration: dict[str, Any] = {"name": "MakeTrials", "index": 0}
    events = history(
        STARTED, entered("MakeTrials", "Map"), ("MapStateStarted", {"length": 2}),
        ("MapIterationStarted", iteration), entered("TrainTrial"), SCHEDULED, entered("TrainTrial"), THROTTLED,
        SCHEDULED, exited("TrainTrial"), ("MapIterationSucceeded", iteration), THROTTLED,
        entered("TrialFailed", "Pass"),
        exited("TrialFailed", "Pass"), ("MapStateSucceeded", {}),
        ("MapStateExited", {"name": "MakeTrials", "output": '{"done": [1, 2]}'}),
        entered("PlanSearch"), SCHEDULED, exited("PlanSearch"), SUCCEEDED,
    )  # fmt: skip
    stub.add_response("get_execution_history", {"events": events}, FIRST_LOOK)

    found = follow(sfn, sleep)
    assert [(event.state, event.kind) for event in found] == [
        ("MakeTrials", "entered"), ("MakeTrials", "succeeded"), ("PlanSearch", "entered"), ("PlanSearch", "succeeded"),
    ]  # fmt: skip
    assert found[1].output == {"done": [1, 2]}


def test_a_run_that_ends_within_a_map_has_failed_there(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    events = history(
        STARTED, entered("MakeTrials", "Map"), entered("TrainTrial"), ("ExecutionAborted", {"error": "E", "cause": "c"})
    )
    stub.add_response("get_execution_history", {"events": events}, FIRST_LOOK)
    assert [(event.state, event.kind) for event in follow(sfn, sleep)][-1] == ("MakeTrials", "failed")


@pytest.mark.parametrize("code", ["ThrottlingException", "TooManyRequestsException"])
def test_it_gives_way_when_it_is_throttled(sfn: Any, stub: Stubber, sleep: Sleep, code: str) -> None:
    stub.add_client_error("get_execution_history", code)
    stub.add_response("get_execution_history", {"events": history(STARTED, SUCCEEDED)}, FIRST_LOOK)

    assert follow(sfn, sleep) == []
    assert sleep.waits == [2.0]


def test_other_errors_are_not_swallowed(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    stub.add_client_error("get_execution_history", "ExecutionDoesNotExist")

    with pytest.raises(sfn.exceptions.ExecutionDoesNotExist):
        follow(sfn, sleep)


def test_waits_grow_to_a_limit_and_are_short_again_after_news(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    events = history(STARTED, entered("TrainModel"), SUCCEEDED)
    for _ in range(7):
        stub.add_response("get_execution_history", {"events": events[2:]}, FIRST_LOOK)
    stub.add_response("get_execution_history", {"events": events[1:]}, FIRST_LOOK)
    stub.add_response("get_execution_history", {"events": events}, FIRST_LOOK)

    follow(sfn, sleep)

    assert sleep.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 0.05]


def test_the_outcome_of_a_success_is_its_output(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    events = history(STARTED, entered("TrainModel"), SCHEDULED, THROTTLED, SCHEDULED, exited("TrainModel"), SUCCEEDED)
    stub.add_response("get_execution_history", {"events": events}, FIRST_LOOK)

    message: list[StateEvent] = []
    result = execution.outcome(sfn, RUN, on_event=message.append, sleep=sleep)
    assert result == ExecutionResult("SUCCEEDED", 6.0, {"run_id": "run-1"})
    assert message[-1].kind == "succeeded"


def test_the_outcome_of_a_failure_names_the_step_at_fault(sfn: Any, stub: Stubber, sleep: Sleep) -> None:
    cause = "PrepareData: The data set has no rows."
    events = history(
        STARTED, entered("PrepareData"), SCHEDULED, ("LambdaFunctionFailed", {"error": "InvalidDatasetError"}),
        exited("PrepareData"), entered("RunFailed", "Fail"),
        ("ExecutionFailed", {"error": "InvalidDatasetError", "cause": cause}),
    )  # fmt: skip
    stub.add_response("get_execution_history", {"events": events}, FIRST_LOOK)

    assert execution.outcome(sfn, RUN, sleep=sleep) == ExecutionResult(
        "FAILED", 6.0, error="InvalidDatasetError", cause=cause, failed_state="PrepareData"
    )


@pytest.mark.parametrize(("kind", "status"), [("ExecutionAborted", "ABORTED"), ("ExecutionTimedOut", "TIMED_OUT")])
def test_a_run_that_is_stopped_fails_in_the_state_it_was_in(
    sfn: Any, stub: Stubber, sleep: Sleep, kind: str, status: str
) -> None:
    events = history(STARTED, entered("TrainModel"), SCHEDULED, (kind, {"error": "Stopped", "cause": "By hand."}))
    stub.add_response("get_execution_history", {"events": events}, FIRST_LOOK)

    result = execution.outcome(sfn, RUN, sleep=sleep)

    assert (result.status, result.failed_state, result.error) == (status, "TrainModel", "Stopped")
