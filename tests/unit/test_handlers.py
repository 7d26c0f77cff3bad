"""The three handlers one after another on an S3 that lives in this process (moto)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.datasets import load_diabetes

from common import storage
from common.errors import InvalidDatasetError, InvalidRequestError, UntrustedModelError
from data_preparation import app as preparation
from model_evaluation import app as evaluation
from model_training import app as training

BUCKET = "artifacts"


@pytest.fixture(autouse=True)
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the handlers an empty bucket and a function's environment."""
    for name, value in {
        "ARTIFACT_BUCKET": BUCKET,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3538",
        "IMAGE_URI": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/training@sha256:" + "0" * 64,
        "RELEASE": "r-1",
    }.items():
        monkeypatch.setenv(name, value)
    with moto.mock_aws():
        storage.s3_client.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield client
    storage.s3_client.cache_clear()


def put(s3: Any, frame: pd.DataFrame, key: str) -> str:
    body = io.BytesIO()
    frame.to_parquet(body, index=False) if key.endswith(".parquet") else frame.to_csv(body, index=False)
    s3.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())
    return f"s3://{BUCKET}/{key}"


def keys(s3: Any) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def get(s3: Any, uri: str) -> bytes:
    bucket, key = storage.split_uri(uri)
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def frame(rows: int = 100) -> pd.DataFrame:
    random = np.random.default_rng(0)
    data = pd.DataFrame(random.normal(size=(rows, 3)), columns=["a", "b", "c"])
    return data.assign(y=data.sum(axis=1) + random.normal(0, 0.1, rows))


def prepare(uri: str, **fields: Any) -> dict[str, Any]:
    event = {"run_id": "run-1", "request": {"dataset_uri": uri, "target": "y", **fields}}
    return preparation.handler(event, None)


def test_a_run_from_data_to_decision(s3: Any) -> None:
    prepared = prepare(put(s3, frame(), "data/x.csv"), threshold=0.5)
    assert prepared["request"]["problem"] == "regression"
    assert prepared["prepared"]["rows"] == {"in": 100, "used": 100, "dropped": 0, "train": 80, "test": 20}
    assert pq.read_table(io.BytesIO(get(s3, prepared["prepared"]["train_uri"]))).num_rows == 80

    event = {"run_id": "run-1", **prepared}
    model = training.handler(event, None)
    info = json.loads(get(s3, model["info_uri"]))
    assert (info["run_id"], info["release"]) == ("run-1", "r-1")
    assert info["image_digest"] == "sha256:" + "0" * 64
    assert skops.io.loads(get(s3, model["model_uri"]), trusted=["numpy.dtype"]).n_features_in_ == 3

    result = evaluation.handler({**event, "model": model}, None)
    stored = json.loads(get(s3, result["evaluation_uri"]))
    assert stored["rows"] == 20
    assert stored["metrics"] == result["metrics"]
    assert (result["metric"], result["decision"]) == ("rmse", "promote")
    assert keys(s3) == [
        "data/x.csv",
        "runs/run-1/evaluation/evaluation.json",
        "runs/run-1/model/model.json",
        "runs/run-1/model/model.skops",
        "runs/run-1/prepared/profile.json",
        "runs/run-1/prepared/test.parquet",
        "runs/run-1/prepared/train.parquet",
    ]
    # What passes from step to step stays far below the 256 KB that a state may hand on.
    assert len(json.dumps({**event, "model": model, "evaluation": result})) < 10_000


def test_a_folder_is_read_as_a_whole_but_for_markers(s3: Any) -> None:
    put(s3, frame()[:50], "data/set/part-1.csv")
    put(s3, frame()[50:], "data/set/nested/part-2.parquet")
    s3.put_object(Bucket=BUCKET, Key="data/set/_SUCCESS", Body=b"")
    s3.put_object(Bucket=BUCKET, Key="data/set/nested/", Body=b"")
    put(s3, frame(), "data/set-of-others/part-3.csv")
    assert prepare(f"s3://{BUCKET}/data/set/")["prepared"]["rows"]["in"] == 100


