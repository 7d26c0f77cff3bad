"""How many different texts a column holds, in memory that does not grow with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from common.conversion import MAX_LEVELS
from common.hashing import Hashes, label_codes

if TYPE_CHECKING:
    import pyarrow as pa


class DistinctTexts:
    """Counts different texts by the smallest of their hashes: exactly up to `MAX_LEVELS`, within a percent beyond.

    Where hashes are spread evenly, the k-th smallest of n lies at about k/n of their range. What is kept follows from
    the texts alone, in whatever order and batches they come.

    References
    ----------
    Z. Bar-Yossef, T. Jayram, R. Kumar, D. Sivakumar and L. Trevisan, "Counting distinct elements in a data stream",
    RANDOM 2002, algorithm 2; the unbiased k - 1 is of K. Beyer et al., "On synopses for distinct-value estimation under
    multiset operations", SIGMOD 2007.
    """

    def __init__(self) -> None:
        self._smallest: Hashes = np.empty(0, np.uint64)
        self.exact = True

    def add(self, texts: pa.Array) -> None:
        """Take in some more texts, none of them null."""
        self._add_hashes(label_codes(texts))

    def merge(self, other: DistinctTexts) -> None:
        """Take in the texts of another count."""
        self.exact = self.exact and other.exact
        self._add_hashes(other._smallest)

    def _add_hashes(self, hashes: Hashes) -> None:
        if len(self._smallest) == MAX_LEVELS:
            # Most of what is new is larger, and is not sorted for nothing.
            beyond = hashes > self._smallest[-1]
            self.exact = self.exact and not beyond.any()
            hashes = hashes[~beyond]
        known = np.union1d(self._smallest, hashes)
        self.exact = self.exact and len(known) <= MAX_LEVELS
        self._smallest = known[:MAX_LEVELS].copy()

    def __len__(self) -> int:
        """Return the number of different texts, an estimate where it is not `exact`."""
        if self.exact:
            return len(self._smallest)
        return round((MAX_LEVELS - 1) / (float(self._smallest[-1]) / 2.0**64))
