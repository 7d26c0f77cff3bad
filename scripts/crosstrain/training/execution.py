"""Start a run of the training state machine, follow it state by state, and read what became of it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from crosstrain.aws import THROTTLED
from crosstrain.command import BadInputError

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

# Seconds between two looks at a history: short while things happen, longer while nothing does. GetExecutionHistory has
# a rate that all of an account's callers share:
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_SHORTEST_WAIT = 0.05
_LONGEST_WAIT = 2.0
_PAGE = 100
# A direct Lambda task is LambdaFunction… in AWS's history and Task… in the embedded AWS's.
_SCHEDULED = frozenset({"TaskScheduled", "LambdaFunctionScheduled"})
_ATTEMPT_FAILED = frozenset(
    {
        "EvaluationFailed",
        "LambdaFunctionFailed",
        "LambdaFunctionScheduleFailed",
        "LambdaFunctionStartFailed",
        "LambdaFunctionTimedOut",
        "TaskFailed",
        "TaskStartFailed",
        "TaskSubmitFailed",
        "TaskTimedOut",
    }
)
_ENDED: Mapping[str, Status] = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionTimedOut": "TIMED_OUT",
    "ExecutionAborted": "ABORTED",
}

Status = Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
Kind = Literal["entered", "retried", "succeeded", "failed"]


@dataclass(frozen=True)
class StateEvent:
    """Something that happened to one state of a run.

    Attributes
    ----------
    state, state_type : str
        The name of the state and what it is (`Task`, `Choice`, `Succeed`, `Fail`, …).
    kind : str
        `entered`; `retried` (an attempt failed and another has begun); `succeeded`; `failed` (no attempt is left, or
        none is allowed for this error, whether or not the failure was caught).
    seconds : float
        The time since the state was entered.
    attempt : int
        The attempt that the event is about, from 1; for `retried`, the attempt that failed.
    error, cause : str, optional
        The error's name and text, for `retried` and `failed`.
    output : dict, optional
        What the state hands on, for `succeeded`.
    """

    state: str
    state_type: str
    kind: Kind
    seconds: float
    attempt: int
    error: str | None = None
    cause: str | None = None
    output: dict[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ExecutionResult:
    """What became of a run.

    Attributes
    ----------
    status : str
        `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    seconds : float
        The time from the first event to the last.
    output : dict, optional
        The output document, if the run succeeded.
    error, cause : str, optional
        The error's name and text, if it did not.
    failed_state : str, optional
        The state whose work failed: not the Fail state that a caught error leads to.
    """

    status: Status
    seconds: float
    output: dict[str, Any] | None = None
    error: str | None = None
    cause: str | None = None
    failed_state: str | None = None


def execution_arn(state_machine_arn: str, name: str) -> str:
    """Return the ARN of an execution of a state machine."""
    return f"{state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"


def new_run_id(prefix: str = "") -> str:
    """Return an id for a run: the time of day, so that ids sort by it, and what no other run has."""
    return f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def start(sfn: SFNClient, state_machine_arn: str, request: Mapping[str, Any], run_id: str) -> str:
    """Start a run and return the ARN of its execution.

    Parameters
    ----------
    sfn
        A Step Functions client.
    state_machine_arn : str
        The state machine.
    request : mapping
        The input document; it must be JSON.
    run_id : str
        The name of the execution, which is the id of the run: unused so far, at most 80 letters, digits, `-` and `_`.

    Raises
    ------
    BadInputError
        If the run id is taken or is not a name.
    """
    document = json.dumps(dict(request), allow_nan=False)
    try:
        return sfn.start_execution(stateMachineArn=state_machine_arn, name=run_id, input=document)["executionArn"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ExecutionAlreadyExists":
            raise BadInputError(f'A run "{run_id}" exists already; choose another run id.') from error
        if code == "InvalidName":
            raise BadInputError(
                f'"{run_id}" cannot be a run id; use at most 80 letters, digits, hyphens and underscores.'
            ) from error
        raise


def outcome(
    sfn: SFNClient,
    execution_arn: str,
    *,
    on_event: Callable[[StateEvent], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> ExecutionResult:
    """Wait for the end of a run and return what became of it; `on_event` gets what happens to each state meanwhile.

    The states are expected to run one after another, without `Parallel`; what happens to the items of a `Map` is left
    out. It is read from the history, not from DescribeExecution: both are eventually consistent, each for itself.
    """
    tracker = _Tracker()
    first: datetime | None = None
    failed: StateEvent | None = None
    for event in _history(sfn, execution_arn, sleep):
        first = first or event["timestamp"]
        for state_event in tracker.observe(event):
            on_event(state_event)
            failed = state_event if state_event.kind == "failed" else failed
    details = _details(event)
    status = _ENDED[event["type"]]
    return ExecutionResult(
        status=status,
        seconds=_seconds(first, event["timestamp"]),
        output=json.loads(details["output"]) if status == "SUCCEEDED" else None,
        error=details.get("error"),
        cause=details.get("cause"),
        failed_state=failed.state if failed and status != "SUCCEEDED" else None,
    )


class _Tracker:
    """The state that a run is in, and what has happened to it so far."""

    def __init__(self) -> None:
        # No name between two states.
        self._name, self._type = "", ""
        self._entered: datetime | None = None
        self._attempt = 0
        # A failed attempt: only the next event says whether it is retried.
        self._failure: Mapping[str, Any] | None = None

    def observe(self, event: Mapping[str, Any]) -> Iterator[StateEvent]:
        kind, at = event["type"], event["timestamp"]
        if self._name and self._type == "Map" and kind != "MapStateExited" and kind not in _ENDED:
            # States of its items, several at once.
            return
        if kind.endswith("StateEntered"):
            self._name, self._type, self._entered = _details(event)["name"], kind.removesuffix("StateEntered"), at
            self._attempt, self._failure = 1, None
            yield self._event("entered", at)
        elif kind in _SCHEDULED and self._failure is not None:
            yield self._event("retried", at)
            self._attempt, self._failure = self._attempt + 1, None
        elif kind in _ATTEMPT_FAILED:
            self._failure = _details(event)
        elif kind.endswith("StateExited"):
            output = _details(event).get("output") if self._failure is None else None
            yield self._event("succeeded" if self._failure is None else "failed", at, output)
            self._name = ""
        elif kind in _ENDED and kind != "ExecutionSucceeded" and self._name and self._type != "Fail":
            self._failure = self._failure or _details(event)
            yield self._event("failed", at)

    def _event(self, kind: Kind, at: datetime, output: str | None = None) -> StateEvent:
        failure = self._failure or {}
        seconds = _seconds(self._entered, at)
        error, cause = failure.get("error"), failure.get("cause")
        handed_on = None if output is None else json.loads(output)
        return StateEvent(self._name, self._type, kind, seconds, self._attempt, error, cause, handed_on)


def _history(sfn: SFNClient, execution_arn: str, sleep: Callable[[float], None]) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a run in their order, each once, until the one that ends it."""
    last, wait = 0, _SHORTEST_WAIT
    while True:
        try:
            events = _newer(sfn, execution_arn, last)
        except ClientError as error:
            if error.response["Error"]["Code"] not in THROTTLED:
                raise
            # The client has retried already: the account's other callers need the calls more than this one does.
            events, wait = [], _LONGEST_WAIT
        for event in events:
            yield event
            if event["type"] in _ENDED:
                return
        last = events[-1]["id"] if events else last
        wait = _SHORTEST_WAIT if events else min(2 * wait, _LONGEST_WAIT)
        sleep(wait)


def _newer(sfn: SFNClient, execution_arn: str, last: int) -> list[Mapping[str, Any]]:
    """Return the events after the one with id `last`, oldest first.

    It reads backwards, so that a look at a long history costs one page: a page's token stands for the history as it was
    when the first page was read, so no token leads to later events.
    """
    found: list[Mapping[str, Any]] = []
    arguments: dict[str, Any] = {"executionArn": execution_arn, "reverseOrder": True, "maxResults": _PAGE}
    while True:
        page = sfn.get_execution_history(**arguments)
        newer = [event for event in page["events"] if event["id"] > last]
        found.extend(newer)
        if len(newer) < len(page["events"]) or "nextToken" not in page:
            return found[::-1]
        arguments["nextToken"] = page["nextToken"]


def _details(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the details of an event, whose field is named after the event's type."""
    for name, value in event.items():
        if name.endswith("EventDetails"):
            details: Mapping[str, Any] = value
            return details
    return {}


def _seconds(begin: datetime | None, end: datetime) -> float:
    return (end - begin).total_seconds() if begin is not None else 0.0
