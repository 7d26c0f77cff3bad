"""The split into a training and a test part: exact in size, stratified, and the same whatever the batch size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BLOCK_ROWS = 1 << 16


class StratifiedSplitter:
    """Draws test rows within blocks of a group's consecutive rows, so that memory does not grow with their number.

    A row's part depends on the seed and on the row's position within its group alone. Each block gives its share of
    test rows, drawn without replacement; shares are rounded cumulatively, so that the whole is exact but for classes
    whose last row must stay in training.

    Parameters
    ----------
    group_sizes
        The number of rows in each group: one for each class, or a single one for regression.
    test_fraction
        The share of rows that go to the test part, between 0 and 1.
    seed
        The seed of the draw.
    """

    def __init__(self, group_sizes: Sequence[int], test_fraction: float, seed: int) -> None:
        self._seed = seed
        self._sizes = group_sizes
        self._positions = [0] * len(group_sizes)
        self._masks: dict[int, tuple[int, npt.NDArray[np.bool_]]] = {}
        self._quotas: dict[tuple[int, int], int] = {}
        rows = 0
        for group, size in enumerate(group_sizes):
            for block in range(-(-size // BLOCK_ROWS)):
                length = self._block_length(group, block)
                quota = round((rows + length) * test_fraction) - round(rows * test_fraction)
                # A class that only the test part has could not be learned.
                self._quotas[group, block] = min(quota, length - 1) if size <= BLOCK_ROWS else quota
                rows += length

    def test_mask(self, groups: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Return which of the next rows are test rows.

        Parameters
        ----------
        groups
            The group number of each of the next rows, shape (n,).

        Returns
        -------
        numpy.ndarray
            Booleans, shape (n,).
        """
        mask = np.zeros(len(groups), dtype=np.bool_)
        for group in np.unique(groups):
            mask[groups == group] = self._next(int(group), int((groups == group).sum()))
        return mask

    def _next(self, group: int, rows: int) -> npt.NDArray[np.bool_]:
        pieces = []
        while rows:
            block, offset = divmod(self._positions[group], BLOCK_ROWS)
            piece = self._block_mask(group, block)[offset : offset + rows]
            if not len(piece):
                raise ValueError(f"group {group} has more than the {self._sizes[group]} rows that were announced")
            pieces.append(piece)
            self._positions[group] += len(piece)
            rows -= len(piece)
        return np.concatenate(pieces)

    def _block_mask(self, group: int, block: int) -> npt.NDArray[np.bool_]:
        current = self._masks.get(group)
        if current is None or current[0] != block:
            length = self._block_length(group, block)
            mask = np.zeros(length, dtype=np.bool_)
            drawn = np.random.default_rng([self._seed, group, block]).permutation(length)
            mask[drawn[: self._quotas.get((group, block), 0)]] = True
            current = self._masks[group] = (block, mask)
        return current[1]

    def _block_length(self, group: int, block: int) -> int:
        return max(0, min(BLOCK_ROWS, self._sizes[group] - block * BLOCK_ROWS))
