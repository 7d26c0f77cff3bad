"""The three handlers one after another on an S3 that lives in this process (moto)."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import moto
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import skops.io
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError, IncompleteReadError
from botocore.response import StreamingBody
from sklearn.datasets import load_diabetes
from sklearn.metrics import f1_score

from calls import Call
from common import capacity, ranges, storage
from common.errors import (
    DamagedFileError,
    InvalidDatasetError,
    InvalidRequestError,
    TooLargeForFunctionError,
    UntrustedModelError,
)
from common.frames import load_part
from common.model_file import load_model
from data_preparation import app as preparation
from data_preparation import in_pieces as in_pieces_module
from data_preparation import object_ranges, objects, parquet_pages, piece_plan, text_reading
from model_evaluation import apart, predicted_part
from model_evaluation import app as evaluation
from model_evaluation import champion as champions
from model_evaluation.registry import Run, registry_items
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
        # The champion's process counts against it, beside this one, which runs all tests.
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240",
        "IMAGE_URI": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/training@sha256:" + "0" * 64,
        "RELEASE": "r-1",
        "COMMIT": "c0ffee",
    }.items():
        monkeypatch.setenv(name, value)
    with moto.mock_aws():
        storage.s3_client.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client
    storage.s3_client.cache_clear()


def put(s3: Any, frame: pd.DataFrame, key: str) -> str:
    body = io.BytesIO()
    frame.to_parquet(body, index=False) if key.endswith(".parquet") else frame.to_csv(body, index=False)
    s3.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())
    return f"s3://{BUCKET}/{key}"


def digest_at(uri: str) -> str:
    return hashlib.sha256(storage.read_bytes(storage.s3_client(), storage.Stored(uri))).hexdigest()


CALL = re.compile(r"/\d{8}T\d{6}-[0-9a-f]{8}/")
"""The folder of one call of a step."""


def keys(s3: Any) -> list[str]:
    """Return the keys of all objects, without the folders of calls."""
    listed = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return [CALL.sub("/", entry["Key"]) for entry in listed]


def replaced(s3: Any, uri: str, content: bytes) -> None:
    """Write an object again, as nobody may."""
    bucket, key = storage.split_uri(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=content)


def get(s3: Any, uri: str) -> bytes:
    bucket, key = storage.split_uri(uri)
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def frame(rows: int = 100, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    data = pd.DataFrame(random.normal(size=(rows, 3)), columns=["a", "b", "c"])
    return data.assign(y=data.sum(axis=1) + random.normal(0, 0.1, rows))


def prepare(uri: str, **fields: Any) -> dict[str, Any]:
    event = {"run_id": "run-1", "request": {"dataset_uri": uri, "target": "y", "search_trials": 0, **fields}}
    return preparation.handler(event, None)


def test_a_run_from_data_to_decision(s3: Any) -> None:
    prepared = prepare(put(s3, frame(), "data/x.csv"), threshold=0.5)
    assert prepared["request"]["problem"] == "regression"
    assert prepared["prepared"]["rows"] == {
        "in": 100,
        "used": 100,
        "dropped": 0,
        "train": 80,
        "test": 20,
        "left_out": 0,
    }
    assert pq.read_table(io.BytesIO(get(s3, prepared["prepared"]["train_uri"]))).num_rows == 80

    event = {"run_id": "run-1", **prepared}
    model = training.handler(event, None)
    info = json.loads(get(s3, model["info_uri"]))
    assert (info["run_id"], info["release"], info["commit"]) == ("run-1", "r-1", "c0ffee")
    assert info["image_digest"] == "sha256:" + "0" * 64
    assert skops.io.loads(get(s3, model["model_uri"]), trusted=["numpy.dtype"]).n_features_in_ == 3

    result = evaluation.handler({**event, "model": model}, None)
    stored = json.loads(get(s3, result["evaluation_uri"]))
    assert stored["rows"] == 20
    assert stored["metrics"] == result["metrics"]
    assert (result["metric"], result["decision"], result["rule"]) == ("rmse", "promote", "first")
    assert (info["train_metric"]["metric"], info["train_metric"]["rows"]) == ("rmse", 80)
    card = stored["card"]
    assert (card["model_details"]["version"], card["quantitative_analyses"]["metrics"]) == ("run-1", stored["metrics"])
    assert card["quantitative_analyses"]["on_training_rows"] == info["train_metric"]
    assert keys(s3) == [
        "data/x.csv",
        "runs/run-1/evaluation/evaluation.json",
        "runs/run-1/evaluation/report.html",
        "runs/run-1/model/model.json",
        "runs/run-1/model/model.skops",
        "runs/run-1/model/training_rows.bloom",
        "runs/run-1/prepared/profile.json",
        "runs/run-1/prepared/test.parquet",
        "runs/run-1/prepared/train.parquet",
    ]
    # What passes from step to step stays far below the 256 KB that a state may hand on.
    assert len(json.dumps({**event, "model": model, "evaluation": result})) < 10_000


@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_a_run_of_trees_that_are_fed_block_by_block(s3: Any, problem: str) -> None:
    data = frame(400).assign(kind=np.tile(["x", "y", None, "z"], 100))
    data["y"] = data["y"] + 3 * (data["kind"] == "x")
    data["y"] = data["y"] if problem == "regression" else np.where(data["y"] > 0, "high", "low")
    adjust = {"interval": 0.9} if problem == "regression" else {"adjust": "always"}
    event = {"run_id": "run-1", **prepare(put(s3, data, "data/x.csv"), estimator="xgboost", **adjust)}
    model = training.handler(event, None)
    info = json.loads(get(s3, model["info_uri"]))
    assert info["class"] == f"common.boosted.Boosted{'Regressor' if problem == 'regression' else 'Classifier'}"
    assert info["parameters"]["n_estimators"] == 100
    assert info["versions"]["xgboost"]
    result = evaluation.handler({**event, "model": model}, None)
    assert result["decision"] == "promote"
    # Of the record that tells rows of the training part: each was seen.
    assert info["training_rows"]["features"] == ["a", "b", "c", "kind"]


def test_a_search_from_plan_to_model(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIALS_AT_ONCE", "2")
    event = {"run_id": "run-1", **prepare(put(s3, frame(), "data/x.csv"), search_trials=3)}
    assert event["request"]["estimator"] == "auto"
    done: list[dict[str, Any]] = []
    while (plan := training.handler({**event, "task": "plan_search", "done": done}, None))["trials"]:
        done += [training.handler({**event, "task": "train_trial", "trial": trial}, None) for trial in plan["trials"]]

    assert [each["number"] for each in done] == [0, 1, 2]
    stored = json.loads(get(s3, done[0]["uri"]))
    assert (stored["estimator"], stored["score"], len(stored["folds"])) == ("ridge", done[0]["score"], 5)
    assert plan["chosen"] == {"estimator": "ridge", "hyperparameters": {}}
    event["request"] |= plan["chosen"]
    event["model"] = training.handler({**event, "search": plan["record"]}, None)
    info = json.loads(get(s3, event["model"]["info_uri"]))
    assert (info["estimator"], info["search"]) == ("ridge", plan["record"])
    report = get(s3, evaluation.handler(event, None)["report_uri"]).decode()
    assert "3 trials were made of ridge, hist_gradient_boosting, random_forest" in report
    assert [key for key in keys(s3) if "/trials/" in key] == [
        f"runs/run-1/trials/{number:03d}/{name}" for number in range(3) for name in ("out_of_fold.npy", "trial.json")
    ]


@pytest.fixture
def trial(s3: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the event of a trial, in a stack that has tasks."""
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    event = {"run_id": "run-1", **prepare(put(s3, frame(), "data/x.csv"), search_trials=3)}
    (first, *_) = training.handler({**event, "task": "plan_search", "done": []}, None)["trials"]
    return {**event, "task": "train_trial", "trial": first}


