"""A stack passes its system test only with a run that succeeded and a metric that reaches its threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.request import parse_request
from execution import ExecutionResult
from stack import BadInputError, OperationFailedError
from system_test import SystemTest, judge


def succeeded(metric: str, value: float | None, decision: str = "promote") -> ExecutionResult:
    evaluation = {"metric": metric, "value": value, "decision": decision}
    return ExecutionResult("SUCCEEDED", 3.0, {"evaluation": evaluation})


@pytest.mark.parametrize(("metric", "value"), [("rmse", 59.0), ("rmse", 60.0), ("r2", 61.0)])
def test_a_metric_that_reaches_the_threshold_passes_whatever_the_decision(metric: str, value: float) -> None:
    assert judge("run", succeeded(metric, value, "reject"), 60)["value"] == value


@pytest.mark.parametrize(("metric", "value"), [("rmse", 61.0), ("accuracy", 0.5), ("r2", None)])
def test_a_metric_that_does_not_reach_it_fails(metric: str, value: float | None) -> None:
    with pytest.raises(OperationFailedError, match=metric):
        judge("run", succeeded(metric, value), 60)


def test_a_failed_run_fails_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    failed = ExecutionResult("FAILED", 1.0, error="InvalidDatasetError", cause="no rows", failed_state="PrepareData")
    with pytest.raises(OperationFailedError, match="PrepareData: InvalidDatasetError: no rows"):
        judge("run", failed, 60)


def test_the_shipped_test_is_a_request_that_the_functions_take(project: Path) -> None:
    test = SystemTest.read(project / "data" / "system-test.json")
    request = parse_request({**test.request, "dataset_uri": "s3://bucket/data/system-test/diabetes.csv"})
    header = test.dataset.read_text().splitlines()[0].split(",")
    assert request.target in header
    assert request.model_name == "system-test"


@pytest.mark.parametrize("document", [None, [], {}, {"dataset": "x.csv", "request": {"target": "y", "metric": "r2"}}])
def test_a_test_without_a_threshold_or_data_is_bad_input(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "test.json"
    if document is not None:
        path.write_text(json.dumps(document))
    with pytest.raises(BadInputError):
        SystemTest.read(path)
