"""Reads one file of a data set: typed batches, a summary of each column, and the codes that the split goes by."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from common.conversion import narrow_integer, without_infinities
from common.errors import InvalidDatasetError, first_few
from common.lineage import pack_names
from common.request import TrainingRequest
from data_preparation.column_checks import check_columns, named_as_in_file
from data_preparation.columns import Columns, Wishes
from data_preparation.decisions import Decision
from data_preparation.doubts import told_of_last_row
from data_preparation.formats import EmptyFileError
from data_preparation.notation import Kind
from data_preparation.profiling import (
    ColumnSummary,
)
from data_preparation.reading import SourceFile, Table, open_table
from data_preparation.row_codes import RowCodes
from data_preparation.splitting import Split, choose_split

MAX_NAMES_BYTES = 100 << 10
"""How long the packed names of the split's columns may be: they go through the state machine, whose states hold 256 KB.

https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""
ROW_BYTES = 16
"""What a row takes of the disk at least, whatever it holds: its codes."""
_Fingerprint = dict[str, str | int]


@dataclass(frozen=True)
class Scan:
    """What the rows of one file have told, but for the summaries of its columns."""

    name: str
    names: tuple[str, ...]
    columns: Columns
    dialect: str
    told: tuple[str, ...]
    left_out: Mapping[str, str]
    rows: int
    infinities: Mapping[str, int]
    fingerprint: _Fingerprint
    split: Split

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kind of each column, in the order of all files' columns."""
        kinds = self.columns.kinds
        return {name: kinds[name] for name in self.names}


@dataclass(frozen=True)
class First:
    """What holds for all files as the first one has it: its columns, and with them the split."""

    name: str
    names: tuple[str, ...]
    split: Split


@dataclass
class Reading:
    """What is the same for all files of a data set while they are read."""

    request: TrainingRequest
    workspace: Path
    champion: Mapping[str, Any] | None
    exact: set[str] = field(default_factory=set)
    """The columns of which all is spooled as it is, whatever was seen of them so far."""
    decided: dict[str, Decision] = field(default_factory=dict)
    """What all files together have told of columns."""
    names: list[str] = field(default_factory=list)
    """All columns, where files that have different ones are united."""
    told: list[str] = field(default_factory=list)
    """What is told of the files."""


def scan_file(
    file: SourceFile, reading: Reading, first: First | None, codes: Path, spool: Path | None = None
) -> tuple[Scan, dict[str, ColumnSummary], frozenset[str], RowCodes]:
    """Read a file, and return what its rows have told.

    Where a late row shows that earlier ones were read otherwise than it can be, the file is read once more, with what
    is then known.

    Parameters
    ----------
    file, reading
        What is read, and how.
    first
        The first file of the data set; None for itself.
    codes
        Where the codes of the rows are written.
    spool
        Where the rows are kept that have a target, in small types; nowhere, if not given.

    Returns
    -------
    scan, summaries, narrow, codes
        What they have told, with the summary of each column; the columns of which not all was kept; and the codes.

    Raises
    ------
    EmptyFileError
        If it has no rows.
    InvalidDatasetError
        If it cannot be read, or has other columns than the first one.
    """
    with ThreadPoolExecutor(1) as thread, open_table(file, reading.request.read, reading.workspace) as table:
        fingerprint = thread.submit(file.fingerprint)  # while the file is read
        _check_disk(file.name, table, reading.workspace)
        names = wanted(file.name, table, reading, first)
        split = first.split if first else choose_split(reading.request, names, reading.champion)
        check_split(split)
        columns = Columns(Wishes.of_request(reading.request), reading.decided)
        written = codes_of(codes, split, reading.request, names)
        for _ in columns.readings(file.name):
            rows, infinities, summaries, narrow = scan_once(table, names, columns, reading, split, written, spool)
        if not rows:
            raise EmptyFileError(f'"{file.name}" has a header but no rows.')
        last = told_of_last_row(file.name, summaries)
        told = (*table.told, *columns.told, *table.told_of_rows, *last)
        scan = Scan(
            table.file.name,
            tuple(names),
            columns,
            table.dialect,
            told,
            left_out_of(table, reading),
            rows,
            infinities,
            fingerprint.result(),
            split,
        )
        return scan, summaries, frozenset(narrow), written


def left_out_of(table: Table, reading: Reading) -> dict[str, str]:
    """Return the columns of a file that are not read, and why."""
    asked = {name: "the request says so" for name in table.columns if reading.request.columns.get(name) == "ignore"}
    return {**table.unusable, **asked}


