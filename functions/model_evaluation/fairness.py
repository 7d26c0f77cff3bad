"""Which test rows may count in a comparison with the champion, those that it was not trained on, and what a test says.

Rows come and go between two runs and are corrected, so that some of this run's test rows may have been among the
champion's training rows, on which it is better than it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.bootstrap import rows_worth
from common.metric_table import LOWER_IS_BETTER
from common.metrics import Weights
from common.training_rows import KnownRows

TOLERATED = 0.01
"""What share of the test rows the champion may know beyond what chance explains, before they no longer count."""
NOTABLY_WORSE = 0.2
"""By what share of its loss a model may be worse by another split without a word."""
LEAST_FAIR = 100
LEAST_SHARE = 0.75


@dataclass(frozen=True)
class Fairness:
    """How many of the test rows the champion was trained on, and which count.

    Attributes
    ----------
    rows, seen
        The test rows, and those that were among the champion's training rows.
    expected
        The share that equals rows of the challenger's own training part, by weight: rows that occur more than once.
    counted
        Which rows count, shape (rows,).
    possible
        Whether they are enough for a comparison.
    """

    rows: int
    seen: int
    expected: float
    counted: npt.NDArray[np.bool_]
    possible: bool

    def document(self) -> dict[str, Any]:
        """Return what the evaluation says of it."""
        counted = int(self.counted.sum())
        return {
            "test_rows": self.rows,
            "seen_by_champion": self.seen,
            "expected_share": self.expected,
            "counted": counted,
            "possible": self.possible,
        }

    def words(self) -> str:
        """Return in a sentence what is not counted, empty where all is."""
        if self.counted.all():
            return ""
        told = f"The champion was trained on {self.seen:,} of these {self.rows:,} test rows"
        if self.possible:
            return f"{told}, which do not count."
        return (
            f"{told}, and the others are too few for a comparison. Bring more rows, go back to the champion's split, "
            "or say replace_unusable_champion to do without a comparison once."
        )


def fair_rows(own: KnownRows, champion: KnownRows, weights: Weights = None) -> Fairness:
    """Return which test rows count in a comparison with the champion.

    Parameters
    ----------
    own, champion
        Which test rows the challenger and the champion were trained on, each by its own columns.
    weights
        How much each test row counts, shape (rows,), and so what the champion knows of it; None for all alike.
    """
    seen = champion.rows
    rows = len(seen)
    by = np.ones(rows) if weights is None else weights
    worth, expected = rows_worth(by), float(np.average(own.rows, weights=by))
    limit = expected + TOLERATED + 3 * np.sqrt(expected * (1 - expected) / worth)
    if np.average(seen, weights=by) <= limit:
        return Fairness(rows, int(seen.sum()), expected, np.ones(rows, np.bool_), True)
    # Of a small test part most rows have to be left, of a large one a hundred.
    least = min(LEAST_FAIR, LEAST_SHARE * worth)
    return Fairness(rows, int(seen.sum()), expected, ~seen, rows_worth(by[~seen]) >= least)


def equal_features(own: KnownRows) -> int:
    """Return how many test rows have the same features as a training row, about, without those found by mistake."""
    found, mistakes = own.features, own.training.features.mistakes()
    return max(0, round(float((found.sum() - mistakes * len(found)) / (1 - mistakes))))


def doubts(other_splits: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return in sentences where rows that resemble each other make the model look better than it will be.

    Parameters
    ----------
    other_splits
        As model training describes them: the metric by a split of rows, and by each column that may hold kin together.
    """
    return [words for each in other_splits if (words := _doubt(each))]


def _doubt(tried: Mapping[str, Any]) -> str:
    column, metric, by_rows, by_column = (tried[name] for name in ("column", "metric", "by_rows", "by_column"))
    ways = {
        "time": ("the last rows", "split_time", "the model is to predict what comes later"),
        "key": ("whole values", "split_key", "the model is to predict for values that it has not met"),
    }
    held_out, option, purpose = ways[tried["by"]]
    advice = f'Say {option} "{column}" if {purpose}.'
    if by_rows is None or by_column is None:
        return f'How good the model is with {held_out} of "{column}" held out could not be tried. {advice}'
    loss = [value if metric in LOWER_IS_BETTER else 1 - value for value in (by_rows, by_column)]
    if loss[1] - loss[0] <= NOTABLY_WORSE * loss[0]:
        return ""
    return (
        f'With {held_out} of "{column}" held out, {metric} is {by_column:.4g} and not {by_rows:.4g} (tried on '
        f"{tried['rows']:,} training rows). {advice}"
    )
