"""Preparation in pieces on the embedded AWS: what goes which way, what is retried, and how long the history gets."""

from __future__ import annotations

import json
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crosstrain.local.server import LocalTrainingStack
from crosstrain.training import execution
from data_preparation.piece_plan import EVENTS_OF_PIECE
from state_events import follow
from training_stacks import physical_id

from .conftest import Machine, deployed_machine

TOO_LARGE = {"errors": {"PrepareData": ["TooLargeForFunctionError"]}}
PREPARATION = (
    "PrepareData", "PlanPreparation", "ScanPieces", "MergeScans", "AreScansWhole", "WritePieces", "FinishPreparation",
    "IsSearched",
)  # fmt: skip


def states(events: Any) -> list[str]:
    return [event.state for event in events if event.kind == "entered" and event.state in PREPARATION]


@pytest.mark.slow
@pytest.mark.parametrize("error", ["TooLargeForFunctionError", "Sandbox.Timedout"])
def test_what_one_call_has_no_room_or_time_for_is_prepared_in_pieces(run_scripted: Machine, error: str) -> None:
    script = {"errors": {"PrepareData": [error]}, "pieces": 3, "model_name": "in-pieces"}
    events, result = run_scripted(script)
    assert (result.status, states(events)) == ("SUCCEEDED", list(PREPARATION))
    assert result.output is not None
    assert "pieces" not in result.output
    assert result.output["request"]["model_name"] == "in-pieces"


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [1, 2])
def test_pieces_are_scanned_again_where_all_of_them_tell_something_else(run_scripted: Machine, pieces: int) -> None:
    events, result = run_scripted({**TOO_LARGE, "pieces": pieces, "scanned_again": 2, "model_name": "again"})
    assert result.status == "SUCCEEDED"
    assert [states(events).count(name) for name in ("ScanPieces", "MergeScans", "WritePieces")] == [3, 3, 1]


@pytest.mark.slow
@pytest.mark.parametrize("error", ["Lambda.ServiceException", "Runtime.ExitError", "Sandbox.Timedout"])
def test_a_piece_that_fails_for_no_reason_of_its_own_is_tried_again(
    run_scripted: Machine, tmp_path: Path, error: str
) -> None:
    errors = {"scan_piece": {"1": [error]}, "write_piece": {"0": [error]}}
    script = {**TOO_LARGE, "pieces": 3, "piece_errors": errors, "marks": str(tmp_path), "model_name": "retried"}
    _, result = run_scripted(script)
    assert result.status == "SUCCEEDED"


@pytest.mark.parametrize(
    ("task", "step", "error", "told"),
    [
        ("scan_piece", "ScanPieces", "InvalidDatasetError", "attempt 1"),
        ("scan_piece", "ScanPieces", "KeyError", "piece 2: attempt 1"),
        ("write_piece", "WritePieces", "Runtime.ExitError", "piece 2: attempt 2"),
    ],
)
def test_a_piece_that_fails_is_named(
    run_scripted: Machine, tmp_path: Path, task: str, step: str, error: str, told: str
) -> None:
    errors = {task: {"1": [error] * 9}}
    script = {**TOO_LARGE, "pieces": 3, "piece_errors": errors, "marks": str(tmp_path), "model_name": "named"}
    _, result = run_scripted(script)
    assert (result.status, result.error, result.cause) == ("FAILED", error, f"{step}: {told}")


@pytest.mark.slow
def test_a_piece_writes_few_events_of_the_history(run_scripted: Machine) -> None:
    found = {}
    for pieces in (2, 10):
        run_id = f"history-{pieces}"
        started = run_scripted.start({**TOO_LARGE, "pieces": pieces, "model_name": "history"}, run_id)
        assert [*follow(run_scripted.sfn, started)]
        pages = run_scripted.sfn.get_paginator("get_execution_history").paginate(executionArn=started)
        found[pieces] = sum(len(page["events"]) for page in pages)
    per_piece = (found[10] - found[2]) / 8
    # While it is scanned, and while it is written.
    assert 0 < per_piece <= 2 * EVENTS_OF_PIECE