def wanted(file: str, table: Table, reading: Reading, first: First | None) -> list[str]:
    """Return the columns to read of a file, in which a request may name columns without the spaces around them."""
    names = [name for name in table.columns if reading.request.columns.get(name) != "ignore"]
    if reading.request.read.unite:
        names = list(dict.fromkeys([*reading.names, *names]))
    else:
        _check_same_columns(file, names, first)
    request = reading.request = named_as_in_file(reading.request, names)
    # The target is handed over in float64; a split column's numbers are told as they are.
    reading.exact.update(
        name for name in (request.target, request.split_column, request.weight_column) if name is not None
    )
    reading.exact.update(name for name, kind in request.columns.items() if kind == "text")
    check_columns(request, names, unnamed=table.has_numbers_in_header)
    return names


def scan_once(  # noqa: PLR0913, PLR0917 - what is read and how, and where what is kept goes
    table: Table,
    names: list[str],
    columns: Columns,
    reading: Reading,
    split: Split,
    codes: RowCodes,
    spool: Path | None,
    *,
    is_traced: bool = False,
) -> tuple[int, dict[str, int], dict[str, ColumnSummary], set[str]]:
    """Read a file once, and return its rows, the infinities and the summary of each column, and those not all kept."""
    request = reading.request
    rows, infinities, narrow = 0, dict[str, int](), set[str]()
    summaries = dict[str, ColumnSummary]()
    with codes, nullcontext() if spool is None else pa.OSFile(str(spool), "wb") as sink:
        for batch in table.batches(columns, names, encode_texts=True):
            whole = with_all(batch, names, columns)
            summaries = summaries_of(columns.kinds, names, request, summaries)
            for summary in summaries.values() if is_traced else ():
                summary.trace = summary.trace or []
            rows += batch.num_rows
            if columns.must_be_read_again:
                continue
            usable = usable_rows(whole, request, infinities)
            for name, column in zip(usable.schema.names, usable.columns, strict=True):
                summaries[name].add(column)
            with inherited(split):
                codes.write(with_offsets(usable, columns))
            if sink is not None:
                narrow |= _write_batch(sink, usable, summaries, reading.exact)
    return rows, infinities, summaries, narrow


def usable_rows(batch: pa.RecordBatch, request: TrainingRequest, infinities: dict[str, int]) -> pa.RecordBatch:
    """Return the rows that have a target, NaN and infinities in them as nulls, and count the latter by column."""
    return _with_target(_without_infinities(batch, infinities), request)


