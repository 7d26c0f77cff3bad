"""Parts of dates: what the calendar says of a time, as far as it recurs in training."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import skops.io

from common.dates import HARMONICS, PERIODS, DateParts
from common.errors import UntrustedModelError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TWO_YEARS = [datetime(2023, 1, 1, tzinfo=UTC) + timedelta(hours=7 * n) for n in range(2500)]
TIMES = [
    datetime(2024, 12, 31, 23, 59, 30, tzinfo=UTC),
    datetime(2000, 2, 29, 6, tzinfo=UTC),
    datetime(1969, 12, 31, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 12, 30, tzinfo=UTC),
]


def seconds(*times: datetime | None) -> npt.NDArray[np.float64]:
    return np.array([[np.nan if time is None else (time - EPOCH).total_seconds()] for time in times])


def test_parts_are_those_of_the_calendar_before_and_after_what_training_saw() -> None:
    found = DateParts().fit(seconds(*TWO_YEARS)).transform(seconds(*TIMES))
    assert found.dtype == np.float32
    expected = [
        (time.hour + time.minute / 60 + time.second / 3600, time.weekday(), time.timetuple().tm_yday - 1)
        for time in TIMES
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_ends_where_it_begins_is_near_itself_in_waves() -> None:
    parts = DateParts(cyclic=True).fit(seconds(*TWO_YEARS))
    late, early, noon = parts.transform(
        seconds(*(datetime(2024, 5, 6, *time, tzinfo=UTC) for time in ((23, 59), (0, 1), (12, 0))))
    )
    hours = slice(0, 2 * HARMONICS)
    assert np.abs(late[hours] - early[hours]).max() < 0.02
    assert np.abs(noon[hours] - early[hours]).max() > 1.9
    assert len(late) == len(PERIODS) * 2 * HARMONICS


def test_a_missing_time_is_the_middle_of_each_circle_and_for_trees_missing() -> None:
    assert (DateParts(cyclic=True).fit(seconds(*TWO_YEARS)).transform(seconds(None)) == 0).all()
    assert np.isnan(DateParts().fit(seconds(*TWO_YEARS)).transform(seconds(None))).all()


@pytest.mark.parametrize(
    ("step", "count", "parts"),
    [
        # Half a year is no season yet, whose waves would go anywhere in the other half.
        (timedelta(hours=7), 600, ["hour", "weekday"]),
        (timedelta(days=1), 400, ["weekday", "day of year"]),
        (timedelta(days=7), 100, ["day of year"]),
        (timedelta(hours=7), 2500, ["hour", "weekday", "day of year"]),
        # Nothing recurs within an hour, and of one time nothing differs: a transformer makes something all the same.
        (timedelta(seconds=1), 3600, ["hour"]),
        (timedelta(0), 5, ["hour"]),
    ],
)
def test_only_what_recurs_is_a_feature(step: timedelta, count: int, parts: list[str]) -> None:
    times = [datetime(2023, 1, 1, tzinfo=UTC) + step * n for n in range(count)]
    assert DateParts().fit(seconds(*times, None)).parts_ == [parts]


def test_of_no_time_at_all_something_is_made() -> None:
    parts = DateParts(cyclic=True).fit(np.full((4, 2), np.nan))
    assert parts.transform(np.zeros((3, 2))).shape == (3, len(parts.get_feature_names_out()))


def test_each_column_has_its_own_parts_and_names() -> None:
    days = [each.replace(hour=0) for each in TWO_YEARS]
    frame = pd.DataFrame({"sold": seconds(*TWO_YEARS)[:, 0], "born": seconds(*days)[:, 0]})
    parts = DateParts().fit(frame).set_output(transform="pandas")
    names = ["sold hour", "sold weekday", "sold day of year", "born weekday", "born day of year"]
    assert list(parts.transform(frame.iloc[:3]).columns) == names == list(parts.get_feature_names_out())


def test_a_saved_transformer_makes_the_same_bits(tmp_path: Path) -> None:
    for cyclic in (False, True):
        parts = DateParts(cyclic=cyclic).fit(seconds(*TWO_YEARS))
        skops.io.dump(parts, tmp_path / "parts.skops")
        loaded = skops.io.load(tmp_path / "parts.skops", trusted=["common.dates.DateParts"])
        np.testing.assert_array_equal(loaded.transform(seconds(*TIMES)), parts.transform(seconds(*TIMES)))


@pytest.mark.parametrize(
    "forged", [[["hour"] * 10_000_000], [["__class__"]], [["weekday", "hour"]], [], [["hour"]] * 2, [["hour", 1]]]
)
def test_parts_that_are_none_are_refused(forged: list[list[str]]) -> None:
    parts = DateParts().fit(seconds(*TWO_YEARS))
    parts.parts_ = forged
    with pytest.raises(UntrustedModelError, match="parts of dates that are none"):
        parts.transform(seconds(*TIMES))
