"""The split into a training and a test part, by what the rows hold: it stays when the data grow.

A row's place in the order by which test rows are chosen follows from its own values. So appending, deleting or
reordering rows leaves the others where they are, but for the few at the threshold, and so does another file format,
more files or another size of batches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import InvalidDatasetError, first_few
from common.hashing import Hashes, label_codes, mix
from common.request import TrainingRequest
from data_preparation.row_codes import RowCodes

By = Literal["rows", "key", "time", "column"]

BUCKET_ROWS = 1 << 21
"""How many rows are looked through for duplicates, or sorted, at once (16 MB), however many there are."""
PARTS = ("train", "test")
MAX_TEST_ROWS = 10_000_000
"""How many rows a test part has at most: a mean of so many is known to a three-thousandth of their deviation."""
# The number of a row, which pandas writes into a file: the next export gives it to another row.
_POSITION = re.compile(r"^Unnamed: \d+$|^__index_level_\d+__$")

_ALL_HASHES = 2.0**64
_FIRST = mix(np.ones(1, np.uint64))
"""What the hash of a row is moved by that no earlier row equals."""

Booleans = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """How rows are told apart.

    Attributes
    ----------
    by
        `rows`: by all that a row holds; `key`: rows of equal keys together; `time`: the last rows; `column`: as a
        column of the data says.
    columns
        The columns that decide: those that are hashed, the key, the time or the column of parts.
    seed
        Another one gives another test part; it means nothing to a split by time or column.
    inherited_from
        The version of the champion whose run was split so, where the request leaves it open.
    missing
        Columns that the champion's run was split by and that these data lack.
    """

    by: By
    columns: tuple[str, ...]
    seed: int = 0
    inherited_from: str | None = None
    missing: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return what the profile says of it."""
        return {
            "by": self.by,
            "columns": list(self.columns),
            "seed": self.seed,
            "inherited_from": self.inherited_from,
            "missing_columns": list(self.missing),
        }


def choose_split(request: TrainingRequest, names: Sequence[str], champion: Mapping[str, Any] | None) -> Split:
    """Return how the rows of a data set are split: as the request says, and what it leaves open as the champion's run.

    Parameters
    ----------
    request
        The validated request.
    names
        The data set's columns.
    champion
        `version`, `target` and `split` (see `Split.document`) of the champion's run, or None where there is none.
    """
    old: Mapping[str, Any] = champion["split"] if champion and champion["target"] == request.target else {}
    version = champion["version"] if champion and old else None
    seed = request.split_seed if request.split_seed is not None else int(old.get("seed", 0))
    said: tuple[tuple[By, Sequence[str]], ...] = (
        ("column", [request.split_column] if request.split_column else []),
        ("time", [request.split_time] if request.split_time else []),
        ("key", request.split_key or []),
    )
    for by, columns in said:
        if columns:
            return Split(by, tuple(columns), seed)
    known = tuple(name for name in old.get("columns", ()) if name in names)
    missing = tuple(name for name in old.get("columns", ()) if name not in names)
    # With few of them left, rows could hardly be told apart.
    if old.get("by") == "rows" and set(known) - {request.target} and len(known) >= len(missing):
        return Split("rows", known, seed, version, missing)
    if request.split_key is None and old.get("by") in ("key", "time") and not missing:
        return Split(old["by"], known, seed, version)
    # How much a row counts is no part of it: new weights leave all rows where they are.
    own = tuple(name for name in names if not _POSITION.match(name) and name != request.weight_column)
    return Split("rows", own, seed, None, missing)


