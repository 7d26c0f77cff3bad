"""Watching on the embedded AWS: requests are kept, drifts and drops announced, and nothing that is private stays."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from botocore.credentials import Credentials

from crosstrain.local.server import REGION, LocalAws, LocalTrainingStack
from crosstrain.training.endpoint import URL, Endpoint
from event_queues import event_queue, received
from training_stacks import physical_id

# Its parts are tested one by one.
pytestmark = pytest.mark.slow

MODEL = "watched"
PRIVATE = "private-1f8b"
Ask = Callable[[pd.DataFrame], dict[str, Any]]


@pytest.fixture(scope="module")
def stack(local_aws: LocalAws, project: Path) -> LocalTrainingStack:
    """Deploy a stack that keeps all requests for its model, without what is private."""
    parameters = {"ServeModel": MODEL, "CaptureShare": "100", "PrivateColumns": "Email, income"}
    return local_aws.deploy_training_stack(
        project / "template.yaml", "watching", {"RetentionPolicy": "Delete", **parameters}
    )


def frame(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "size": random.normal(50 + shift, 9, rows).round(3),
            "kind": random.choice(["flat", "house"], rows),
            # Of so many digits that no duration in a log has them.
            "income": random.normal(30, 4, rows).round(9),
        }
    )
    return data.assign(y=(2 * data["size"] + data["income"] + random.normal(0, 2, rows)).round(3))


def run(stack: LocalTrainingStack, project: Path, cwd: Path, script: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(project / f"scripts/{script}.py"), "--stack", stack.name, "--json", *arguments],
        env=stack.aws.environment(stack.data_scientist),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def version(stack: LocalTrainingStack, project: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Train the model that is served."""
    folder = tmp_path_factory.mktemp("trained")
    frame(600, 0).to_csv(folder / "data.csv", index=False)
    options = ("--data", "data.csv", "--target", "y", "--estimator", "ridge", "--model-name", MODEL)
    return str(run(stack, project, folder, "train", *options, "--search-trials", "0")["run_id"])


@pytest.fixture(scope="module")
def ask(stack: LocalTrainingStack, version: str) -> Ask:
    """Return a function that asks the champion for predictions of rows with an id and what is private."""
    assert version
    key = stack.data_scientist
    credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token or None)
    endpoint = Endpoint(stack.outputs[URL], credentials, REGION, stack.aws.endpoint_url)

    def send(rows: pd.DataFrame) -> dict[str, Any]:
        sent = rows.drop(columns="y").assign(email=PRIVATE).to_dict("records")
        answer = endpoint.ask(
            "POST", "/predictions", json.dumps({"rows": sent}).encode(), {"Content-Type": "application/json"}
        )
        assert answer.status == 200, answer.body
        return dict(json.loads(answer.body))

    return send


def objects(stack: LocalTrainingStack, prefix: str) -> dict[str, bytes]:
    s3, bucket = stack.aws.client("s3"), stack.outputs["ArtifactBucketName"]
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {each["Key"]: s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in found}


def watch(stack: LocalTrainingStack, **event: str) -> dict[str, Any]:
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    payload = json.dumps({"model_name": MODEL, "until": until, **event}).encode()
    answer = stack.aws.client("lambda").invoke(FunctionName=stack.outputs["WatchFunctionName"], Payload=payload)
    document = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, document
    return dict(document)


def test_requests_are_watched_and_labels_measured(
    stack: LocalTrainingStack, ask: Ask, version: str, project: Path, tmp_path: Path
) -> None:
    queue = event_queue(stack, f"watching-{uuid.uuid4().hex[:8]}", ["Data Drifted", "Performance Dropped"])
    rows = frame(200, 1, shift=20)
    rows["order_id"] = [f"{number:04}" for number in range(200)]
    for begin in range(0, 200, 50):
        ask(rows.iloc[begin : begin + 50])
    kept = objects(stack, f"captured/{MODEL}/")
    assert len(kept) == 4
    lines = [json.loads(line) for content in kept.values() for line in gzip.decompress(content).splitlines()]
    assert {frozenset(each["row"]) for each in lines} == {frozenset({"size", "kind", "order_id"})}
    assert {each["version"] for each in lines} == {version}

    found = watch(stack)
    assert (found["rows"], found["drifted"], found["version"]) == (200, True, version)
    assert "private: income." in found["told"][0]

    # Labels that say what training would have, and others.
    good, bad = rows[["order_id", "y"]], rows[["order_id"]].assign(y=rows["y"] + 30)
    good.to_csv(tmp_path / "good.csv", index=False)
    bad.to_csv(tmp_path / "bad.csv", index=False)
    options = ("--key", "order_id", "--model-name", MODEL)
    measured = run(stack, project, tmp_path, "feedback", "--labels", "good.csv", *options)
    assert (measured["rows"], measured["dropped"], measured["version"]) == (200, False, version)
    assert json.loads((tmp_path / "out/feedback.json").read_text())["value"] == measured["value"]
    assert "Not dropped" in (tmp_path / "out/feedback.html").read_text()
    dropped = run(stack, project, tmp_path, "feedback", "--labels", "bad.csv", *options)
    assert (dropped["rows"], dropped["dropped"]) == (200, True)

    events = received(stack, queue, 2)
    details = {each["detail-type"]: each["detail"] for each in events}
    assert details["Data Drifted"]["changed_columns"] == ["size"]
    assert (details["Data Drifted"]["source"], details["Data Drifted"]["rows"]) == ("captured", 200)
    assert details["Performance Dropped"]["feedback_uri"] == dropped["feedback_uri"]

    # Labels of people are theirs; of what the functions write, nothing has what is private.
    income = set(map(str, rows["income"]))
    logs = stack.aws.client("logs")
    texts = [repr(gzip.decompress(each)) for each in kept.values()]
    texts += [each.decode() for folder in ("watch", "feedback") for each in objects(stack, f"{folder}/").values()]
    for name in ("scoring", "watch", "feedback"):
        logged = logs.filter_log_events(logGroupName=f"/aws/lambda/{stack.name}-{name}")["events"]
        assert logged, name
        texts += [each["message"] for each in logged]
    for text in texts:
        assert PRIVATE not in text
        assert not any(value in text for value in income)


def test_a_request_that_cannot_be_kept_is_answered_as_ever(stack: LocalTrainingStack, ask: Ask) -> None:
    rows = frame(5, 2)
    whole, before = ask(rows), objects(stack, f"captured/{MODEL}/")
    iam, role = stack.aws.client("iam"), physical_id(stack, "ScoringRole")
    denied = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    iam.put_role_policy(RoleName=role, PolicyName="no-capture", PolicyDocument=policy)
    try:
        assert ask(rows) == whole
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="no-capture")
    assert objects(stack, f"captured/{MODEL}/").keys() == before.keys()
    logged = stack.aws.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{stack.name}-scoring")["events"]
    told = [each["message"] for each in logged]
    assert any("request not captured" in each for each in told)
    assert any('"CaptureFailures":[1' in each for each in told)
