"""Runs a function's handler as a task of its own, where the work does not fit a function.

    python3 -m common.job model_training.app.handler

What a call would hand over comes by the environment: EVENT, as JSON or as the URI of an object that holds it, and
TASK_TOKEN, by which the answer goes back to the state machine. Errors keep the names and the form that Lambda gives
them. The handler runs in a process of its own: what kills that one for its memory leaves this one, which says so.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from common.capacity import TASK_SECONDS
from common.storage import Stored, read_json, s3_client

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 60.0
# Nobody waits for the answer any more: the run was stopped, or has given this task up.
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskHeartbeat.html
_GONE = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html
_MOST_ERROR, _MOST_CAUSE = 256, 8_000
# What a process that has answered may take to end.
_SECONDS_OF_END = 30.0


class Context:
    """What handlers ask of the context of a call."""

    def __init__(self) -> None:
        self._end = time.monotonic() + TASK_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the task may still take, in milliseconds."""
        return max(0, int(1000 * (self._end - time.monotonic())))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the handler that the command line names, answer the state machine, and return the exit code.

    Returns
    -------
    int
        0 for a result, 1 for an error that the state machine was told of or nobody waits for, 2 for a job that lacks
        what it is called with.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    lacking = [name for name in ("EVENT", "TASK_TOKEN") if not os.environ.get(name)]
    if lacking or len(words) != 1:
        print(
            f"A job has one handler and the variables EVENT and TASK_TOKEN; {lacking or words} is not that.",
            file=sys.stderr,
        )
        return 2
    logging.basicConfig(level=logging.INFO, force=True)
    # Each of these calls is worth minutes of waiting: an answer that is lost is a run that is lost.
    retries = Config(retries={"mode": "standard", "total_max_attempts": 10})
    return Job(words[0], boto3.client("stepfunctions", config=retries), os.environ["TASK_TOKEN"]).run()


class Job:
    """One handler at work, and the state machine that waits for it.

    Parameters
    ----------
    handler : str
        Its module and its name.
    states
        A Step Functions client.
    token : str
        Of the state that waits.
    """

    def __init__(self, handler: str, states: SFNClient, token: str) -> None:
        self._states, self._token = states, token
        context = multiprocessing.get_context("spawn")
        self._receiver, self._sender = context.Pipe(duplex=False)
        self._child = context.Process(target=_work, args=(handler, os.environ["EVENT"], self._sender))

    def run(self) -> int:
        """Do it, and return the exit code."""
        self._child.start()
        # Else the end of the child would not be the end of the pipe.
        self._sender.close()
        signal.signal(signal.SIGTERM, lambda *_: self._child.terminate())
        wait = 0.0
        while not self._receiver.poll(wait):
            if not self._is_waited_for():
                logger.warning("nobody waits for this task any more: it ends")
                self._end(at_once=True)
                return 1
            wait = float(os.environ.get("HEARTBEAT_SECONDS", HEARTBEAT_SECONDS))
        answer = self._answer()
        self._end(at_once="error" in answer)
        return self._tell(answer)

    def _is_waited_for(self) -> bool:
        try:
            self._states.send_task_heartbeat(taskToken=self._token)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return False
            logger.warning("no heartbeat was sent: %s", error)
        except BotoCoreError as error:
            # The next one may get through, and the state machine waits for several.
            logger.warning("no heartbeat was sent: %s", error)
        return True

    def _answer(self) -> dict[str, Any]:
        """Return what the handler has returned as `result`, or in `error` what Lambda would say of its end."""
        try:
            answer: dict[str, Any] = json.loads(self._receiver.recv_bytes())
        except (EOFError, OSError):
            self._child.join()
            return {"error": _died(self._child.exitcode or 0)}
        return answer

    def _end(self, *, at_once: bool) -> None:
        if not at_once:
            self._child.join(_SECONDS_OF_END)
        self._child.kill()
        self._child.join()

    def _tell(self, answer: Mapping[str, Any]) -> int:
        error = answer.get("error")
        if error is None:
            try:
                self._states.send_task_success(taskToken=self._token, output=json.dumps(answer["result"]))
            except ClientError as refused:
                error = _described("AnswerRefusedError", f"The state machine has refused the task's result: {refused}")
            else:
                return 0
        try:
            self._states.send_task_failure(taskToken=self._token, error=error["errorType"], cause=json.dumps(error))
        except ClientError as refused:
            logger.warning("nobody takes the answer of this task: %s", refused)
        return 1


def _work(name: str, event: str, sender: Connection) -> None:
    """Call the handler, and send what comes of it."""
    logging.basicConfig(level=logging.INFO, force=True)
    try:
        module, _, function = name.rpartition(".")
        handed_over = read_json(s3_client(), Stored(event)) if event.startswith("s3://") else json.loads(event)
        answer = {"result": getattr(import_module(module), function)(handed_over, Context())}
        message = json.dumps(answer, allow_nan=False)
    except Exception as error:
        # Whatever it is, the state machine is told; the log has where it came from.
        logger.exception("the handler has failed")
        message = json.dumps({"error": _described(type(error).__name__, str(error))})
    sender.send_bytes(message.encode())
    sender.close()


def _died(exit_code: int) -> dict[str, str]:
    """Return the error of a process that has ended without an answer."""
    if exit_code == -signal.SIGTERM:
        return _described("JobStoppedError", "The task was stopped before it had finished.")
    if exit_code == -signal.SIGKILL:
        had = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "?")
        return _described(
            "OutOfMemoryError",
            f"The task was killed, most likely because it needs more than its {had} MB: bring fewer rows or columns, "
            "or choose another estimator.",
        )
    return _described("JobDiedError", f"The process of the task has ended by itself, with the exit code {exit_code}.")


def _described(name: str, message: str) -> dict[str, str]:
    """Return an error in the form that Lambda gives it.

    https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
    """
    return {"errorMessage": message[:_MOST_CAUSE], "errorType": name[:_MOST_ERROR]}


if __name__ == "__main__":
    sys.exit(main())
