"""What a run costs, in counts: modules, requests, bytes, state transitions. None may grow unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import data_preparation.app as preparation
import model_evaluation.app as evaluation
import model_training.app as training
from crosstrain.local.server import REGION, ROOT, LocalAws, LocalTrainingStack

ROWS = 20_000
# What each handler may import of its own when it is imported: each of these costs a tenth of a second or more.
HEAVY = {
    "pandas", "scipy", "sklearn", "joblib", "skops", "matplotlib", "PIL", "jinja2", "awslambdaric", "pyarrow", "numpy",
    "pydantic", "boto3", "s3transfer",
}  # fmt: skip
PREPARATION = {"boto3", "numpy", "pyarrow", "pydantic", "s3transfer"}
TRAINING = PREPARATION | {"joblib", "pandas", "scipy", "skops", "sklearn"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "heavy"),
    [("data_preparation", PREPARATION), ("model_training", TRAINING), ("model_evaluation", TRAINING)],
)
def test_a_cold_start_imports_no_library_that_the_handler_can_do_without(step: str, heavy: set[str]) -> None:
    source = f"import json, sys, {step}.app; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True).stdout
    assert {name.partition(".")[0] for name in json.loads(printed)} & HEAVY <= heavy


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """Return a CSV file of 20,000 rows with 8 decimals, a small whole number, a text and a numeric target."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(np.round(random.normal(size=(ROWS, 9)), 4), columns=[*"abcdefgh", "y"])
    frame = frame.assign(number=random.integers(0, 100, ROWS), text=random.choice(["red", "green", "blue"], ROWS))
    frame.to_csv(tmp_path / "data.csv", index=False)
    return tmp_path / "data.csv"


def test_a_run_asks_s3_for_as_little_as_it_can_and_hands_over_few_bytes(
    local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch, made_up: Path
) -> None:
    s3, bucket, requests = local_aws._new_client("s3", ROOT, REGION), f"costs-{uuid.uuid4().hex[:8]}", Counter[str]()
    s3.create_bucket(Bucket=bucket)
    s3.upload_file(str(made_up), bucket, "data/data.csv")
    for app in (preparation, training, evaluation):
        monkeypatch.setattr(app, "s3_client", lambda: s3)
    monkeypatch.setenv("ARTIFACT_BUCKET", bucket)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3008")
    s3.meta.events.register("before-call", lambda model, **_: requests.update([model.name]))

    def asked(handler: Any, event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        requests.clear()
        return handler(event, None), dict(requests)

    event: dict[str, Any] = {
        "run_id": "r",
        "request": {"dataset_uri": f"s3://{bucket}/data/data.csv", "target": "y", "search_trials": 0},
    }
    prepared, preparing = asked(preparation.handler, event)
    model, fitting = asked(training.handler, event | prepared)
    _, evaluating = asked(evaluation.handler, {**event, **prepared, "model": model, "champion": None})

    # One file is one request; a download of a data set, whose size nobody has recorded, looks at it first.
    assert preparing == {"ListObjectsV2": 1, "HeadObject": 1, "GetObject": 1, "PutObject": 3}
    assert fitting == {"GetObject": 2, "PutObject": 3}
    assert evaluating == {"GetObject": 5, "PutObject": 2}
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="runs/r/prepared/")["Contents"]
    sizes = {entry["Key"].rpartition("/")[2]: entry["Size"] for entry in listed}
    # Eight decimals of four bytes, a whole number of one, a code of less than one, and a target of eight.
    assert sizes["train.parquet"] + sizes["test.parquet"] < ROWS * (8 * 4 + 1 + 1 + 8) * 1.02
    # Each column's distribution takes about a kilobyte, whatever the rows.
    assert sizes["profile.json"] < 16_000


@pytest.mark.slow
def test_a_run_has_about_a_dozen_state_transitions(training_stack: LocalTrainingStack, made_up: Path) -> None:
    sfn, bucket = training_stack.client("stepfunctions"), training_stack.outputs["ArtifactBucketName"]
    training_stack.client("s3").upload_file(str(made_up), bucket, "data/costs.csv")
    request = {
        "dataset_uri": f"s3://{bucket}/data/costs.csv",
        "target": "y",
        "search_trials": 0,
        "model_name": uuid.uuid4().hex,
    }
    request |= {"allow_baseline": True}
    # With a champion, what the registry says of it is read.
    for decision, transitions in (("Promote", 13), ("Reject", 14)):
        arn = sfn.start_execution(
            stateMachineArn=training_stack.outputs["StateMachineArn"], name=uuid.uuid4().hex, input=json.dumps(request)
        )["executionArn"]
        deadline = time.monotonic() + 120
        while (status := sfn.describe_execution(executionArn=arn)["status"]) == "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert status == "SUCCEEDED"
        history = sfn.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        entered = [event["stateEnteredEventDetails"]["name"] for event in history if "Entered" in event["type"]]
        assert decision in entered
        assert len(entered) == transitions
