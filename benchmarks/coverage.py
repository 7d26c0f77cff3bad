"""How often the 95 % intervals of the bootstrap hold the truth: test parts drawn from populations that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as scikit

from benchmarks.figures import Section, Table
from benchmarks.options import Options
from common.bootstrap import Improvement, Interval, improvement, interval
from common.metric_table import LOWER_IS_BETTER, METRICS, Scoring

ROWS = (30, 100, 300, 1000)
POPULATION = 1_000_000
"""Rows that stand for all: their own error is a thirtieth of that of the largest test part."""
REPEATS = 200
LEAST_SHARE = 0.5
"""Where fewer test parts than this have an interval, no coverage is told."""
POSITIVE_TARGETS = ("mape", "rmsle")
"""What only targets above 0 allow, as prices are; no interval is told of others."""
CLASSES = np.array(["no", "yes"])
SCORING = Scoring("yes", 0.9)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Targets of shape (rows,), and what two models predict: values, or probabilities of shape (rows, 2)."""

    target: npt.NDArray[Any]
    challenger: Floats
    champion: Floats


def _even_errors(random: np.random.Generator, rows: int) -> Rows:
    """Draw normal targets and errors; the models have half of theirs in common, and the champion's are larger."""
    signal = random.normal(0, 2, rows)
    target = signal + random.normal(0, 1, rows)
    return Rows(target, *(signal + errors for errors in _errors(random, rows)))


def _uneven_errors(random: np.random.Generator, rows: int) -> Rows:
    """Draw lognormal targets and errors in proportion to them, as prices have: a few rows are most of the rmse."""
    signal = random.normal(0, 0.6, rows)
    target = np.exp(signal + random.normal(0, 0.25, rows))
    return Rows(target, *(np.exp(signal + 0.25 * errors) for errors in _errors(random, rows)))


def _classes(share: float, random: np.random.Generator, rows: int) -> Rows:
    """Draw two classes, and the probabilities that each model makes of a score with noise of its own."""
    yes = random.random(rows) < share
    prior = np.log(share / (1 - share))
    score = np.where(yes, 1.2, -1.2) + random.normal(0, 1, rows)
    odds = (1.5 * (score + 0.7 * errors) + prior for errors in _errors(random, rows))
    chances = (1 / (1 + np.exp(-each)) for each in odds)
    return Rows(CLASSES[yes.astype(int)], *(np.column_stack([1 - each, each]) for each in chances))


