"""Properties of the split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_preparation.splitting import BLOCK_ROWS, StratifiedSplitter

FRACTIONS = st.floats(min_value=0.01, max_value=0.99)
SEEDS = st.integers(min_value=0, max_value=2**32 - 1)
GROUPS = st.lists(st.integers(min_value=0, max_value=4), min_size=1, max_size=400)


def split(groups: list[int], fraction: float, seed: int, batch_rows: int) -> np.ndarray:
    """Split rows of the given groups, fed in batches."""
    array = np.array(groups)
    splitter = StratifiedSplitter(np.bincount(array, minlength=5).tolist(), fraction, seed)
    return np.concatenate([splitter.test_mask(array[at : at + batch_rows]) for at in range(0, len(array), batch_rows)])


@given(GROUPS, FRACTIONS, SEEDS, st.integers(min_value=1, max_value=400))
def test_the_batch_size_does_not_matter(groups: list[int], fraction: float, seed: int, batch_rows: int) -> None:
    whole = split(groups, fraction, seed, len(groups))
    assert (split(groups, fraction, seed, batch_rows) == whole).all()


@given(GROUPS, FRACTIONS, SEEDS)
def test_each_row_is_in_one_part_and_the_same_seed_gives_the_same_parts(
    groups: list[int], fraction: float, seed: int
) -> None:
    mask = split(groups, fraction, seed, 64)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(groups),)
    assert (split(groups, fraction, seed, 64) == mask).all()


@given(st.integers(min_value=10, max_value=3 * BLOCK_ROWS), FRACTIONS, SEEDS)
def test_one_group_is_split_to_the_row(rows: int, fraction: float, seed: int) -> None:
    mask = StratifiedSplitter([rows], fraction, seed).test_mask(np.zeros(rows, dtype=np.int8))
    assert abs(mask.sum() - rows * fraction) <= 1


@given(GROUPS, FRACTIONS, SEEDS)
def test_every_group_keeps_a_training_row_and_its_share(groups: list[int], fraction: float, seed: int) -> None:
    mask, array = split(groups, fraction, seed, 64), np.array(groups)
    for group in np.unique(array):
        rows, test_rows = (array == group).sum(), mask[array == group].sum()
        assert test_rows < rows
        assert abs(test_rows - rows * fraction) <= 2


def test_another_seed_gives_other_rows() -> None:
    groups = [0] * 1000
    assert (split(groups, 0.5, 1, 1000) != split(groups, 0.5, 2, 1000)).any()


def test_more_rows_than_announced_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="more than the 3 rows"):
        StratifiedSplitter([3], 0.5, 0).test_mask(np.zeros(4, dtype=np.int8))
