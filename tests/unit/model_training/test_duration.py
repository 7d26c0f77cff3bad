"""What training takes of time is reckoned for every estimator, and what a function has no time for, its task has."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from calls import Call
from common.capacity import LARGEST_TASK_MB, TASK_SECONDS, Work
from common.errors import InvalidDatasetError, TooLargeForFunctionError
from common.hyperparameters import HYPERPARAMETERS
from common.request import Estimator, TrainingRequest, parse_request
from model_training.duration import FITS, MOST_WRONG, fit_work, training_work
from model_training.room import check_room

TREES = {"random_forest": "n_estimators", "hist_gradient_boosting": "max_iter", "xgboost": "n_estimators"}
NAMED = sorted(set(FITS) - {"custom"})


def profile(rows: int, numbers: int = 30, classes: int = 0, texts: int = 0, **more: Any) -> dict[str, Any]:
    """Return a profile of numbers, texts of 12 different ones, and whatever else is said of a last column."""
    number = {"use": "feature", "role": "numeric", "kind": "float", "dtype": "float32", "nulls": 0}
    text = {"use": "feature", "role": "categorical", "kind": "text", "dtype": "category", "nulls": 0, "distinct": 12}
    columns = [{**number, "name": f"x{each}"} for each in range(numbers)]
    columns += [{**text, "name": f"t{each}"} for each in range(texts)]
    columns += [{**number, "name": "last", **more}] if more else []
    labels = [{"label": each, "rows": rows // classes} for each in range(classes)] or None
    problem = "classification" if classes else "regression"
    return {"rows": {"train": rows}, "columns": columns, "classes": labels, "problem": problem}


def asked(estimator: str, hyperparameters: dict[str, Any] | None = None, **more: Any) -> TrainingRequest:
    document = {"dataset_uri": "s3://b-1/x", "target": "y", "estimator": estimator, "search_trials": 0, **more}
    problem = "classification" if estimator == "logistic_regression" else "regression"
    return parse_request({**document, "hyperparameters": hyperparameters or {}}).resolve(problem)


def seconds(request: TrainingRequest, data: dict[str, Any]) -> float:
    return training_work(request, data, None).processor_seconds


def test_every_estimator_that_a_request_may_name_has_a_rate() -> None:
    assert set(FITS) == set(get_args(Estimator)) - {"auto", "blend"} == set(HYPERPARAMETERS) - {"blend"}


def test_a_model_of_somebodys_own_counts_as_boosting_whatever_its_hyperparameters_are_called() -> None:
    own, data = asked("custom", {"max_iter": "many", "n_estimators": None}, problem="regression"), profile(10**6)
    assert seconds(own, data) > 0.9 * seconds(asked("hist_gradient_boosting"), data)


def test_text_of_many_and_free_texts_take_longer_than_numbers() -> None:
    data = profile(10**5)
    many = profile(10**5, 30, role="categorical", distinct=5_000, kind="text")
    free = profile(10**5, 30, role="text", characters=100, kind="text")
    for estimator in ("ridge", "hist_gradient_boosting", "random_forest"):
        of_numbers, *of_texts = (seconds(asked(estimator), each) for each in (data, many, free))
        assert min(of_texts) > of_numbers
        assert of_texts[1] > of_numbers + 10


@pytest.mark.parametrize("estimator", NAMED)
def test_more_rows_more_columns_and_more_classes_take_longer(estimator: str) -> None:
    classes = 2 if estimator == "logistic_regression" else 0
    request = asked(estimator)
    found = [seconds(request, profile(rows, 30, classes)) for rows in (10**4, 10**5, 10**6, 10**7)]
    assert found == sorted(found)
    # In proportion, or a little more, beside what does not grow.
    assert 7 < found[3] / found[2] < 20
    few, many = (seconds(request, profile(10**6, columns, classes)) for columns in (30, 300))
    assert 3 < many / few < 110
    assert seconds(request, profile(10**6, 30, classes, texts=5)) > found[2]
    if classes:
        assert seconds(request, profile(10**6, 30, 10)) > 4 * found[2]


@pytest.mark.parametrize(("estimator", "name"), TREES.items())
def test_more_trees_take_as_many_times_as_long_and_limits_less(estimator: str, name: str) -> None:
    data = profile(10**6)
    few, many = (fit_work(asked(estimator, {name: each}), data, 10**6).shared for each in (50, 500))
    assert many == pytest.approx(10 * few)
    limits: dict[str, list[dict[str, Any]]] = {
        "random_forest": [{"max_depth": 5}, {"min_samples_leaf": 100}, {"max_samples": 0.1}, {"max_features": "sqrt"}],
        "hist_gradient_boosting": [{"max_depth": 2}, {"max_leaf_nodes": 4}, {"max_bins": 16}],
        "xgboost": [{"max_depth": 2}, {"max_leaves": 4}, {"max_bin": 16}],
    }
    assert all(fit_work(asked(estimator, {name: 50, **each}), data, 10**6).shared < few for each in limits[estimator])


def test_each_fit_that_is_repeated_counts() -> None:
    data, alone = profile(50_000), asked("random_forest")
    assert seconds(asked("random_forest", interval=0.9), data) > 1.5 * seconds(alone, data)
    related = profile(50_000, splits_by="time")
    assert seconds(alone, related) > seconds(alone, profile(50_000, 31)) + 1
    members = [{"estimator": each} for each in ("random_forest", "hist_gradient_boosting")]
    both = fit_work(asked("blend", {"members": members}), data, 50_000)
    assert both == sum((fit_work(asked(each["estimator"]), data, 50_000) for each in members), Work())


# Rows, estimator, hyperparameters and processor seconds, on 30 decimals with one thread.
@pytest.mark.parametrize(
    ("rows", "estimator", "hyperparameters", "measured"),
    [
        (16_000, "random_forest", {"n_estimators": 2}, 0.96),
        (16_000, "hist_gradient_boosting", {"max_iter": 20}, 0.59),
        (16_000, "xgboost", {"n_estimators": 20}, 0.69),
        (10**7, "hist_gradient_boosting", {"max_iter": 10}, 82),
        (10**7, "xgboost", {"n_estimators": 10}, 126),
    ],
)
def test_it_is_about_what_was_measured(
    rows: int, estimator: str, hyperparameters: dict[str, Any], measured: float
) -> None:
    assert 0.7 < seconds(asked(estimator, hyperparameters), profile(rows)) / measured < 3


def test_the_trial_that_a_search_chose_tells_how_long_its_fit_takes_within_bounds() -> None:
    data, request = profile(10**6), asked("random_forest")
    rest = training_work(request, data, None).processor_seconds - fit_work(request, data, 10**6).processor_seconds
    of_trial = fit_work(request, data, 10_000).processor_seconds

    def times(fit_seconds: float, best: int = 1) -> float:
        trial = {"number": 1, "estimator": "random_forest", "fit_seconds": fit_seconds, "fitted_rows": 10_000}
        work = training_work(request, data, {"best": best, "trials": [trial]})
        return (work.processor_seconds - rest) / fit_work(request, data, 10**6).processor_seconds

    assert times(2 * of_trial) == pytest.approx(2)
    assert times(100 * of_trial) == pytest.approx(MOST_WRONG)
    assert times(of_trial / 100) == pytest.approx(1 / MOST_WRONG)
    assert times(0) == times(of_trial, best=2) == pytest.approx(1)


def as_function(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(memory))
    monkeypatch.setenv("LARGEST_TASK_MEMORY", str(LARGEST_TASK_MB))
    monkeypatch.delenv("CROSSTRAIN_TASK_CPU", raising=False)


def as_task(monkeypatch: pytest.MonkeyPatch, cpu: str, memory: str) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)
    monkeypatch.setenv("CROSSTRAIN_TASK_CPU", cpu)


def refusal(
    request: TrainingRequest, data: dict[str, Any], part_bytes: int, free_bytes: int, call: Call
) -> Exception | None:
    """Return the error by which a training is sent elsewhere or refused; None where it begins."""
    try:
        check_room(request, data, None, part_bytes, free_bytes, call)
    except (TooLargeForFunctionError, InvalidDatasetError) as error:
        return error
    return None


@pytest.mark.parametrize("estimator", NAMED)
@pytest.mark.parametrize("rows", [10**5, 10**6, 10**7, 10**8, 10**9])
def test_what_is_sent_to_a_task_is_not_refused_there(
    estimator: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = profile(rows, classes=2 if estimator == "logistic_regression" else 0)
    for hyperparameters in ({}, {TREES[estimator]: 2_000} if estimator in TREES else {}):
        as_function(monkeypatch, 10_240)
        request, part_bytes = asked(estimator, hyperparameters), rows * 130
        error = refusal(request, data, part_bytes, 10_000 << 20, Call(890))
        if isinstance(error, TooLargeForFunctionError):
            found = re.search(r"\[cpu=(\d+) memory=(\d+)\]$", str(error))
            assert found
            as_task(monkeypatch, *found.groups())
            # It begins with a second less than all.
            assert refusal(request, data, part_bytes, 200_000 << 20, Call(TASK_SECONDS - 1)) is None
        else:
            # What no task could do either is told at once.
            assert error is None or (rows >= 10**6 and "task" in str(error))


def test_what_would_take_too_long_goes_on_as_a_task_of_the_size_that_has_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_function(monkeypatch, 1769)
    request = asked("hist_gradient_boosting", {"max_iter": 1_000})
    check_room(request, profile(10_000), None, 0, 10**9, Call(890))
    with pytest.raises(TooLargeForFunctionError, match=r"take about [\d,]+ s, and 534 s .*\[cpu=4096 memory=8192\]$"):
        check_room(request, profile(10**6), None, 0, 10**9, Call(890))
    slow = asked("random_forest", {"n_estimators": 10_000, "max_depth": 12})
    with pytest.raises(
        InvalidDatasetError, match=r"would take about [\d,]+\.\d hours, and has 12\.0: .*limit the trees"
    ):
        check_room(slow, profile(10**7), None, 0, 10**11, Call(890))


def test_a_part_that_the_disk_does_not_hold_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    as_function(monkeypatch, 10_240)
    with pytest.raises(TooLargeForFunctionError, match=r"^The training part and the model take about 600 MB .* 512 MB"):
        check_room(asked("ridge"), profile(10**6), None, 600 << 20, 512 << 20, Call(890))
    # So does a forest of fully grown trees, which is larger than its data.
    with pytest.raises(TooLargeForFunctionError, match="temporary disk"):
        check_room(asked("random_forest"), profile(200_000), None, 10 << 20, 512 << 20, Call(890))
