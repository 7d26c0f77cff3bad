"""The decision: which rule decides, when it holds, and what is told."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from common.bootstrap import Improvement, Interval
from common.metric_table import METRICS
from common.request import TrainingRequest, parse_request
from model_evaluation.decision import Challenger, Comparison, decide
from model_evaluation.fairness import Fairness


def asked(metric: str = "rmse", **fields: Any) -> TrainingRequest:
    problem = next(name for name, metrics in METRICS.items() if metric in metrics)
    return parse_request(
        {"dataset_uri": "s3://bucket/x", "target": "y", "search_trials": 0, "metric": metric, **fields}
    ).resolve(problem)


def difference(value: float, half: float | None = 0.1, *, loss: float = 10.0, different: int = 100) -> Improvement:
    low, high = (None, None) if half is None else (value - half, value + half)
    deviation = None if half is None else half / 2
    return Improvement("rmse", value, low, high, deviation, 100, different, loss, 1000, 42)


def challenger(value: float = 1.5, over_constant: Improvement | None = None) -> Challenger:
    return Challenger(Interval(value, value - 0.1, value + 0.1, 0.05), None, over_constant or difference(5.0))


def compared(found: Improvement, *, same_data: bool = True, doubt: str | None = None) -> Comparison:
    fairness = Fairness(100, 1, 0.01, np.ones(100, np.bool_), possible=True)
    return Comparison("v1", "scored", None, {"rmse": 2.0}, found, fairness, same_data, doubt)


@pytest.mark.parametrize(
    ("metric", "value", "threshold", "decision"),
    [
        ("rmse", 2.0, None, "promote"),
        ("rmse", 2.0, 2.0, "promote"),
        ("rmse", 2.1, 2.0, "reject"),
        ("log_loss", 0.1, 0.2, "promote"),
        ("r2", 0.5, 0.4, "promote"),
        ("r2", 0.3, 0.4, "reject"),
        ("accuracy", 0.9, 0.9, "promote"),
    ],
)
def test_the_threshold_decides_in_the_metrics_direction(
    metric: str, value: float, threshold: float | None, decision: str
) -> None:
    found = decide(challenger(value), asked(metric, threshold=threshold), None)
    assert (found.decision, found.rule) == (decision, "first" if decision == "promote" else "threshold")
    assert f"{metric} is {value:g} (95 % interval {value - 0.1:.4g} to {value + 0.1:.4g})" in found.reason
    assert (f"{threshold:g}" in found.reason) if threshold is not None else ("no threshold" in found.reason)


@pytest.mark.parametrize(
    ("same_data", "value", "half", "rule", "decision"),
    [
        # On the same data a difference has to be more than chance.
        (True, 0.5, 0.4, "significant", "promote"),
        (True, 0.5, 0.6, "significant", "reject"),
        (True, 0.5, None, "significant", "reject"),
        (True, -0.5, 0.4, "significant", "reject"),
        # Newer data win unless they make it worse by more than 1 % of a loss of 10.
        (False, 0.5, 0.6, "not_worse", "promote"),
        (False, -0.09, 0.6, "not_worse", "promote"),
        (False, -0.11, 0.01, "not_worse", "reject"),
        (False, -0.09, None, "not_worse", "promote"),
    ],
)
def test_the_rule_follows_from_the_data(
    same_data: bool, value: float, half: float | None, rule: str, decision: str
) -> None:
    found = decide(challenger(), asked(), compared(difference(value, half), same_data=same_data))
    assert (found.rule, found.decision) == (rule, decision)
    assert f"{abs(value):g} {'better' if value > 0 else 'worse'} than the champion v1" in found.reason
    data = "are" if same_data else "differ from"
    assert f"Its data {data} the champion's, so the rule is {rule}: " in found.reason
    assert ("It holds." if decision == "promote" else "It does not hold.") in found.reason
    assert ("too few rows for an interval" in found.reason) == (half is None)


@pytest.mark.parametrize(
    ("fields", "value", "half", "decision"),
    [
        ({"promote_if": "better"}, 0.01, 5.0, "promote"),
        ({"promote_if": "better"}, 0.0, 5.0, "reject"),
        ({"promote_if": "better", "minimum_improvement": 0.5}, 0.5, 0.1, "reject"),
        ({"promote_if": "better", "minimum_improvement": 0.4}, 0.5, 0.1, "promote"),
        ({"promote_if": "significant", "minimum_improvement": 0.3}, 0.5, 0.1, "promote"),
        ({"promote_if": "significant", "minimum_improvement": 0.4}, 0.5, 0.1, "reject"),
        ({"promote_if": "non_inferior"}, 0.0, 0.09, "promote"),
        ({"promote_if": "non_inferior"}, 0.0, 0.11, "reject"),
        ({"promote_if": "non_inferior", "margin": 0.05}, 0.0, 0.49, "promote"),
        ({"promote_if": "not_worse", "margin": 0.05}, -0.49, 5.0, "promote"),
        ({"promote_if": "not_worse", "margin": 0}, -0.01, 5.0, "reject"),
    ],
)
def test_a_rule_that_is_asked_for_decides_whatever_the_data_are(
    fields: dict[str, Any], value: float, half: float, decision: str
) -> None:
    for same_data in (True, False):
        found = decide(challenger(), asked(**fields), compared(difference(value, half), same_data=same_data))
        assert (found.rule, found.decision) == (fields["promote_if"], decision)


@pytest.mark.parametrize(("same_data", "decision"), [(True, "reject"), (False, "promote")])
@pytest.mark.parametrize("loss", [0.0, 10.0])
def test_equal_predictions_are_never_better_and_not_worse(same_data: bool, decision: str, loss: float) -> None:
    same = difference(0.0, None, loss=loss, different=0)
    found = decide(challenger(), asked(), compared(same, same_data=same_data))
    assert found.decision == decision
    assert "It predicts the same as the champion v1" in found.reason
    assert decide(challenger(), asked(promote_if="better"), compared(same)).decision == "reject"


@pytest.mark.parametrize("comparison", [None, compared(difference(3.0)), Comparison("v1", "unusable", "it is gone")])
def test_what_is_no_better_than_a_guess_is_rejected_whatever_the_champion_is(comparison: Comparison | None) -> None:
    for weak in (difference(0.05), difference(-1.0), difference(0.0, None)):
        found = decide(challenger(over_constant=weak), asked(replace_unusable_champion=True), comparison)
        assert (found.decision, found.rule) == ("reject", "baseline")
        assert "not clearly better than a guess of the mean" in found.reason
        assert "allow_baseline" in found.reason
        allowed = asked(allow_baseline=True, replace_unusable_champion=True)
        assert decide(challenger(over_constant=weak), allowed, comparison).decision == "promote"
    # With too few rows for an interval the difference itself counts.
    assert decide(challenger(over_constant=difference(0.2, None)), asked(), None).decision == "promote"


def test_a_champion_that_cannot_be_used_stays_unless_the_request_says_otherwise() -> None:
    unusable = Comparison("v1", "unusable", "its file cannot be read (404)")
    found = decide(challenger(), asked(), unusable)
    assert (found.decision, found.rule) == ("reject", "champion_unusable")
    assert "The champion v1 cannot be compared: its file cannot be read (404)." in found.reason
    assert "choose another model_name" in found.reason
    replaced = decide(challenger(), asked(replace_unusable_champion=True), unusable)
    assert (replaced.decision, replaced.rule) == ("promote", "champion_unusable")
    below = asked(replace_unusable_champion=True, threshold=1.0)
    assert decide(challenger(), below, unusable).rule == "threshold"


def test_without_fair_rows_nothing_is_promoted_and_the_reason_says_why() -> None:
    fairness = Fairness(100, 90, 0.01, np.arange(100) >= 90, possible=False)
    found = decide(challenger(), asked(), Comparison("v1", "unfair", fairness.words(), fairness=fairness))
    assert (found.decision, found.rule) == ("reject", "no_fair_rows")
    assert "The champion was trained on 90 of these 100 test rows, and the others are too few" in found.reason
    assert "replace_unusable_champion" in found.reason
    comparison = Comparison("v1", "unfair", fairness.words(), fairness=fairness)
    replaced = decide(challenger(), asked(replace_unusable_champion=True), comparison)
    assert (replaced.decision, replaced.rule) == ("promote", "no_fair_rows")


def test_rows_that_do_not_count_and_doubts_are_told_with_the_decision() -> None:
    fairness = Fairness(400, 50, 0.01, np.arange(400) >= 50, possible=True)
    comparison = Comparison("v1", "scored", None, {}, difference(0.5), fairness, False, "Something is odd.")
    found = decide(challenger(), asked(), comparison)
    assert found.reason.endswith(
        "The champion was trained on 50 of these 400 test rows, which do not count. Something is odd."
    )
    json.dumps(comparison.document(), allow_nan=False)


def test_an_undefined_metric_is_a_reason_and_no_failure() -> None:
    found = decide(Challenger(None, "the test part has no row of the class 'c'", None), asked("roc_auc"), None)
    assert (found.decision, found.rule) == ("reject", "undefined")
    assert found.reason == (
        "roc_auc is undefined: the test part has no row of the class 'c'. Choose another metric or split."
    )


def test_a_run_that_lost_to_others_each_time_is_rejected_with_that_reason() -> None:
    found = decide(challenger(), asked(), None, contended=True)
    assert (found.decision, found.rule) == ("reject", "contended")
    assert "No decision of six evaluations could be recorded" in found.reason


def test_the_best_of_many_is_told_to_look_better_than_it_is() -> None:
    comparison = compared(difference(0.5, 0.1))
    assert "were compared" not in decide(challenger(), asked(), comparison, comparisons=9).reason
    told = decide(challenger(), asked(), comparison, comparisons=100).reason
    # The expected largest of 100 standard normal figures is 2.508: Harter, Biometrika 48, 1961.
    looks = re.search(r"100 models were compared .* looks better than it is, by about (\S+)\. ", told)
    assert looks
    assert float(looks[1]) == pytest.approx(2.508 * 0.05, rel=0.01)
    assert "split_seed" in told
