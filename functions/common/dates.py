"""What the calendar says of a time, as features: a model of seconds alone knows no morning, no Sunday and no winter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from common.errors import UntrustedModelError

if TYPE_CHECKING:
    import pandas as pd

Seconds = npt.NDArray[np.float64]

SECONDS_PER_DAY = 86_400
PERIODS: Mapping[str, float] = {"hour": 24.0, "weekday": 7.0, "day of year": 365.25}
"""The parts, and after how much of each the calendar starts again.

No year is among them, for it grows as the seconds do, and no month, which is a coarser day of the year.
"""
UNITS: Mapping[str, int] = {"hour": 3600, "weekday": SECONDS_PER_DAY, "day of year": SECONDS_PER_DAY}
"""How many seconds one of each part takes."""
COVERED = 0.9
"""Which share of a period the times of training have to span: of half a year a season is a trend, which would be
followed through days of the year that training never saw."""
HARMONICS = 2
"""How many waves a period is made of for a linear model: with two, a day may have a morning and an evening peak."""
MOST_SECONDS = 1e13
"""Beyond any time that microseconds in 64 bits can say."""


class DateParts(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Turns times into the hour, the weekday and the day of the year, as far as they differ and recur in training.

    Parameters
    ----------
    cyclic
        Whether a part is to be sines and cosines, in which 23:59 and 0:01 are near each other: what a linear model
        needs. A missing time is then 0, the middle of each circle. Trees take the parts themselves, and NaN.

    Attributes
    ----------
    parts_
        The names of the parts of each column, one at least of the first column.
    """

    def __init__(self, *, cyclic: bool = False) -> None:
        self.cyclic = cyclic

    def fit(self, times: pd.DataFrame | Seconds, y: Any = None) -> Self:  # noqa: ARG002 (scikit-learn passes a target)
        """Find out which parts differ.

        Parameters
        ----------
        times
            Seconds since 1970-01-01 UTC, NaN where a time is missing, shape (rows, columns).
        """
        columns = _seconds(self, times, reset=True).T
        self.parts_ = [[part for part in PERIODS if _recurs(column, part)] for column in columns]
        if not any(self.parts_):
            # A transformer has to make something.
            self.parts_[0] = list(PERIODS)[:1]
        return self

    def transform(self, times: pd.DataFrame | Seconds) -> npt.NDArray[np.float32]:
        """Return the parts, shape (rows, parts), those of the first column first.

        Raises
        ------
        UntrustedModelError
            If a model's file names parts that are none.
        """
        check_is_fitted(self)
        columns = _seconds(self, times, reset=False).T
        parts = np.empty((columns.shape[1], len(self.get_feature_names_out())), np.float32)
        for at, values in enumerate(self._values(columns)):
            parts[:, at] = values
        return parts

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return a name for each column of `transform`."""
        names = getattr(self, "feature_names_in_", None) if input_features is None else input_features
        names = [f"x{at}" for at in range(self.n_features_in_)] if names is None else names
        waves = [f" {wave} {n}" for n in range(1, HARMONICS + 1) for wave in ("sin", "cos")] if self.cyclic else [""]
        parts = zip(names, self._known_parts(), strict=True)
        return np.array([f"{name} {part}{wave}" for name, each in parts for part in each for wave in waves], object)

    def _values(self, columns: Seconds) -> Iterator[Seconds]:
        for column, parts in zip(columns, self._known_parts(), strict=True):
            for part in parts:
                values = part_of(column, part)
                if self.cyclic:
                    yield from _waves(values * (2 * np.pi / PERIODS[part]))
                else:
                    yield values

    def _known_parts(self) -> list[list[str]]:
        """Return the parts, of a model's file that says what it likes: so many columns as each row may take."""
        known = len(self.parts_) == self.n_features_in_ and all(
            each == [part for part in PERIODS if part in each] for each in self.parts_
        )
        if not known:
            raise UntrustedModelError("The model file asks for parts of dates that are none.")
        parts: list[list[str]] = self.parts_
        return parts


def _seconds(transformer: DateParts, times: pd.DataFrame | Seconds, *, reset: bool) -> Seconds:
    checked: Seconds = validate_data(transformer, times, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")
    return checked


def part_of(seconds: Seconds, part: str) -> Seconds:
    """Return one part of each time, from 0 on; NaN where there is none. Minutes are fractions of an hour.

    Parameters
    ----------
    seconds
        Since 1970-01-01 UTC, NaN where a time is missing, of any shape.
    part
        One of `PERIODS`.
    """
    days, seconds_of_day = np.divmod(np.clip(seconds, -MOST_SECONDS, MOST_SECONDS), SECONDS_PER_DAY)
    values: Seconds
    if part == "hour":
        values = seconds_of_day / 3600
    elif part == "weekday":
        # 1970 began on a Thursday; Monday is 0.
        values = (days + 3) % 7
    else:
        dates = np.where(np.isnan(days), 0, days).astype("datetime64[D]")
        in_year = (dates - dates.astype("datetime64[Y]")).astype(np.float64)
        values = np.where(np.isnan(days), np.nan, in_year)
    return values


def _recurs(seconds: Seconds, part: str) -> bool:
    """Return whether times differ in a part, and span its period."""
    known = seconds[~np.isnan(seconds)]
    if not len(known) or np.ptp(known) < COVERED * PERIODS[part] * UNITS[part]:
        return False
    return bool(np.ptp(part_of(known, part)) > 0)


def _waves(angles: Seconds) -> Iterator[Seconds]:
    for harmonic in range(1, HARMONICS + 1):
        for wave in (np.sin, np.cos):
            yield np.nan_to_num(wave(harmonic * angles))
