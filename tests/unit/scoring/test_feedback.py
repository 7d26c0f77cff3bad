"""Feedback: labels joined with the predictions of a file, of a run and of captured requests, by one handler."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from common.errors import InvalidDatasetError, InvalidRequestError
from common.storage import describe_file, split_uri, write_bytes, write_json
from scoring import feedback, label_files
from scoring.label_files import captured_predictions

from .conftest import MODEL, Shop

ROWS = 400
OF_ALL = {"weight_column": None, "quantile": 0.5, "rows": 120}
ERROR = {
    **OF_ALL, "problem": "regression", "metric": "rmse", "pos_label": None, "value": 1.0,
    "interval": {"value": 1.0, "low": 0.9, "high": 1.1, "deviation": 0.05},
}  # fmt: skip
SHARE = {
    **OF_ALL, "problem": "classification", "metric": "accuracy", "pos_label": True, "value": 0.9,
    "interval": {"value": 0.9, "low": 0.85, "high": 0.95, "deviation": 0.02},
}  # fmt: skip
Ask = Callable[..., dict[str, Any]]


class Bus:
    """An event bus that keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 (as boto3 calls it)
        """Take events."""
        self.entries += Entries
        return {"FailedEntryCount": 0}


@pytest.fixture
def bus(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """Let the handler work with the shop."""
    shop.set_watch_settings(monkeypatch)
    opened = Bus()
    monkeypatch.setattr(feedback, "_client", {"dynamodb": shop.dynamodb, "events": opened}.__getitem__)
    return opened


def promote(
    shop: Shop, evaluation: Mapping[str, Any], labels: list[Any], version: str = "run-1", **fields: Any
) -> None:
    """Promote a version whose target is made of these labels."""
    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.normal(size=120), "y": [labels[at % len(labels)] for at in range(120)]})
    shop.evaluation = dict(evaluation)
    estimator = "ridge" if evaluation["problem"] == "regression" else "logistic_regression"
    shop.train(version, data, estimator=estimator, problem=evaluation["problem"], **fields)
    shop.promote(version)


def ask(**fields: Any) -> dict[str, Any]:
    found = feedback.handler({"model_name": MODEL, "keys": ["id"], **fields}, None)
    json.dumps(found, allow_nan=False)
    return found


def put(shop: Shop, name: str, content: bytes | str) -> str:
    body = content if isinstance(content, bytes) else content.encode()
    shop.s3.put_object(Bucket=shop.bucket, Key=f"data/{name}", Body=body)
    return f"s3://{shop.bucket}/data/{name}"


