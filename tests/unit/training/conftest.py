"""What tests of the registry share: a stack with an empty one, and versions as runs record them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import boto3
import pytest
from moto import mock_aws

import models
from crosstrain.delivery.functions import STEPS
from crosstrain.training.models import Models
from crosstrain.training.stack import DeployedStack

TABLE, BUCKET = "models", "artifacts"
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:tested-rollback"
EXECUTIONS = MACHINE.replace(":stateMachine:", ":execution:")
REQUEST = {"target": "y", "problem": "regression", "seed": 42, "test_fraction": 0.2, "split_column": None}
DIGESTS = {name: f"sha256:{name[:5]}" for name in STEPS}


class WithRollbacks:
    """A session whose state machine moves champions at once; `tests/statemachine` has the real one."""

    def __init__(self, session: boto3.Session) -> None:
        self.session, self.event = session, dict[str, Any]()

    def client(self, service: str) -> Any:
        """Return a client of a service; for the state machine, itself."""
        return self if service == "stepfunctions" else self.session.client(service)

    def start_execution(self, *, name: str, input: str, **_: str) -> None:  # noqa: A002
        """Move the champion, if it is the one that was read."""
        asked, table = json.loads(input), boto3.resource("dynamodb").Table(TABLE)
        key = {"model_name": asked["model_name"], "entry": "champion"}
        found = table.get_item(Key=key)["Item"]
        if found["champion_version"] != asked["expected"]["champion_version"]:
            details = {"error": "ChampionMovedError", "cause": "Somebody else has moved the champion."}
            self.event = {"type": "ExecutionFailed", "executionFailedEventDetails": details}
            return
        at = "2026-02-01T00:00:00.000Z"
        recorded = {
            "model_name": asked["model_name"], "entry": f"rollback#{at}-{name}", "recorded_at": at,
            "from_version": found["champion_version"], "to_version": asked["version"], "reason": asked["reason"],
            "move": int(found.get("moves", 0)) + 1, "execution": f"{EXECUTIONS}:{name}",
        }  # fmt: skip
        table.put_item(Item={**found, "champion_version": asked["version"], "moves": recorded["move"]})
        table.put_item(Item=recorded)
        self.event = {
            "type": "ExecutionSucceeded",
            "executionSucceededEventDetails": {"output": json.dumps(recorded)},
        }

    def get_execution_history(self, **_: Any) -> dict[str, Any]:
        """Return the end of the last execution."""
        return {"events": [{"id": 1, "timestamp": datetime(2026, 2, 1, tzinfo=UTC), **self.event}]}


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, create_table: Callable[..., None]) -> Iterator[DeployedStack]:
    """Return a stack with an empty registry and an empty bucket."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        session = boto3.Session()
        session.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        create_table(session.client("dynamodb"), "ModelRegistry", TABLE)
        outputs = {
            "ModelRegistryTableName": TABLE,
            "RollbackStateMachineArn": MACHINE,
            "CanaryStateMachineArn": MACHINE,
        }
        stack = DeployedStack("tested", outputs, WithRollbacks(session))
        monkeypatch.setattr(models, "find_stack", lambda _: stack)
        yield stack


Record = Callable[..., None]


@pytest.fixture
def record(stack: DeployedStack) -> Record:
    """Return a function that records a version as a run does, its files included; the champion is the last promoted.

    `files` are those that replace its own, or are more, by what the registry calls them; they have digests.
    """
    table: Any = boto3.resource("dynamodb").Table(TABLE)
    s3 = stack.session.client("s3")
    second = iter(range(60))

    def record_version(
        version: str,
        rmse: float,
        *,
        info: dict[str, Any] | None = None,
        files: dict[str, bytes] | None = None,
        model_name: str = "default",
        **fields: Any,
    ) -> None:
        prefix = f"s3://{BUCKET}/runs/{version}"
        files = files or {}
        now = f"2026-01-01T00:00:{next(second):02}.000Z"
        pointer = table.get_item(Key={"model_name": model_name, "entry": "champion"}).get("Item")
        item = {
            "model_name": model_name,
            "entry": f"version#{version}",
            "version": version,
            "recorded_at": now,
            "decision": "promote",
            "reason": f"rmse is {rmse}.",
            "run_id": version,
            "dataset_uri": f"s3://{BUCKET}/data/houses.csv",
            "data_fingerprint": "f1",
            **{name: REQUEST[name] for name in ("target", "problem")},
            "estimator": "ridge",
            "metric": "rmse",
            "value": Decimal(repr(rmse)),
            "metrics": {"rmse": Decimal(repr(rmse)), "r2": Decimal("0.5")},
            "rows": {"in": 100, "used": 99, "dropped": 1, "train": 79, "test": 20},
            "model_uri": f"{prefix}/model/model.skops",
            "info_uri": f"{prefix}/model/model.json",
            "profile_uri": f"{prefix}/prepared/profile.json",
            "release": "2026-01-01.1",
            "commit": "abc",
            "split": json.dumps({"test_part": "00ff"}),
            **{f"{name}_uri": f"{prefix}/{name}" for name in files},
            "sha256": {name: hashlib.sha256(body).hexdigest() for name, body in {"model": b"model", **files}.items()},
            "image_digests": DIGESTS,
            **({"compared_with": pointer["champion_version"]} if pointer else {}),
            **fields,
        }
        table.put_item(Item={name: value for name, value in item.items() if value is not None})
        described = {
            "run_id": version,
            "request": REQUEST,
            "class": "sklearn.linear_model._ridge.Ridge",
            "versions": {"scikit-learn": "1.9.1"},
            "parameters": {"alpha": 1.0},
            "data_fingerprint": "f1",
            "image_digest": DIGESTS["model_training"],
            **(info or {}),
        }
        profile = {"sources": [{"name": "houses.csv", "bytes": 10, "sha256": "f0"}], "fingerprint": "f1"}
        for name, body in {
            "model/model.skops": "model",
            "model/model.json": json.dumps(described),
            "prepared/profile.json": json.dumps(profile),
        }.items():
            s3.put_object(Bucket=BUCKET, Key=f"runs/{version}/{name}", Body=body.encode())
        for name, body in files.items():
            s3.put_object(Bucket=BUCKET, Key=f"runs/{version}/{name}", Body=body)
        if item["decision"] == "promote":
            moved = {name: item[name] for name in ("model_name", "metric", "value", "model_uri")}
            table.put_item(Item={**moved, "entry": "champion", "champion_version": version, "promoted_at": now})

    return record_version


@pytest.fixture
def registered(stack: DeployedStack, record: Record) -> Models:
    """Return the models of a stack where a, b and d were promoted and c was rejected."""
    record("run-a", 3.0)
    record("run-b", 2.0, info={"parameters": {"alpha": 0.5}})
    record("run-c", 2.5, decision="reject")
    record("run-d", 1.0, release="2026-01-02.1")
    return Models.of(stack)
