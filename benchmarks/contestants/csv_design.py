"""The plain design: three functions that pass CSV text through S3 and read it with pandas into float64."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import boto3
import joblib
import pandas as pd

from benchmarks.contestants import pandas_steps
from common.storage import split_uri


def prepare(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Read the data set, and write both parts as CSV."""
    train, test = pandas_steps.split(_read(event["dataset_uri"]), event["target"])
    prefix = f"s3://{os.environ['ARTIFACT_BUCKET']}/runs/{event['run_id']}"
    return {**event, "train_uri": _write(train, f"{prefix}/train.csv"), "test_uri": _write(test, f"{prefix}/test.csv")}


def train(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Read the training part, fit, and write the model."""
    pipeline = pandas_steps.fit(_read(event["train_uri"]), event["target"])
    uri = event["train_uri"].replace("train.csv", "model.joblib")
    with tempfile.NamedTemporaryFile() as file:
        joblib.dump(pipeline, file.name)
        boto3.client("s3").upload_file(file.name, *split_uri(uri))
    return {**event, "model_uri": uri}


def evaluate(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Read the model and the test part, and score."""
    with tempfile.NamedTemporaryFile() as file:
        boto3.client("s3").download_file(*split_uri(event["model_uri"]), file.name)
        pipeline = joblib.load(file.name)
    return pandas_steps.score(pipeline, _read(event["test_uri"]), event["target"])


def _read(uri: str) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        boto3.client("s3").download_file(*split_uri(uri), str(path))
        return pd.read_csv(path)


def _write(frame: pd.DataFrame, uri: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        frame.to_csv(path, index=False)
        boto3.client("s3").upload_file(str(path), *split_uri(uri))
    return uri
