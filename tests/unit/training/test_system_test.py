"""A stack passes its system test only with a run that succeeded and a metric that reaches its threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.request import parse_request
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.execution import ExecutionResult
from crosstrain.training.system_test import SystemTest, judge


def succeeded(value: float | None, **evaluation: Any) -> ExecutionResult:
    evaluation = {"metric": "rmse", "value": value, "decision": "promote", **evaluation}
    return ExecutionResult("SUCCEEDED", 3.0, {"evaluation": evaluation})


def test_a_threshold_that_is_met_passes_whatever_the_decision() -> None:
    # Which way a metric is better, the functions know alone.
    assert judge("run", succeeded(61.0, threshold_met=True, decision="reject"), 60)["value"] == 61.0


def test_a_threshold_that_is_not_met_fails() -> None:
    with pytest.raises(OperationFailedError, match=r"its rmse is 61\.0, and 60 is asked for"):
        judge("run", succeeded(61.0, threshold_met=False), 60)


@pytest.mark.parametrize("said", [{}, {"threshold_met": "false"}, {"threshold_met": None}])
def test_functions_that_do_not_say_whether_it_is_met_fail(said: dict[str, Any]) -> None:
    with pytest.raises(OperationFailedError, match='let model evaluation return "threshold_met"'):
        judge("run", succeeded(61.0, **said), 60)


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