def _errors(random: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    common = random.normal(0, 0.5, rows)
    return common + random.normal(0, 0.5, rows), common + random.normal(0, 0.8, rows)


SETTINGS: Mapping[str, tuple[Callable[[np.random.Generator, int], Rows], ...]] = {
    "regression": (_even_errors, _uneven_errors),
    "classification": (partial(_classes, 0.5), partial(_classes, 0.1)),
}


@dataclass
class Tally:
    """Of some test parts: how many have an interval, and in how many the truth is below or above it."""

    parts: int = 0
    told: int = 0
    outside: int = 0

    def add(self, found: Interval | Improvement, truth: float) -> None:
        """Count one interval."""
        self.parts += 1
        if found.low is not None and found.high is not None:
            self.told += 1
            self.outside += not found.low <= truth <= found.high

    @property
    def is_told(self) -> bool:
        """Whether enough test parts have an interval for a coverage to mean something."""
        return self.told > 0 and self.told >= LEAST_SHARE * self.parts

    @property
    def coverage(self) -> float:
        """The share of the intervals that hold the truth."""
        return 1 - self.outside / self.told

    @property
    def error(self) -> float:
        """The standard error of the coverage, by the rule of succession, which knows no certainty."""
        share = (self.outside + 1) / (self.told + 2)
        return float(np.sqrt(share * (1 - share) / self.told))

    def text(self) -> str:
        """Return the coverage in per cent."""
        return f"{100 * self.coverage:.0f}" if self.is_told else "none"


Tallies = dict[tuple[str, int], list[Tally]]


def measure(options: Options) -> Section:
    """Return for each metric and number of rows how often the intervals hold the truth."""
    section = Section("Coverage: how often a 95 % interval holds the truth, %")
    repeats = 20 if options.quick else REPEATS
    own: Tallies = {}
    between: Tallies = {}
    for problem, settings in SETTINGS.items():
        for place, draw in enumerate(settings):
            _count(problem, draw, place, repeats, own, between)
    section.tables = [_table("metric itself", own), _table("improvement over another model", between)]
    told = [tally for tallies in (*own.values(), *between.values()) for tally in tallies if tally.is_told]
    worst = 100 * max(tally.error for tally in told)
    section.notes.append(
        "Before the stroke: normal errors, or two classes of equal size. Behind it: lognormal targets whose errors "
        "grow with them, as prices have, or one row in ten of the second class."
    )
    section.notes.append(
        f"{repeats} test parts for each figure, with the intervals of this project's own functions; the truth is "
        f"scikit-learn's metric of {POPULATION:,} rows. The standard error of the simulation is "
        f"{100 * np.sqrt(0.95 * 0.05 / repeats):.1f} points for a coverage of 95 %, and at most {worst:.1f}. The "
        "figures of a column are of the same test parts, so they err together."
    )
    section.notes.append(
        "Where most test parts have no interval, for the two models differ on fewer than 10 rows, there is none; where "
        "some have none, the coverage is that of the others."
    )
    section.data = {
        name: {f"{metric} {rows}": [vars(each) for each in found] for (metric, rows), found in tallies.items()}
        for name, tallies in (("own", own), ("improvement", between))
    }
    return section


def _count(
    problem: str,
    draw: Callable[[np.random.Generator, int], Rows],
    place: int,
    repeats: int,
    own: Tallies,
    between: Tallies,
) -> None:
    """Add one setting's tallies to those of the metrics and of the improvements."""
    classes = None if problem == "regression" else CLASSES
    population = draw(np.random.default_rng([place, 0]), POPULATION)
    for metric in METRICS[problem]:
        allowed = metric not in POSITIVE_TARGETS or population.target.min() > 0
        models = (population.challenger, population.champion)
        truths = [_truth(metric, population.target, each) for each in models] if allowed else [np.nan, np.nan]
        better = truths[1] - truths[0] if metric in LOWER_IS_BETTER else truths[0] - truths[1]
        for rows in ROWS:
            first, second = Tally(), Tally()
            own.setdefault((metric, rows), []).append(first)
            between.setdefault((metric, rows), []).append(second)
            for seed in range(repeats if allowed else 0):
                # The same test parts for all metrics.
                part = draw(np.random.default_rng([place, rows, seed]), rows)
                first.add(interval(metric, part.target, part.challenger, classes, seed, scoring=SCORING), truths[0])
                both = (part.challenger, part.champion)
                found = improvement(metric, part.target, *both, classes, seed, scoring=SCORING)
                second.add(found, better)


def _truth(metric: str, target: npt.NDArray[Any], predicted: Floats) -> float:
    """Return scikit-learn's metric, which shares no code with the bootstrap."""
    labels, chances = (CLASSES[predicted.argmax(axis=1)], predicted[:, 1]) if predicted.ndim == 2 else (None, None)
    yes = {"pos_label": SCORING.pos_label, "zero_division": 0}
    choices: Mapping[str, Callable[[], float]] = {
        "rmse": lambda: scikit.root_mean_squared_error(target, predicted),
        "mae": lambda: scikit.mean_absolute_error(target, predicted),
        "medae": lambda: scikit.median_absolute_error(target, predicted),
        "mape": lambda: scikit.mean_absolute_percentage_error(target, predicted),
        "rmsle": lambda: scikit.root_mean_squared_log_error(target, predicted),
        "pinball": lambda: scikit.mean_pinball_loss(target, predicted, alpha=SCORING.quantile),
        "r2": lambda: scikit.r2_score(target, predicted),
        "accuracy": lambda: scikit.accuracy_score(target, labels),
        "f1_macro": lambda: scikit.f1_score(target, labels, average="macro"),
        "balanced_accuracy": lambda: scikit.balanced_accuracy_score(target, labels),
        "f1": lambda: scikit.f1_score(target, labels, **yes),
        "precision": lambda: scikit.precision_score(target, labels, **yes),
        "recall": lambda: scikit.recall_score(target, labels, **yes),
        "average_precision": lambda: scikit.average_precision_score(target == CLASSES[1], chances),
        "brier": lambda: scikit.brier_score_loss(target == CLASSES[1], chances),
        "roc_auc": lambda: scikit.roc_auc_score(target == CLASSES[1], chances),
        "log_loss": lambda: scikit.log_loss(target, predicted),
    }
    return float(choices[metric]())


def _table(of: str, tallies: Tallies) -> Table:
    metrics = dict.fromkeys(metric for metric, _ in tallies)
    return (
        (f"of the {of}", *(f"{rows:,} rows" for rows in ROWS)),
        [
            (metric, *(" / ".join(tally.text() for tally in tallies[metric, rows]) for rows in ROWS))
            for metric in metrics
        ],
    )
