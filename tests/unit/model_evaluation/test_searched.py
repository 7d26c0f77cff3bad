"""What the report shows of a search."""

from __future__ import annotations

from typing import Any

from model_evaluation.searched import searched

TRIALS = [
    {"number": 0, "estimator": "ridge", "score": 3.0, "deviation": 0.5},
    {"number": 1, "estimator": "random_forest", "score": 2.0, "deviation": 0.25},
    {"number": 2, "estimator": "random_forest", "score": None, "deviation": None, "error": "OutOfTime: 0 of 5 folds"},
]
SEARCH: dict[str, Any] = {
    "estimators": ["ridge", "random_forest"], "metric": "rmse", "by": "time", "folds": 5, "rows": 1354, "best": 1,
    "seconds": 61.4, "memory_mb": 3008, "ended": "the 60 seconds were used", "told": [], "blend": None,
    "trials": [{"hyperparameters": {"max_depth": 3}, "seconds": 20.5, **each} for each in TRIALS],
}  # fmt: skip


def test_the_best_trial_comes_first_and_is_marked_and_those_that_failed_come_last() -> None:
    found = searched({"search": SEARCH})
    assert found is not None
    assert [row[-1] for row in found.rows] == ["1", "0", "2"]
    assert found.rows[2][2] == "OutOfTime: 0 of 5 folds"
    assert found.chosen == {"1"}
    assert "Trial 1 (random_forest) has 2.00 ± 0.25" in found.finding
    assert "in 61.4 processor seconds (about $0.003 of Lambda by its list price)" in found.text
    assert "1 failed." in found.text


def test_trials_that_ran_as_tasks_are_told_and_their_seconds_have_no_price_of_lambda() -> None:
    on = {"kind": "task", "memory_mb": 8192}
    trials = [SEARCH["trials"][0], *({**each, "compute": on} for each in SEARCH["trials"][1:])]
    found = searched({"search": {**SEARCH, "trials": trials}})
    assert found is not None
    assert "(about $0.001 of Lambda by its list price, and 2 trials as tasks of up to 8,192 MB)" in found.text


def test_a_search_without_any_score_marks_nothing_and_says_what_was_done_in_its_place() -> None:
    failed = [{**each, "score": None, "error": "OutOfTime"} for each in SEARCH["trials"]]
    found = searched({"search": {**SEARCH, "best": None, "trials": failed, "told": ["ridge was fitted."]}})
    assert found is not None
    assert (found.svg, found.told) == (None, ["ridge was fitted."])
    assert not found.chosen & {row[-1] for row in found.rows}
    assert found.text.endswith("The search ended when the 60 seconds were used. 3 failed.")


def test_without_a_search_there_is_nothing_to_show() -> None:
    assert searched({"search": None}) is None
