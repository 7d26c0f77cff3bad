"""Turns the files of a data set into a training part, a test part and a profile.

Two passes, each over record batches, so that memory does not grow with the files: read (whatever the format, into a
spool file of typed batches, with a summary of each column), and write (drop, convert, split).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from common.conversion import FINGERPRINT, ORDER, TEXTS, dtype_name, narrow_integer, to_part, without_infinities
from common.distributions import Bounds, RowSample
from common.errors import InvalidDatasetError, first_few
from common.hashing import Hashes
from common.lineage import pack_names
from common.request import TrainingRequest, did_you_mean
from common.storage import disk_errors
from data_preparation.columns import MAX_READINGS, Columns, Wishes, merged
from data_preparation.doubts import doubts_of, told_of_free_text, told_of_last_row, told_of_missing
from data_preparation.formats import EmptyFileError
from data_preparation.notation import ARROW_TYPES, Kind
from data_preparation.profiling import (
    MAX_CATEGORIES,
    ColumnSummary,
    Role,
    distribution,
    feature_type,
    infer_role,
    splits_by,
    statistics,
)
from data_preparation.reading import SourceFile, Table, open_table
from data_preparation.row_codes import RowCodes, time_of
from data_preparation.splitting import MAX_TEST_ROWS, Booleans, Split, Splitter, choose_split
from data_preparation.survey import Decision

if TYPE_CHECKING:
    import numpy as np

MIN_ROWS = 10
MAX_TOLD = 100
"""How many sentences about its files a profile holds."""
MAX_LABEL_CHARACTERS = 256
"""A class is handed to scikit-learn with each row, in as much room as the longest one takes."""
MAX_CLASSES_OF_NUMBERS = 20
"""Where the problem is `auto`, whole numbers with at most this many different values are class labels."""
ROW_GROUP_VALUES = 4_000_000
"""How many values a row group of a part holds: large ones read fast, and memory does not grow with the columns."""
ROW_GROUP_BYTES = 1 << 26
"""How much of free texts a row group holds."""
PARTS = ("train", "test")
MAX_NAMES_BYTES = 100 << 10
"""How long the packed names of the split's columns may be: they go through the state machine, whose states hold 256 KB.

https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""
ROW_BYTES = 16
"""What a row takes of the disk at least, whatever it holds: its codes."""

_Fingerprint = dict[str, str | int]


@dataclass(frozen=True)
class PreparedData:
    """The two parts as Parquet files, the profile that describes them, and the request with its open choices made."""

    train: Path
    test: Path
    profile: dict[str, Any]
    request: TrainingRequest


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
class _Spool:
    """The typed batches of one source file on disk, and what they have told."""

    path: Path
    scan: Scan
    summaries: dict[str, ColumnSummary]
    narrow: frozenset[str]
    """The columns of which floats were rounded to float32, or texts left out."""
    codes: RowCodes


@dataclass(frozen=True)
class First:
    """What holds for all files as the first one has it: its columns, and with them the split."""

    name: str
    names: tuple[str, ...]
    split: Split


@dataclass(frozen=True)
class PartColumn:
    """What becomes of a column: its summary, its role, how it is used, and the type that it is handed over in."""

    summary: ColumnSummary
    role: Role
    use: str
    reason: str | None
    type: pa.DataType | None


@dataclass(frozen=True)
class Findings:
    """What is known of a data set once all of its rows were read.

    Attributes
    ----------
    request
        With its open choices made.
    left_open
        Which these were.
    kinds, summaries
        Of all columns, over all files.
    columns
        What becomes of each.
    decisions
        How each column is read for which there was anything to decide.
    rows_in, rows_used
        How many rows there are, and how many have a target.
    """

    request: TrainingRequest
    left_open: list[str]
    kinds: Mapping[str, Kind]
    summaries: Mapping[str, ColumnSummary]
    columns: list[PartColumn]
    decisions: Mapping[str, Decision]
    rows_in: int
    rows_used: int

    @property
    def target(self) -> ColumnSummary:
        """The summary of the target."""
        return self.summaries[self.request.target]

    @property
    def kept(self) -> list[PartColumn]:
        """The columns that the parts hold."""
        return [column for column in self.columns if column.type is not None]

    @property
    def watched(self) -> list[str]:
        """The columns of which the profile says how they are distributed."""
        return [column.summary.name for column in self.columns if column.use in ("feature", "target")]


