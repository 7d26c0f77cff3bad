"""How the values of columns are distributed, in a few counts: what later rows are compared with to find a drift.

A distribution is a document of bounded size, made of rows that are drawn from a stream: all of them up to
`MOST_ROWS`, else so many, the same ones however the stream is cut. Later rows are as easily compared with a sample: how
far it may be from the truth is part of the comparison, and from 20,000 rows on that hardly matters.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import numbers
from common.hashing import Hashes, label_codes, mix

MOST_ROWS = 20_000
"""How many rows are drawn."""
MOST_VALUES = 4_000_000
"""How many values all columns have of them together (32 MB): of 10,000 columns 400 rows are drawn."""
MOST_BINS, MOST_CATEGORIES, MOST_KNOWN = 20, 50, 1000
"""How many bins a number has, how many categories are counted apart, and how many are told from those never seen."""
MOST_CELLS, MOST_CODES = 100_000, 200_000
"""How many counts, and how many codes of categories, all columns have together."""
LEAST_BIN_ROWS, FEWEST_BINS = 40, 5
"""How many of the drawn rows a bin holds at least, but for so many bins: where it ends is known no better than its rows
tell, and the chance of an alarm would be several times what it is said to be."""
NAME_WIDTH = 100
"""With so many characters a category is named; it is known by its code."""

Distribution = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Bounds:
    """How much of each column is kept, so that the whole is bounded: fewer of each, the more columns there are.

    Attributes
    ----------
    rows
        That are drawn.
    bins, categories, known
        Of a number, and of a text.
    """

    rows: int = MOST_ROWS
    bins: int = MOST_BINS
    categories: int = MOST_CATEGORIES
    known: int = MOST_KNOWN

    @classmethod
    def of(cls, columns: int) -> Bounds:
        """Return those for so many columns."""
        return cls(
            min(MOST_ROWS, MOST_VALUES // columns),
            min(MOST_BINS, MOST_CELLS // columns),
            min(MOST_CATEGORIES, MOST_CELLS // columns),
            min(MOST_KNOWN, MOST_CODES // columns),
        )


class RowSample:
    """Draws rows of a stream, each with the same probability and the same ones however the stream is cut into batches.

    Rows are known by their number, and those with the smallest hashes of it are kept: an even step would meet the same
    hour of each day.

    Parameters
    ----------
    columns
        The names of the columns to keep.
    most
        How many rows.
    """

    def __init__(self, columns: Sequence[str], most: int) -> None:
        self.rows = 0
        self._names, self._most = list(columns), most
        self._limit = np.uint64(2**64 - 1)
        self._keys = [np.empty(0, np.uint64)]
        self._pieces: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in columns}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next rows, as a prepared part holds them."""
        keys = mix(np.arange(self.rows + 1, self.rows + 1 + batch.num_rows, dtype=np.uint64) * _STEP)
        self.rows += batch.num_rows
        chosen = np.flatnonzero(keys <= self._limit)
        if not len(chosen):
            return
        self._keys.append(keys[chosen])
        taken = pa.array(chosen)
        for name in self._names:
            self._pieces[name].append(_plain(batch[name], taken))
        if sum(map(len, self._keys)) > 2 * self._most:
            self._thin_out()

    def values(self, name: str) -> npt.NDArray[Any]:
        """Return the drawn values of a column in an order of chance, shape (drawn,).

        Codes of texts (`text_codes`); of all others float64, NaN where one is missing.
        """
        if len(self._keys) > 1:
            self._thin_out()
        return self._pieces[name][0] if self._pieces[name] else np.empty(0)

    def _thin_out(self) -> None:
        keys = np.concatenate(self._keys)
        kept = np.argsort(keys)[: self._most]
        self._keys = [keys[kept]]
        if len(kept) == self._most:
            self._limit = self._keys[0][-1]
        self._pieces = {name: [np.concatenate(pieces)[kept]] for name, pieces in self._pieces.items() if pieces}


def _plain(column: pa.Array, taken: pa.Array) -> npt.NDArray[Any]:
    drawn = column.take(taken)
    return text_codes(drawn) if pa.types.is_dictionary(drawn.type) else measured(drawn)


def measured(column: pa.Array) -> Floats:
    """Return what is counted of values that are no categories, shape (rows,), NaN where one is missing.

    Of a free text it is how many characters it has: what it says is nobody's to keep.
    """
    is_free_text = pa.types.is_string(column.type)
    return numbers(pc.utf8_length(column) if is_free_text else column).astype(np.float64)


