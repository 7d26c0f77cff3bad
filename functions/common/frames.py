"""Reads a prepared part into what scikit-learn takes; imported by the functions whose image holds pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.conversion import (
    FINGERPRINT,
    ORDER,
    Profile,
    categories,
    feature_columns,
    feature_dtype,
    free_texts,
    is_large,
    make_frame,
    numbers,
    strings,
    target_column,
)
from common.errors import DamagedFileError

if TYPE_CHECKING:
    import pandas as pd

    from common.ranges import ObjectFile

BLOCK_VALUES = 1 << 23
"""How many values of features a block of rows holds: of 30 columns 280,000 rows, which predicting takes 250 MB for."""
_VALUE_BYTES = 8
KEPT_BYTES = 1 << 28
"""How large a part that is kept once it is decoded may be in its file, without compression."""

Watch = Callable[[pa.RecordBatch], None]
"""What is to see the rows of a part besides whoever reads them, batch by batch and in their order."""


def load_part(path: Path, profile: Profile, watch: Watch | None = None) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Read one part of the prepared data.

    Parameters
    ----------
    path
        `train.parquet` or `test.parquet`.
    profile
        The profile that was written with it.
    watch
        What else is to see the rows, batch by batch, as the part holds them.

    Returns
    -------
    features : pandas.DataFrame of shape (rows, features)
        Numbers, booleans and times as `common.conversion.feature_dtype` says, by the size of the training part
        whichever part is read; texts as categories, free texts as strings.
    target : numpy.ndarray of shape (rows,)
        float64 for regression; class labels as int64, float64, bool or str.

    Raises
    ------
    DamagedFileError
        If the part is of another reading of the data set than the profile.
    """
    (whole,) = load_blocks(path, profile, watch, values=None)
    return whole


def load_blocks(
    path: Path, profile: Profile, watch: Watch | None = None, values: int | None = BLOCK_VALUES
) -> Iterator[tuple[pd.DataFrame, npt.NDArray[Any]]]:
    """Read one part of the prepared data a block of rows at a time, so that memory does not grow with the part.

    Parameters
    ----------
    path, profile, watch
        As those of `load_part`.
    values
        How many values of features a block holds at most, unless one row group has more; None for one block.

    Yields
    ------
    features, target
        What `load_part` returns, of some rows.

    Raises
    ------
    DamagedFileError
        If the part is of another reading of the data set than the profile.
    """
    # Row group by row group, so that beside what is returned one of them is in memory.
    with _opened(path, profile) as parquet:
        for groups in _together(parquet, profile, values):
            yield _block(parquet, groups, profile, watch)
            # What reading took goes back to the system, which the fit needs it from.
            pa.default_memory_pool().release_unused()


def values_of(path: Path, profile: Profile) -> int:
    """Return for how many values of features a part counts, by which `load_blocks` cuts it."""
    metadata = pq.read_metadata(path)
    return sum(_values(metadata.row_group(group), profile) for group in range(metadata.num_row_groups))


