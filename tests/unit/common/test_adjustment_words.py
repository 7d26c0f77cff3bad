"""What held-out folds have taught, in sentences."""

from __future__ import annotations

from typing import Any

from common.adjustment_words import adjustment_in_words

CALIBRATION = {"metric": "log_loss", "before": 1.17, "after": 0.48, "deviation": 0.1, "kept": True}
DECISION = {"metric": "f1", "before": 0.5, "after": 0.56, "deviation": 0.01, "kept": True}


def words(**fields: Any) -> list[str]:
    document = {"told": None, "folds": 5, "rows": 1046, "calibration": None, "decision": None, "multipliers": None}
    return list(adjustment_in_words({**document, **fields}, "yes"))


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


def test_where_nothing_was_tried_nothing_is_told_but_the_reason() -> None:
    assert list(adjustment_in_words(None, "yes")) == []
    assert list(adjustment_in_words({"told": "There was no time."}, "yes")) == ["There was no time."]
