"""Decides what becomes of a challenger, and says why in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from scipy.special import ndtri

from common.bootstrap import LEAST_DIFFERENT, LEAST_ROWS, Improvement, Interval
from common.metric_table import GUESSES, LOWER_IS_BETTER, METRIC_TABLE
from common.request import TrainingRequest
from model_evaluation.fairness import Fairness

Rule = Literal[
    "contended",
    "undefined",
    "threshold",
    "baseline",
    "first",
    "champion_unscored",
    "champion_unusable",
    "no_fair_rows",
    "not_worse",
    "significant",
    "better",
    "non_inferior",
]
"""What a decision went by; docs/registry.md says what each means."""

MANY_COMPARISONS = 10
"""From so many models on, compared on the same test rows, the best of them is told to be better than it is."""


@dataclass(frozen=True)
class Decision:
    """`promote` or `reject`, the rule that decided, and the reason in words."""

    decision: Literal["promote", "reject"]
    rule: Rule
    reason: str


@dataclass(frozen=True)
class Challenger:
    """What is known of the model just trained.

    Attributes
    ----------
    metric
        Its metric that decides on the test part, None where that is undefined, with the reason.
    undefined
        Why it is undefined.
    over_constant
        How much better it is than the best guess without any feature.
    """

    metric: Interval | None
    undefined: str | None
    over_constant: Improvement | None


@dataclass(frozen=True)
class Comparison:
    """The champion beside the challenger: `scored`, `unfair` or `unusable`, the latter two with the reason.

    Attributes
    ----------
    metrics
        The champion's on the whole test part, whether its rows count or not.
    improvement
        On the rows that count.
    same_data
        Whether both were trained on the same data set.
    doubt
        What speaks against the comparison although nothing proves it.
    """

    version: str
    status: Literal["scored", "unfair", "unscored", "unusable"]
    reason: str | None = None
    metrics: dict[str, float | None] | None = None
    improvement: Improvement | None = None
    fairness: Fairness | None = None
    same_data: bool = False
    doubt: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the comparison as JSON knows it."""
        return {
            "version": self.version,
            "status": self.status,
            "reason": self.reason,
            "metrics": self.metrics,
            "improvement": None if self.improvement is None else vars(self.improvement),
            "fairness": None if self.fairness is None else self.fairness.document(),
            "same_data": self.same_data,
            "doubt": self.doubt,
        }


def decide(
    challenger: Challenger,
    request: TrainingRequest,
    comparison: Comparison | None,
    *,
    contended: bool = False,
    comparisons: int = 1,
) -> Decision:
    """Decide on a challenger.

    In this order: its metric is defined and holds the threshold (a value that equals it does); it is clearly better
    than a guess without features; and it holds the rule of `promote_if` against the champion, where there is one.

    Parameters
    ----------
    challenger
        The challenger.
    request
        With every choice made.
    comparison
        The champion beside the challenger, or None where there is no champion.
    contended
        Whether other runs have promoted during each of this run's evaluations.
    comparisons
        How many models were compared on these test rows so far, this one included.
    """
    if challenger.metric is None:
        told = f"{request.metric} is undefined: {challenger.undefined}. Choose another metric or split."
        return Decision("reject", "undefined", told)
    said = _threshold_in_words(str(request.metric), challenger.metric, request.threshold)
    decision = (
        _by_itself(challenger.metric, challenger.over_constant, request, contended=contended)
        or _without_comparison(comparison, request)
        or _against(comparison, request, comparisons)
    )
    return replace(decision, reason=f"{said} {decision.reason}".strip())


def meets(metric: str, value: float, threshold: float | None) -> bool:
    """Return whether a value of a metric is at least as good as a threshold; without one it is."""
    if threshold is None:
        return True
    return value <= threshold if metric in LOWER_IS_BETTER else value >= threshold


def _by_itself(
    metric: Interval, over_constant: Improvement | None, request: TrainingRequest, *, contended: bool
) -> Decision | None:
    """Return the decision on a challenger that is refused whatever the champion is, or None."""
    if contended:
        told = "No decision of six evaluations could be recorded, for other runs promoted meanwhile say: run it again."
        return Decision("reject", "contended", told)
    if not meets(str(request.metric), metric.value, request.threshold):
        return Decision("reject", "threshold", "")
    if request.allow_baseline or over_constant is None:
        return None
    # Without an interval the difference itself has to do.
    if (over_constant.value if over_constant.low is None else over_constant.low) > 0:
        return None
    guess = GUESSES[METRIC_TABLE[str(request.metric)].constant]
    told = (
        f"It is not clearly better than a guess of {guess}, which takes no feature ({over_constant.value:+.4g}"
        f"{_limits(over_constant)}): say allow_baseline to promote it all the same."
    )
    return Decision("reject", "baseline", told)


def _without_comparison(comparison: Comparison | None, request: TrainingRequest) -> Decision | None:
    """Return the decision where there is no champion to compare with, or None."""
    if comparison is None:
        return Decision("promote", "first", "There is no champion yet.")
    if comparison.status == "unfair":
        told = f"No comparison with the champion {comparison.version} is possible: {comparison.reason}"
        if request.replace_unusable_champion:
            return Decision("promote", "no_fair_rows", f"{told} The request says to replace it all the same.")
        return Decision("reject", "no_fair_rows", told)
    return None if comparison.status == "scored" else _without_scores(comparison, request)