class Splitter:
    """Says which of the next rows are test rows, in the order in which their codes were written.

    Of each class the rows of the smallest hashes are, as many as its share of the test part; a row that was there
    before counts as another one. By key or time it is all rows up to or from one threshold, wherever that comes nearest
    to the share, and at least one key or time on each side.

    Parameters
    ----------
    split
        How rows are told apart.
    codes
        Of each file of the data set.
    labels
        The classes of a classification with their numbers of rows; None for regression.
    request
        With every choice made.

    Attributes
    ----------
    test_part : int
        The sum of the test rows' hashes modulo 2^64, once all rows were asked for: it names the test part.
    order : numpy.ndarray, optional
        What the rows that were last asked for are ordered by, shape (rows,), for a split by key or time.
    first_time : numpy.uint64, optional
        The code of the first time of the test part, which `row_codes.time_of` reads; None for any other split.

    Raises
    ------
    InvalidDatasetError
        If all rows have one key or time.
    """

    def __init__(
        self,
        split: Split,
        codes: Sequence[RowCodes],
        labels: Sequence[tuple[pa.Scalar, int]] | None,
        request: TrainingRequest,
    ) -> None:
        self._split, self._codes, self._request = split, codes, request
        self._rows = sum(each.rows for each in codes)
        self._repeated = _repeated(codes) if split.by == "rows" else np.empty(0, np.uint64)
        self._classes = _Classes(labels if split.by == "rows" else None, self._rows)
        self.test_part, self.first_time = 0, None
        self.order: Hashes | None = None
        if split.by == "rows":
            wanted = quotas(self._classes.sizes, test_share(request, self._rows))
            self._limits, self._some = select(self._ordered, wanted)[0], wanted > 0
        elif split.by != "column":
            self._limit, self._with_limit = self._find_limit()
        self._coming = self._ordered()
        self._left: tuple[Hashes, Hashes, Places] = (
            np.empty((0, 2), np.uint64), np.empty(0, np.uint64), np.empty(0, np.intp)
        )  # fmt: skip

    def test_mask(self, batch: pa.RecordBatch) -> Booleans:
        """Return which of the next rows, those of the batch, are test rows, shape (rows,)."""
        said = said_to_test(batch[self._split.columns[0]]) if self._split.by == "column" else None
        return self.next_mask(batch.num_rows, said)

    def next_mask(self, rows: int, said: Booleans | None = None) -> Booleans:
        """Return which of so many next rows are test rows; for a split by column, those of which it is said."""
        codes, order, classes = self._take(rows)
        self.order = order if self._split.by in ("key", "time") else None
        if said is not None:
            mask = said
        elif self._split.by == "rows":
            mask = (order <= self._limits[classes]) & self._some[classes]
        elif self._split.by == "key":
            mask = order <= self._limit if self._with_limit else order < self._limit
        else:
            mask = order >= self._limit if self._with_limit else order > self._limit
        self.test_part = (self.test_part + int(codes[mask, 0].sum(dtype=np.uint64))) % 2**64
        if self._split.by == "time" and mask.any():
            first = order[mask].min()
            self.first_time = first if self.first_time is None else min(self.first_time, first)
        return mask

    def _ordered(self) -> Iterator[tuple[Hashes, Hashes, Places]]:
        """Yield for the next rows their codes, what they are ordered by, and the places of their classes."""
        occurrences = Occurrences(self._repeated)
        for file in self._codes:
            for codes in file.chunks():
                order = occurrences(codes[:, 0]) if self._split.by == "rows" else codes[:, -1]
                yield codes, order, self._classes(codes[:, 1])

    def _take(self, rows: int) -> tuple[Hashes, Hashes, Places]:
        pieces = [self._left]
        while sum(len(codes) for codes, _, _ in pieces) < rows:
            pieces.append(next(self._coming))
        filled = [piece for piece in pieces if len(piece[0])] or pieces[:1]
        codes, order, classes = (np.concatenate(each) for each in zip(*filled, strict=True))
        self._left = codes[rows:], order[rows:], classes[rows:]
        return codes[:rows], order[:rows], classes[:rows]

    def _find_limit(self) -> tuple[np.uint64, bool]:
        """Return the key or time at the threshold, and whether its rows are test rows, whichever is nearer."""
        by_time = self._split.by == "time"
        wanted = max(1, round(self._rows * test_share(self._request, self._rows)))
        rank = self._rows - wanted + 1 if by_time else wanted
        (value,), (below,), (up_to,) = select(self._ordered, np.array([rank]))
        tested = {True: self._rows - below, False: self._rows - up_to} if by_time else {True: up_to, False: below}
        if by_time and value == 0:
            # Rows without a time are the first of all.
            del tested[True]
        possible = {with_limit: rows for with_limit, rows in tested.items() if 0 < rows < self._rows}
        if not possible:
            names = first_few(f'"{name}"' for name in self._split.columns)
            raise InvalidDatasetError(
                f"The data set cannot be split by {names}: it holds one value only, or none. Choose another split_"
                f"{self._split.by}, or none."
            )
        return value, min(possible, key=lambda with_limit: abs(possible[with_limit] - wanted))


