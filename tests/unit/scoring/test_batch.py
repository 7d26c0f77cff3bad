"""Batch scoring by its handler, on an S3 that lives in this process (moto)."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from common import storage
from common.errors import DamagedFileError, InvalidDatasetError, InvalidRequestError, TooLargeForFunctionError
from crosstrain.training.prediction import Model
from crosstrain.training.scored_files import score_files
from data_preparation.reading import SourceFile
from scoring import answers, batch, batch_plan, fitted
from scoring.champion import NoChampionError
from scoring.csv_rows import score_csv

from .batch_runs import ROWS, Runs, frame
from .conftest import FILES, MODEL


def test_a_file_of_predictions_for_each_object_is_what_predict_py_writes(runs: Runs, tmp_path: Path) -> None:
    rows = frame(seed=5).drop(columns="y").assign(id=[f"{each:04}" for each in range(ROWS)])
    parquet = io.BytesIO()
    rows.to_parquet(parquet, index=False)
    text = rows.to_csv(index=False).replace("\n0", "\n\n0", 1).encode()
    contents = {"a.csv": text, "day=1/b.csv.gz": gzip.compress(text), "c.parquet": parquet.getvalue()}
    for name, content in contents.items():
        runs.put(f"data/in/{name}", content)
    result = runs.score(runs.request(keep=["id"]))
    assert (result["rows"], result["objects"]) == (3 * ROWS, {"scored": 3, "empty": 0, "failed": 0})
    (tmp_path / "model").mkdir()
    for file in FILES.values():
        runs.s3.download_file(runs.shop.bucket, f"runs/run-1/{file}", str(tmp_path / "model" / file))
    model = Model.load(tmp_path / "model")
    for name, out in {"a.csv": "a", "day=1/b.csv.gz": "day=1/b", "c.parquet": "c"}.items():
        path = tmp_path / name.replace("/", "-")
        path.write_bytes(contents[name])
        score_files(model, [SourceFile(name, path)], tmp_path / "expected.parquet", keep=["id"])
        assert runs.table(f"predictions/{out}.parquet").equals(pq.read_table(tmp_path / "expected.parquet")), name
    assert runs.table("predictions/a.parquet").schema.names == ["id", "prediction"]


def test_labels_are_as_training_has_them_and_online_says_the_same(runs: Runs) -> None:
    data = frame()
    labelled = data.assign(y=np.where(data["size"] > 50, "yes", "no"))
    runs.shop.train("labels", labelled, estimator="logistic_regression")
    runs.shop.promote("labels")
    rows = frame(seed=5)[["kind", "size"]]
    runs.put("data/in/a.csv", rows)
    runs.score(runs.request(output_format="csv", keep=["kind"]), version="labels")
    table = runs.table("predictions/a.csv")
    assert table.schema.names[:2] == ["kind", "prediction"]
    champion, _ = runs.shop.champions().current()
    online = score_csv(rows.to_csv(index=False).encode(), champion, ROWS)
    answered = answers.predictions(champion.model, online.predictions)
    assert table["prediction"].to_pylist() == [each and each["prediction"] for each in answered]
    assert set(table["prediction"].to_pylist()) == {"yes", "no"}
    of_class = [each["probabilities"]["yes"] for each in answered if each]
    # Each row has been scored in the same numbers.
    names = [name for name in table.schema.names if name.startswith("probability_")]
    assert any(table[name].to_pylist() == of_class for name in names)


def test_the_manifest_says_what_was_scored_by_what(runs: Runs) -> None:
    uri = runs.put("data/in/a.csv", frame(seed=5))
    runs.put("data/in/README.txt", b"about")
    result = runs.score(runs.request(output_format="csv", keep="all"))
    manifest = runs.json("manifest.json")
    (scored,) = manifest["objects"]
    etag = runs.s3.head_object(Bucket=runs.shop.bucket, Key="data/in/a.csv")["ETag"]
    assert (scored["uri"], scored["etag"], scored["state"], scored["rows"]) == (uri, etag, "scored", ROWS)
    assert manifest["model"]["sha256"] == runs.shop.entries["run-1"]["sha256"]["model"]
    assert (manifest["version"], manifest["decision"]) == ("run-1", "promote")
    assert manifest["ignored_files"] == ["README.txt"]
    assert manifest["request"] == {
        **runs.request(output_format="csv", keep="all"), "version": None, "read": None,
    }  # fmt: skip
    written = storage.read_bytes(runs.s3, storage.Stored(**scored["predictions"]))
    assert written == runs.read("predictions/a.csv")
    assert written.decode().splitlines()[0] == "size,kind,y,prediction"
    assert result["manifest_uri"] == runs.uri("scoring/batch-1/manifest.json")
    assert set(runs.written()) == {
        f"scoring/batch-1/{name}"
        for name in ("plan.json", "pieces/000.json", "predictions/a.csv", "drift.json", "drift.html", "manifest.json")
    }


def test_rows_as_in_training_have_not_changed_and_others_have(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.put("data/same/a.csv", frame(seed=5))
    runs.put("data/moved/a.csv", frame(seed=6, shift=20))
    assert not runs.score(runs.request("data/same/"), "same")["drifted"]
    capsys.readouterr()
    moved = runs.score(runs.request("data/moved/"), "moved")
    assert moved["drifted"]
    assert [each["name"] for each in moved["changed_columns"]] == ["size"]
    assert moved["short"]["name"] == "size"
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["stack"], metrics["model_name"], metrics["ScoredRows"]) == ("stack", MODEL, [ROWS])
    assert metrics["DriftedColumns"] == [1]
    assert metrics["LargestPsi"] == [moved["short"]["psi"]]
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Crosstrain"
    assert runs.json("drift.json", "moved")["drifted"]
    assert "size" in runs.read("drift.html", "moved").decode()


def test_pieces_are_compared_as_one_batch(runs: Runs) -> None:
    rows = frame(seed=6, shift=20)
    runs.put("data/whole/a.csv", rows)
    for part in range(4):
        runs.put(f"data/parts/{part}.csv", rows[part::4])
    whole, parts = (runs.score(runs.request(f"data/{each}/"), each) for each in ("whole", "parts"))
    assert whole["short"] == parts["short"]


def test_earlier_batches_are_on_the_page_in_their_order(runs: Runs) -> None:
    runs.put("data/in/a.csv", frame(seed=5))
    planned = runs.plan(runs.request())
    runs.call("score_piece", plan=planned["plan"], piece=0)
    earlier = [
        {"rows": 100, "drifted": psi > 0.5, "psi": psi, "name": "size", "threshold": 0.4} for psi in (0.987, 0.123)
    ]
    runs.compare(planned, earlier=earlier)
    told = " ".join(runs.read("drift.html").decode().split())
    assert "Of 3 batches 1 had changed" in told
    assert "the one before it 0.99" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "state", "told"),
    [
        ("b.csv", b"size\n1\n", "failed", '"kind" is missing.'),
        ("b.csv", b"size,kind\nlarge,flat\n", "failed", 'Column "size" of "b.csv" holds texts, and the'),
        ("b.parquet", b"no parquet", "failed", '"b.parquet"'),
        ("b.csv.gz", gzip.compress(b"size,kind\n1,flat\n" * 9)[:40], "failed", '"b.csv.gz"'),
        ("b.csv", b",".join(b"%x" % n for n in range(1_000_000)) + b"\n1\n", "failed", "more than 10,000 columns"),
        ("b.csv", b"", "empty", '"b.csv"'),
    ],
    ids=["lacks a column", "other kind", "no Parquet", "cut", "a million columns", "empty"],
)
def test_one_object_that_cannot_be_scored_does_not_end_the_others(
    runs: Runs, name: str, content: bytes, state: str, told: str
) -> None:
    runs.put("data/in/a.csv", frame(seed=5))
    runs.put(f"data/in/{name}", content)
    runs.put("data/in/c.csv", frame(seed=7))
    result = runs.score(runs.request())
    assert result["rows"] == 2 * ROWS
    assert result["objects"] == {"scored": 2, "empty": 0, "failed": 0} | {state: 1}
    harmed = runs.json("manifest.json")["objects"][1]
    assert (harmed["name"], harmed["state"], harmed["rows"]) == (name, state, 0)
    assert told in harmed["reason"]
    assert runs.json("drift.json")["rows"] == 2 * ROWS


def test_an_object_that_does_not_fit_the_disk_is_scored_by_a_task(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.put("data/in/a.csv.gz", gzip.compress(frame(seed=5).to_csv(index=False).encode()))
    planned = runs.plan(runs.request())
    usage = shutil.disk_usage
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=100))
        small.setenv("LARGEST_TASK_MEMORY", "122880")
        with pytest.raises(TooLargeForFunctionError, match=r'^"a.csv.gz" has 0 MB .*\[cpu=4096 memory=8192\]$'):
            runs.call("score_piece", plan=planned["plan"], piece=0)
    monkeypatch.setenv("CROSSTRAIN_TASK_CPU", "4096")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "8192")
    runs.call("score_piece", plan=planned["plan"], piece=0)
    runs.compare(planned)
    (told,) = runs.json("manifest.json")["objects"]
    assert (told["state"], told["rows"]) == ("scored", ROWS)
    assert told["compute"] == [{"kind": "task", "memory_mb": 8192}]


def test_an_object_that_does_not_fit_the_disk_has_failed_where_there_are_no_tasks(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.put("data/in/a.csv.gz", gzip.compress(frame(seed=5).to_csv(index=False).encode()))
    runs.put("data/in/b.csv", b"size,kind\n1,flat\n")
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=100))
    runs.score(runs.request())
    failed, scored = runs.json("manifest.json")["objects"]
    assert (
        "raise the parameter FunctionStorage (10,240 MB at most), split the file, or set the parameter JobSubnetIds"
        in (failed["reason"])
    )
    assert scored["compute"] == [{"kind": "function", "memory_mb": 3008}]


def test_rows_of_an_object_that_broke_off_are_not_counted(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "BATCH_ROWS", 16)
    score = fitted.FittedModel.score

    def refuse(model: Any, batch: pa.RecordBatch, oddities: Any) -> pa.RecordBatch:
        if pa.compute.any(pa.compute.equal(batch["size"], 7777.0)).as_py():
            raise ValueError("Input is too large.")
        return score(model, batch, oddities)

    monkeypatch.setattr(fitted.FittedModel, "score", refuse)
    rows = frame(seed=6)
    rows.loc[ROWS - 1, "size"] = 7777.0
    runs.put("data/in/a.csv", frame(seed=5))
    runs.put("data/in/b.csv", rows)
    assert runs.score(runs.request())["rows"] == ROWS
    assert "The rows 113 to 120" in runs.json("manifest.json")["objects"][1]["reason"]
    assert runs.json("drift.json")["rows"] == ROWS


def test_a_workbook_is_refused_by_what_it_is(runs: Runs) -> None:
    workbook = io.BytesIO()
    frame().to_excel(workbook, index=False)
    runs.put("data/in/a.xlsx", workbook.getvalue())
    with pytest.raises(InvalidDatasetError, match=r'"a.xlsx" is an Excel workbook, .* save it as CSV or Parquet'):
        runs.score(runs.request())


def test_where_nothing_can_be_scored_the_run_fails_and_says_so(runs: Runs) -> None:
    for name in ("a.csv", "b.csv"):
        runs.put(f"data/in/{name}", b"size\n1\n")
    with pytest.raises(InvalidDatasetError, match=r'None of the 2 objects of s3://.* can be scored: "a.csv" does not'):
        runs.score(runs.request())
    assert not [key for key in runs.written() if "manifest" in key or "drift" in key]


@pytest.mark.parametrize(
    ("fields", "error", "told"),
    [
        ({"keeps": ["id"]}, InvalidRequestError, '"keeps" is unknown. Did you mean "keep"'),
        ({"model_name": None}, InvalidRequestError, '"model_name" is None'),
        ({"output_format": "json"}, InvalidRequestError, '"output_format" is "json". Known: "parquet", "csv".'),
        ({"dataset_uri": "data/in"}, InvalidRequestError, '"dataset_uri"'),
        ({"read": {"encoding": "nonsense"}}, InvalidRequestError, '"read.encoding" is "nonsense"'),
        ({"keep": "id"}, InvalidRequestError, '"keep"'),
        ({}, InvalidDatasetError, "There is no data file at"),
    ],
)
def test_a_request_that_cannot_be_used_is_refused_before_anything_is_written(
    runs: Runs, fields: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told.replace("[", r"\[")):
        runs.plan(runs.request() | fields)
    assert runs.written() == []


def test_without_a_version_there_is_nothing_to_score_with(runs: Runs) -> None:
    runs.put("data/in/a.csv", frame())
    with pytest.raises(NoChampionError, match=f'"{MODEL}" has no champion yet'):
        runs.plan(runs.request(), version=None)
    with pytest.raises(InvalidRequestError, match='has no version "run-9"'):
        runs.plan(runs.request(version="run-9"), version=None)


def test_an_object_that_has_changed_since_the_plan_is_noticed(runs: Runs) -> None:
    for name in ("a.csv", "b.csv"):
        runs.put(f"data/in/{name}", frame(seed=5))
    planned = runs.plan(runs.request())
    runs.put("data/in/b.csv", frame(seed=6))
    for piece in planned["pieces"]:
        runs.call("score_piece", plan=planned["plan"], piece=piece)
    assert runs.compare(planned)["objects"]["failed"] == 1
    assert "was replaced" in runs.json("manifest.json")["objects"][1]["reason"]


def test_steps_that_are_repeated_find_what_the_first_call_has_written(runs: Runs) -> None:
    runs.put("data/in/a.csv", frame(seed=5))
    planned, result = runs.plan(runs.request()), runs.score(runs.request())
    before = {key: runs.s3.list_object_versions(Bucket=runs.shop.bucket, Prefix=key) for key in runs.written()}
    # What came later is none of this run's.
    runs.put("data/in/b.csv", frame(seed=6))
    runs.put("data/in/a.csv", frame(seed=6))
    assert runs.plan(runs.request()) == planned
    assert runs.score(runs.request()) == result
    for key, versions in before.items():
        now = runs.s3.list_object_versions(Bucket=runs.shop.bucket, Prefix=key)
        assert [each["VersionId"] for each in now["Versions"]] == [each["VersionId"] for each in versions["Versions"]]


def test_a_piece_whose_call_was_cut_off_writes_the_same_files(runs: Runs) -> None:
    runs.put("data/in/a.csv", frame(seed=5))
    planned = runs.plan(runs.request())
    runs.call("score_piece", plan=planned["plan"], piece=0)
    first = runs.json("pieces/000.json")
    runs.s3.delete_object(Bucket=runs.shop.bucket, Key="scoring/batch-1/pieces/000.json")
    runs.call("score_piece", plan=planned["plan"], piece=0)
    again = runs.json("pieces/000.json")
    for document in (first, again):
        document["objects"][0]["predictions"].pop("version_id")
    assert again == first


def test_a_piece_that_failed_is_in_the_manifest(runs: Runs) -> None:
    for name in ("a.csv", "b.csv"):
        runs.put(f"data/in/{name}", frame(seed=5))
    planned = runs.plan(runs.request())
    runs.call("score_piece", plan=planned["plan"], piece=0)
    result = runs.compare(planned, failed=[{"piece": 1, "error": "Runtime.OutOfMemory: more"}])
    assert result["objects"] == {"scored": 1, "empty": 0, "failed": 1}
    assert runs.json("manifest.json")["objects"][1]["reason"] == "Runtime.OutOfMemory: more"


def test_a_promotion_in_between_changes_nothing(runs: Runs) -> None:
    for name in ("a.csv", "b.csv"):
        runs.put(f"data/in/{name}", frame(seed=5))
    planned = runs.plan(runs.request())
    runs.call("score_piece", plan=planned["plan"], piece=0)
    runs.shop.train("run-2", frame().assign(y=-frame()["y"]))
    runs.shop.promote("run-2")
    runs.call("score_piece", plan=planned["plan"], piece=1)
    runs.compare(planned)
    assert runs.table("predictions/a.parquet").equals(runs.table("predictions/b.parquet"))
    assert runs.json("manifest.json")["version"] == "run-1"


def test_a_model_that_was_written_again_is_not_used(runs: Runs) -> None:
    runs.put("data/in/a.csv", frame(seed=5))
    runs.shop.train("run-3", frame())
    runs.shop.entries["run-3"]["sha256"] |= {"model": "0" * 64}
    planned = runs.plan(runs.request(), version="run-3")
    with pytest.raises(DamagedFileError, match="which is recorded"):
        runs.call("score_piece", plan=planned["plan"], piece=0)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "GetObject"),  # type: ignore[typeddict-item] (as much of it as is looked at)
        EndpointConnectionError(endpoint_url="https://s3"),
    ],
)
def test_what_a_service_fails_with_for_a_while_is_told_apart(
    runs: Runs, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.put("data/in/a.csv", frame(seed=5))
    planned = runs.plan(runs.request())

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(storage.s3_client(), "get_object", fail)
    with pytest.raises(batch.ServiceUnavailableError):
        runs.call("score_piece", plan=planned["plan"], piece=0)


def test_a_profile_without_distributions_is_scored_and_not_compared(runs: Runs) -> None:
    runs.put("data/in/a.csv", frame(seed=5))
    uri = runs.shop.entries["run-1"]["profile_uri"]
    profile = json.loads(storage.read_bytes(runs.s3, storage.Stored(uri)))
    for column in profile["columns"]:
        column.pop("distribution", None)
    stored = storage.write_json(runs.s3, profile, uri.replace("profile.json", "old.json"))
    entry = runs.shop.entries["run-1"]
    runs.shop.entries["old"] = {
        **entry, "version": "old", "profile_uri": stored.uri,
        "sha256": entry["sha256"] | {"profile": stored.sha256},
        "version_ids": entry["version_ids"] | {"profile": stored.version_id},
    }  # fmt: skip
    result = runs.score(runs.request(), version="old")
    assert (result["rows"], result["drifted"], result["short"]["psi"]) == (ROWS, False, None)
    assert "train again" in result["reason"]
    assert runs.json("drift.json")["rows"] == ROWS


@pytest.mark.parametrize("sizes", [[0], [5] * 500, [0] * 501, [7] * 10_000, [1] * 2000 + [10**12] + [1] * 2000])
def test_all_objects_are_in_one_of_at_most_so_many_pieces(sizes: list[int]) -> None:
    pieces = batch_plan.pieces_of(sizes, batch_plan.MOST_PIECES)
    assert len(pieces) <= batch_plan.MOST_PIECES
    assert [number for piece in pieces for number in piece] == list(range(len(sizes)))
    assert all(pieces)


def test_no_two_objects_have_one_file_of_predictions() -> None:
    names = ["a.csv", "a.parquet", "a.csv.gz", "b.csv", "b", "x/c.jsonl", "c.csv", "d.csv", "d.csv.csv"]
    written = batch_plan.output_names(names, "parquet")
    assert len(set(written)) == len(names), written
    assert written[5:7] == ["predictions/x/c.parquet", "predictions/c.parquet"]


def test_objects_of_one_piece_are_scored_one_after_another(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_plan, "MOST_PIECES", 2)
    for number in range(5):
        runs.put(f"data/in/{number}.csv", frame(seed=number))
    planned = runs.plan(runs.request())
    assert planned["pieces"] == [0, 1]
    result = runs.score(runs.request())
    assert (result["rows"], result["objects"]["scored"]) == (5 * ROWS, 5)
