"""Champion and challenger with the real functions: the better model wins, and a stopped run leaves a sound champion."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_diabetes

from common.model_file import load_model
from common.storage import split_uri
from crosstrain.local.server import LocalTrainingStack
from crosstrain.training import execution
from state_events import follow


@pytest.fixture(scope="module")
def dataset(training_stack: LocalTrainingStack) -> str:
    """Return the URI of the diabetes data in the stack's bucket."""
    bucket, key = training_stack.outputs["ArtifactBucketName"], f"data/{uuid.uuid4().hex}.csv"
    body = load_diabetes(as_frame=True, scaled=False).frame.to_csv(index=False)
    training_stack.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


def start(training_stack: LocalTrainingStack, dataset: str, model_name: str, alpha: float) -> str:
    request = {
        "dataset_uri": dataset,
        "target": "target",
        "search_trials": 0,
        "model_name": model_name,
        "estimator": "ridge",
    }
    # A strongly regularised first model is hardly better than the mean.
    request |= {"promote_if": "better", "allow_baseline": True}
    arn = training_stack.outputs["StateMachineArn"]
    document = {**request, "hyperparameters": {"alpha": alpha}}
    return execution.start(training_stack.client("stepfunctions"), arn, document, f"champion-{uuid.uuid4().hex}")


def evaluated(training_stack: LocalTrainingStack, started: str) -> dict[str, Any]:
    result = execution.outcome(training_stack.client("stepfunctions"), started)
    assert result.output is not None, result.cause
    evaluation: dict[str, Any] = result.output["evaluation"]
    return {"run_id": result.output["run_id"], **evaluation}


def champion(training_stack: LocalTrainingStack, model_name: str, folder: Path) -> str:
    """Return the champion's version, after loading its model."""
    item = training_stack.client("dynamodb").get_item(
        TableName=training_stack.outputs["ModelRegistryTableName"],
        Key={"model_name": {"S": model_name}, "entry": {"S": "champion"}},
        ConsistentRead=True,
    )["Item"]
    bucket, key = split_uri(item["model_uri"]["S"])
    training_stack.client("s3").download_file(bucket, key, str(folder / "model.skops"))
    assert load_model(folder / "model.skops").n_features_in_ == 10
    return str(item["champion_version"]["S"])


def test_a_better_model_takes_the_champions_place_and_the_report_shows_both(
    training_stack: LocalTrainingStack, dataset: str, tmp_path: Path
) -> None:
    name = uuid.uuid4().hex
    first = evaluated(training_stack, start(training_stack, dataset, name, 1000))
    assert (first["decision"], first["champion"]) == ("promote", None)
    second = evaluated(training_stack, start(training_stack, dataset, name, 1))
    assert second["decision"] == "promote"
    assert second["champion"]["version"] == first["run_id"]
    # The same rows, so the champion's score is that of its own run.
    assert second["champion"]["metrics"] == pytest.approx(first["metrics"])
    assert second["champion"]["improvement"]["value"] == pytest.approx(first["value"] - second["value"])
    assert second["champion"]["same_data"] is True
    assert second["champion"]["fairness"]["counted"] == 88
    assert champion(training_stack, name, tmp_path) == second["run_id"]
    bucket, key = split_uri(second["report_uri"])
    report = training_stack.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert first["run_id"] in report
    # The figures of the table have the digits that their rows bear.
    assert f"<td>{first['value']:.2g}" in report
    assert f"{second['value']:.6g}" in report
    third = evaluated(training_stack, start(training_stack, dataset, name, 1))
    assert third["decision"] == "reject"
    assert "It predicts the same as the champion" in third["reason"]
    assert champion(training_stack, name, tmp_path) == second["run_id"]


@pytest.mark.slow
def test_a_run_stopped_in_any_state_leaves_a_champion_that_loads(
    training_stack: LocalTrainingStack, dataset: str, tmp_path: Path
) -> None:
    name, sfn = uuid.uuid4().hex, training_stack.client("stepfunctions")
    first = evaluated(training_stack, start(training_stack, dataset, name, 1000))["run_id"]
    for state in ("PrepareData", "TrainModel", "EvaluateModel"):
        started = start(training_stack, dataset, name, 1)
        next(each for each in follow(sfn, started) if (each.state, each.kind) == (state, "entered"))
        sfn.stop_execution(executionArn=started)
        assert execution.outcome(sfn, started).status == "ABORTED"
        assert champion(training_stack, name, tmp_path) == first
