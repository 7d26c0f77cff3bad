"""What held-out folds have taught, in sentences."""

from __future__ import annotations

from typing import Any

from common.adjustment_words import adjustment_in_words

CALIBRATION = {"metric": "log_loss", "before": 1.17, "after": 0.48, "deviation": 0.1, "kept": True}
DECISION = {"metric": "f1", "before": 0.5, "after": 0.56, "deviation": 0.01, "kept": True}


def words(**fields: Any) -> list[str]:
    tried = dict.fromkeys(["told", "calibration", "decision", "multipliers", "interval"])
    return list(adjustment_in_words({**tried, "folds": 5, "rows": 1046, **fields}, "yes"))


FOLDS = "on 5 held-out folds of 1,046 training rows."


def test_what_is_kept_is_told_with_by_how_much() -> None:
    calibration, decision = words(calibration=CALIBRATION, decision=DECISION, multipliers=[0.11731, 0.88269])
    assert calibration == (f"Probabilities are calibrated: calibrated ones have log_loss 0.48 in place of 1.17 {FOLDS}")
    assert decision == (
        f'"yes" is predicted where its probability is above 0.117: a tuned decision has f1 0.56 in place of 0.5 {FOLDS}'
    )
    assert words(decision=DECISION, multipliers=[0.2, 0.3, 0.5])[0].startswith("The class of the highest probability t")


def test_what_is_not_kept_is_told_with_why() -> None:
    calibration, decision = words(
        calibration={**CALIBRATION, "kept": False}, decision={**DECISION, "kept": False, "after": 0.501}
    )
    assert calibration.startswith("Probabilities are as the estimator has them: calibrated ones have log_loss 0.48 in")
    assert decision == (
        "The most probable class is predicted: a tuned decision has f1 0.501 in place of 0.5, which may be chance, "
        f"{FOLDS}"
    )


def test_a_decision_that_stays_is_told_where_the_calibration_moves_it() -> None:
    assert words(calibration=CALIBRATION, multipliers=[0.4, 0.6])[1] == (
        '"yes" is predicted where its probability is above 0.4, as before the calibration.'
    )
    found = words(calibration=CALIBRATION, decision={**DECISION, "kept": False}, multipliers=[0.4, 0.6])
    assert found[1].startswith('"yes" is predicted where its probability is above 0.4, as before the calibration: a tu')


def test_where_nothing_was_tried_nothing_is_told_but_the_reason() -> None:
    assert list(adjustment_in_words(None, "yes")) == []
    assert list(adjustment_in_words({"told": "There was no time."}, "yes")) == ["There was no time."]


def test_an_interval_is_told_with_what_it_holds_of_the_test_part() -> None:
    interval = {"share": 0.9, "width": 95.3333}
    (told,) = words(interval=interval)
    assert told == (
        f"An interval of ± 95.33 around each prediction is to hold the target in 0.9 of the rows, by the errors {FOLDS}"
    )
    document = {"told": None, "calibration": None, "folds": 5, "rows": 9, "decision": None, "multipliers": None}
    (told,) = adjustment_in_words({**document, "interval": interval}, "", {**interval, "coverage": 0.9123})
    assert told.endswith("training rows, and holds it in 91.2% of the test rows.")
