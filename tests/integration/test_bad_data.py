"""Bad data, through the real state machine: the run ends FAILED with the error's name, and there is no model of it."""

from __future__ import annotations

import gzip
import json
import uuid
from typing import Any

import pytest

from crosstrain.local.server import LocalTrainingStack
from crosstrain.training.execution import outcome, start

HEADER = b"a,b,y\n"
GOOD = b"".join(b"%d,%d,%d.5\n" % (i, i * i % 7, i * 31 % 17) for i in range(40))
MARKED = GOOD.replace(b"\n", b",train\n", 20).replace(b".5\n", b".5,test\n")


def edited(row: int, text: bytes) -> bytes:
    """Return the good rows with one of them replaced."""
    rows = GOOD.splitlines(keepends=True)
    rows[row] = text + b"\n"
    return HEADER + b"".join(rows)


CASES: dict[str, tuple[str, bytes | None, dict[str, Any], str, str]] = {
    "missing file": ("x.csv", None, {}, "InvalidDatasetError", "There is no data file"),
    "empty file": ("x.csv", b"", {}, "InvalidDatasetError", "is empty"),
    "header only": ("x.csv", HEADER, {}, "InvalidDatasetError", "has a header but no rows"),
    "ragged rows": ("x.csv", edited(20, b"1,2"), {}, "InvalidDatasetError", "Row #22: Expected 3 columns, got 2"),
    "wrong encoding": (
        "x.csv",
        edited(20, b"\xfc,2,3"),
        {"read": {"encoding": "utf-8"}},
        "InvalidDatasetError",
        "is not UTF-8",
    ),
    "damaged parquet": ("x.parquet", b"PAR1,b\n", {}, "InvalidDatasetError", "cannot be read as Parquet"),
    "half a gzip": (
        "x.csv.gz",
        gzip.compress(HEADER + GOOD)[:-20],
        {},
        "InvalidDatasetError",
        "cannot be decompressed",
    ),
    "a page": ("x.csv", b"<!DOCTYPE html><html></html>", {}, "InvalidDatasetError", "is an HTML page, not data"),
    "no workbook": (
        "x.xlsx",
        b"PK\3\4fake",
        {},
        "InvalidDatasetError",
        "begins like a ZIP archive or an Excel workbook",
    ),
    "target not there": ("x.csv", HEADER + GOOD, {"target": "Y "}, "InvalidDatasetError", 'Did you mean "y"?'),
    "target null": ("x.csv", b"a,y\n" + b"1,\n" * 20, {}, "InvalidDatasetError", "has no value in any of the 20 rows"),
    "target constant": ("x.csv", b"a,y\n" + b"1,2\n" * 20, {}, "InvalidDatasetError", "has the same value"),
    "one class": ("x.csv", b"a,y\n" + b"1,p\n" * 20, {}, "InvalidDatasetError", "has the same value"),
    "few rows": ("x.csv", HEADER + GOOD[:30], {}, "InvalidDatasetError", "at least 10 are needed"),
    "text target": (
        "x.csv",
        b"a,y\n" + b"1,p\n2,q\n" * 20,
        {"problem": "regression"},
        "InvalidDatasetError",
        "regression needs numbers",
    ),
    "nothing to train on": (
        "x.csv",
        b"a,b,y\n" + b"1,,1.5\n1,,2.5\n" * 20,
        {},
        "InvalidDatasetError",
        '("a": it has one value only; "b": every value is missing)',
    ),
    "duplicate names": ("x.csv", b"a,a,y\n" + GOOD, {}, "InvalidDatasetError", 'more than one column named "a"'),
    "mixed types": ("x.csv", edited(20, b"oops,2,3"), {}, "InvalidDatasetError", "mixes numbers and text"),
    "unknown field": ("x.csv", HEADER + GOOD, {"tagret": "y"}, "InvalidRequestError", 'Did you mean "target"?'),
    "metric": ("x.csv", b"a,y\n" + b"1,p\n2,q\n" * 20, {"metric": "rmse"}, "InvalidDatasetError", "regression needs"),
    "metric of the other problem": (
        "x.csv",
        HEADER + GOOD,
        {"problem": "regression", "metric": "accuracy"},
        "InvalidRequestError",
        "does not fit regression",
    ),
    "estimator": ("x.csv", HEADER + GOOD, {"estimator": "rigde"}, "InvalidRequestError", 'Did you mean "ridge"?'),
    "hyperparameter": (
        "x.csv",
        HEADER + GOOD,
        {"estimator": "ridge", "hyperparameters": {"alfa": 1}},
        "InvalidRequestError",
        'Did you mean "alpha"?',
    ),
    "nested hyperparameter": (
        "x.csv",
        HEADER + GOOD,
        {"estimator": "ridge", "hyperparameters": {"alpha": json.loads("[" * 900 + "]" * 900)}},
        "InvalidRequestError",
        '"alpha" is a JSON array',
    ),
    "test fraction": ("x.csv", HEADER + GOOD, {"test_fraction": 1.5}, "InvalidRequestError", "less than 1"),
    "denied bucket": (
        "x.csv",
        HEADER + GOOD,
        {"dataset_uri": "s3://sam-artifacts/x.csv"},
        "InvalidDatasetError",
        "may not be read: put data sets under data/",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_run_fails_by_name_and_leaves_no_model(training_stack: LocalTrainingStack, case: str) -> None:
    name, content, fields, error, message = CASES[case]
    bucket, run_id = training_stack.outputs["ArtifactBucketName"], f"bad-{uuid.uuid4().hex}"
    s3, sfn = training_stack.client("s3"), training_stack.client("stepfunctions")
    if content is not None:
        s3.put_object(Bucket=bucket, Key=f"data/{run_id}/{name}", Body=content)
    request = {"dataset_uri": f"s3://{bucket}/data/{run_id}/{name}", "target": "y", "search_trials": 0, **fields}
    result = outcome(sfn, start(sfn, training_stack.outputs["StateMachineArn"], request, run_id))
    assert (result.status, result.error) == ("FAILED", error)
    assert result.failed_state == "PrepareData"
    assert result.cause is not None
    assert result.cause.startswith("PrepareData: ")
    assert message in result.cause
    assert "\n" not in result.cause
    assert s3.list_objects_v2(Bucket=bucket, Prefix=f"runs/{run_id}/")["KeyCount"] == 0


ODD_BUT_USABLE: dict[str, tuple[bytes, dict[str, Any]]] = {
    "names": (HEADER.replace(b"a,b", '"1st ""quoted""",ü ñ'.encode()) + GOOD, {}),
    "nan and infinities": (edited(20, b"NaN,inf,3.5"), {}),
    "all-null and constant columns": (b"n,c," + HEADER + b"".join(b",7," + row for row in GOOD.splitlines(True)), {}),
    "unseen category": (
        b"k,a,b,y,s\n" + b"".join(b"old," + row for row in MARKED.splitlines(True)).replace(b"old", b"new", 21)[::1],
        {"split_column": "s"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ODD_BUT_USABLE)
def test_odd_data_is_trained_on(training_stack: LocalTrainingStack, case: str) -> None:
    content, fields = ODD_BUT_USABLE[case]
    bucket, run_id = training_stack.outputs["ArtifactBucketName"], f"odd-{uuid.uuid4().hex}"
    s3, sfn = training_stack.client("s3"), training_stack.client("stepfunctions")
    s3.put_object(Bucket=bucket, Key=f"data/{run_id}.csv", Body=content)
    request = {
        "dataset_uri": f"s3://{bucket}/data/{run_id}.csv",
        "target": "y",
        "search_trials": 0,
        "estimator": "ridge",
        "model_name": run_id,
        # Its target has nothing to do with its features.
        "allow_baseline": True,
        **fields,
    }
    result = outcome(sfn, start(sfn, training_stack.outputs["StateMachineArn"], request, run_id))
    assert result.status == "SUCCEEDED", result.cause
    assert result.output is not None
    assert result.output["evaluation"]["decision"] == "promote"