@dataclass(frozen=True)
class Drawn:
    """How the rows were split: how many each part has, their classes, and what names the test part."""

    rows: Mapping[str, int]
    classes: Mapping[str, set[Any]]
    test_part: int
    first_time: np.uint64 | None


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


def prepare(
    files: Iterable[SourceFile],
    request: TrainingRequest,
    workspace: Path,
    champion: Mapping[str, Any] | None = None,
) -> PreparedData:
    """Read, validate, clean and split a data set.

    Parameters
    ----------
    files
        The data set's files, each needed only until the next one is asked for; where late rows show that float32 does
        not do for a column, they are asked for once more.
    request
        The validated request.
    workspace
        An empty folder for the parts and for temporary files.
    champion
        `version`, `target` and `split` of the champion's run (`splitting.choose_split`), or None where there is none.

    Returns
    -------
    PreparedData
        `train.parquet` and `test.parquet` with the feature columns in their smallest types and the target (float64
        where it is a number), and the profile.

    Raises
    ------
    InvalidDatasetError
        If the data cannot be trained on.
    InvalidRequestError
        If the estimator or the metric does not fit the problem that the target poses.
    """
    with disk_errors():
        reading = Reading(request, workspace, champion)
        spools, kinds, summaries = _read(files, reading)
        scans = [spool.scan for spool in spools]
        found = findings(scans, kinds, summaries, reading)
        with inherited(scans[0].split):
            splitter = splitter_of(scans[0].split, [spool.codes for spool in spools], found)
        bounds = Bounds.of(len(found.watched))
        sample = RowSample(found.watched, bounds.rows)
        drawn = _write_parts(spools, found, splitter, workspace, sample)
        for spool in spools:
            spool.path.unlink()
            spool.codes.delete()
    profile = profile_of(scans, found, drawn, reading, sample)
    return PreparedData(workspace / "train.parquet", workspace / "test.parquet", profile, found.request)


def findings(
    scans: Sequence[Scan], kinds: Mapping[str, Kind], summaries: Mapping[str, ColumnSummary], reading: Reading
) -> Findings:
    """Make the choices that a request leaves open, and say what becomes of each column.

    Raises
    ------
    InvalidDatasetError
        If the data cannot be trained on.
    InvalidRequestError
        If the estimator or the metric does not fit the problem that the target poses.
    """
    request = reading.request
    rows_in = sum(scan.rows for scan in scans)
    parts_seen = _parts_seen(summaries, request)
    decisions = _decisions(scans, reading)
    _check_decisions(decisions)
    if request.weight_column is not None:
        _check_weights(summaries[request.weight_column])
    rows_used = _check_target(summaries[request.target], request, rows_in)
    problem = _problem(summaries[request.target], request)
    left_open = _left_open(request, problem)
    request = request.resolve(problem, summaries[request.target].counts)
    columns = _assign_columns(summaries, request, parts_seen)
    return Findings(request, left_open, kinds, summaries, columns, decisions, rows_in, rows_used)