FAILING = """
import os
from pathlib import Path

from data_preparation import app


class Unavailable(Exception):
    pass


Unavailable.__name__ = "Lambda.ServiceException"


def handler(event, context):
    mark = Path(os.environ["MARKS"]) / f"{event.get('task')}-{event.get('piece')}"
    if (event.get("task"), event.get("piece")) in {("scan_piece", 3), ("write_piece", 5)} and not mark.exists():
        mark.touch()
        raise Unavailable("once")
    return app.handler(event, context)
"""


FILE_BYTES = len("x,c,y\n") + 100 * len("1.00000000,a,1.00000000\n")
# One file to a piece, and none that is cut.
PIECE_BYTES = str(FILE_BYTES + 1)


@pytest.fixture
def run_in_pieces(training_stack: LocalTrainingStack, project: Path, tmp_path: Path) -> Machine:
    """Run the deployed definition with real functions, data preparation in small pieces two of which fail once."""
    deployed = deployed_machine(training_stack)
    functions = training_stack.aws.client("lambda")
    name = physical_id(training_stack, "DataPreparationFunction")
    real = functions.get_function(FunctionName=name)["Configuration"]
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        lines = [
            "#!/bin/sh",
            f"export AWS_ENDPOINT_URL={training_stack.aws.endpoint_url}",
            f'export PYTHONPATH="{project / "functions"}:$PWD"',
            f"exec {sys.executable} -m awslambdaric failing.handler",
        ]
        archive.writestr("bootstrap", "\n".join(lines) + "\n")
        archive.writestr("failing.py", FAILING)
    failing = functions.create_function(
        FunctionName="preparation-in-pieces",
        Runtime="provided.al2023",
        Handler="failing.handler",
        Role=real["Role"],
        Timeout=300,
        Code={"ZipFile": packed.getvalue()},
        Environment={
            "Variables": {**real["Environment"]["Variables"], "PIECE_BYTES": PIECE_BYTES, "MARKS": str(tmp_path)}
        },
    )
    definition = deployed["definition"].replace(real["FunctionArn"], failing["FunctionArn"])
    sfn = training_stack.aws.client("stepfunctions")
    made = sfn.create_state_machine(name="in-pieces", definition=definition, roleArn=deployed["roleArn"])
    return Machine(sfn, made["stateMachineArn"])


@pytest.mark.slow
def test_eight_pieces_two_of_which_fail_once_make_the_model_that_one_call_makes(
    training_stack: LocalTrainingStack, run_in_pieces: Machine, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.uniform(1, 9, 800), "c": random.choice(["a", "b"], 800)})
    data["y"] = 4 + data["x"] / 4 + (data["c"] == "a") + random.normal(0, 0.1, 800)
    s3, bucket = training_stack.client("s3"), training_stack.outputs["ArtifactBucketName"]
    for number in range(8):
        body = data[number * 100 : number * 100 + 100].to_csv(index=False, float_format="%.8f").encode()
        assert len(body) == FILE_BYTES
        s3.put_object(Bucket=bucket, Key=f"data/eight/{number}.csv", Body=body)
    request = {"dataset_uri": f"s3://{bucket}/data/eight/", "target": "y", "search_trials": 0, "model_name": "eight"}
    sfn = training_stack.aws.client("stepfunctions")
    started = execution.start(sfn, training_stack.outputs["StateMachineArn"], request, "eight-in-one")
    assert [*follow(sfn, started)]
    one = execution.outcome(sfn, started)
    events, other = run_in_pieces({**request, "model_name": "eight-in-pieces"})
    assert one.output is not None, one.cause
    assert other.output is not None, other.cause
    assert states(events) == list(PREPARATION)
    assert {path.name for path in tmp_path.iterdir()} == {"scan_piece-3", "write_piece-5"}
    assert other.output["prepared"]["sha256"] == one.output["prepared"]["sha256"]
    assert other.output["model"]["sha256"]["model"] == one.output["model"]["sha256"]["model"]
    # What a piece has handed over is nothing of the run's folder, and goes after days.
    everything = training_stack.aws.client("s3")
    kept = everything.list_objects_v2(Bucket=bucket, Prefix=f"pieces/{other.output['run_id']}/")["Contents"]
    assert len([each for each in kept if "/scan-0-" in each["Key"]]) == 8
    assert len(json.dumps(other.output)) < 10_000