def numbers(noise: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return predictions, and labels that are so far from them."""
    random = np.random.default_rng(1)
    ids = [f"{number:04}" for number in range(ROWS)]
    predicted = random.normal(100, 10, ROWS).round(4)
    truth = (predicted + random.normal(0, noise, ROWS)).round(4)
    return pd.DataFrame({"id": ids, "prediction": predicted}), pd.DataFrame({"id": ids, "y": truth})


@pytest.mark.parametrize(("noise", "dropped"), [(1.0, False), (2.0, True)])
def test_a_metric_that_has_dropped_is_announced_and_another_one_is_not(
    shop: Shop, bus: Bus, noise: float, dropped: bool
) -> None:
    promote(shop, ERROR, list(np.linspace(50, 150, 120)))
    predictions, labels = numbers(noise)
    # As a file of another program has them: fewer labels, one of them missing, and one key that nobody knows.
    labels.loc[0, "y"] = np.nan
    more = pd.concat([labels.iloc[:-10], pd.DataFrame({"id": ["none"], "y": [1.0]})])
    found = ask(
        labels_uri=put(shop, "labels.csv", more.to_csv(index=False)),
        predictions_uri=put(shop, "predictions.csv", predictions.to_csv(index=False)),
    )
    assert (found["rows"], found["unmatched"], found["unmatched_labels"]) == (ROWS - 11, 11, 1)
    assert found["missing_labels"] == 1
    assert found["value"] == pytest.approx(noise, rel=0.15)
    assert (found["dropped"], found["version"], found["metric"]) == (dropped, "run-1", "rmse")
    folder = f"s3://{shop.bucket}/feedback/{MODEL}/{found['run_id']}/"
    assert (found["feedback_uri"], found["page_uri"]) == (f"{folder}feedback.json", f"{folder}feedback.html")
    stored = shop.s3.get_object(Bucket=shop.bucket, Key=split_uri(found["feedback_uri"])[1])
    assert json.loads(stored["Body"].read())["value"] == found["value"]
    kinds = [(each["Source"], each["DetailType"]) for each in bus.entries]
    assert kinds == ([("crosstrain", "Performance Dropped")] if dropped else [])
    for entry in bus.entries:
        detail = json.loads(entry["Detail"])
        assert detail["stack"] == "stack"
        assert (detail["value"], detail["test_value"], detail["rows"]) == (found["value"], 1.0, ROWS - 11)
        assert detail["feedback_uri"] == found["feedback_uri"]


@pytest.mark.parametrize(("kind", "classes"), [("category", ("yes", "no")), ("boolean", ("true", "false"))])
def test_labels_are_those_of_training_however_it_spells_them(
    shop: Shop, bus: Bus, kind: str, classes: tuple[str, str]
) -> None:
    positive = True if kind == "boolean" else "yes"
    promote(shop, {**SHARE, "pos_label": positive}, ["yes", "no"], columns={"y": kind})
    ids = list(range(ROWS))
    predicted = pd.DataFrame({"id": ids, "prediction": ["yes", "no"] * (ROWS // 2)})
    predicted[f"probability_{classes[0]}"] = np.where(predicted["prediction"] == "yes", 0.8, 0.2)
    predicted[f"probability_{classes[1]}"] = 1 - predicted[f"probability_{classes[0]}"]
    truth = predicted["prediction"].where(
        np.arange(ROWS) >= 40, predicted["prediction"].map({"yes": "no", "no": "yes"})
    )
    labels_uri = put(shop, "labels.csv", pd.DataFrame({"id": ids, "sold": truth}).to_csv(index=False, sep=";"))
    of_csv = ask(
        labels_uri=labels_uri,
        target="sold",
        predictions_uri=put(shop, "predictions.csv", predicted.to_csv(index=False)),
    )
    assert (of_csv["rows"], of_csv["value"], of_csv["dropped"], of_csv["target"]) == (ROWS, 0.9, False, "sold")
    typed = predicted.assign(prediction=predicted["prediction"] == "yes") if kind == "boolean" else predicted
    pq.write_table(pa.Table.from_pandas(typed, preserve_index=False), shop.folder / "predictions.parquet")
    content = (shop.folder / "predictions.parquet").read_bytes()
    of_parquet = ask(labels_uri=labels_uri, target="sold", predictions_uri=put(shop, "predictions.parquet", content))
    assert (of_parquet["rows"], of_parquet["value"]) == (ROWS, 0.9)
    alone = predicted[["id", "prediction"]].to_csv(index=False)
    with pytest.raises(InvalidDatasetError, match=f'no column "probability_{classes[1]}"'):
        ask(labels_uri=labels_uri, target="sold", predictions_uri=put(shop, "alone.csv", alone))
    assert bus.entries == []


def manifest(shop: Shop, content: str, **changes: Any) -> str:
    """Write what a run of batch scoring leaves, and return the URI of its manifest."""
    folder = f"s3://{shop.bucket}/scoring/run-7"
    stored = write_bytes(shop.s3, content.encode(), f"{folder}/a.csv", "text/csv")
    objects = [
        {"name": "a.csv", "state": "scored", "rows": ROWS, "predictions": describe_file(stored)},
        {"name": "b.csv", "state": "failed", "rows": 0, "reason": "It is broken."},
    ]
    document = {"model_name": MODEL, "version": "run-1", "objects": objects, **changes}
    return write_json(shop.s3, document, f"{folder}/manifest.json").uri


def test_the_files_of_a_scoring_run_are_those_that_it_has_recorded(shop: Shop, bus: Bus) -> None:
    assert bus.entries == []
    promote(shop, ERROR, list(np.linspace(50, 150, 120)))
    promote(shop, ERROR, list(np.linspace(50, 160, 120)), "run-2")
    predictions, labels = numbers(1.0)
    labels_uri = put(shop, "labels.csv", labels.to_csv(index=False))
    uri = manifest(shop, predictions.to_csv(index=False))
    found = ask(labels_uri=labels_uri, predictions_uri=uri)
    # It is of the version that has scored, not of the champion of today.
    assert (found["rows"], found["version"], found["dropped"]) == (ROWS, "run-1", False)
    assert "could not score: 1" in found["told"][0]
    with pytest.raises(InvalidRequestError, match="leave the version out"):
        ask(labels_uri=labels_uri, predictions_uri=uri, version="run-2")
    with pytest.raises(InvalidRequestError, match="run of the model"):
        ask(labels_uri=labels_uri, predictions_uri=uri, model_name="another")


def test_what_is_recorded_of_the_version_is_read_once(shop: Shop, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bus.entries == []
    promote(shop, ERROR, list(np.linspace(50, 150, 120)))
    predictions, labels = numbers(1.0)
    labels_uri = put(shop, "labels.csv", labels.to_csv(index=False))
    sources = [put(shop, "p.csv", predictions.to_csv(index=False)), manifest(shop, predictions.to_csv(index=False))]
    asked, files = list[str](), list[str]()
    get_item, get_object = shop.dynamodb.get_item, shop.s3.get_object

    def count_item(**of: Any) -> Any:
        asked.append(of["Key"]["entry"]["S"])
        return get_item(**of)

    def count_object(**of: Any) -> Any:
        files.append(of["Key"].rpartition("/")[2])
        return get_object(**of)

    monkeypatch.setattr(shop.dynamodb, "get_item", count_item)
    monkeypatch.setattr(feedback, "s3_client", lambda: shop.s3)
    monkeypatch.setattr(shop.s3, "get_object", count_object)
    for uri in (*sources, None):
        asked.clear()
        files.clear()
        ask(labels_uri=labels_uri, **({} if uri is None else {"predictions_uri": uri}))
        assert asked.count("version#run-1") == 1
        assert sorted(each for each in files if each in ("profile.json", "evaluation.json")) == [
            "evaluation.json", "profile.json",
        ]  # fmt: skip


def test_files_that_the_role_may_not_read_are_told_with_a_way_that_is_open_to_it(
    shop: Shop, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bus.entries == []
    promote(shop, ERROR, list(np.linspace(50, 150, 120)))
    predictions, labels = numbers(1.0)
    labels_uri = put(shop, "labels.csv", labels.to_csv(index=False))
    with pytest.raises(InvalidDatasetError, match=r'scoring/none/manifest\.json" does not exist'):
        ask(labels_uri=labels_uri, predictions_uri=f"s3://{shop.bucket}/scoring/none/manifest.json")
    with pytest.raises(InvalidDatasetError, match=r'elsewhere/labels\.csv" does not exist'):
        ask(labels_uri="s3://elsewhere/labels.csv")
    monkeypatch.setattr(feedback, "s3_client", lambda: shop.s3)
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "GetObject")

    def refuse(**_: Any) -> None:
        raise denied

    uri = manifest(shop, predictions.to_csv(index=False))
    kept = shop.s3.get_object
    monkeypatch.setattr(
        shop.s3, "get_object", lambda **of: refuse() if of["Key"].endswith("manifest.json") else kept(**of)
    )
    for fields in ({"predictions_uri": uri}, {"predictions_uri": put(shop, "p.csv", "id,prediction\n")}):
        with monkeypatch.context() as patch:
            patch.setattr(shop.s3, "get_paginator", lambda _: SimpleNamespace(paginate=refuse))
            with pytest.raises(InvalidDatasetError) as caught:
                ask(labels_uri=labels_uri, **fields)
        assert f"may not be read: put labels and predictions under data/ in the bucket {shop.bucket}" in str(
            caught.value
        )
        assert "DatasetBucketName" not in str(caught.value)


def test_captured_requests_are_joined_by_what_came_with_their_rows(shop: Shop, bus: Bus) -> None:
    promote(shop, ERROR, list(np.linspace(50, 150, 120)))
    predictions, labels = numbers(1.0)
    lines = [
        {"at": "2026-01-01T00:00:00.000+00:00", "version": "run-1", "row": {"x": 1.0, "id": key}, "prediction": value}
        for key, value in predictions.itertuples(index=False)
    ]
    lines[0]["version"] = "run-0"
    del lines[1]["row"]["id"]  # type: ignore[attr-defined]  # it is a dictionary
    content = gzip.compress("\n".join(map(json.dumps, lines)).encode())
    shop.s3.put_object(Bucket=shop.bucket, Key=f"captured/{MODEL}/2026/01/01/00/a.jsonl.gz", Body=content)
    labels_uri = put(shop, "labels.csv", labels.to_csv(index=False))
    found = ask(labels_uri=labels_uri)
    assert (found["rows"], found["unmatched_labels"], found["version"]) == (ROWS - 2, 2, "run-1")
    assert " ".join(found["told"]).count("left out") == 2
    assert "to 2026-01-30 22:00 UTC" in ask(labels_uri=labels_uri, until="2026-01-31T00:00:00+02:00")["rows_from"]
    later = ask(labels_uri=labels_uri, since="2999-01-01T00:00:00Z", until="2999-01-02T00:00:00Z")
    assert (later["rows"], later["dropped"]) == (0, False)
    assert bus.entries == []


def test_captured_rows_are_as_many_as_fit_and_keys_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"version": "run-1", "row": {"id": key}, "prediction": 1.0} for key in (2**70, "a", 3, None)]
    table, others, without, beyond = captured_predictions(lines, "run-1", ["id"])
    assert table["id"].to_pylist() == [str(2**70), "a", "3", None]
    assert (others, without, beyond) == (0, 0, 0)
    monkeypatch.setattr(label_files, "MOST_ROWS", 3)
    table, others, without, beyond = captured_predictions(lines, "run-1", ["id"])
    assert (table.num_rows, beyond) == (3, 1)


def test_what_cannot_be_used_is_refused_by_name(shop: Shop, bus: Bus) -> None:
    promote(shop, ERROR, list(np.linspace(50, 150, 120)))
    predictions, labels = numbers(1.0)
    labels_uri, predictions_uri = (
        put(shop, f"{name}.csv", each.to_csv(index=False)) for name, each in (("l", labels), ("p", predictions))
    )
    for fields, reason in (
        ({"labels_uri": labels_uri, "keys": ["ids"], "predictions_uri": predictions_uri}, 'no column "ids"'),
        ({"labels_uri": labels_uri, "target": "z", "predictions_uri": predictions_uri}, 'no column "z"'),
        ({"labels_uri": f"{labels_uri}x", "predictions_uri": predictions_uri}, "no data file"),
        ({"labels_uri": labels_uri, "predictions_uri": labels_uri}, 'no column "prediction"'),
        ({"labels_uri": put(shop, "t.csv", "id,y\n0001,red\n"), "predictions_uri": predictions_uri}, "type"),
        (
            {"labels_uri": labels_uri, "predictions_uri": put(shop, "t2.csv", "id,prediction\n0001,red\n")},
            "no numbers",
        ),
    ):
        with pytest.raises(InvalidDatasetError, match=reason):
            ask(**fields)
    with pytest.raises(InvalidRequestError, match="key"):
        ask(labels_uri=labels_uri, keys=[])
    with pytest.raises(InvalidRequestError, match="no champion"):
        ask(labels_uri=labels_uri, model_name="another")
    assert bus.entries == []