@pytest.mark.parametrize(
    ("key", "uri", "message"),
    [
        ("data/x.csv", "s3://artifacts/data/y.csv", 'There is no data file at "s3://artifacts/data/y.csv"'),
        ("data/set/x.csv", "s3://artifacts/data/set", 'Did you mean the folder "s3://artifacts/data/set/"?'),
        ("data/x.txt", "s3://artifacts/data/x.txt", "must end in .csv or .csv.gz or .parquet"),
        ("data/x.csv", "s3://elsewhere/x.csv", "does not exist (NoSuchBucket)"),
    ],
)
def test_a_place_without_data_is_named_and_nothing_is_written(s3: Any, key: str, uri: str, message: str) -> None:
    put(s3, frame(), key)
    with pytest.raises(InvalidDatasetError) as caught:
        prepare(uri)
    assert message in str(caught.value)
    assert keys(s3) == [key]


def test_a_denied_place_is_named_with_where_data_may_be() -> None:
    denied = {"Error": {"Code": "AccessDenied", "Message": "no"}}
    error = preparation._unreadable("s3://elsewhere/x.csv", preparation.ClientError(denied, "ListObjectsV2"))
    assert isinstance(error, InvalidDatasetError)
    assert f"put data sets under data/ in the bucket {BUCKET}" in str(error)


def test_a_file_larger_than_the_disk_is_refused_before_it_is_read(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = put(s3, frame(), "data/x.csv")
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(InvalidDatasetError, match="raise the parameter DataPreparationStorage"):
        prepare(uri)


def test_bad_data_leaves_nothing_behind(s3: Any) -> None:
    uri = put(s3, frame(9), "data/x.csv")
    with pytest.raises(InvalidDatasetError):
        prepare(uri)
    assert keys(s3) == ["data/x.csv"]


@pytest.mark.parametrize("handler", [preparation.handler, training.handler, evaluation.handler])
def test_a_request_that_cannot_be_used_is_refused_by_each_step(handler: Any) -> None:
    with pytest.raises(InvalidRequestError):
        handler({"run_id": "run-1", "request": {"target": "y"}, "prepared": {}, "model": {}}, None)


def test_data_too_large_for_the_function_is_refused(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"run_id": "run-1", **prepare(put(s3, frame(), "data/x.csv"))}
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    with pytest.raises(InvalidDatasetError, match="the function has 128 MB"):
        training.handler(event, None)
    assert not [key for key in keys(s3) if "/model/" in key]


def test_a_foreign_model_file_is_not_loaded(s3: Any) -> None:
    event = {"run_id": "run-1", **prepare(put(s3, frame(), "data/x.csv"))}
    model = training.handler(event, None)
    s3.put_object(Bucket=BUCKET, Key="runs/run-1/model/model.skops", Body=b"something else")
    with pytest.raises(UntrustedModelError):
        evaluation.handler({**event, "model": model}, None)
    assert not [key for key in keys(s3) if "/evaluation/" in key]


def test_the_sample_events_are_what_the_steps_hand_on(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    events = Path(__file__).parents[2] / "events"
    sample = {path.stem: json.loads(path.read_text()) for path in events.iterdir()}
    bucket, key = storage.split_uri(sample["data_preparation"]["request"]["dataset_uri"])
    monkeypatch.setenv("ARTIFACT_BUCKET", bucket)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=bucket, Key=key, Body=load_diabetes(as_frame=True, scaled=False).frame.to_csv(index=False))

    event = {"run_id": "sample", **preparation.handler(sample["data_preparation"], None)}
    assert event == sample["model_training"]
    event["model"] = {**training.handler(event, None), "seconds": sample["model_evaluation"]["model"]["seconds"]}
    assert event == sample["model_evaluation"]
    assert evaluation.handler(event, None)["decision"] == "promote"
