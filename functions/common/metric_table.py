"""The metrics, in one table: what each is of, which way it is better, and what else it has to know.

Data preparation validates requests by it: nothing here imports a numeric library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

Label = bool | int | float | str
"""A class label, as the data have it."""
Constant = Literal["mean", "median", "relative_median", "log_mean", "quantile", "shares", "positive"]
"""What a guess that takes no feature predicts for all rows."""

GUESSES: Mapping[Constant, str] = {
    "mean": "the mean of the target",
    "median": "the median of the target",
    "relative_median": "the median of the target, each row by 1 / |target|",
    "log_mean": "the mean of the target's logarithm",
    "quantile": "the quantile of the target",
    "shares": "each class by its share of the rows",
    "positive": "the positive class for each row",
}


@dataclass(frozen=True)
class Metric:
    """What there is to know of a metric.

    Attributes
    ----------
    problem
        `regression` or `classification`.
    meaning
        In a few words, for people.
    lower_is_better
        Whether it is a loss.
    constant
        The best guess by this metric that takes no feature, or close to it; of recall, which nothing beats that says
        yes to all, the most probable one.
    of_labels
        Whether it looks at the predicted classes alone, and not at their probabilities.
    needs_positive_class
        Whether it is of one class against all others.
    """

    problem: Literal["regression", "classification"]
    meaning: str
    lower_is_better: bool = False
    constant: Constant = "shares"
    of_labels: bool = False
    needs_positive_class: bool = False


def _loss(meaning: str, constant: Constant) -> Metric:
    return Metric("regression", meaning, lower_is_better=True, constant=constant)


# The first one of each problem is what counts where the request leaves it open.
METRIC_TABLE: Mapping[str, Metric] = {
    "rmse": _loss("root of the mean squared error, in the target's unit", "mean"),
    "mae": _loss("mean absolute error, in the target's unit", "median"),
    "medae": _loss("median absolute error, in the target's unit", "median"),
    "mape": _loss("mean of the absolute error as a share of the target", "relative_median"),
    "rmsle": _loss("root of the mean squared error of the logarithm of 1 + the value", "log_mean"),
    "pinball": _loss("mean error, where too low counts by the quantile and too high by 1 less it", "quantile"),
    "r2": Metric("regression", "share of the target's variance that is explained", constant="mean"),
    "accuracy": Metric("classification", "share of the rows whose class is right", of_labels=True),
    "balanced_accuracy": Metric("classification", "mean of the classes' recalls", of_labels=True),
    "f1_macro": Metric("classification", "mean of the classes' f1", of_labels=True),
    "f1": Metric(
        "classification",
        "harmonic mean of precision and recall",
        constant="positive",
        of_labels=True,
        needs_positive_class=True,
    ),
    "precision": Metric(
        "classification",
        "share of the rows taken for the positive class that are of it",
        constant="positive",
        of_labels=True,
        needs_positive_class=True,
    ),
    "recall": Metric(
        "classification",
        "share of the positive class's rows that are taken for it",
        of_labels=True,
        needs_positive_class=True,
    ),
    "average_precision": Metric(
        "classification", "mean precision over all recalls of the positive class", needs_positive_class=True
    ),
    "roc_auc": Metric("classification", "how often a row of a class is ranked above one of the others"),
    "log_loss": Metric(
        "classification", "mean negative logarithm of the right class's probability", lower_is_better=True
    ),
    "brier": Metric("classification", "mean squared error of the probabilities", lower_is_better=True),
}

METRICS: Mapping[str, tuple[str, ...]] = {
    problem: tuple(name for name, metric in METRIC_TABLE.items() if metric.problem == problem)
    for problem in ("regression", "classification")
}
LOWER_IS_BETTER = frozenset(name for name, metric in METRIC_TABLE.items() if metric.lower_is_better)
OF_POSITIVE_CLASS = tuple(name for name, metric in METRIC_TABLE.items() if metric.needs_positive_class)

# A type checker takes no names that a program makes; whoever validates a request gets them all.
if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal[tuple(METRIC_TABLE)]


@dataclass(frozen=True)
class Scoring:
    """What some metrics have to know besides predictions and truth.

    Attributes
    ----------
    pos_label
        The class that those of `OF_POSITIVE_CLASS` are of; None where there is none.
    quantile
        The one that `pinball` is of.
    """

    pos_label: Label | None = None
    quantile: float = 0.5

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Scoring:
        """Return that of a request as a run has recorded it; earlier ones knew neither."""
        return cls(request.get("pos_label"), request.get("quantile", 0.5))

    def positive(self, classes: Sequence[Any]) -> int | None:
        """Return the position of the positive class among classes, or None where it is not among them."""
        return list(classes).index(self.pos_label) if self.pos_label in classes else None

    def agrees_with(self, other: Scoring, metric: str) -> bool:
        """Return whether a metric means the same by another one."""
        if METRIC_TABLE[metric].needs_positive_class:
            return self.pos_label == other.pos_label
        return metric != "pinball" or self.quantile == other.quantile


PLAIN = Scoring()
