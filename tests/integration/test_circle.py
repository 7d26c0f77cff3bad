"""The whole circle by the real functions: train, decide, score, notice that rows have changed, train again, decide."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crosstrain.local.server import LocalAws, LocalTrainingStack
from crosstrain.training import execution

MODEL = "circle"


def world(mean: float, seed: int) -> pd.DataFrame:
    """Return 600 rows of a curve, seen where the values of a time are."""
    rng = np.random.default_rng(seed)
    size = rng.normal(mean, 1, 600)
    return pd.DataFrame({"id": np.arange(600), "size": size, "price": size**2 + rng.normal(0, 0.1, 600)})


def put(stack: LocalTrainingStack, key: str, frame: pd.DataFrame) -> str:
    bucket = stack.outputs["ArtifactBucketName"]
    stack.aws.client("s3").put_object(Bucket=bucket, Key=key, Body=frame.to_csv(index=False).encode())
    return f"s3://{bucket}/{key}"


def run(stack: LocalTrainingStack, machine: str, request: dict[str, Any]) -> dict[str, Any]:
    sfn = stack.aws.client("stepfunctions")
    started = execution.start(sfn, stack.outputs[machine], request, execution.new_run_id())
    result = execution.outcome(sfn, started)
    assert result.output is not None, result.cause
    return result.output


def item(stack: LocalTrainingStack, entry: str) -> dict[str, Any]:
    key = {"model_name": {"S": MODEL}, "entry": {"S": entry}}
    table = stack.outputs["ModelRegistryTableName"]
    return dict(stack.aws.client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


@pytest.mark.slow
def test_a_batch_that_has_drifted_trains_a_model_that_takes_the_champions_place(
    local_aws: LocalAws, project: Path
) -> None:
    overrides = {"RetentionPolicy": "Delete", "RetrainOn": "drift", "RetrainModel": MODEL}
    stack = local_aws.deploy_training_stack(project / "template.yaml", "crosstrain-circle", overrides)
    data = put(stack, "data/circle/one.csv", world(0, 1)).rpartition("/")[0] + "/"
    request = {"dataset_uri": data, "target": "price", "estimator": "hist_gradient_boosting", "search_trials": 0}
    first = run(stack, "StateMachineArn", {**request, "model_name": MODEL})
    assert first["evaluation"]["decision"] == "promote"

    # What is as it was raises nothing, and starts nothing.
    same = put(stack, "data/new/same.csv", world(0, 2).drop(columns="price"))
    scored = run(stack, "BatchScoringStateMachineArn", {"dataset_uri": same, "model_name": MODEL, "keep": ["id"]})
    assert (scored["rows"], scored["drifted"]) == (600, False)

    # The truth of later rows is there as well, when a batch of them is scored.
    put(stack, "data/circle/two.csv", world(4, 3))
    moved = put(stack, "data/new/moved.csv", world(4, 4).drop(columns="price"))
    scored = run(stack, "BatchScoringStateMachineArn", {"dataset_uri": moved, "model_name": MODEL, "keep": ["id"]})
    assert scored["drifted"]
    claim: dict[str, Any] = {}
    for _ in range(300):
        claim = item(stack, "retraining")
        if claim:
            break
        time.sleep(0.1)
    assert (claim["triggered_by"]["S"], claim["claims"]["N"]) == ("drift", "1")

    result = execution.outcome(stack.aws.client("stepfunctions"), claim["execution"]["S"])
    assert result.output is not None, result.cause
    assert result.output["evaluation"]["decision"] == "promote", result.output["evaluation"]["reason"]
    assert item(stack, "champion")["champion_version"]["S"] == result.output["run_id"] != first["run_id"]
    again = run(stack, "BatchScoringStateMachineArn", {"dataset_uri": moved, "model_name": MODEL})
    assert again["version"] == result.output["run_id"]