def _without_scores(comparison: Comparison, request: TrainingRequest) -> Decision:
    told = f"The champion {comparison.version} cannot be compared: {comparison.reason}."
    if comparison.status == "unscored":
        # A busy machine is no reason to go without the comparison.
        return Decision("reject", "champion_unscored", f"{told} It stays.")
    if request.replace_unusable_champion:
        return Decision("promote", "champion_unusable", f"{told} The request says to replace it.")
    way_out = "choose another model_name where this is another model, or say replace_unusable_champion to replace it."
    return Decision("reject", "champion_unusable", f"{told} It stays: {way_out}")


def _against(comparison: Comparison | None, request: TrainingRequest, comparisons: int) -> Decision:
    """Return the decision by the rule against the champion."""
    if comparison is None or comparison.improvement is None or comparison.fairness is None:
        raise ValueError("there is no comparison to decide by")
    rule = _rule(request, comparison)
    promoted, words = _judge(rule, comparison, comparison.improvement, request)
    notes = (comparison.fairness.words(), comparison.doubt, _optimism(comparison.improvement, comparisons))
    return Decision("promote" if promoted else "reject", rule, " ".join(each for each in (words, *notes) if each))


def _rule(request: TrainingRequest, comparison: Comparison) -> Rule:
    if request.promote_if != "auto":
        return request.promote_if
    # Newer data are worth something by themselves; on the same data a difference may be chance.
    return "significant" if comparison.same_data else "not_worse"


def _judge(rule: Rule, comparison: Comparison, difference: Improvement, request: TrainingRequest) -> tuple[bool, str]:
    """Return whether the rule holds, and what is told of it."""
    margin, least = request.margin * difference.loss, request.minimum_improvement
    # A champion without any loss is matched, not beaten.
    holds = {
        "not_worse": difference.value > -margin or (difference.value == 0 and difference.different == 0),
        "better": difference.value > least,
        "significant": difference.low is not None and difference.low > least,
        "non_inferior": difference.low is not None and difference.low > -margin,
    }[rule]
    at_most = f"at most {margin:.4g} worse ({request.margin:.3g} of the champion's loss)"
    by = f" by more than {least:.4g}" if least else ""
    wanted = {
        "not_worse": at_most,
        "better": f"better{by}",
        "significant": f"better{by} with 95 % confidence",
        "non_inferior": f"{at_most} with 95 % confidence",
    }[rule]
    origin = f"The request's rule is {rule}"
    if request.promote_if == "auto":
        data = "are the champion's" if comparison.same_data else "differ from the champion's"
        origin = f"Its data {data}, so the rule is {rule}"
    told = f"{_difference_in_words(comparison, difference)}. {origin}: {wanted}. "
    told += "It holds." if holds else "It does not hold."
    if rule in ("significant", "non_inferior") and difference.low is None and difference.different:
        more = ", or more where few have most of the weight" if request.weight_column else ""
        told += (
            f" Without an interval it cannot: that takes {LEAST_ROWS} rows, and {LEAST_DIFFERENT} that differ{more}."
        )
    return holds, told


def _threshold_in_words(metric: str, value: Interval, threshold: float | None) -> str:
    told = f"{metric} is {value.value:.6g}"
    if value.low is not None and value.high is not None:
        told += f" (95 % interval {value.low:.4g} to {value.high:.4g})"
    if threshold is None:
        return f"{told}; the request sets no threshold."
    limit = f"at {'most' if metric in LOWER_IS_BETTER else 'least'} {threshold:.6g}"
    if meets(metric, value.value, threshold):
        return f"{told}, {limit} as the request asks."
    return f"{told}, and the request asks for {limit}."


def _difference_in_words(comparison: Comparison, difference: Improvement) -> str:
    limits = _limits(difference)
    if difference.different == 0:
        return f"It predicts the same as the champion {comparison.version}"
    if difference.value == 0:
        return f"It is as good as the champion {comparison.version} ({limits.removeprefix(', ') or 'no interval'})"
    direction = "better" if difference.value > 0 else "worse"
    return (
        f"It is {abs(difference.value):.4g} {direction} than the champion {comparison.version}"
        f" ({limits.removeprefix(', ') or 'too few rows for an interval'})"
    )


def _limits(difference: Improvement) -> str:
    if difference.low is None or difference.high is None:
        return ""
    return f", 95 % interval {difference.low:.4g} to {difference.high:.4g}"


def _optimism(difference: Improvement, comparisons: int) -> str:
    """Return what to think of a figure that is the best of many on the same rows."""
    if comparisons < MANY_COMPARISONS or difference.deviation is None:
        return ""
    # The expected largest of so many normal figures: G. Blom, Statistical Estimates and Transformed Variables, 1958.
    largest = float(ndtri((comparisons - 0.375) / (comparisons + 0.25)))
    return (
        f"{comparisons:,} models were compared on these test rows so far: the best of them looks better than it is, by "
        f"about {largest * difference.deviation:.4g}. Another split_seed draws other rows."
    )
