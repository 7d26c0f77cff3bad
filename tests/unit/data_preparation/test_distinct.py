"""How many different texts there are, exactly as far as is promised, and nearly beyond."""

from __future__ import annotations

import pyarrow as pa
import pytest

from common.conversion import MAX_LEVELS
from data_preparation.distinct import DistinctTexts


def counted(*batches: range) -> DistinctTexts:
    count = DistinctTexts()
    for batch in batches:
        count.add(pa.array([f"user {number}" for number in batch], pa.string()))
    return count


def test_it_is_exact_up_to_the_limit_and_says_where_it_is_not() -> None:
    full = counted(range(12_000), range(8_000, MAX_LEVELS), range(500))
    assert (len(full), full.exact) == (MAX_LEVELS, True)
    full.add(pa.array(["one more"]))
    assert not full.exact


@pytest.mark.parametrize("texts", [30_000, 200_000])
def test_beyond_it_is_within_three_percent_and_does_not_grow(texts: int) -> None:
    count = counted(range(texts), range(texts // 2))
    assert not count.exact
    assert len(count) == pytest.approx(texts, rel=0.03)
    assert len(count._smallest) == MAX_LEVELS


@pytest.mark.parametrize(("one", "other"), [(range(900), range(500, 1500)), (range(25_000), range(20_000, 40_000))])
def test_merged_counts_are_those_of_all_texts(one: range, other: range) -> None:
    merged, whole = counted(one), counted(other, one)
    merged.merge(counted(other))
    assert (len(merged), merged.exact) == (len(whole), whole.exact)