def text_codes(column: pa.DictionaryArray) -> Hashes:
    """Return the code of each text, 0 where one is missing; shape (rows,)."""
    # Each text is hashed once, and none is kept: a few of them may be long, and many rows have them.
    codes = label_codes(column)
    codes[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return codes


def of_numbers(values: Floats, bins: int = MOST_BINS) -> dict[str, Any]:
    """Return the distribution of numbers, or of times in seconds.

    Parameters
    ----------
    values
        Shape (rows,), NaN where one is missing.
    bins
        How many at most.

    Returns
    -------
    dict
        `rows`, `missing`, and the `counts` of bins between `edges`, the first of which is the least value and the last
        one the largest. A bin holds its upper edge, the first one the lower, too. All hold about as many rows, but for
        a value that has more: it is alone, as far as the others leave bins of `LEAST_BIN_ROWS` beside it.
    """
    present = np.sort(values[~np.isnan(values)])
    edges, counts = _bins(present, bins)
    return {"rows": len(values), "missing": len(values) - len(present), "edges": edges, "counts": counts}


def _bins(ordered: Floats, bins: int) -> tuple[list[float], list[int]]:
    if not len(ordered):
        return [], []
    different = np.flatnonzero(np.diff(ordered, append=np.inf))
    values, ends = ordered[different], different + 1
    edges, counts, done = [float(values[0])], list[int](), 0
    least = min(LEAST_BIN_ROWS, max(1, len(ordered) // FEWEST_BINS))
    while done < len(ordered):
        wanted = max((len(ordered) - done) / max(1, bins - len(counts)), least)
        at = int(np.searchsorted(ends, done + wanted))
        if at >= len(ends) or len(ordered) - ends[at] < least:
            at = len(ends) - 1
        elif at and ends[at - 1] - done >= least and ends[at] - ends[at - 1] >= wanted:
            # A frequent value is no part of the bin below it.
            at -= 1
        edges.append(float(values[at]))
        counts.append(int(ends[at]) - done)
        done = int(ends[at])
    return edges, counts


def of_booleans(values: Floats) -> dict[str, Any]:
    """Return the distribution of booleans: 0, 1, or NaN where one is missing, shape (rows,)."""
    missing, true = int(np.isnan(values).sum()), int((values == 1).sum())
    counts = [len(values) - missing - true, true]
    return {"rows": len(values), "missing": missing, "values": ["false", "true"], "counts": counts}


def of_texts(codes: Hashes, names: Mapping[int, str] | None, bounds: Bounds | None = None) -> dict[str, Any]:
    """Return the distribution of texts.

    Where there are more than are counted apart, the most frequent ones of a first half of the rows are counted in the
    second: who is chosen for being frequent in some rows is less so in others, which would look like a drift.

    Parameters
    ----------
    codes
        Of the texts (`text_codes`), in an order of chance; shape (rows,).
    names
        The texts by their codes; None where they are not to be named.
    bounds
        How much is kept.

    Returns
    -------
    dict
        `rows` and `missing`; `counts` of the most frequent texts, that of all `other` ones, and the `values` of the
        former, None where they are not to be named; `codes`, those of the counted texts first; whether these are
        `complete`, so that a text that is not among them was never seen; and how many texts occurred `once` and
        `twice`, from which follows how many of other rows are new.
    """
    bounds = bounds or Bounds()
    present = codes[codes != 0]
    known, counts = np.unique(present, return_counts=True)
    choosing = counting = present
    if len(known) > bounds.categories:
        choosing, counting = present[: len(present) // 2], present[len(present) // 2 :]
    # Of equally frequent ones the code decides, which is no count of any row.
    ranked = np.lexsort((known, -_count(known, choosing)))[: bounds.known]
    counted = _count(known, counting)[ranked[: bounds.categories]]
    chosen = known[ranked[: bounds.categories]]
    return {
        "rows": len(codes),
        "missing": len(codes) - len(present),
        "values": None if names is None else [names[code][:NAME_WIDTH] for code in chosen.tolist()],
        "counts": counted.tolist(),
        "other": len(counting) - int(counted.sum()),
        "codes": base64.b64encode(known[ranked].astype("<u8").tobytes()).decode(),
        "complete": len(known) <= bounds.known,
        "once": int((counts == 1).sum()),
        "twice": int((counts == 2).sum()),
    }


def _count(known: Hashes, codes: Hashes) -> npt.NDArray[np.intp]:
    return np.bincount(np.searchsorted(known, codes), minlength=len(known))


def codes_of(distribution: Distribution) -> Hashes:
    """Return the codes of the texts of a distribution, shape (texts,)."""
    return np.frombuffer(base64.b64decode(distribution["codes"]), "<u8").astype(np.uint64)


def texts_by_code(texts: Sequence[str]) -> dict[int, str]:
    """Return texts by their codes."""
    return dict(zip(label_codes(pa.array(texts, pa.string())).tolist(), texts, strict=True)) if texts else {}
