"""Runs of the real state machine on the embedded AWS."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from crosstrain.local.server import LocalAws, LocalTrainingStack

_REPORT = re.compile(r"REPORT RequestId: (\S+)\s+Duration: ([\d.]+) ms")


@dataclass(frozen=True)
class Run:
    """One execution: from its start to the answer that it has ended, and what its handlers took of that, in seconds."""

    seconds: float
    handler_seconds: float
    transitions: int
    output: dict[str, Any]

    @property
    def overhead(self) -> float:
        """What the orchestration took, in seconds."""
        return self.seconds - self.handler_seconds


class Machine:
    """The training stack's state machine, with data in its bucket."""

    def __init__(self, stack: LocalTrainingStack) -> None:
        self._stack = stack
        self._bucket = stack.outputs["ArtifactBucketName"]
        self._sfn = stack.aws.client("stepfunctions")
        self._reported: set[str] = set()

    def put(self, path: Path) -> str:
        """Store a file under `data/` and return its URI."""
        self._stack.aws.client("s3").upload_file(str(path), self._bucket, f"data/{path.name}")
        return f"s3://{self._bucket}/data/{path.name}"

    def run(self, request: dict[str, Any]) -> Run:
        """Execute the state machine once.

        Raises
        ------
        RuntimeError
            If the run fails.
        """
        started = time.perf_counter()
        arn = self._sfn.start_execution(
            stateMachineArn=self._stack.outputs["StateMachineArn"], name=uuid.uuid4().hex, input=json.dumps(request)
        )["executionArn"]
        while (state := self._sfn.describe_execution(executionArn=arn))["status"] == "RUNNING":
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        if state["status"] != "SUCCEEDED":
            raise RuntimeError(f"the run ended as {state['status']}: {state.get('cause')}")
        history = self._sfn.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        entered = sum(event["type"].endswith("StateEntered") for event in history)
        return Run(seconds, self._new_handler_seconds(), entered, json.loads(state["output"]))

    def _new_handler_seconds(self) -> float:
        """Return the durations of the invocations that were reported since the last call."""
        logs, total = self._stack.aws.client("logs"), 0.0
        for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
            for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]:
                found = _REPORT.search(event["message"])
                if found and found[1] not in self._reported:
                    self._reported.add(found[1])
                    total += float(found[2]) / 1000
        return total


@contextmanager
def machine() -> Iterator[Machine]:
    """Start an embedded AWS with the training stack."""
    with LocalAws() as aws:
        yield Machine(aws.deploy_training_stack(ROOT / "template.yaml", parameters={"RetentionPolicy": "Delete"}))