def profile_of(
    scans: Sequence[Scan], found: Findings, drawn: Drawn, reading: Reading, sample: RowSample
) -> dict[str, Any]:
    """Return the profile of the prepared data.

    Raises
    ------
    InvalidDatasetError
        If the split leaves too few rows, or a single class, to a part.
    """
    request, bounds = found.request, Bounds.of(len(found.watched))
    check_parts(drawn, request)
    return {
        "sources": [dict(scan.fingerprint) for scan in scans],
        "fingerprint": fingerprint_of(scans),
        "problem": request.problem,
        "target": request.target,
        "left_open": found.left_open,
        "pos_label": request.pos_label,
        "rows": {
            "in": found.rows_in,
            "used": found.rows_used,
            "dropped": found.rows_in - found.rows_used,
            **drawn.rows,
        },
        "dropped_rows": {f"missing or infinite {_needed(request)}": found.rows_in - found.rows_used},
        "read": _read_document(scans, reading, request, found.rows_used),
        "split": _split_document(scans[0].split, drawn, found.kinds),
        "classes": _class_counts(found.target) if request.problem == "classification" else None,
        "columns": [
            *(
                _describe(column, scans, found.decisions.get(column.summary.name), request)
                | (_distribution(column, sample, bounds) if column.summary.name in found.watched else {})
                for column in found.columns
            ),
            *(
                {
                    "name": name,
                    "role": "left out",
                    "use": "dropped",
                    "kind": "null",
                    "dtype": None,
                    "nulls": 0,
                    "infinities": 0,
                    "reason": reason,
                }
                for name, reason in _left_out(scans).items()
            ),
        ],
    }


def _read(
    files: Iterable[SourceFile], reading: Reading
) -> tuple[list[_Spool], dict[str, Kind], dict[str, ColumnSummary]]:
    """Read all files into spools, and sum up their columns over all of them, as often as it takes (`settled`)."""
    for _ in range(MAX_READINGS):
        reading.told = []
        spools = _spools(files, reading)
        summarise = partial(_merged_summaries, spools, request=reading.request)
        kinds, summaries = settled([spool.scan for spool in spools], reading, summarise)
        if not summaries:
            continue
        rounded = {name for spool in spools for name in spool.narrow if not summaries[name].bears_narrowing}
        if not rounded:
            return spools, kinds, summaries
        reading.exact.update(rounded)
    raise never_settled()


def settled(
    scans: Sequence[Scan], reading: Reading, summarise: Callable[[Mapping[str, Kind]], dict[str, ColumnSummary]]
) -> tuple[dict[str, Kind], dict[str, ColumnSummary]]:
    """Return the kinds of all columns and their summaries over all files; nothing, if the files are to be read again.

    Whether float32 does for a column, how its texts are written, and whether texts repeat that hardly do at first,
    shows when all rows were seen. Until then its batches are as those before suggest. Where that was wrong, the files
    are read once more, with what is then known.

    Parameters
    ----------
    scans
        Of all files, in order.
    reading
        What they were read with; what is learnt is added.
    summarise
        Returns the summaries of all columns, by their kinds.
    """
    names = list(dict.fromkeys(name for scan in scans for name in scan.names))
    decided = {**reading.decided, **merged([scan.columns for scan in scans])}
    if (reading.request.read.unite and names != list(scans[0].names)) or decided != reading.decided:
        reading.names, reading.decided = names, decided
        return {}, {}
    kinds = common_kinds((scan.name, scan.kinds) for scan in scans)
    return kinds, summarise(kinds)


def never_settled() -> InvalidDatasetError:
    """Return the error of files that are read again and again."""
    return InvalidDatasetError("The files tell different things of a column each time: say what it is by `columns`.")


def _spools(files: Iterable[SourceFile], reading: Reading) -> list[_Spool]:
    spools, empty, first = list[_Spool](), list[EmptyFileError](), None
    for index, file in enumerate(files):
        path = reading.workspace / f"spool-{index}.arrow"
        try:
            scan, summaries, narrow, codes = scan_file(file, reading, first, path.with_suffix(".codes"), path)
        except EmptyFileError as error:
            empty.append(error)
            reading.told.append(told_of_empty(file.name))
            continue
        spools.append(_Spool(path, scan, summaries, narrow, codes))
        first = first or First(scan.name, scan.names, scan.split)
    if not spools:
        raise nothing_read(empty)
    return spools


def told_of_empty(name: str) -> str:
    """Return what is told of a file without rows."""
    return f'"{name}" has no rows, and is left out.'


def nothing_read(empty: Sequence[EmptyFileError]) -> InvalidDatasetError:
    """Return the error of a data set without rows."""
    # The state machine knows errors by their names.
    return InvalidDatasetError(str(empty[0]) if empty else "There is no data file.")


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
            summaries = _summaries(columns.kinds, names, request, summaries)
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


