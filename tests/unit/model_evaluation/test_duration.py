"""What evaluation takes of time follows from rows and models, and what a function has no time for, its task has."""

from __future__ import annotations

import re
from typing import Any

import pytest

from calls import Call
from common.capacity import LARGEST_TASK_MB, TASK_SECONDS
from common.errors import InvalidDatasetError, TooLargeForFunctionError
from common.hyperparameters import HYPERPARAMETERS
from model_evaluation.duration import LEVEL, LINES, evaluation_work, seconds_of_row
from model_evaluation.room import check_room


def profile(rows: int, columns: int = 30, classes: int = 0) -> dict[str, Any]:
    features = [{"name": f"f{each}", "use": "feature", "role": "numeric"} for each in range(columns)]
    return {
        "rows": {"train": 4 * rows, "test": rows},
        "columns": [*features, {"name": "y", "use": "target", "kind": "integer"}],
        "problem": "classification" if classes else "regression",
        "classes": [{"label": each, "rows": 1} for each in range(classes)] or None,
    }


def model(estimator: str, classes: int = 0, **parameters: Any) -> dict[str, Any]:
    features, labels = [f"f{each}" for each in range(30)], [*range(classes)] or None
    return {
        "estimator": estimator, "parameters": parameters, "features": features, "rows": 10**6, "classes": labels,
    }  # fmt: skip


def seconds(rows: int, *models: dict[str, Any], classes: int = 0) -> float:
    challenger, champion = (*models, None)[:2]
    assert challenger is not None
    return evaluation_work(profile(rows, classes=classes), challenger, champion).processor_seconds


def test_every_estimator_is_a_line_or_trees_and_any_other_is_as_slow_as_the_slowest() -> None:
    assert set(LEVEL) | LINES == set(HYPERPARAMETERS) - {"custom", "blend"}
    # A model of somebody's own has parameters of any kind.
    own = seconds_of_row(model("custom", n_estimators="many", max_depth=True, max_iter=None))
    assert own > seconds_of_row(model("hist_gradient_boosting"))
    assert seconds_of_row({}) > 0


@pytest.mark.parametrize("estimator", sorted(LEVEL))
def test_more_rows_trees_classes_and_a_champion_take_longer(estimator: str) -> None:
    name = "max_iter" if estimator == "hist_gradient_boosting" else "n_estimators"
    few, many = (model(estimator, **{name: trees}) for trees in (10, 1000))
    assert seconds(10**4, few) < seconds(10**5, few) < seconds(10**6, few) < seconds(10**6, many)
    assert seconds(10**6, few, many) > seconds(10**6, few) + 10**6 * seconds_of_row(many)
    assert seconds_of_row(model(estimator, max_depth=2)) < seconds_of_row(model(estimator))
    assert seconds_of_row(model("random_forest")) >= seconds_of_row(model(estimator)) > seconds_of_row(model("ridge"))
    if estimator != "random_forest":
        assert seconds_of_row(model(estimator, classes=10)) > 5 * seconds_of_row(model(estimator))


def test_a_blend_takes_what_its_members_do() -> None:
    members = [{"estimator": "ridge"}, {"estimator": "random_forest", "hyperparameters": {"n_estimators": 7}}]
    alone = seconds_of_row(model("ridge")) + seconds_of_row(model("random_forest", n_estimators=7))
    assert seconds_of_row(model("blend", members=members)) == pytest.approx(alone)


def test_free_texts_take_longer_than_numbers() -> None:
    data = profile(10**6)
    data["columns"].append({"name": "note", "use": "feature", "role": "text", "characters": 100})
    assert evaluation_work(data, model("ridge"), None).processor_seconds > seconds(10**6, model("ridge")) + 50


@pytest.mark.parametrize(("rows", "measured"), [(299_710, 3.4), (599_419, 4.4), (8_991_288, 61)])
def test_it_is_about_what_was_measured(rows: int, measured: float) -> None:
    assert 0.7 < seconds(rows, model("ridge")) / measured < 3


def test_what_is_sent_to_a_task_is_not_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = model("random_forest", n_estimators=2_000)
    for rows in (10**5, 10**6, 10**7):
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
        monkeypatch.setenv("LARGEST_TASK_MEMORY", str(LARGEST_TASK_MB))
        monkeypatch.delenv("CROSSTRAIN_TASK_CPU", raising=False)
        sizes = {"models": 10 << 20, "part": rows * 130}
        with pytest.raises(TooLargeForFunctionError) as caught:
            check_room(profile(rows), (slow, slow), sizes, 512 << 20, Call(300), "auto")
        found = re.search(r"\[cpu=(\d+) memory=(\d+)\]$", str(caught.value))
        assert found
        monkeypatch.setenv("CROSSTRAIN_TASK_CPU", found.group(1))
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", found.group(2))
        check_room(profile(rows), (slow, slow), sizes, 200_000 << 20, Call(TASK_SECONDS - 1), "auto")


def test_what_no_task_has_the_time_for_is_refused_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "10240")
    monkeypatch.setenv("LARGEST_TASK_MEMORY", str(LARGEST_TASK_MB))
    slow, sizes = model("random_forest", n_estimators=10_000), {"models": 0, "part": 0}
    with pytest.raises(InvalidDatasetError, match=r"would take about [\d,]+\.\d hours, and has 12\.0: .*test_fraction"):
        check_room(profile(10**7), (slow, slow), sizes, 10**9, Call(890), "auto")


def test_a_request_that_asks_for_a_task_gets_one_of_the_size_that_its_rows_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "10240")
    monkeypatch.setenv("LARGEST_TASK_MEMORY", str(LARGEST_TASK_MB))
    data, sizes = profile(10**7, classes=40), {"models": 0, "part": 0}
    with pytest.raises(TooLargeForFunctionError, match=r"compute is task.*\[cpu=4096 memory=14336\]$"):
        check_room(data, (model("logistic_regression", 40), None), sizes, 10**9, Call(890), "task")


def test_files_that_the_disk_does_not_hold_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "10240")
    sizes = {"models": 500 << 20, "part": 100 << 20}
    with pytest.raises(InvalidDatasetError, match=r"^The test part and the models take about 600 MB .*FunctionStorage"):
        check_room(profile(1_000), (model("ridge"), None), sizes, 512 << 20, Call(890), "auto")