def kept_rows(split: Split, request: TrainingRequest, rows: int) -> int:
    """Return about how many rows both parts hold together; at most so many, where the data say how many are tested."""
    if split.by != "rows":
        return rows
    test = test_share(request, rows)
    return round(rows * (test + (1 - test) * request.training_fraction))


class TrainingSample:
    """Says which of the next rows are trained on, if they are no test rows.

    Each row is drawn by itself, by its place among all that have a target and the request's seed: so neither where the
    data are cut nor how often equal rows come has a say. Unlike test rows, others are drawn when the order changes.

    Parameters
    ----------
    request
        The share of rows, and the seed.
    begin
        How many rows of the data set come before.
    """

    def __init__(self, request: TrainingRequest, begin: int = 0) -> None:
        self._share, self._at = request.training_fraction, begin
        self._seed = mix(np.array([request.seed + 1], np.uint64))

    def __call__(self, rows: int) -> Booleans | None:
        """Return which of so many next rows may be trained on, shape (rows,); None if all may."""
        if self._share == 1:
            return None
        places = np.arange(self._at, self._at + rows, dtype=np.uint64)
        self._at += rows
        return mix(places + self._seed) <= limit_of(self._share)


def limit_of(share: float) -> np.uint64:
    """Return the hash that a share of all hashes does not exceed."""
    return np.uint64(min(share * _ALL_HASHES, _ALL_HASHES - 2048))


def said_to_test(column: pa.Array) -> Booleans:
    """Return which rows a column of parts says to be test rows, shape (rows,)."""
    said = pc.equal(pc.cast(column, pa.string()), "test")
    return np.asarray(said.to_numpy(zero_copy_only=False), np.bool_)


def test_share(request: TrainingRequest, rows: int) -> float:
    """Return the share of test rows: what the request says, or what `MAX_TEST_ROWS` are of all rows."""
    return min(request.test_fraction, MAX_TEST_ROWS / max(1, rows))


class _Classes:
    """Finds the place of each row's class by the code of its label; all rows are of one class without labels."""

    def __init__(self, labels: Sequence[tuple[pa.Scalar, int]] | None, rows: int) -> None:
        self.sizes, self._codes = [rows], np.empty(0, np.uint64)
        if labels:
            codes = label_codes(pa.array([label for label, _ in labels]))
            self._codes, places = np.unique(codes, return_inverse=True)
            self.sizes = np.bincount(places, [size for _, size in labels]).astype(int).tolist()

    def __call__(self, codes: Hashes) -> Places:
        if not len(self._codes):
            return np.zeros(len(codes), np.intp)
        places = self._places(codes)
        wrong = self._codes[places] != codes
        if wrong.any():
            # A whole number of a file whose column holds fractions in another one: the nearest float stands for it.
            nearest = codes[wrong].view(np.int64).astype(np.float64).astype(np.int64).view(np.uint64)
            places[wrong] = self._places(nearest)
            if (self._codes[places[wrong]] != nearest).any():
                raise ValueError("a label was not counted")
        return places

    def _places(self, codes: Hashes) -> Places:
        return np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)


class Occurrences:
    """Turns the hashes of rows into an order in which equal rows stand apart: the first, the second and so on.

    Rows of equal features and labels are common in small tables of categories; kept together they would leave what a
    model meets most to one part.
    """

    def __init__(self, repeated: Hashes) -> None:
        self._repeated = repeated
        self._seen = np.zeros(len(repeated), np.uint64)

    def __call__(self, hashes: Hashes) -> Hashes:
        """Return the order of the next rows, shape (rows,)."""
        order = hashes + _FIRST
        if len(self._repeated):
            places = np.minimum(np.searchsorted(self._repeated, hashes), len(self._repeated) - 1)
            found = np.flatnonzero(self._repeated[places] == hashes)
            places = places[found]
            sorted_ = np.argsort(places, kind="stable")
            in_order = places[sorted_]
            begins = np.flatnonzero(np.diff(in_order, prepend=-1))
            lengths = np.diff(begins, append=len(in_order))
            ranks = np.arange(len(in_order)) - np.repeat(begins, lengths)
            earlier = self._seen[in_order] + ranks.astype(np.uint64)
            order[found[sorted_]] = hashes[found[sorted_]] + mix(earlier + np.uint64(1))
            self._seen[in_order[begins]] += lengths.astype(np.uint64)
        return mix(order)


