"""What predictions were made without, or in spite of, and what is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import first_few

if TYPE_CHECKING:
    import pandas as pd


_COUNTED = ("missing", "unseen", "converted")


class Oddities:
    """Counts of the values that predictions were made without: missing ones, and categories that training had not.

    Attributes
    ----------
    missing, unseen : collections.Counter
        Rows by the name of a column.
    converted : collections.Counter
        Values, by the name of a column, that were written otherwise than those of training, and are certain.
    empty : int
        Rows without a value in any column.
    """

    def __init__(self) -> None:
        self.empty = 0
        self.missing: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()
        self.converted: Counter[str] = Counter()

    def count(self, rows: pd.DataFrame, known: Mapping[str, frozenset[Any]]) -> None:
        """Count those of rows that are as the model gets them."""
        # NumPy's sums: of one row, pandas' take longer than a tree's prediction.
        is_missing = rows.isna().to_numpy()
        self.missing.update(dict(zip(map(str, rows.columns), is_missing.sum(axis=0).tolist(), strict=True)))
        self.empty += int(is_missing.all(axis=1).sum())
        for name, categories in known.items():
            is_new = np.array([each not in categories for each in rows[name].cat.categories], dtype=bool)
            codes = rows[name].cat.codes.to_numpy()
            self.unseen[name] += int(is_new[codes[codes >= 0]].sum())

    def document(self) -> dict[str, Any]:
        """Return the counts in types of JSON."""
        return {"empty": self.empty, **{name: dict(getattr(self, name)) for name in _COUNTED}}

    def merge(self, other: Mapping[str, Any]) -> None:
        """Take in what was counted of other rows, as `document` returns it."""
        self.empty += other["empty"]
        for name in _COUNTED:
            getattr(self, name).update(other[name])

    @property
    def told_unseen(self) -> str:
        """What is to be said of unseen categories; nothing where there are none."""
        return _by_column("categories that training has not seen", self.unseen)

    @property
    def told(self) -> tuple[str, ...]:
        """All that is to be said; empty texts for what there is none of."""
        return self.told_unseen, self.told_converted, self.told_missing, self.told_empty

    @property
    def told_converted(self) -> str:
        """What is to be said of values that were converted; nothing where there are none."""
        return _by_column("values written otherwise than in training, and taken for the same", self.converted)

    @property
    def told_missing(self) -> str:
        """What is to be said of missing values; nothing where there are none."""
        return _by_column("missing values", self.missing)

    @property
    def told_empty(self) -> str:
        """What is to be said of rows without a value; nothing where there are none."""
        return f"rows without any value: {self.empty:,}" if self.empty else ""


def _by_column(what: str, counts: Counter[str]) -> str:
    found = [f'{count:,} in "{name}"' for name, count in counts.most_common() if count]
    return f"{what}: {first_few(found)}" if found else ""


def ignored(columns: Sequence[str]) -> str:
    """Return the sentence that says which columns the model does not use."""
    quoted = ", ".join(f'"{name}"' for name in columns)
    return f"ignored, for the model does not use it: {quoted}"
