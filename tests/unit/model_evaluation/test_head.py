"""What stands first: how good a model is, beside what, how sure that is, and what may make it worse than it looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model_evaluation.analysis import Analysis, ReportData
from model_evaluation.head import tiles, warnings_of
from model_evaluation.importance import Importance
from model_evaluation.slices import Slice, Slices

EVALUATION: dict[str, Any] = {
    "metric": "rmse",
    "value": 54.8337,
    "rows": 88,
    "interval": {"value": 54.8337, "low": 46.4198, "high": 63.1405, "deviation": 4.2},
    "over_constant": {"value": 26.1535, "low": 17.8227, "high": 34.8273, "loss": 80.9872},
    "undefined": {},
    "suspicions": [],
    "doubts": [],
    "rows_with_equal_features": 0,
}
SEARCH = {
    "metric": "rmse",
    "folds": 5,
    "rows": 354,
    "best": 1,
    "trials": [{"number": 0, "score": 61.0, "deviation": 4.0}, {"number": 1, "score": 54.93, "deviation": 2.512}],
}


def told(model: dict[str, Any] | None = None, **evaluation: Any) -> dict[str, tuple[str, str]]:
    found = tiles({**EVALUATION, **evaluation}, model or {})
    return {each.name: (each.value, each.note) for each in found}


def test_the_metric_has_its_interval_and_no_more_digits_than_that_bears() -> None:
    assert told()["rmse on the test part"] == (
        "55",
        "95 % interval 46 to 63, on 88 rows. Lower is better: root of the mean squared error, in the target's unit.",
    )
    without = told(interval={"value": 54.8337, "low": None, "high": None, "deviation": None}, rows=20)
    value, note = without["rmse on the test part"]
    assert value == "55"
    assert note.startswith("Without an interval, for they are too few, on 20 rows.")


@pytest.mark.parametrize(
    ("over", "value", "note"),
    [
        ({}, "better by 26", "95 % interval 18 to 35. A guess of the mean of the target has rmse 81."),
        (
            {"value": 5.0, "low": -2.0, "high": 12.0},
            "better by 5",
            "95 % interval -2 to 12, so it may be chance. A guess",
        ),
        ({"value": -5.0, "low": -12.0, "high": 2.0}, "not better", "95 % interval -12 to 2. A guess"),
        ({"low": None, "high": None}, "better by 26", "A guess of the mean of the target has rmse 81."),
    ],
)
def test_a_guess_stands_beside_it(over: dict[str, Any], value: str, note: str) -> None:
    shown = told(over_constant={**EVALUATION["over_constant"], **over})["Beside a guess"]
    assert shown[0] == value
    assert shown[1].startswith(note)


def test_the_folds_of_the_search_are_told_with_their_spread() -> None:
    value, note = told({"search": SEARCH})["rmse over 5 folds"]
    assert value == "54.9 ± 2.5"
    assert "354 rows of the training part, of the best of 2 trials" in note
    assert not [name for name in told({"search": None}) if "folds" in name]
    assert not [name for name in told({"search": {**SEARCH, "best": None}}) if "folds" in name]
    blended = told({"search": {**SEARCH, "blend": {"score": 53.2, "deviation": 2.4}}})
    assert blended["rmse over 5 folds"][0] == "53.2 ± 2.4"


@pytest.mark.parametrize(
    ("metric", "known", "said"),
    [
        ("rmse", 47.0, "as good as on the test part, within its interval"),
        ("rmse", 20.0, "better than on the test part, beyond its interval"),
        ("rmse", 70.0, "worse than on the test part, beyond its interval"),
        ("r2", 70.0, "better than on the test part, beyond its interval"),
    ],
)
def test_what_it_was_fitted_on_is_held_against_the_test_part(metric: str, known: float, said: str) -> None:
    own = {"metric": metric, "value": known, "rows": 354}
    value, note = told({"train_metric": own}, metric=metric)[f"{metric} on rows that it was fitted on"]
    assert value == f"{known:.0f}"
    assert note.startswith(f"354 rows; {said}")


def test_a_model_that_does_not_tell_of_its_own_rows_has_no_tile_of_them() -> None:
    for own in (None, {"metric": "rmse", "value": None, "rows": 9}, {"metric": "mae", "value": 1.0, "rows": 9}):
        assert "rmse on rows that it was fitted on" not in told({"train_metric": own})


def test_an_undefined_metric_is_told_with_why() -> None:
    shown = told(value=None, interval=None, over_constant=None, undefined={"rmse": "so it is"})
    assert shown == {"rmse": ("undefined", "On 88 rows of the test part: so it is.")}


def warned(model: list[str], columns: list[dict[str, Any]], weak: int = 0, **evaluation: Any) -> list[str]:
    profile = {"columns": columns, "split": {"by": "rows", "missing_columns": []}}
    group = Slice("city", "Ulm", 40, 9.0, 8.0, 10.0, 5.0, worse=True)
    slices = Slices("rmse", 9, ["city"], [group] * weak)
    nothing: Any = None
    data = ReportData({**EVALUATION, **evaluation}, profile, {"warnings": model}, nothing, nothing, nothing, nothing)
    return warnings_of(data, Analysis("rmse", Importance([], np.zeros((0, 5)), 0, 0, 0), slices, None, None))


def test_what_weighs_most_is_told_first() -> None:
    dropped = [{"name": f"c{each}", "use": "dropped", "reason": "it has one value only"} for each in range(5)]
    found = warned(
        ["It did not converge."],
        [*dropped, {"name": "x", "use": "feature"}],
        weak=2,
        suspicions=[{"text": "It may hold the answer."}],
        doubts=["Rows of one city belong together."],
        rows_with_equal_features=9,
    )
    assert found[:2] == ["It may hold the answer.", "Rows of one city belong together."]
    assert found[2].startswith("About 9 rows of the test part have the same features")
    assert found[3] == "The fit warned: It did not converge."
    assert (
        found[4] == "On 2 groups of rows the model is worse than on the others, beyond chance (city: Ulm; city: Ulm)."
    )
    assert found[5].startswith("5 columns are not used (c0: it has one value only; c1: it has one value only; c2: ")
    assert found[5].endswith("; and 2 more).")
    assert warned([], []) == []