def _values(group: pq.RowGroupMetaData, profile: Profile) -> int:
    """Return for how many values a row group counts; free texts do so by their bytes."""
    texts = free_texts(profile)
    chunks = (group.column(each) for each in range(group.num_columns)) if texts else ()
    text_bytes = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in texts)
    return int(group.num_rows * len(feature_columns(profile)) + text_bytes // _VALUE_BYTES)


def _together(parquet: pq.ParquetFile, profile: Profile, values: int | None) -> Iterator[list[int]]:
    """Yield the row groups of each block."""
    groups, held = list[int](), 0
    for group in range(parquet.num_row_groups):
        more = _values(parquet.metadata.row_group(group), profile)
        if values is not None and groups and held + more > values:
            yield groups
            groups, held = [], 0
        groups.append(group)
        held += more
    yield groups


def _block(
    parquet: pq.ParquetFile, groups: list[int], profile: Profile, watch: Watch | None
) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Return features and target of some row groups."""
    target, columns = target_column(profile), feature_columns(profile)
    fill = _Fill(sum(parquet.metadata.row_group(group).num_rows for group in groups), large=is_large(profile))
    labels = list[pa.ChunkedArray]()
    for group in groups:
        table = parquet.read_row_group(group, columns=[*(column["name"] for column in columns), target["name"]])
        fill.add_rows(table, columns)
        labels.append(table[target["name"]])
        if watch is not None:
            for batch in table.to_batches():
                watch(batch)
    whole = pa.chunked_array([chunk for label in labels for chunk in label.chunks], labels[0].type)
    return fill.frame(), _target(whole, target, profile["problem"])


class SampledRows:
    """Collects the features of some rows of a part while it is read: a `watch` of `load_blocks`.

    Parameters
    ----------
    positions : numpy.ndarray of shape (rows,)
        Of the rows in the part, ascending.
    profile
        The profile that was written with it.
    """

    def __init__(self, positions: npt.NDArray[np.integer[Any]], profile: Profile) -> None:
        self._positions, self._columns = positions, feature_columns(profile)
        self._fill = _Fill(len(positions), large=is_large(profile))
        self._seen = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in those of some more rows that are asked for."""
        first, end = np.searchsorted(self._positions, (self._seen, self._seen + batch.num_rows))
        taken = batch.take(pa.array(self._positions[first:end] - self._seen))
        self._fill.add_rows(taken, self._columns)
        self._seen += batch.num_rows

    def frame(self) -> pd.DataFrame:
        """Return their features as `load_part` does, shape (rows, features)."""
        return self._fill.frame()


def row_groups(
    path: Path | ObjectFile, profile: Profile, groups: Sequence[int] | None = None
) -> Iterator[tuple[pd.DataFrame, npt.NDArray[Any], npt.NDArray[np.float64] | None]]:
    """Read one part of the prepared data row group by row group, of which one is in memory.

    Parameters
    ----------
    path
        `train.parquet` or `test.parquet`.
    profile
        The profile that was written with it.
    groups
        Which row groups; None for all.

    Yields
    ------
    features : pandas.DataFrame of shape (rows, features)
        The same values and dtypes as `load_part` has for these rows; the categories of a text are those of its row
        group.
    target : numpy.ndarray of shape (rows,)
        As `load_part` has it.
    weights : numpy.ndarray of shape (rows,), optional
        Above 0; None where the data set has no column of weights.

    Raises
    ------
    DamagedFileError
        If the part is of another reading of the data set than the profile.
    """
    weight = _weight_name(profile)
    with _opened(path, profile) as parquet:
        for group in range(parquet.num_row_groups) if groups is None else groups:
            features, target = _block(parquet, [group], profile, None)
            yield features, target, None if weight is None else _weights(parquet.read_row_group(group, [weight]))


class PartFile:
    """One part of the prepared data, of which no more is in memory than what is asked for.

    The features of one column or of some rows are asked for as of a frame.

    Parameters
    ----------
    path
        `train.parquet` or `test.parquet`, which has to stay where it is: a local file, or an object that is read as
        often as its rows are.
    profile
        The profile that was written with it.
    keep : bool
        Whether to keep what was decoded, of a part of `KEPT_BYTES` at most: for whoever reads it several times.

    Attributes
    ----------
    rows
        How many there are.
    rows_of_groups
        How many each row group has.
    columns
        The names of the features.
    watched
        Of the features and the target.

    Raises
    ------
    DamagedFileError
        If the part is of another reading of the data set than the profile.
    """

    def __init__(self, path: Path | ObjectFile, profile: Profile, *, keep: bool = False) -> None:
        self._path, self._profile = path, profile
        self.columns = [column["name"] for column in feature_columns(profile)]
        self.watched = [*self.columns, target_column(profile)["name"]]
        with _opened(path, profile) as parquet:
            groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
            self.rows: int = parquet.metadata.num_rows
        self.rows_of_groups = [int(group.num_rows) for group in groups]
        self._keeps = keep and sum(group.total_byte_size for group in groups) <= KEPT_BYTES
        self._kept: list[pa.Table] | None = None

    def tables(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of the rows, row group by row group."""
        if self._kept is not None:
            yield from (table.select(names) for table in self._kept)
            return
        with _opened(self._path, self._profile) as parquet:
            kept = list[pa.Table]()
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group, columns=None if self._keeps else list(names))
                if self._keeps:
                    kept.append(table)
                yield table.select(names)
        self._kept = kept if self._keeps else None

    def blocks(self, names: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Yield some columns of so many rows at a time, fewer at the end, wherever row groups begin."""
        waiting, missing = list[pa.Table](), rows
        for table in self.tables(names):
            at = 0
            while table.num_rows - at >= missing:
                yield pa.concat_tables([*waiting, table.slice(at, missing)])
                at, waiting, missing = at + missing, [], rows
            if at < table.num_rows:
                waiting.append(table.slice(at))
                missing -= table.num_rows - at
        if waiting:
            yield pa.concat_tables(waiting)

    def frame(self, table: pa.Table, names: Sequence[str]) -> pd.DataFrame:
        """Return features of some rows as `load_part` has them; the categories of a text are those of the rows."""
        fill = _Fill(table.num_rows, large=is_large(self._profile))
        fill.add_rows(table, self._described(names))
        return fill.frame()

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> pd.DataFrame:
        """Return the features of some rows, as `load_part(…)[0].take(rows)` would, row group by row group."""
        order = np.argsort(rows, kind="stable")
        sampled = SampledRows(rows[order], self._profile)
        for table in self.tables(self.columns):
            for batch in table.to_batches():
                sampled.add(batch)
        frame = sampled.frame()
        return frame if (order == np.arange(len(order))).all() else frame.take(np.argsort(order, kind="stable"))

    def __getitem__(self, name: str) -> pd.Series[Any]:
        fill, described = _Fill(self.rows, large=is_large(self._profile)), self._described([name])
        for table in self.tables([name]):
            fill.add_rows(table, described)
        return fill.frame()[name]

    def target(self) -> npt.NDArray[Any]:
        """Read the target, as `load_part` has it."""
        target = target_column(self._profile)
        chunks = [chunk for table in self.tables([target["name"]]) for chunk in table[target["name"]].chunks]
        return _target(pa.chunked_array(chunks, chunks[0].type), target, self._profile["problem"])

    def _described(self, names: Sequence[str]) -> list[dict[str, Any]]:
        columns = {column["name"]: column for column in feature_columns(self._profile)}
        return [columns[name] for name in names]


def load_weights(path: Path | ObjectFile, profile: Profile) -> npt.NDArray[np.float64] | None:
    """Read how much each row of a part counts, in the order of `load_part`.

    Parameters
    ----------
    path
        `train.parquet` or `test.parquet`.
    profile
        The profile that was written with it.

    Returns
    -------
    numpy.ndarray of shape (rows,), optional
        Above 0; None where each row counts as one, so that such weights change no bit of what comes of the rows.

    Raises
    ------
    DamagedFileError
        If the part is of another reading of the data set than the profile.
    """
    name = _weight_name(profile)
    if name is None:
        return None
    with _opened(path, profile) as parquet:
        weights = _weights(parquet.read(columns=[name]))
    return None if (weights == 1).all() else weights


def load_order(path: Path | ObjectFile, profile: Profile) -> npt.NDArray[np.uint64] | None:
    """Read what the rows of the training part were split by, in the order of `load_part`.

    Parameters
    ----------
    path
        `train.parquet`.
    profile
        The profile that was written with it.

    Returns
    -------
    numpy.ndarray of shape (rows,), optional
        Equal for rows of one key or time, and in the order of times; None for any other split.

    Raises
    ------
    DamagedFileError
        If the part is of another reading of the data set than the profile.
    """
    if profile["split"]["by"] not in ("key", "time"):
        return None
    with _opened(path, profile) as parquet:
        return np.asarray(parquet.read(columns=[ORDER])[ORDER].to_numpy(), np.uint64)


def _weight_name(profile: Profile) -> str | None:
    return next((column["name"] for column in profile["columns"] if column["use"] == "weight"), None)


def _weights(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the one column of a table, how much each row counts."""
    return np.asarray(table[0].to_numpy(), np.float64)


@contextmanager
def _opened(path: Path | ObjectFile, profile: Profile) -> Iterator[pq.ParquetFile]:
    """Open a part that was written with the profile.

    A memory map would count the file's pages to the function's memory. Of an object, a row group is one request.
    """
    is_local = isinstance(path, Path)
    source = path if isinstance(path, Path) else path.opened()
    with pq.ParquetFile(
        source, pre_buffer=not is_local, buffer_size=1 << 20, page_checksum_verification=True
    ) as parquet:
        _require_same_reading(path, parquet.schema_arrow, profile)
        yield parquet


def _require_same_reading(path: Path | ObjectFile, schema: pa.Schema, profile: Profile) -> None:
    found = (schema.metadata or {}).get(FINGERPRINT.encode(), b"").decode()
    if found != profile["fingerprint"]:
        raise DamagedFileError(
            f"{path.name} was made of the data set {found[:12] or 'unknown'}…, and the profile of "
            f"{profile['fingerprint'][:12]}…: they are of two readings. Start a new run."
        )


class _Fill:
    """The features of a part: an array for each number, to be filled, and the pieces of each text."""

    def __init__(self, rows: int, *, large: bool) -> None:
        self._rows, self._large = rows, large
        self._columns: dict[str, npt.NDArray[Any] | list[pa.Array]] = {}
        self._rows_read = 0

    def add_rows(self, table: pa.Table | pa.RecordBatch, columns: Iterable[Mapping[str, Any]]) -> None:
        """Take in some more rows of the columns, each by the profile's entry of it."""
        for column in columns:
            self._add(column, table[column["name"]])
        self._rows_read += table.num_rows

    def _add(self, described: Mapping[str, Any], column: pa.ChunkedArray | pa.Array) -> None:
        name = described["name"]
        if described["role"] == "text" or described["dtype"] == "category":
            pieces = self._columns.setdefault(name, [])
            pieces += column.chunks if isinstance(column, pa.ChunkedArray) else [column]
            return
        if name not in self._columns:
            self._columns[name] = np.empty(self._rows, feature_dtype(described, large=self._large))
        self._columns[name][self._rows_read : self._rows_read + len(column)] = numbers(column)

    def frame(self) -> pd.DataFrame:
        """Return the frame; it holds the arrays themselves."""
        return make_frame(
            {
                name: column if isinstance(column, np.ndarray) else _texts(column)
                for name, column in self._columns.items()
            }
        )


def _texts(pieces: list[pa.Array]) -> pd.Series:
    return categories(pieces) if pa.types.is_dictionary(pieces[0].type) else strings(pieces)


def _target(column: pa.ChunkedArray, described: Mapping[str, Any], problem: str) -> npt.NDArray[Any]:
    if problem == "regression" or pa.types.is_boolean(column.type):
        return np.asarray(column.to_numpy())
    if pa.types.is_dictionary(column.type):
        return np.asarray(pc.cast(column, pa.string()).to_numpy(), dtype=np.str_)
    return np.asarray(column.to_numpy(), dtype=np.int64 if described["kind"] == "integer" else np.float64)