def _repeated(files: Sequence[RowCodes]) -> Hashes:
    """Return the hashes that more than one row has, sorted."""
    rows = sum(file.rows for file in files)
    bits = max(0, (rows // BUCKET_ROWS).bit_length())
    found = []
    for bucket in range(1 << bits):
        pieces = [codes[:, 0] for file in files for codes in file.chunks()] if not bits else [
            codes[codes[:, 0] >> np.uint64(64 - bits) == bucket, 0] for file in files for codes in file.chunks()
        ]  # fmt: skip
        hashes = np.sort(np.concatenate(pieces))
        found.append(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
    return np.concatenate(found)


def quotas(sizes: Sequence[int], test_fraction: float) -> npt.NDArray[np.intp]:
    """Return how many rows of each class are test rows: shares rounded cumulatively, and one row left to training.

    A class that only the test part has could not be learned.
    """
    ends = np.cumsum(sizes)
    shares = np.diff([0, *(round(end * test_fraction) for end in ends.tolist())])
    quota: npt.NDArray[np.intp] = np.minimum(shares, np.asarray(sizes) - 1).astype(np.intp)
    return quota


def select(
    ordered: Callable[[], Iterable[tuple[Hashes, Hashes, Places]]], ranks: npt.NDArray[np.intp]
) -> tuple[Hashes, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Find the code of the given rank in each class, without sorting all of them.

    Parameters
    ----------
    ordered
        Returns, each time that it is called, all rows in pieces: codes, what they are ordered by, and classes.
    ranks
        The rank for each class, counted from 1, shape (classes,); 0 where none is wanted.

    Returns
    -------
    values, below, up_to
        For each class the code of that rank, the number of rows with smaller ones, and of those that are not larger.
    """
    classes = len(ranks)
    step, shift = (16 if classes <= 32 else 11), 64
    prefixes, below = np.zeros(classes, np.uint64), np.zeros(classes, np.intp)
    while True:
        bits, before = min(step, shift), shift
        shift -= bits
        counts = np.zeros((classes, 1 << bits), np.intp)
        for _, order, places in ordered():
            inside = _begins(order, prefixes[places], before)
            digits = (order[inside] >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
            counts += np.bincount((places[inside] << bits) + digits.astype(np.intp), minlength=counts.size).reshape(
                counts.shape
            )
        sums = np.cumsum(counts, axis=1)
        digit = np.minimum((sums < (ranks - below)[:, None]).sum(axis=1), (1 << bits) - 1)
        inside_digit = counts[np.arange(classes), digit]
        below += sums[np.arange(classes), digit] - inside_digit
        prefixes = (prefixes << np.uint64(bits)) | digit.astype(np.uint64) if before < 64 else digit.astype(np.uint64)
        if shift == 0:
            return prefixes, below, below + inside_digit
        if inside_digit[ranks > 0].sum() <= BUCKET_ROWS:
            return _sorted_out(ordered, ranks, prefixes, below, shift)


def _sorted_out(
    ordered: Callable[[], Iterable[tuple[Hashes, Hashes, Places]]],
    ranks: npt.NDArray[np.intp],
    prefixes: Hashes,
    below: npt.NDArray[np.intp],
    shift: int,
) -> tuple[Hashes, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Find the codes of the ranks among those that begin with the prefixes, few enough to be sorted."""
    found, of = [np.empty(0, np.uint64)], [np.empty(0, np.intp)]
    for _, order, places in ordered():
        inside = _begins(order, prefixes[places], shift) & (ranks[places] > 0)
        found.append(order[inside])
        of.append(places[inside])
    codes, of_class = np.concatenate(found), np.concatenate(of)
    values, below, up_to = np.zeros(len(ranks), np.uint64), below.copy(), below.copy()
    by_class = np.lexsort((codes, of_class))
    codes, begins = codes[by_class], np.searchsorted(of_class[by_class], np.arange(len(ranks) + 1))
    for place in np.flatnonzero(ranks):
        own = codes[begins[place] : begins[place + 1]]
        values[place] = own[ranks[place] - below[place] - 1]
        up_to[place] = below[place] + np.searchsorted(own, values[place], side="right")
        below[place] += np.searchsorted(own, values[place])
    return values, below, up_to


def _begins(order: Hashes, prefixes: Hashes, shift: int) -> Booleans:
    """Return which codes have a prefix above the lowest `shift` bits; all, where nothing is above."""
    return np.ones(len(order), np.bool_) if shift == 64 else (order >> np.uint64(shift)) == prefixes