def with_all(batch: pa.RecordBatch, names: Sequence[str], columns: Columns) -> pa.RecordBatch:
    """Return a batch with all columns in order; those that its file does not have are missing."""
    there = set(batch.schema.names)
    for name in names:
        if name not in there:
            columns.read_as(name, "null")
    arrays = [batch[name] if name in there else pa.nulls(batch.num_rows) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


@contextmanager
def inherited(split: Split) -> Iterator[None]:
    """Say of a split that does not fit the data where it comes from, if not from the request."""
    try:
        yield
    except InvalidDatasetError as error:
        if split.inherited_from is None:
            raise
        raise InvalidDatasetError(
            f"{error} The split is that of the champion {split.inherited_from}; an empty split_key in the request "
            "splits by rows."
        ) from error


def codes_of(path: Path, split: Split, request: TrainingRequest, names: Sequence[str]) -> RowCodes:
    """Return the codes of the rows of a file, which are kept at a path."""
    return RowCodes(
        path,
        # Where the split does not go by them, the hashes of rows only name the test part.
        hashed=split.columns if split.by == "rows" else names,
        target=request.target,
        # A split by time or column is the same whatever the seed.
        seed=split.seed if split.by in ("rows", "key") else 0,
        key=split.columns if split.by == "key" else (),
        time=split.columns[0] if split.by == "time" else None,
    )


def summaries_of(
    kinds: Mapping[str, Kind], names: Sequence[str], request: TrainingRequest, known: dict[str, ColumnSummary]
) -> dict[str, ColumnSummary]:
    """Return the summaries of columns; one that turned out to be of another kind starts anew, for it is read again."""
    counted = (request.target, request.split_column)
    return {
        name: known[name]
        if name in known and known[name].kind == kinds[name]
        else ColumnSummary.of(name, kinds[name], count_values=name in counted)
        for name in names
    }


def _without_infinities(batch: pa.RecordBatch, infinities: dict[str, int]) -> pa.RecordBatch:
    """Turn NaN and infinities into nulls, and count the infinities of each column."""
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        finite, found = without_infinities(column)
        infinities[name] = infinities.get(name, 0) + found
        columns.append(finite)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def with_offsets(batch: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
    """Return rows with whole numbers as their file has them: in which part a row is follows from these."""
    for name, notation in columns.notations.items():
        if notation.offset and name in batch.schema.names:
            try:
                whole = pc.add_checked(batch[name], pa.scalar(notation.offset, pa.int64()))
            except (pa.ArrowInvalid, OverflowError):
                whole = pc.add(pc.cast(batch[name], pa.float64(), safe=False), float(notation.offset))
            batch = batch.set_column(batch.schema.get_field_index(name), name, whole)
    return batch


def _with_target(batch: pa.RecordBatch, request: TrainingRequest) -> pa.RecordBatch:
    """Return the rows that have a target and, where rows are weighted, a weight; one of 0 counts for nothing."""
    weights = request.weight_column
    for name in (request.target, weights):
        if name is not None and batch[name].null_count:
            batch = batch.filter(pc.is_valid(batch[name]))
    if weights is not None and (pa.types.is_integer(batch[weights].type) or pa.types.is_floating(batch[weights].type)):
        batch = batch.filter(pc.not_equal(batch[weights], 0))
    return batch


def _write_batch(
    sink: pa.NativeFile, batch: pa.RecordBatch, summaries: Mapping[str, ColumnSummary], exact: Collection[str]
) -> set[str]:
    """Append a batch in the smallest types that hold what was read so far; each is a stream with its own schema.

    Returns
    -------
    set of str
        The columns of which floats were rounded, or texts left out.
    """
    small = pa.RecordBatch.from_arrays(
        [_narrowed(batch[name], summary, exact=name in exact) for name, summary in summaries.items()],
        names=list(summaries),
    )
    with pa.ipc.new_stream(sink, small.schema) as writer:
        writer.write_batch(small)
    return {
        each.name
        for each in small.schema
        if (pa.types.is_float32(each.type) and summaries[each.name].float32_error)
        or (pa.types.is_null(each.type) and summaries[each.name].kind == "text")
    }


def _narrowed(column: pa.Array, summary: ColumnSummary, *, exact: bool) -> pa.Array:
    match summary.kind:
        case "integer" if summary.minimum is not None:
            return pc.cast(column, narrow_integer(summary.minimum, summary.maximum), safe=False)
        case "float" if not exact and summary.fits_float32:
            return pc.cast(column, pa.float32(), safe=False)
        case "text":
            if not exact and summary.need_not_be_spooled:
                # Probably no feature; where late rows make it one, the files are read once more.
                return pa.nulls(len(column))
            # Of texts that hardly repeat a dictionary holds all.
            return column if pa.types.is_dictionary(column.type) or summary.is_free_text else column.dictionary_encode()
    return column


def _check_disk(file: str, table: Table, workspace: Path) -> None:
    """Refuse more rows than the disk has room for; a file of a few KB may say that it has 2^40, all of them missing."""
    rows, free = table.rows or 0, shutil.disk_usage(workspace).free
    if rows * ROW_BYTES > free:
        raise InvalidDatasetError(
            f'"{file}" has {rows:,} rows, which take {rows * ROW_BYTES >> 20:,} MB at least, and the function\'s '
            f"temporary disk has {free >> 20:,} MB free: raise the parameter FunctionStorage or bring fewer rows."
        )


def check_split(split: Split) -> None:
    """Refuse names that are too long together to be kept with a version, for the next run to split by."""
    size = len(pack_names(split.columns))
    if size > MAX_NAMES_BYTES:
        raise InvalidDatasetError(
            f"The names of the {len(split.columns):,} columns take {size >> 10:,} KB once they are packed, and the "
            f"registry has room for {MAX_NAMES_BYTES >> 10} KB: shorten them."
        )


def _check_same_columns(name: str, names: Sequence[str], first: First | None) -> None:
    differing = sorted(set(names) ^ set(first.names)) if first else ()
    if first and differing:
        where = (f'"{column}" (only in "{name if column in names else first.name}")' for column in differing)
        raise InvalidDatasetError(
            f'"{first.name}" and "{name}" have different columns: {first_few(where)}. '
            "READ='{\"unite\": true}' takes what a file lacks for missing."
        )