def _summaries(
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


def common_kinds(files: Iterable[tuple[str, Mapping[str, Kind]]]) -> dict[str, Kind]:
    """Return the kind of each column over all files.

    Parameters
    ----------
    files
        The name of each, and the kinds of its columns.

    Raises
    ------
    InvalidDatasetError
        If a file has a column of another kind than those before it: which, and how.
    """
    kinds: dict[str, Kind] = {}
    for file, own in files:
        for name, kind in own.items():
            pair = {kind, kinds.setdefault(name, kind)} - {"null"}
            if pair == {"integer", "float"}:
                kinds[name] = "float"
            elif len(pair) > 1:
                raise InvalidDatasetError(
                    f'Column "{name}" mixes types: {kind} in "{file}", {kinds[name]} in the files before it. Say what '
                    f'it is: COLUMNS=\'{{"{name}": "number"}}\' takes what is none for missing, "category" keeps texts.'
                )
            elif pair:
                (kinds[name],) = pair
    return kinds


def named_as_in_file(request: TrainingRequest, names: Sequence[str]) -> TrainingRequest:
    """Return the request with columns named as the file does it: spaces around a name in a header are easily missed."""
    trimmed = {name.strip(): name for name in names}

    def found(name: str | None) -> str | None:
        return name if name is None or name in names else trimmed.get(name.strip(), name)

    single = ("target", "split_column", "split_time", "weight_column")
    changed: dict[str, Any] = {field_: found(getattr(request, field_)) for field_ in single}
    if request.split_key:
        changed["split_key"] = [found(name) for name in request.split_key]
    changed["columns"] = {found(name): kind for name, kind in request.columns.items()}
    return request.model_copy(update=changed)


def check_columns(request: TrainingRequest, names: Sequence[str], *, unnamed: bool = False) -> None:
    """Check that the columns that a request names are among the data set's.

    Parameters
    ----------
    request
        The request.
    names
        Of the columns.
    unnamed
        Whether the first line may be a row, not a header.

    Raises
    ------
    InvalidDatasetError
        With the nearest names.
    """
    if ORDER in names:
        raise InvalidDatasetError(
            f'A column is called "{ORDER}", as the training part calls what rows were split by: rename it, or leave it '
            f'out by COLUMNS=\'{{"{ORDER}": "ignore"}}\'.'
        )
    request = named_as_in_file(request, names)
    named = [
        ("target", request.target),
        ("split column", request.split_column),
        ("time column", request.split_time),
        ("weight column", request.weight_column),
        *(("key column", name) for name in request.split_key or ()),
        *((f"column to be read as {kind}", name) for name, kind in request.columns.items() if kind != "ignore"),
    ]
    for word, name in named:
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            if unnamed:
                hint = (
                    " Its first line looks like a row, not like names: READ='{\"header\": false}' names the columns "
                    "column_1, column_2 and so on, and a list of names in place of false names them as you like."
                )
            if unnamed or any(each.startswith("Unnamed: ") for each in names):
                hint += " If the names stand further down, READ='{\"skip_rows\": 1}' skips the lines above them."
            raise InvalidDatasetError(f'The {word} "{name}" is not a column of the data set.{hint}')


def _batches(spools: Sequence[_Spool]) -> Iterator[pa.RecordBatch]:
    """Yield all rows that have a target, in types that differ from batch to batch."""
    for spool in spools:
        with pa.OSFile(str(spool.path)) as source:
            size = source.size()
            while source.tell() < size:
                with pa.ipc.open_stream(source) as reader:
                    yield from reader


def _merged_summaries(
    spools: Sequence[_Spool], kinds: Mapping[str, Kind], request: TrainingRequest
) -> dict[str, ColumnSummary]:
    if len(spools) == 1:
        return spools[0].summaries
    summaries = _summaries(kinds, list(kinds), request, {})
    for spool in spools:
        for name, summary in summaries.items():
            summary.merge(spool.summaries[name])
    return summaries


def _needed(request: TrainingRequest) -> str:
    return "target" if request.weight_column is None else "target or weight, or a weight of 0"


def _left_out(scans: Sequence[Scan]) -> dict[str, str]:
    """Return the columns that were not read, and why."""
    return {name: reason for scan in scans for name, reason in scan.left_out.items()}


def told_of_test_part(request: TrainingRequest, rows: int) -> Iterator[str]:
    """Yield that the test part holds fewer rows than the request says."""
    if request.test_fraction * rows > MAX_TEST_ROWS and request.split_column is None:
        yield (
            f"The test part holds {MAX_TEST_ROWS:,} rows and not {request.test_fraction:g} of {rows:,}: more would "
            "tell nothing more."
        )


def _read_document(scans: Sequence[Scan], reading: Reading, request: TrainingRequest, rows: int) -> dict[str, Any]:
    """Return what the profile says of how the files were read, and what was told of it."""
    told = [*reading.told, *(sentence for scan in scans for sentence in scan.told), *told_of_test_part(request, rows)]
    options = request.read.model_dump(exclude_defaults=True)
    kinds = {name: kind for name, kind in request.columns.items() if kind != "ignore"}
    return {
        "options": options,
        "columns": kinds,
        "dialect": scans[0].dialect,
        "told": list(dict.fromkeys(told))[:MAX_TOLD],
    }


def _parts_seen(summaries: Mapping[str, ColumnSummary], request: TrainingRequest) -> set[str]:
    """Return the values of the split column; none, if there is no such column."""
    if not request.split_column:
        return set()
    split = summaries[request.split_column]
    values = {str(value) for value in split.counts or ()} | ({"a missing value"} if split.nulls else set())
    if split.counts is None or values - set(PARTS):
        others = len(values - set(PARTS)) if split.counts is not None else MAX_CATEGORIES
        raise InvalidDatasetError(
            f'The split column "{request.split_column}" may hold "train" and "test" only, and holds '
            f"{others:,} other value{'s' if others > 1 else ''}{', missing ones among them' if split.nulls else ''}."
        )
    return values


def _check_target(target: ColumnSummary, request: TrainingRequest, rows_in: int) -> int:
    """Return the number of usable rows, those with a target."""
    if target.values == 0:
        raise InvalidDatasetError(f'The target "{request.target}" has no value in any of the {rows_in:,} rows.')
    if target.values < MIN_ROWS:
        raise InvalidDatasetError(
            f"The data set has {target.values} usable rows of {rows_in:,}; at least {MIN_ROWS} are needed."
        )
    if infer_role(target)[0] == "constant":
        raise InvalidDatasetError(
            f'The target "{request.target}" has the same value in all {target.values:,} usable rows: '
            "there is nothing to learn."
        )
    if target.kind == "timestamp":
        raise InvalidDatasetError(
            f'The target "{request.target}" holds timestamps: turn them into numbers, such as days since a date.'
        )
    return target.values


def _problem(target: ColumnSummary, request: TrainingRequest) -> str:
    """Return the problem that is asked for or, for `auto`, that the other choices or the target's values imply."""
    labels = target.kind in ("text", "boolean")
    problem, *others = request.fitting_problems()
    if others:
        different = len(target.counts) if target.counts is not None else target.values
        few = different <= min(MAX_CLASSES_OF_NUMBERS, target.values // 2)
        problem = "classification" if labels or (few and target.integral) else "regression"
    if problem == "regression" and target.kind == "text":
        raise InvalidDatasetError(
            f'The target "{request.target}" holds {target.kind}, and regression needs numbers: '
            "choose another target or the problem classification."
        )
    if problem == "classification" and (target.counts is None or target.values < 2 * len(target.counts)):
        many = f"more than {MAX_CATEGORIES:,}" if target.counts is None else f"{len(target.counts):,}"
        way_out = "another target" if labels else "another target or the problem regression"
        raise InvalidDatasetError(
            f'The target "{request.target}" has {many} different values in {target.values:,} rows, too many for '
            f"classification: choose {way_out}."
        )
    if (
        problem == "classification"
        and target.kind == "text"
        and max(map(len, target.counts or ())) > MAX_LABEL_CHARACTERS
    ):
        raise InvalidDatasetError(
            f'The target "{request.target}" has labels of more than {MAX_LABEL_CHARACTERS} characters: name the '
            "classes in fewer."
        )
    return problem


def _check_decisions(decisions: Mapping[str, Decision]) -> None:
    """Refuse columns in which values are of different sorts, unless the request says what they are."""
    problems = [decision.problem for decision in decisions.values() if decision.problem is not None]
    if problems:
        raise InvalidDatasetError(first_few(problems, " "))


def _decisions(scans: Sequence[Scan], reading: Reading) -> dict[str, Decision]:
    """Return how each column is read for which there was anything to decide."""
    of_files = {
        name: decision for scan in reversed(scans) for name in scan.names if (decision := scan.columns[name].decision)
    }
    return {**of_files, **reading.decided}


def _left_open(request: TrainingRequest, problem: str) -> list[str]:
    """Return which choices the request leaves open: `problem`, `metric`, `search`, `pos_label` of a classification."""
    left = ["problem"] if len(request.fitting_problems()) > 1 else []
    left += ["metric"] if request.metric is None else []
    is_default = request.estimator == "auto" and request.search_trials is None and request.search_seconds is None
    left += ["search"] if is_default else []
    return [*left, *(["pos_label"] if problem == "classification" and request.pos_label is None else [])]


def _assign_columns(
    summaries: Mapping[str, ColumnSummary], request: TrainingRequest, parts_seen: set[str]
) -> list[PartColumn]:
    columns = []
    for name, summary in summaries.items():
        role, reason = role_of(summary, request)
        if name == request.target:
            columns.append(PartColumn(summary, role, "target", None, _target_type(summary, request)))
        elif parts_seen and name == request.split_column:
            columns.append(PartColumn(summary, role, "split", None, None))
        elif name == request.weight_column:
            columns.append(PartColumn(summary, role, "weight", None, pa.float64()))
        elif reason is not None:
            columns.append(PartColumn(summary, role, "dropped", reason, None))
        else:
            columns.append(PartColumn(summary, role, "feature", None, feature_type(summary, role)))
    if not any(column.use == "feature" for column in columns):
        dropped = first_few((f'"{c.summary.name}": {c.reason}' for c in columns if c.use == "dropped"), "; ")
        raise InvalidDatasetError(f"No column is left to train on ({dropped or 'there is no other column'}).")
    return columns


def role_of(summary: ColumnSummary, request: TrainingRequest) -> tuple[Role, str | None]:
    """Return a column's role and why it cannot be trained on, by what the request says that it is or by its values."""
    asked = request.columns.get(summary.name)
    if asked == "identifier":
        return "identifier", "the request says that it is an identifier"
    if asked == "text" and summary.kind == "text" and infer_role(summary)[0] != "constant":
        return "text", None
    free_texts = asked != "category" and request.features != "plain"
    role, reason = infer_role(summary, free_texts=free_texts)
    # What has an identifier's name is a number all the same, if the request says so.
    return ("numeric", None) if asked == "number" and role == "identifier" else (role, reason)


def _check_weights(weights: ColumnSummary) -> None:
    """Refuse weights that are no numbers or below 0; of the rows that have a target and no weight of 0."""
    if weights.values == 0:
        raise InvalidDatasetError(f'No row has a target, and in the weight column "{weights.name}" a number above 0.')
    if weights.kind not in ("integer", "float") or weights.minimum < 0:
        raise InvalidDatasetError(f'The weight column "{weights.name}" may hold numbers from 0 on only, and does not.')


def _target_type(target: ColumnSummary, request: TrainingRequest) -> pa.DataType:
    """Return float64 for numbers, but for class labels that no float holds; texts and booleans stay what they are."""
    if target.kind == "text":
        return TEXTS
    if request.problem == "classification":
        if target.kind == "boolean":
            return pa.bool_()
        if target.kind == "integer" and max(abs(target.minimum), abs(target.maximum)) > 2**53:
            return pa.int64()
    return pa.float64()


class PartWriter:
    """Writes one part as Parquet, in row groups of a size that reads fast."""

    def __init__(self, path: Path | pa.NativeFile, schema: pa.Schema) -> None:
        text = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        # Dictionaries pay for texts; numbers of many different values only lose time to them.
        self._writer = pq.ParquetWriter(path, schema, use_dictionary=text, compression="lz4", write_page_checksum=True)
        self._schema = schema
        self._row_group_rows = max(1024, ROW_GROUP_VALUES // len(schema))
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; the same batches give the same file, byte for byte."""
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        texts = (column for column in batch.columns if pa.types.is_string(column.type))
        # By the texts alone: how an array holds them depends on where it comes from.
        self._pending_bytes += sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in texts)
        self.rows += batch.num_rows
        if self._pending_rows >= self._row_group_rows or self._pending_bytes > ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pending and exception[0] is None:
            self._flush()
        self._writer.close()


def _write_parts(
    spools: Sequence[_Spool], found: Findings, splitter: Splitter, workspace: Path, sample: RowSample
) -> Drawn:
    """Write both parts, show the rows of training to the sample, and return how many and what each part holds."""
    scans = [spool.scan for spool in spools]
    schemas = part_schemas(found, fingerprint_of(scans), scans[0].split)
    classes: dict[str, set[Any]] = {part: set() for part in PARTS}
    with _part_writers(workspace, schemas) as writers:
        for batch in _batches(spools):
            mask = splitter.test_mask(batch)
            for part, rows in parted(batch, mask, splitter.order, found, schemas).items():
                if part == "train":
                    sample.add(rows)
                writers[part].write(rows)
            for part, labels in labels_of(batch, mask, found).items():
                classes[part].update(labels)
    rows = {part: writers[part].rows for part in PARTS}
    return Drawn(rows, classes, splitter.test_part, splitter.first_time)


def part_schemas(found: Findings, fingerprint: str, split: Split) -> dict[str, pa.Schema]:
    """Return the schema of each part."""
    # Whoever loads a part compares it with the profile's: both are of one reading of the data set.
    of_reading = {FINGERPRINT: fingerprint}
    schema = pa.schema([(column.summary.name, column.type) for column in found.kept], metadata=of_reading)
    by_order = split.by in ("key", "time")
    return {"train": schema.append(pa.field(ORDER, pa.uint64())) if by_order else schema, "test": schema}


def parted(
    batch: pa.RecordBatch, mask: Booleans, order: Hashes | None, found: Findings, schemas: Mapping[str, pa.Schema]
) -> dict[str, pa.RecordBatch]:
    """Return the rows of each part as it holds them.

    Parameters
    ----------
    batch
        Rows that have a target.
    mask
        Which of them are test rows, shape (rows,).
    order
        What they are ordered by, shape (rows,), for a split by key or time.
    found
        What becomes of each column.
    schemas
        Of the parts.
    """
    arrays = [_convert(batch[column.summary.name], column) for column in found.kept]
    converted = pa.RecordBatch.from_arrays(arrays, schema=schemas["test"])
    train, test = converted.filter(pa.array(~mask)), converted.filter(pa.array(mask))
    if order is not None:
        train = train.append_column(schemas["train"].field(ORDER), pa.array(order[~mask]))
    return {"train": train, "test": test}


def labels_of(batch: pa.RecordBatch, mask: Booleans, found: Findings) -> dict[str, list[Any]]:
    """Return the classes among the rows of each part; none of a regression."""
    if found.request.problem != "classification":
        return {}
    target = found.request.target
    chosen = {"train": ~mask, "test": mask}
    return {
        part: pc.cast(pc.unique(batch[target].filter(pa.array(rows))), ARROW_TYPES[found.kinds[target]]).to_pylist()
        for part, rows in chosen.items()
    }


@contextmanager
def _part_writers(workspace: Path, schemas: Mapping[str, pa.Schema]) -> Iterator[dict[str, PartWriter]]:
    with ExitStack() as stack:
        yield {part: stack.enter_context(PartWriter(workspace / f"{part}.parquet", schemas[part])) for part in PARTS}


def splitter_of(split: Split, codes: Sequence[RowCodes], found: Findings) -> Splitter:
    """Return what splits the rows of which these are the codes."""
    labels, target = None, found.target
    if found.request.problem == "classification" and target.counts is not None:
        type_ = ARROW_TYPES[target.kind]
        labels = [(pa.scalar(label, type_), rows) for label, rows in sorted(target.counts.items())]
    return Splitter(split, codes, labels, found.request)


def _split_document(split: Split, drawn: Drawn, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return what the profile says of the split, and how the next run inherits it."""
    document = {
        **split.document(),
        "test_share": drawn.rows["test"] / (drawn.rows["train"] + drawn.rows["test"]),
        "test_part": f"{drawn.test_part:016x}",
    }
    if drawn.first_time is not None:
        document["first_time"] = time_of(drawn.first_time, is_time=kinds[split.columns[0]] == "timestamp")
    return document


def _convert(column: pa.Array, kept: PartColumn) -> pa.Array:
    if kept.use == "feature" or pa.types.is_dictionary(kept.type):
        return to_part(column, kept.type)
    # A target keeps its digits; the nearest float stands for a whole number that has more of them.
    return pc.cast(column, kept.type, safe=not pa.types.is_floating(kept.type))


def check_parts(drawn: Drawn, request: TrainingRequest) -> None:
    """Raise InvalidDatasetError if the split leaves too few rows, or a single class, to a part."""
    way_out = (
        f'mark more rows in "{request.split_column}"'
        if request.split_column
        else "change test_fraction or bring more rows"
    )
    for part in PARTS:
        if drawn.rows[part] < 2:
            raise InvalidDatasetError(
                f"The split leaves {drawn.rows[part]} rows to the {part} part; at least 2 are needed: {way_out}."
            )
    if request.problem == "classification" and len(drawn.classes["train"]) < 2:
        raise InvalidDatasetError(f"The training part has one class only: {way_out}.")


def fingerprint_of(scans: Sequence[Scan]) -> str:
    """Return one SHA-256 for the data set: of its files' digests, in order, whatever the files are called."""
    return hashlib.sha256("".join(str(scan.fingerprint["sha256"]) for scan in scans).encode()).hexdigest()


def _class_counts(target: ColumnSummary) -> list[dict[str, Any]]:
    return [{"label": label, "rows": rows} for label, rows in sorted((target.counts or {}).items())]


def _distribution(column: PartColumn, sample: RowSample, bounds: Bounds) -> dict[str, Any]:
    """Return how a column's values are distributed in the training part, and in no other row."""
    values = sample.values(column.summary.name)
    return {"distribution": distribution(column.summary, values, bounds)}


def _describe(
    column: PartColumn, scans: Sequence[Scan], decision: Decision | None, request: TrainingRequest
) -> dict[str, Any]:
    summary, name = column.summary, column.summary.name
    described: dict[str, Any] = {
        "name": name,
        "role": column.role,
        "use": column.use,
        "kind": summary.kind,
        "dtype": None if column.type is None else dtype_name(column.type),
        "nulls": summary.nulls,
        "infinities": sum(scan.infinities.get(name, 0) for scan in scans),
        **statistics(summary, column.role),
    }
    if column.use == "feature" and (by := splits_by(summary, column.role)):
        described["splits_by"] = by
    if decision is not None and (notation := decision.notation.document()):
        described["notation"] = notation
    texts = [scan.columns[name] for scan in scans]
    told = [
        *(decision.told if decision else ()),
        *told_of_missing(name, texts, request),
        *(told_of_free_text(summary, request) if (column.role, column.use) == ("text", "feature") else ()),
    ]
    doubts = [*(decision.doubts if decision else ()), *(doubts_of(summary) if column.use != "dropped" else ())]
    doubts = list(dict.fromkeys(doubts))
    return (
        described
        | ({"reason": column.reason} if column.reason else {})
        | ({"told": told} if told else {})
        | ({"doubts": doubts} if doubts else {})
    )