def test_a_trial_whose_rows_do_not_fit_the_memory_runs_as_a_task(
    trial: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = training.handler(trial, None)
    assert done["compute"] == {"kind": "function", "memory_mb": 10240}
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
    with pytest.raises(TooLargeForFunctionError, match=r"^A trial of ridge on 80 of 80 .*\[cpu=4096 memory=8192\]$"):
        training.handler(trial, None)
    monkeypatch.setenv("CROSSTRAIN_TASK_CPU", "4096")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "8192")
    as_task = training.handler(trial, None)
    assert as_task["compute"] == {"kind": "task", "memory_mb": 8192}
    assert as_task["score"] == done["score"]


def test_a_trial_without_a_task_is_made_whatever_is_reckoned(
    trial: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
    in_functions = {**trial, "request": {**trial["request"], "compute": "lambda"}}
    assert training.handler(in_functions, None)["score"] is not None
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    assert training.handler(trial, None)["score"] is not None


def test_a_trial_that_a_call_has_no_time_for_runs_as_a_task_and_one_without_seconds_has_failed(
    trial: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No fold is over in no time.
    slow = {**trial, "trial": {**trial["trial"], "seconds": 600.0}}
    with pytest.raises(TooLargeForFunctionError, match=r"^Trial 0 takes longer than the 0 processor seconds .*memory="):
        training.handler(slow, Call(1e-9))
    short = training.handler({**trial, "trial": {**trial["trial"], "seconds": 0.0}}, Call(900))
    assert short["error"].startswith("OutOfTime")
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    assert training.handler(slow, Call(300))["score"] is not None


@pytest.mark.parametrize("task", ["train_trial", "train_model"])
def test_a_part_that_does_not_fit_the_disk_goes_to_a_task(
    trial: dict[str, Any], monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training, "download", full)
    event = {**trial, "task": task, "request": {**trial["request"], "estimator": "ridge"}}
    with pytest.raises(TooLargeForFunctionError, match=r"temporary disk: it runs as a task of 4 vCPU"):
        training.handler(event, None)
    event["request"]["compute"] = "lambda"
    with pytest.raises(InvalidDatasetError, match="compute is lambda"):
        training.handler(event, None)


def imbalanced(rows: int = 1200) -> pd.DataFrame:
    """Return rows of which few are of one class."""
    random = np.random.default_rng(0)
    data = pd.DataFrame(random.normal(size=(rows, 3)), columns=["a", "b", "c"])
    chance = 1 / (1 + np.exp(3 - 1.5 * data["a"] - data["b"]))
    return data.assign(y=np.where(random.random(rows) < chance, "yes", "no"))


@pytest.mark.parametrize("fields", [{}, {"interval": 0.8}, {"estimator": "linear_regression"}])
def test_a_linear_model_is_trained_without_a_frame_of_the_part(
    s3: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    prepared = prepare(put(s3, frame(600), "data/x.csv"), **{"estimator": "ridge", **fields})
    event = {"run_id": "run-1", **prepared}
    read, loaded = training.load_part, list[str]()
    monkeypatch.setattr(training, "load_part", lambda path, *more: (loaded.append(path.name), read(path, *more))[1])
    streamed = training.handler(event, None)
    assert not loaded
    monkeypatch.setattr(training, "streams", lambda *_: False)
    whole = training.handler(event, None)
    assert loaded == ["train.parquet"]
    first, second = (json.loads(get(s3, each["info_uri"])) for each in (streamed, whole))
    assert first["train_metric"]["value"] == pytest.approx(second["train_metric"]["value"], rel=1e-9)
    for told in ("baseline", "other_splits", "suspicions", "parameters", "warnings", "training_rows", "rows"):
        assert first[told] == second[told], told
    assert first["sha256"]["training_rows"] == second["sha256"]["training_rows"]
    if "interval" in fields:
        assert first["adjustment"]["interval"] == second["adjustment"]["interval"]


FOREST = {"estimator": "random_forest", "hyperparameters": {"n_estimators": 30}, "metric": "f1"}


@pytest.mark.slow
def test_what_folds_teach_is_in_the_model_and_the_evaluation_and_against_the_champion(s3: Any) -> None:
    def run(run_id: str, champion: Any = None, **fields: Any) -> tuple[Any, Any, Any, Any]:
        request = {"dataset_uri": put(s3, imbalanced(), "data/x.csv"), "target": "y", "search_trials": 0, **fields}
        event = {"run_id": run_id, **preparation.handler({"run_id": run_id, "request": request}, None)}
        model = training.handler(event, None)
        result = evaluation.handler({**event, "model": model, "champion": champion}, None)
        return event, model, result, json.loads(get(s3, model["info_uri"]))

    event, model, result, info = run("run-1", **FOREST, adjust="always")
    assert info["adjustment"]["calibration"]["kept"]
    assert info["adjustment"]["decision"]["kept"]
    assert info["class"] == "sklearn.ensemble._forest.RandomForestClassifier"
    assert info["classes"] == ["no", "yes"]
    assert info["parameters"]["n_estimators"] == 30
    threshold = info["adjustment"]["multipliers"][0]
    with tempfile.TemporaryDirectory() as folder:
        part, file = Path(folder) / "test.parquet", Path(folder) / "model.skops"
        part.write_bytes(get(s3, event["prepared"]["test_uri"]))
        file.write_bytes(get(s3, model["model_uri"]))
        pipeline = load_model(file)
        features, target = load_part(part, json.loads(get(s3, event["prepared"]["profile_uri"])))
    predicted = pipeline.predict(features)
    assert (predicted == "yes").tolist() == (pipeline.predict_proba(features)[:, 1] > threshold).tolist()
    f1, accuracy = (
        float(each) for each in (f1_score(target, predicted, pos_label="yes"), (predicted == target).mean())
    )
    assert (result["value"], result["metrics"]["accuracy"]) == pytest.approx((f1, accuracy))
    assert json.loads(get(s3, result["evaluation_uri"]))["interval"]["value"] == pytest.approx(f1)
    report = get(s3, result["report_uri"]).decode()
    assert f"where its probability is above {threshold:.3g}" in report
    assert f"{(predicted == target).sum()} of {len(target)} rows are right" in report

    # The same model without what was learned: the champion's labels are still its own.
    item = {"version": "run-1", "item": result["registry"]["version"]}
    _, plain, against, info = run("run-2", item, **FOREST)
    assert info["adjustment"] is None
    assert against["champion"]["metrics"] == pytest.approx(result["metrics"])
    over = against["champion"]["improvement"]
    assert over["value"] == pytest.approx(against["value"] - f1)
    assert against["value"] < f1
    assert over["different"] > 0
    # Byte for byte as with a request that forbids it after a search, too.
    _, forbidden, _, info = run("run-3", **FOREST, adjust="none")
    assert forbidden["sha256"]["model"] == plain["sha256"]["model"]
    *_, info = run("run-4", **{**FOREST, "metric": "rmse", "target": "a"}, adjust="always")
    assert info["adjustment"] is None


def test_an_interval_is_asked_for_and_measured_on_the_test_part(s3: Any) -> None:
    weighted = frame(400).assign(w=np.where(np.arange(400) % 2, 1e-9, 1.0))
    weighted.loc[1::2, "y"] += 1000
    fields = {"weight_column": "w", "interval": 0.8}
    event = {"run_id": "run-1", **prepare(put(s3, weighted, "data/x.csv"), **fields)}
    model = training.handler(event, None)
    info = json.loads(get(s3, model["info_uri"]))
    assert info["adjustment"]["interval"]["share"] == 0.8
    # Half of the rows are 1,000 off and weigh nothing, neither in the width nor in what it holds.
    assert 0.05 < info["adjustment"]["interval"]["width"] < 1
    result = evaluation.handler({**event, "model": model}, None)
    found = json.loads(get(s3, result["evaluation_uri"]))["prediction_interval"]
    assert found == {**info["adjustment"]["interval"], "coverage": pytest.approx(0.8, abs=0.2)}
    assert f"and holds it in {found['coverage']:.1%} of the test rows" in get(s3, result["report_uri"]).decode()
    few = {"run_id": "run-2", **prepare(put(s3, frame(40), "data/few.csv"), interval=0.99)}
    with pytest.raises(InvalidRequestError, match=r'"interval" is 0\.99, and 32 held-out rows are too few'):
        training.handler(few, None)


@pytest.mark.slow
def test_thousands_of_columns_stay_below_what_a_state_may_hand_on(s3: Any) -> None:
    wide = pd.DataFrame({f"a column with a name {index:06}": [1.5] * 5 + [2.5] * 15 for index in range(2000)})
    event = {"run_id": "run-1", **prepare(put(s3, wide.assign(y=range(20)), "data/wide.parquet"))}
    split = json.loads(get(s3, event["prepared"]["profile_uri"]))["split"]
    registry = registry_items_of(event, split)
    assert registry["version"]["profile_uri"]["S"] == event["prepared"]["profile_uri"]
    assert registry["version"]["sha256"]["M"]["profile"]["S"] == event["prepared"]["sha256"]["profile"]
    assert len(json.dumps(registry)) < 24_000
    inherited = {"version": "v", "target": "y", "split": registry["version"]["split"]["S"]}
    again = {"run_id": "run-2", "request": event["request"], "champion": inherited}
    later = preparation.handler(again, None)["prepared"]
    assert later["test_part"] == event["prepared"]["test_part"]


def registry_items_of(event: dict[str, Any], split: dict[str, Any]) -> Any:
    """Return the registry's items of a run that was not trained."""
    model, own = (
        storage.describe_files({name: storage.Stored("s3://b/f", "0" * 64) for name in names})
        for names in (("model", "info", "training_rows"), ("evaluation", "report"))
    )
    # A file of another step is not this one's to tell.
    model |= {"profile_uri": "s3://forged", "sha256": {**model["sha256"], "profile": "f" * 64}}
    run = Run(event["run_id"], event["request"], event["prepared"], model)
    texts = ("evaluated_at", "decision", "rule", "reason")
    document = {**dict.fromkeys(texts, "x"), "value": 1.0, "metrics": {}, "champion": None, **own}
    return registry_items(run, document, {}, split)


def trained(s3: Any, run_id: str, **fields: Any) -> dict[str, Any]:
    """Prepare and train, and return the event of model evaluation."""
    uri = put(s3, frame(), "data/x.csv")
    request = {"dataset_uri": uri, "target": "y", "search_trials": 0, **fields}
    event = {"run_id": run_id, **preparation.handler({"run_id": run_id, "request": request}, None)}
    return {**event, "model": training.handler(event, None)}


def promoted(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Evaluate a run as the first of its model, and return what later ones find as the champion.

    Where a file is said to be another one, whoever changed the registry has recorded that one's digest as well.
    """
    registry = evaluation.handler({**event, "champion": None}, None)["registry"]
    item = registry["version"]
    for name, uri in changes.items():
        if name.endswith("_uri") and uri is not None and "gone" not in uri:
            item["sha256"]["M"][name.removesuffix("_uri")] = {"S": digest_at(uri)}
        if name.endswith("_uri"):
            item["version_ids"]["M"].pop(name.removesuffix("_uri"))
    changed = {name: {"S": value} if isinstance(value, str) else value for name, value in changes.items()}
    kept = {name: value for name, value in {**item, **changed}.items() if value is not None}
    return {"version": event["run_id"], "item": kept, "split": registry["version"]["split"]["S"]}


@pytest.mark.slow
def test_the_champion_is_scored_on_the_same_rows_and_the_registrys_items_say_so(s3: Any) -> None:
    old = trained(s3, "run-1")
    champion = promoted(old)
    new = trained(s3, "run-2", estimator="random_forest", minimum_improvement=0.5)
    result = evaluation.handler({**new, "champion": champion}, None)
    stored = json.loads(get(s3, result["evaluation_uri"]))
    assert (result["decision"], result["rule"]) == ("reject", "significant")
    assert stored["champion"]["status"] == "scored"
    assert stored["champion"]["same_data"] is True
    # The same rows, the same model: the champion's metrics are those of its own run.
    assert stored["champion"]["metrics"] == pytest.approx(evaluation.handler(old, None)["metrics"])
    assert "worse than the champion run-1" in result["reason"]
    assert "worse than the champion run-1" in get(s3, result["report_uri"]).decode()

    deserialize = TypeDeserializer().deserialize
    version = {name: deserialize(value) for name, value in result["registry"]["version"].items()}
    assert (version["model_name"], version["entry"], version["version"]) == ("default", "version#run-2", "run-2")
    assert (version["decision"], version["compared_with"]) == ("reject", "run-1")
    assert float(version["metrics"]["rmse"]) == result["metrics"]["rmse"]
    assert version["image_digests"]["model_training"] == "sha256:" + "0" * 64
    assert set(version["image_digests"]) == {"data_preparation", "model_training", "model_evaluation"}
    assert (version["release"], version["commit"]) == ("r-1", "c0ffee")
    pointer = {name: deserialize(value) for name, value in result["registry"]["champion"].items()}
    assert (pointer["entry"], pointer["champion_version"]) == ("champion", "run-2")
    assert pointer["model_uri"] == new["model"]["model_uri"]


@pytest.mark.slow
def test_the_next_run_inherits_the_split_and_rows_that_the_champion_knows_do_not_count(s3: Any) -> None:
    """A champion that was trained on the test part looks better there than it is."""
    first, grown = trained(s3, "run-1", split_seed=3), pd.concat([frame(), frame(50, seed=1)])
    champion = promoted(first)
    split = {"version": "run-1", "target": "y", "split": champion.pop("split")}
    request = {
        "dataset_uri": put(s3, grown, "data/grown.csv"), "target": "y", "margin": 0.5, "search_trials": 0,
    }  # fmt: skip
    event = {"run_id": "run-2", **preparation.handler({"run_id": "run-2", "request": request, "champion": split}, None)}
    profile = json.loads(get(s3, event["prepared"]["profile_uri"]))
    assert (profile["split"]["seed"], profile["split"]["inherited_from"]) == (3, "run-1")
    event["model"] = training.handler(event, None)
    fair = evaluation.handler({**event, "champion": champion}, None)
    assert (fair["decision"], fair["rule"]) == ("promote", "not_worse")
    assert fair["champion"]["fairness"]["seen_by_champion"] <= 1
    # Another draw leaves most of the champion's training rows to the test part.
    other = {"run_id": "run-3", **preparation.handler({"run_id": "run-3", "request": request}, None)}
    other["model"] = training.handler(other, None)
    unfair = evaluation.handler({**other, "champion": champion}, None)
    assert (unfair["decision"], unfair["rule"]) == ("reject", "no_fair_rows")
    assert unfair["champion"]["fairness"]["seen_by_champion"] >= 10
    assert "The champion was trained on" in unfair["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_uri": f"s3://{BUCKET}/runs/gone/model.skops"}, "its file cannot be read (NoSuchKey)"),
        ({"model_uri": f"s3://{BUCKET}/data/x.csv"}, "its file may not be loaded"),
        ({"version_ids": {"M": {"model": {"S": "00000000-gone"}}}}, "its file cannot be read ("),
        ({"training_rows_uri": None}, "kept no record of its files"),
        ({"sha256": None}, "kept no record of its files"),
        ({"training_rows_uri": f"s3://{BUCKET}/data/x.csv"}, "not what its description says"),
        ({"info_uri": f"s3://{BUCKET}/data/x.csv"}, "its description cannot be read"),
        ({"target": "z"}, 'it predicts "z", not "y"'),
        (None, "the registry does not hold it"),
    ],
)
def test_a_champion_that_cannot_be_used_is_reported_kept_and_no_reason_to_fail(
    s3: Any, change: dict[str, Any] | None, reason: str
) -> None:
    event = trained(s3, "run-1")
    champion = {"version": "old"} if change is None else promoted(event, **change)
    result = evaluation.handler({**event, "champion": champion}, None)
    assert (result["decision"], result["rule"]) == ("reject", "champion_unusable")
    assert result["champion"]["status"] == "unusable"
    assert reason in result["champion"]["reason"]
    allowed = {**event, "request": {**event["request"], "replace_unusable_champion": True}}
    assert evaluation.handler({**allowed, "champion": champion}, None)["decision"] == "promote"


def test_an_error_of_s3_itself_is_not_taken_for_an_unusable_champion(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = trained(s3, "run-1")
    champion = promoted(event, model_uri=f"s3://{BUCKET}/runs/gone/model/model.skops")

    def fail(*_arguments: Any) -> Path:
        raise ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "GetObject")

    monkeypatch.setattr(champions, "download", fail)
    with pytest.raises(ClientError, match="SlowDown"):
        evaluation.handler({**event, "champion": champion}, None)


def test_a_model_that_is_no_better_than_the_mean_is_rejected_as_the_first_too(s3: Any) -> None:
    noise = frame(300).assign(y=np.random.default_rng(7).normal(size=300))
    event = {"run_id": "run-1", **prepare(put(s3, noise, "data/noise.csv"))}
    event["model"] = training.handler(event, None)
    result = evaluation.handler({**event, "champion": None}, None)
    assert (result["decision"], result["rule"]) == ("reject", "baseline")


def test_a_contended_run_is_rejected_in_every_record(s3: Any) -> None:
    result = evaluation.handler({**trained(s3, "run-1"), "champion": None, "contended": True}, None)
    assert result["decision"] == "reject"
    assert result["registry"]["version"]["decision"] == {"S": "reject"}
    assert json.loads(get(s3, result["evaluation_uri"]))["decision"] == "reject"


def test_a_folder_is_read_as_a_whole_but_for_what_is_no_data(s3: Any) -> None:
    put(s3, frame()[:50], "data/set/part-1.CSV")
    put(s3, frame()[50:], "data/set/nested/part-2.parquet")
    for name in ("_SUCCESS", "nested/", "README.txt", "about.pdf", "_temporary/0.json"):
        s3.put_object(Bucket=BUCKET, Key=f"data/set/{name}", Body=b"")
    put(s3, frame(), "data/set-of-others/part-3.csv")
    prepared = prepare(f"s3://{BUCKET}/data/set/")["prepared"]
    assert prepared["rows"]["in"] == 100
    profile = json.loads(get(s3, prepared["profile_uri"]))
    assert [source["name"] for source in profile["sources"]] == ["nested/part-2.parquet", "part-1.CSV"]
    assert profile["ignored_files"] == ["README.txt", "_SUCCESS", "_temporary/0.json", "about.pdf"]


def test_files_of_all_formats_are_one_data_set(s3: Any) -> None:
    parts = [frame()[start : start + 25] for start in range(0, 100, 25)]
    put(s3, parts[0], "data/set/1.parquet")
    lines = parts[1].to_json(orient="records", lines=True, double_precision=15)
    workbook = io.BytesIO()
    parts[2].to_excel(workbook, index=False)
    for name, content in {
        "2.jsonl.gz": gzip.compress(lines.encode()),
        "3.csv": workbook.getvalue(),
        "4.csv.gz": gzip.compress(parts[3].to_csv(index=False).encode()),
        "5.csv": b"",
        "6.csv": b"a,b,c,y\n",
    }.items():
        s3.put_object(Bucket=BUCKET, Key=f"data/set/{name}", Body=content)
    prepared = prepare(f"s3://{BUCKET}/data/set/")["prepared"]
    assert prepared["rows"]["in"] == 100
    profile = json.loads(get(s3, prepared["profile_uri"]))
    assert profile["read"]["told"] == [
        '"5.csv" has no rows, and is left out.',
        '"6.csv" has no rows, and is left out.',
        '"3.csv" is an Excel workbook, whatever its name says.',
    ]
    digest = hashlib.sha256(workbook.getvalue()).hexdigest()
    assert [source["sha256"] for source in profile["sources"] if source["name"] == "3.csv"] == [digest]


@pytest.mark.parametrize("content", [b"", b"a,b,c,y\n"])
def test_a_file_without_rows_is_the_users_mistake_where_it_is_the_only_one(s3: Any, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key="data/x.csv", Body=content)
    with pytest.raises(InvalidDatasetError, match=r'"x.csv" (is empty|has a header but no rows)') as caught:
        prepare(f"s3://{BUCKET}/data/x.csv")
    # The state machine knows it by this name.
    assert type(caught.value) is InvalidDatasetError


@pytest.mark.parametrize(
    ("key", "uri", "message"),
    [
        ("data/x.csv", "s3://artifacts/data/y.csv", 'There is no data file at "s3://artifacts/data/y.csv"'),
        ("data/set/x.csv", "s3://artifacts/data/set", 'Did you mean the folder "s3://artifacts/data/set/"?'),
        ("data/set/README.md", "s3://artifacts/data/set/", '; ignored: "README.md".'),
        ("data/x.csv", "s3://elsewhere/x.csv", "does not exist (NoSuchBucket)"),
    ],
)
def test_a_place_without_data_is_named_and_nothing_is_written(s3: Any, key: str, uri: str, message: str) -> None:
    put(s3, frame(), key)
    with pytest.raises(InvalidDatasetError) as caught:
        prepare(uri)
    assert message in str(caught.value)
    assert keys(s3) == [key]


def test_files_are_fetched_once_more_where_a_late_one_shows_that_float32_does_not_do(s3: Any) -> None:
    put(s3, frame(50), "data/many/1.csv")
    put(s3, frame(50).assign(a=1e-42), "data/many/2.csv")
    prepared = prepare(f"s3://{BUCKET}/data/many/")
    assert prepared["prepared"]["rows"]["used"] == 100
    train = pq.read_table(io.BytesIO(get(s3, prepared["prepared"]["train_uri"]))).to_pandas()
    assert set(train["a"]) <= {*frame(50)["a"], 1e-42}


def test_a_file_that_is_named_may_have_a_markers_name(s3: Any) -> None:
    assert prepare(put(s3, frame(), "data/_x.csv"))["prepared"]["rows"]["in"] == 100


def test_a_full_disk_is_named_by_each_step(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = trained(s3, "run-1")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "save_model", full)
    with pytest.raises(InvalidDatasetError, match="raise the parameter FunctionStorage"):
        training.handler(event, None)
    monkeypatch.setattr(evaluation, "predict_part", full)
    with pytest.raises(InvalidDatasetError, match="raise the parameter FunctionStorage"):
        evaluation.handler(event, None)


def test_a_denied_place_is_named_with_where_data_may_be() -> None:
    denied = {"Error": {"Code": "AccessDenied", "Message": "no"}}
    error = objects.unreadable("s3://elsewhere/x.csv", ClientError(denied, "ListObjectsV2"))
    assert isinstance(error, InvalidDatasetError)
    assert f"put data sets under data/ in the bucket {BUCKET}" in str(error)


def test_what_a_killed_invocation_has_left_is_gone_before_free_space_is_measured(
    s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # A process that has ended, and one that lives: that is another function's, on a machine that is not Lambda's.
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own, others, living = (
        tmp_path / f"crosstrain-function-{process}-left" for process in (os.getpid(), ended.pid, os.getppid())
    )
    foreign = tmp_path / "crosstrain-function-no_number-left"
    for folder in (own, others, living, foreign):
        folder.mkdir()
        (folder / "spool-0.arrow").write_bytes(b"left")
    seen: list[set[str]] = []

    def free(_: object) -> Any:
        seen.append({path.name for path in tmp_path.iterdir()})
        return SimpleNamespace(free=1 << 30)

    monkeypatch.setattr(objects.shutil, "disk_usage", free)
    event = {"run_id": "run-1", **prepare(put(s3, frame(), "data/x.csv"))}
    assert seen
    assert not seen[0] & {own.name, others.name}
    assert {living.name, foreign.name} < seen[0]

    own.mkdir()
    event |= {"model": training.handler(event, None), "champion": None}
    assert not own.exists()
    own.mkdir()
    assert evaluation.handler(event, None)["decision"] == "promote"
    assert {path.name for path in tmp_path.iterdir()} == {living.name, foreign.name}


def test_a_file_larger_than_the_disk_is_prepared_in_pieces_or_refused_before_it_is_read(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(s3, frame(), "data/x.csv")
    monkeypatch.setattr(objects.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(TooLargeForFunctionError, match="of the temporary disk"):
        prepare(uri)
    with pytest.raises(InvalidDatasetError, match="more than one function has room and time for: write it as several"):
        in_pieces(uri)
    assert keys(s3) == ["data/x.csv"]


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
    replaced(s3, model["model_uri"], b"something else")
    model["sha256"]["model"], model["version_ids"] = digest_at(model["model_uri"]), {}
    with pytest.raises(UntrustedModelError):
        evaluation.handler({**event, "model": model}, None)
    assert not [key for key in keys(s3) if "/evaluation/" in key]


@pytest.mark.slow
def test_a_champion_whose_file_was_replaced_in_place_is_the_one_that_was_promoted(s3: Any) -> None:
    """Whatever may write below runs/ could once put another model into the champion's place."""
    event = trained(s3, "run-1")
    champion = promoted(event)
    other = trained(s3, "run-2", estimator="random_forest")
    before = evaluation.handler({**other, "champion": champion}, None)["champion"]
    replaced(s3, event["model"]["model_uri"], get(s3, other["model"]["model_uri"]))
    assert evaluation.handler({**other, "champion": champion}, None)["champion"] == before
    # Where S3 no longer has that version, or it was never recorded:
    del champion["item"]["version_ids"]
    result = evaluation.handler({**other, "champion": champion}, None)
    assert (result["decision"], result["rule"]) == ("reject", "champion_unusable")
    assert "which is recorded: it was written again, or damaged" in result["champion"]["reason"]


def test_a_champion_that_was_not_scored_stays_whatever_is_asked(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = trained(s3, "run-1")
    champion = promoted(event)
    monkeypatch.setattr(apart, "__spec__", SimpleNamespace(name="antigravity_that_is_not_there"))
    allowed = {**event, "request": {**event["request"], "replace_unusable_champion": True}}
    result = evaluation.handler({**allowed, "champion": champion}, None)
    assert (result["decision"], result["rule"]) == ("reject", "champion_unscored")
    assert result["champion"]["reason"] == "the process that scored it gave no answer (exit code 1)"
    assert result["reason"].endswith("It stays.")
    assert "(was not scored)" in get(s3, result["report_uri"]).decode()


def test_a_part_of_another_reading_than_the_profile_is_not_loaded(s3: Any, tmp_path: Path) -> None:
    prepared = prepare(put(s3, frame(), "data/x.csv"))["prepared"]
    path = storage.download(s3, storage.pinned(prepared, "train"), tmp_path / "train.parquet")
    profile = json.loads(get(s3, prepared["profile_uri"]))
    load_part(path, profile)
    with pytest.raises(DamagedFileError, match=r"train\.parquet was made of the data set .*Start a new run"):
        load_part(path, {**profile, "fingerprint": "0" * 64})


@pytest.mark.parametrize("name", ["train", "profile"])
def test_training_reads_the_parts_of_one_reading_only(s3: Any, name: str) -> None:
    """A second delivery of data preparation, with other data in between, once left test rows in the training part."""
    event = {"run_id": "run-1", **prepare(put(s3, frame(), "data/x.csv"))}
    again = prepare(put(s3, frame(seed=1), "data/x.csv"))
    # Each call writes into a folder of its own; somebody could still mix them up.
    event["prepared"][f"{name}_uri"], event["prepared"]["version_ids"] = again["prepared"][f"{name}_uri"], {}
    with pytest.raises(DamagedFileError, match=f"{name}\\.(parquet|json).*Start a new run"):
        training.handler(event, None)
    assert not [key for key in keys(s3) if "/model/" in key]


@pytest.mark.parametrize("name", ["model", "info", "training_rows", "test", "profile"])
def test_evaluation_reads_the_files_of_one_run_only(s3: Any, name: str) -> None:
    event = trained(s3, "run-1")
    step = "prepared" if name in ("test", "profile") else "model"
    event[step]["version_ids"] = {}
    replaced(s3, event[step][f"{name}_uri"], get(s3, event[step][f"{name}_uri"]) + b" ")
    with pytest.raises(DamagedFileError):
        evaluation.handler({**event, "champion": None}, None)
    assert not [key for key in keys(s3) if "/evaluation/" in key]


PLACEHOLDERS = {"sha256": "0" * 64, "bytes": 0, "version_ids": None}


def without_digests(event: Any) -> Any:
    """Return an event with placeholders for what depends on the time and on the versions of the libraries."""
    if isinstance(event, str):
        return CALL.sub("/20261128T153012-22f89fbf/", event)
    if not isinstance(event, dict):
        return event
    return {
        key: dict.fromkeys(value, PLACEHOLDERS[key]) if key in PLACEHOLDERS else without_digests(value)
        for key, value in event.items()
    }


def test_the_sample_events_are_what_the_steps_hand_on(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    events = Path(__file__).parents[2] / "events"
    sample = {path.stem: json.loads(path.read_text()) for path in events.iterdir()}
    bucket, key = storage.split_uri(sample["data_preparation"]["request"]["dataset_uri"])
    monkeypatch.setenv("ARTIFACT_BUCKET", bucket)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=bucket, Key=key, Body=load_diabetes(as_frame=True, scaled=False).frame.to_csv(index=False))

    event = {"run_id": "sample", **preparation.handler(sample["data_preparation"], None)}
    assert without_digests(event) == sample["model_training"]
    seconds = sample["model_evaluation"]["model"]["seconds"]
    event |= {"model": {**training.handler(event, None), "seconds": seconds}}
    event |= {"champion": None, "comparisons": 1, "contended": False}
    assert without_digests(event) == sample["model_evaluation"]
    assert evaluation.handler(event, None)["decision"] == "promote"


@pytest.mark.slow
def test_a_run_of_weighted_rows_is_weighted_to_the_end(s3: Any) -> None:
    """Half of the rows are noise of hardly any weight."""
    noisy = np.arange(400) % 2 == 0
    data = frame(400).assign(w=np.where(noisy, 1e-4, 1.0))
    data["y"] += np.where(noisy, np.random.default_rng(1).normal(0, 50, 400), 0)
    uri = put(s3, data, "data/x.csv")

    def event(run_id: str, **fields: Any) -> dict[str, Any]:
        request = {"dataset_uri": uri, "target": "y", "search_trials": 0, **fields}
        prepared = {"run_id": run_id, **preparation.handler({"run_id": run_id, "request": request}, None)}
        return {**prepared, "model": training.handler(prepared, None)}

    # The champion was trained on the same columns, for what is a weight now was no feature.
    champion = promoted(event("run-1", columns={"w": "ignore"}, allow_baseline=True))
    weighted = event("run-2", weight_column="w")
    result = evaluation.handler({**weighted, "champion": champion}, None)
    assert result["metrics"]["rmse"] < 2 < result["champion"]["metrics"]["rmse"]
    assert result["champion"]["status"] == "scored"
    assert (result["decision"], result["rule"]) == ("promote", "significant")
    stored = json.loads(get(s3, result["evaluation_uri"]))
    assert stored["weight_column"] == "w"
    assert "Each row counts by the column w" in get(s3, result["report_uri"]).decode()
    info = json.loads(get(s3, weighted["model"]["info_uri"]))
    assert info["features"] == info["training_rows"]["features"] == ["a", "b", "c"]


@pytest.mark.slow
def test_a_champion_is_measured_by_this_runs_positive_class(s3: Any) -> None:
    """It was no better at the rare class than it is here, only its own metric was of the other one."""
    data = frame(400)
    uri = put(s3, data.assign(y=np.where(data["y"] > 2, "yes", "no")), "data/x.csv")

    def event(run_id: str, **fields: Any) -> dict[str, Any]:
        request = {"dataset_uri": uri, "target": "y", "metric": "f1", "split_seed": 1, "search_trials": 0, **fields}
        prepared = {"run_id": run_id, **preparation.handler({"run_id": run_id, "request": request}, None)}
        return {**prepared, "model": training.handler(prepared, None)}

    first, second = event("run-1"), event("run-2", pos_label="no")
    # What nobody has typed is data, which no state hands on.
    assert (first["request"]["pos_label"], second["request"]["pos_label"]) == (None, "no")
    profiles = [json.loads(get(s3, each["prepared"]["profile_uri"])) for each in (first, second)]
    assert [each["pos_label"] for each in profiles] == ["yes", "no"]
    champion = promoted(first)
    result = evaluation.handler({**second, "champion": champion}, None)
    # The same model: it is as good, and nothing is odd about that.
    assert result["champion"]["metrics"] == result["metrics"]
    assert result["champion"]["improvement"]["value"] == 0
    assert result["champion"]["doubt"] is None
    assert (
        "f1, precision, recall and average_precision are of the class &#34;no&#34;"
        in get(s3, result["report_uri"]).decode()
    )


@pytest.mark.slow
def test_a_large_test_part_is_measured_whole_and_looked_at_in_a_sample(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = trained(s3, "run-1")
    whole = evaluation.handler({**event, "champion": promoted(event)}, None)
    monkeypatch.setattr(predicted_part, "BLOCK_VALUES", 12 * 3)
    bounded = evaluation.handler({**event, "champion": promoted(event)}, None)
    assert (bounded["metrics"], bounded["champion"]) == (whole["metrics"], whole["champion"])
    documents = [json.loads(get(s3, each["evaluation_uri"])) for each in (whole, bounded)]
    differing = {name for name in documents[0] if documents[0][name] != documents[1][name]}
    assert differing <= {"card", "evaluated_at"}
    report = get(s3, bounded["report_uri"]).decode()
    assert "is measured on 12 of 20 test rows, a seeded sample." in report
    assert "a seeded sample.</p>" not in get(s3, whole["report_uri"]).decode()


def test_a_test_part_too_large_for_evaluation_is_refused_before_it_is_read(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = trained(s3, "run-1")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    monkeypatch.setattr(evaluation, "predict_part", None)
    with pytest.raises(InvalidDatasetError, match=r"^20 test rows need about 3\d\d MB .* the function has 128 MB: .*"):
        evaluation.handler(event, None)
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    with pytest.raises(TooLargeForFunctionError, match=r"\[cpu=4096 memory=\d+\]$"):
        evaluation.handler(event, None)


@pytest.mark.parametrize("estimator", ["ridge", "xgboost"])
def test_a_part_that_does_not_fit_the_disk_is_read_from_s3_and_makes_the_same_model(
    s3: Any, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    prepared = prepare(put(s3, frame(300), "data/x.csv"), estimator=estimator)
    one = training.handler({"run_id": "run-1", **prepared}, None)
    monkeypatch.setattr(training.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(training, "download", None)
    other = training.handler({"run_id": "run-1", **prepared}, None)
    for file in ("model", "training_rows"):
        assert other["sha256"][file] == one["sha256"][file]
    # Of the version that its digest names.
    prepared["prepared"]["sha256"]["train"] = "0" * 64
    with pytest.raises(DamagedFileError, match="has the SHA-256"):
        training.handler({"run_id": "run-1", **prepared}, None)


def test_a_part_that_does_not_fit_the_disk_and_is_to_be_a_frame_takes_a_task_or_is_refused(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(put(s3, frame(), "data/x.csv"), estimator="random_forest")
    monkeypatch.setattr(training.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InvalidDatasetError, match=r"the temporary disk, and the function has 0 MB: .* or choose ridge"):
        training.handler({"run_id": "run-1", **prepared}, None)
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    with pytest.raises(TooLargeForFunctionError, match=r"\[cpu=4096 memory=8192\]$"):
        training.handler({"run_id": "run-1", **prepared}, None)


def test_what_there_is_no_time_for_goes_on_as_a_task_before_it_is_read_or_is_tried(
    s3: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    event, moments = trained(s3, "run-1"), Call(0.5)
    for handler in (training.handler, evaluation.handler):
        monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
        before = keys(s3)
        with pytest.raises(TooLargeForFunctionError, match=r"s of the function's time .*\[cpu=4096 memory=8192\]$"):
            handler(event, moments)
        assert keys(s3) == before
        monkeypatch.delenv("LARGEST_TASK_MEMORY")
        assert handler(event, moments)["sha256"]
    assert caplog.text.count("it is tried all the same, for there is no task to do it") == 2


def in_pieces(uri: str, **fields: Any) -> dict[str, Any]:
    """Prepare a data set as the state machine does in pieces, one call after another."""
    request = {"dataset_uri": uri, "target": "y", "search_trials": 0, **fields}

    def call(task: str, **more: Any) -> Any:
        event = json.loads(json.dumps({"task": task, "run_id": "run-2", **more}))
        return json.loads(json.dumps(preparation.handler(event, None)))

    planned = {**call("plan_pieces", request=request, champion=None), "again": True}
    while planned["again"]:
        for piece in range(planned["count"]):
            assert call("scan_piece", pieces=planned, piece=piece) is None
        planned = call("merge_scans", pieces=planned)
    for piece in range(planned["count"]):
        assert call("write_piece", pieces=planned, piece=piece) is None
    try:
        return call("finish_pieces", pieces=planned)
    except TooLargeForFunctionError:
        with pytest.MonkeyPatch.context() as task:
            task.setenv("CROSSTRAIN_TASK_CPU", "4096")
            return {**call("finish_pieces", pieces=planned), "finished_by": "task"}


@pytest.mark.parametrize(
    ("largest_task", "compute", "rate", "told"),
    [
        ("122880", "auto", 1, None),
        ("122880", "task", 1e9, None),
        ("0", "auto", 1, r"^100 rows of 4 columns take about 400 seconds .* and 6 are planned for: .*JobSubnetIds"),
        ("122880", "lambda", 1, "the request's compute is lambda"),
        (
            "122880",
            "auto",
            1e-3,
            r"a task of .* would take about .* hours, and has 12.0: .* leave columns out",
        ),
        ("0", "task", 1e9, "this stack has none: set the parameter JobSubnetIds"),
    ],
)
def test_parts_that_no_call_has_time_to_put_together_are_put_together_by_a_task_or_refused_before_they_are_written(
    s3: Any, monkeypatch: pytest.MonkeyPatch, largest_task: str, compute: str, rate: float, told: str | None
) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", largest_task)
    monkeypatch.setattr(capacity, "_CALL_SECONDS", 10)
    monkeypatch.setattr(piece_plan, "_VALUES_PER_SECOND", rate)
    uri = put(s3, frame(100), "data/x.csv")
    one = prepare(uri)
    if told is None:
        other = in_pieces(uri, compute=compute)
        assert other["finished_by"] == "task"
        assert other["prepared"]["sha256"] == one["prepared"]["sha256"]
        return
    with pytest.raises((InvalidDatasetError, InvalidRequestError), match=told):
        in_pieces(uri, compute=compute)
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix="pieces/")["Contents"]]
    assert not any("/written-" in key for key in keys)


def test_a_piece_is_fetched_ahead_if_the_disk_has_room_for_it(
    s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = [storage.write_bytes(s3, bytes(1000), f"s3://{BUCKET}/{name}", "any") for name in "abc"]
    for free, most in ((1 << 30, 2), (999, 1)):
        monkeypatch.setattr(in_pieces_module.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        held = []
        for path in in_pieces_module._ahead(s3, files, tmp_path):
            time.sleep(0.2)
            assert path.read_bytes() == bytes(1000)
            held.append(len(list(tmp_path.iterdir())))
        assert max(held) == most
        assert len(held) == 3


@pytest.mark.slow
def test_many_files_in_pieces_are_what_one_call_makes_of_them(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = frame(600)
    for number in range(60):
        put(s3, data[number * 10 : number * 10 + 10], f"data/many/{number:03}.csv")
    one = prepare(f"s3://{BUCKET}/data/many/")
    monkeypatch.setenv("PIECE_BYTES", "3000")
    with pytest.raises(TooLargeForFunctionError, match="prepared in pieces"):
        prepare(f"s3://{BUCKET}/data/many/")
    other = in_pieces(f"s3://{BUCKET}/data/many/")
    assert other["request"] == one["request"]
    assert other["prepared"]["sha256"] == one["prepared"]["sha256"]
    assert other["prepared"]["rows"] == one["prepared"]["rows"]


def test_one_large_file_is_cut_and_is_what_one_call_makes_of_it(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(piece_plan, "BLOCK_BYTES", 4096)
    uri = put(s3, frame(500), "data/x.csv")
    one = prepare(uri)
    monkeypatch.setenv("PIECE_BYTES", "10000")
    other = in_pieces(uri)
    assert other["prepared"]["sha256"] == one["prepared"]["sha256"]
    assert other["request"] == one["request"]


def put_parquet(s3: Any, data: pd.DataFrame, key: str = "data/x.parquet") -> str:
    """Write row groups of ten rows."""
    content = io.BytesIO()
    data.to_parquet(content, index=False, row_group_size=10)
    s3.put_object(Bucket=BUCKET, Key=key, Body=content.getvalue())
    return f"s3://{BUCKET}/{key}"


def test_one_large_parquet_file_is_cut_between_row_groups_and_is_what_one_call_makes_of_it(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_pages, "SECTION_VALUES", 100)
    uri = put_parquet(s3, frame(500).assign(c=["a", "b", None, "c", "d"] * 100))
    one = prepare(uri)
    monkeypatch.setenv("PIECE_BYTES", "10000")
    other = in_pieces(uri)
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix="pieces/")["Contents"]]
    # One of them is the fingerprint alone.
    assert len([key for key in keys if "/scan-0-" in key]) > 3
    assert other["prepared"]["sha256"] == one["prepared"]["sha256"]
    assert other["request"] == one["request"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["data/x.csv", "data/many/", "data/x.parquet"])
def test_an_object_that_is_replaced_between_scan_and_writing_is_named(
    s3: Any, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(parquet_pages, "SECTION_VALUES", 100)
    put_parquet(s3, frame(500))
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(piece_plan, "BLOCK_BYTES", 4096)
    monkeypatch.setenv("PIECE_BYTES", "10000")
    for name in ("data/x.csv", "data/many/1.csv", "data/many/2.csv"):
        put(s3, frame(500), name)
    handler = preparation.handler

    def replaces(event: Any, context: Any) -> Any:
        if event["task"] == "write_piece":
            put(s3, frame(500, seed=1), "data/x.csv")
            put(s3, frame(500, seed=1), "data/many/2.csv")
            put_parquet(s3, frame(500, seed=1))
        return handler(event, context)

    monkeypatch.setattr(preparation, "handler", replaces)
    with pytest.raises(InvalidDatasetError, match=r"was replaced while the data set was read: start a new run"):
        in_pieces(f"s3://{BUCKET}/{key}")


def no_groups(_: object) -> list[parquet_pages.RowGroup]:
    return []


def listed(sizes: list[int], suffix: str = ".csv") -> list[objects.SourceObject]:
    return [
        objects.SourceObject(f"s3://{BUCKET}/data/{at}{suffix}", f"{at}{suffix}", n, "e") for at, n in enumerate(sizes)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_a_million_empty_objects_have_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = listed([0] * 1_000_000)
    with pytest.raises(TooLargeForFunctionError, match="1,000,000 objects"):
        piece_plan.check_room(empty, tmp_path, None, no_groups)
    pieces = piece_plan.cut(empty, 1e9, no_groups)
    assert 900 < len(pieces) <= piece_plan.MOST_PIECES
    assert sum(len(each.objects) for each in pieces) == len(empty)
    # None of them is asked for, and the data set has no rows.
    monkeypatch.setattr(in_pieces_module, "list_objects", lambda *_: objects.Listing(empty[:2000], []))
    with pytest.raises(InvalidDatasetError, match=r'"0.csv" is empty'):
        in_pieces(f"s3://{BUCKET}/data/")


def test_one_object_of_a_hundred_gigabytes_is_cut_where_that_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(piece_plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 << 30))
    room = piece_plan.room_of(tmp_path, None)
    pieces = piece_plan.cut(listed([100 << 30]), room, no_groups)
    assert len(pieces) == 101
    assert pieces[0].is_fingerprint
    assert [each.begin for each in pieces[1:]] == [0, *(each.end for each in pieces[1:-1])]
    assert pieces[-1].end == 100 << 30
    assert all(each.begin is not None and each.begin % (4 << 20) == 0 for each in pieces[1:])
    piece_plan.check_pieces(pieces, tmp_path, None)
    for suffix, told in ((".csv.gz", "packed"), (".xlsx", "packed"), (".jsonl", "MB, more")):
        pieces = piece_plan.cut(listed([100 << 30], suffix), room, no_groups)
        with pytest.raises(InvalidDatasetError, match=f"102,400 MB.*{told}|{told}.*write it as several files"):
            piece_plan.check_pieces(pieces, tmp_path, None)


def row_groups(sizes: list[int]) -> list[parquet_pages.RowGroup]:
    ends = np.cumsum([4, *sizes]).tolist()
    return [parquet_pages.RowGroup(1 << 20, 30, begin, end) for begin, end in itertools.pairwise(ends)]


def test_one_parquet_object_of_a_hundred_gigabytes_is_cut_if_its_row_groups_have_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(piece_plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 << 30))
    room = piece_plan.room_of(tmp_path, None)
    groups = row_groups([128 << 20] * 800)
    pieces = piece_plan.cut(listed([100 << 30], ".parquet"), room, lambda _: groups)
    assert len(pieces) == 101
    assert pieces[0].is_fingerprint
    held = [each.groups for each in pieces[1:]]
    assert [begin for begin, _ in held] == [0, *(end for _, end in held[:-1])]
    assert held[-1][1] == 800
    assert [each.begins_object for each in pieces[1:3]] == [True, False]
    assert (pieces[1].begin, pieces[-1].end) == (groups[0].begin, groups[-1].end)
    piece_plan.check_pieces(pieces, tmp_path, None)
    with pytest.raises(TooLargeForFunctionError, match="prepared in pieces"):
        piece_plan.check_room(listed([100 << 30], ".parquet"), tmp_path, None, lambda _: groups)
    for large in ([5 << 30, 5 << 30], [12 << 30]):
        pieces = piece_plan.cut(listed([sum(large)], ".parquet"), room, lambda _, large=large: row_groups(large))
        size = large[0] >> 20
        with pytest.raises(InvalidDatasetError, match=f"a row group of about {size:,} MB.*write it with row groups of"):
            piece_plan.check_pieces(pieces, tmp_path, None)


@pytest.mark.parametrize(
    ("sizes", "suffix", "way"),
    [
        ([8 << 30], ".csv", "pieces"),
        ([3 << 29] * 4, ".parquet", "pieces"),
        ([9 << 29], ".parquet", "tried"),
        ([11 << 30], ".csv.gz", "pieces"),
        ([4 << 30], ".csv", "one"),
        ([1 << 20] * 20_000, ".csv", "pieces"),
    ],
)
def test_what_no_piece_has_more_room_for_is_tried_in_one_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sizes: list[int], suffix: str, way: str
) -> None:
    monkeypatch.setattr(piece_plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 << 30))
    if way == "pieces":
        with pytest.raises(TooLargeForFunctionError, match="of the temporary disk and"):
            piece_plan.check_room(listed(sizes, suffix), tmp_path, None, no_groups)
    else:
        piece_plan.check_room(listed(sizes, suffix), tmp_path, None, no_groups)


def test_a_disk_that_is_full_after_all_leads_to_pieces(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = put(s3, frame(), "data/x.csv")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data_preparation.scanning._write_batch", full)
    with pytest.raises(TooLargeForFunctionError, match="do not fit the temporary disk"):
        prepare(uri)


def test_what_breaks_off_is_asked_for_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(1000)
    s3.put_object(Bucket=BUCKET, Key="data/x.csv", Body=content)
    etag = s3.head_object(Bucket=BUCKET, Key="data/x.csv")["ETag"]
    source = objects.SourceObject(f"s3://{BUCKET}/data/x.csv", "x.csv", 1000, etag)
    monkeypatch.setattr(ranges, "_RANGE_BYTES", 99)
    read, broken = StreamingBody.read, list[int]()

    def breaks(body: StreamingBody, *arguments: Any) -> bytes:
        if len(broken) < 3:
            broken.append(1)
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)
        return read(body, *arguments)

    monkeypatch.setattr(StreamingBody, "read", breaks)
    target = io.BytesIO()
    object_ranges.copy_range(s3, source, 10, 900, target)
    assert target.getvalue() == content[10:900]
    s3.put_object(Bucket=BUCKET, Key="data/x.csv", Body=content)
    s3.put_object(Bucket=BUCKET, Key="data/x.csv", Body=content[1:])
    with pytest.raises(InvalidDatasetError, match="was replaced"):
        object_ranges.copy_range(s3, source, 10, 900, target)
