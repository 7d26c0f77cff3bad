"""Retraining and approval with the real functions: an event trains the champion's request again, and people decide."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_diabetes

from crosstrain.local.server import LocalAws, LocalTrainingStack
from crosstrain.training import execution
from training_stacks import RETRAINED, RETRAINED_PREFIX

from .conftest import Command, Finished


def bring(stack: LocalTrainingStack, key: str, *, rows: slice) -> str:
    bucket = stack.outputs["ArtifactBucketName"]
    body = load_diabetes(as_frame=True, scaled=False).frame[rows].to_csv(index=False)
    stack.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


def trained(stack: LocalTrainingStack, model_name: str, dataset: str) -> str:
    """Start a run, and return its execution."""
    request = {"dataset_uri": dataset, "target": "target", "search_trials": 0, "estimator": "ridge", "seed": 7}
    arn = stack.outputs["StateMachineArn"]
    return execution.start(
        stack.client("stepfunctions"), arn, {**request, "model_name": model_name}, f"retraining-{uuid.uuid4().hex}"
    )


def promoted(stack: LocalTrainingStack, started: str) -> str:
    result = execution.outcome(stack.client("stepfunctions"), started)
    assert result.output is not None, result.cause
    assert result.output["evaluation"]["decision"] == "promote"
    return str(result.output["run_id"])


def put_event(stack: LocalTrainingStack, model_name: str, version: str, detail_type: str = "Data Drifted") -> None:
    detail = json.dumps({"stack": stack.name, "model_name": model_name, "version": version})
    entry = {"Source": "crosstrain", "DetailType": detail_type, "Detail": detail}
    assert stack.aws.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def claimed(stack: LocalTrainingStack, model_name: str, claims: int) -> dict[str, Any]:
    """Return the claim of the n-th retraining, once it is there."""
    key = {"model_name": {"S": model_name}, "entry": {"S": "retraining"}}
    for _ in range(200):
        table = stack.outputs["ModelRegistryTableName"]
        item = stack.aws.client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
        if item.get("claims", {}).get("N") == str(claims):
            return dict(item)
        time.sleep(0.1)
    raise AssertionError(f"{model_name} has not been retrained {claims} times.")


def cool_down(stack: LocalTrainingStack, model_name: str) -> None:
    """Let the last retraining be one of two days ago."""
    stack.aws.client("dynamodb").update_item(
        TableName=stack.outputs["ModelRegistryTableName"],
        Key={"model_name": {"S": model_name}, "entry": {"S": "retraining"}},
        UpdateExpression="SET claimed_at = :then",
        ExpressionAttributeValues={":then": {"S": (datetime.now(UTC) - timedelta(days=2)).isoformat()}},
    )


@pytest.mark.slow
def test_drift_and_new_data_retrain_by_the_request_of_the_champion(
    training_stack: LocalTrainingStack, models: Command
) -> None:
    old = bring(training_stack, f"{RETRAINED_PREFIX}old.csv", rows=slice(0, 300))
    champion = promoted(training_stack, trained(training_stack, RETRAINED, old))
    sfn = training_stack.client("stepfunctions")

    put_event(training_stack, "another", champion)
    put_event(training_stack, RETRAINED, champion)

    drifted = claimed(training_stack, RETRAINED, 1)
    result = execution.outcome(sfn, drifted["execution"]["S"])
    assert result.output is not None, result.cause
    # The same request and data are the same model, which is not better.
    assert result.output["evaluation"]["decision"] == "reject"
    assert result.output["request"]["seed"] == 7

    cool_down(training_stack, RETRAINED)
    bring(training_stack, f"{RETRAINED_PREFIX}new.csv", rows=slice(300, 442))
    fresh = claimed(training_stack, RETRAINED, 2)
    assert fresh["triggered_by"]["S"] == "data"
    result = execution.outcome(sfn, fresh["execution"]["S"])
    assert result.output is not None, result.cause
    # Old and new.
    assert result.output["request"]["dataset_uri"] == old.rpartition("/")[0] + "/"
    assert result.output["prepared"]["rows"]["in"] == 442

    # Within the cool-down a further event starts none, which a person is not bound by.
    put_event(training_stack, RETRAINED, champion, "Performance Dropped")
    answer = models("retrain", RETRAINED, "--data", old, "--reason", "fewer rows", "--json")
    assert answer.code == 0, answer.stderr
    assert answer.document["retrained_from"] in (champion, result.output["run_id"])
    assert claimed(training_stack, RETRAINED, 3)["triggered_by"]["S"] == "hand"
    assert execution.outcome(sfn, answer.document["execution"]).status == "SUCCEEDED"


def test_what_cannot_be_retrained_is_told_in_one_sentence(models: Command) -> None:
    done = models("retrain", "nobody")
    assert (done.code, done.stdout) == (1, "")
    assert "No version of nobody was ever promoted: train it first." in " ".join(done.stderr.split())
    assert models("retrain", "-a b").code == 2


@pytest.fixture(scope="module")
def asking(local_aws: LocalAws, project: Path) -> LocalTrainingStack:
    """Return a stack in which promotions wait for approval."""
    return local_aws.deploy_training_stack(project / "template.yaml", "crosstrain-asking", {"ApprovePromotion": "true"})


@pytest.fixture
def ask(asking: LocalTrainingStack, project: Path) -> Callable[..., Finished]:
    """Return a function that runs `scripts/models.py` on that stack."""

    def run(*arguments: str) -> Finished:
        command = [sys.executable, str(project / "scripts/models.py"), *arguments, "--stack", asking.name]
        environment = asking.aws.environment(asking.data_scientist)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.mark.slow
def test_a_promotion_waits_for_a_person_who_is_recorded(
    asking: LocalTrainingStack, ask: Callable[..., Finished]
) -> None:
    started = trained(asking, "asked", bring(asking, "data/asked.csv", rows=slice(0, 442)))
    version = started.rpartition(":")[2]
    for _ in range(300):
        listed = ask("list", "--model-name", "asked", "--json")
        if listed.code == 0:
            break
        time.sleep(0.1)
    (waiting,) = listed.document["waiting"]
    assert (waiting["version"], waiting["metric"]) == (version, "rmse")
    assert "token" not in waiting
    assert version in ask("list", "--model-name", "asked").stdout

    approved = ask("approve", "asked", version, "--reason", "looked at the report", "--json")
    assert approved.code == 0, approved.stderr
    assert promoted(asking, started) == version
    shown = ask("show", version, "--json").document
    assert shown["champion"] is True
    assert shown["approval"] == {"execution": approved.document["execution"], "reason": "looked at the report"}
    assert ask("list", "--model-name", "asked", "--json").document["waiting"] == []

    late = ask("refuse", "asked", version)
    assert late.code == 1
    assert "waits no longer" in late.stderr
