"""What tests of scoring share: a registry and a bucket in this process (moto), and versions that are promoted there."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import moto
import pytest
from sklearn.pipeline import Pipeline

from common import storage
from common.frames import load_part
from common.model_file import save_model
from common.request import parse_request
from common.storage import describe_files, upload
from crosstrain.aws import to_dynamodb
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit
from scoring import app
from scoring.challenger import count_error
from scoring.champion import Champions
from scoring.settings import Settings

from .batch_runs import MODEL, Runs, frame

if TYPE_CHECKING:
    import pandas as pd

STACK = "crosstrain-test"
_numbers = count(1)


FILES = {"model": "model.skops", "profile": "profile.json", "info": "model.json"}
_known: dict[tuple[Any, ...], tuple[Path, str, Pipeline]] = {}


def _trained(
    root: Path, version: str, frame: pd.DataFrame, adjust: Callable[[Any], Any] | None, fields: dict[str, Any]
) -> tuple[Path, str, Pipeline]:
    """Train once in a session on the same rows; return the folder of the files, the problem and the pipeline."""
    key = (version, frame.to_csv(), adjust and adjust.__qualname__, repr(fields))
    if key in _known:
        return _known[key]
    folder = root / version
    folder.mkdir()
    frame.to_csv(folder / "data.csv", index=False)
    request = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, **fields})
    prepared = prepare([SourceFile("data.csv", folder / "data.csv")], request, folder)
    request, profile = prepared.request, prepared.profile
    pipeline = fit(build_pipeline(request, profile), *load_part(prepared.train, profile)).pipeline
    if adjust is not None:
        pipeline = Pipeline([*pipeline.steps[:-1], ("model", adjust(pipeline.steps[-1][1]))])
    (folder / FILES["profile"]).write_text(json.dumps(profile))
    (folder / FILES["info"]).write_text(json.dumps({"run_id": version, "class": "a class", "versions": {}}))
    save_model(pipeline, folder / FILES["model"])
    _known[key] = folder, str(request.problem), pipeline
    return _known[key]


@dataclass
class Shop:
    """A registry with a bucket.

    Attributes
    ----------
    folder
        For files in between.
    now
        What the clock of `champions` says, in seconds.
    evaluation
        The document of the versions that are trained; None for none.
    """

    folder: Path
    s3: Any
    dynamodb: Any
    bucket: str
    table: str
    now: float = 0.0
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluation: dict[str, Any] | None = None

    def train(
        self, version: str, frame: pd.DataFrame, adjust: Callable[[Any], Any] | None = None, **fields: Any
    ) -> Pipeline:
        """Train on a frame with the target `y`, record the version, and return its pipeline."""
        folder, problem, pipeline = _trained(self.folder, version, frame, adjust, fields)
        files = {name: folder / file for name, file in FILES.items()}
        if self.evaluation is not None:
            files["evaluation"] = folder / "evaluation.json"
            files["evaluation"].write_text(json.dumps(self.evaluation))
        stored = {
            name: upload(self.s3, path, f"s3://{self.bucket}/runs/{version}/{path.name}")
            for name, path in files.items()
        }
        self.entries[version] = {
            "model_name": MODEL,
            "entry": f"version#{version}",
            "version": version,
            "decision": "promote",
            "target": "y",
            "problem": problem,
            "metrics": {"rmse": Decimal("0.25")},
            **describe_files(stored),
        }
        self.record(version)
        return pipeline

    def record(self, version: str, **changes: Any) -> None:
        """Write a version's entry, with changes."""
        self.dynamodb.put_item(TableName=self.table, Item=to_dynamodb(self.entries[version] | changes))

    def promote(self, version: str, since: str = "2026-01-01T00:00:00.000Z", **challenger: Any) -> None:
        """Point to a version, as a promotion and a rollback do, or to a challenger beside it, as a canary does."""
        pointer = {"model_name": MODEL, "entry": "champion", "champion_version": version, "promoted_at": since}
        pointer |= challenger
        self.dynamodb.put_item(TableName=self.table, Item=to_dynamodb(pointer))

    def set_watch_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give the handlers of watching and of feedback the settings of this stack, nothing of which is private."""
        monkeypatch.setenv("MODEL_REGISTRY_TABLE", self.table)
        monkeypatch.setenv("STACK_NAME", "stack")
        monkeypatch.setenv("ARTIFACT_BUCKET", self.bucket)
        monkeypatch.setenv("PRIVATE_COLUMNS", "")

    def champions(self, seconds: float = 60) -> Champions:
        """Return what a worker has that has just started."""
        champions = Champions(self.dynamodb, self.s3, self.table, MODEL, seconds=seconds, clock=lambda: self.now)
        champions.on_broken = functools.partial(count_error, STACK, MODEL)
        return champions


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the handler the settings of a stack that keeps nothing."""
    monkeypatch.setattr(app, "_settings", lambda: Settings(MODEL, "registry", 60, "stack", "bucket"))


@contextmanager
def open_shop(folder: Path, create_table: Callable[[Any, str, str], None]) -> Iterator[Shop]:
    """Yield an empty registry with an empty bucket, in a function's environment."""
    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "MODEL_NAME": MODEL,
            "MODEL_REGISTRY_TABLE": "registry",
            "CHAMPION_TTL": "60",
            "STACK_NAME": STACK,
        }.items():
            patch.setenv(name, value)
        storage.s3_client.cache_clear()
        s3, dynamodb = boto3.client("s3"), boto3.client("dynamodb")
        # Those of one mocked AWS are all in one.
        number = next(_numbers)
        bucket, table = f"artifacts-{number}", f"registry-{number}"
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        create_table(dynamodb, "ModelRegistry", table)
        yield Shop(folder, s3, dynamodb, bucket, table)
    storage.s3_client.cache_clear()


@pytest.fixture
def shop(tmp_path: Path, create_table: Callable[[Any, str, str], None]) -> Iterator[Shop]:
    """Return a registry of the test's own."""
    with open_shop(tmp_path, create_table) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_shop(
    tmp_path_factory: pytest.TempPathFactory, create_table: Callable[[Any, str, str], None]
) -> Iterator[Shop]:
    """Return the registry of tests that change nothing in it."""
    with open_shop(tmp_path_factory.mktemp("shop"), create_table) as opened:
        yield opened


@pytest.fixture
def runs(shop: Any, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Return runs of a model that was promoted."""
    monkeypatch.setenv("ARTIFACT_BUCKET", shop.bucket)
    monkeypatch.setenv("STACK_NAME", "stack")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3008")
    shop.train("run-1", frame(), estimator="ridge")
    shop.promote("run-1")
    return Runs(shop)
