"""Turns the files of a data set into a training part, a test part and a profile.

Two passes, each over record batches, so that memory does not grow with the files: read (whatever the format, into a
spool file of typed batches, with a summary of each column), and write (drop, convert, split).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from common.conversion import FINGERPRINT, TEXTS, dtype_name, narrow_integer, to_part, without_infinities
from common.errors import InvalidDatasetError, first_few
from common.lineage import pack_names
from common.request import TrainingRequest, did_you_mean
from common.storage import disk_errors
from data_preparation.profiling import (
    MAX_CATEGORIES,
    ColumnSummary,
    Role,
    feature_type,
    infer_role,
    mixed_types,
    splits_by,
    statistics,
)
from data_preparation.reading import ARROW_TYPES, Kind, SourceFile, declared_rows, read_batches
from data_preparation.row_codes import RowCodes, time_of
from data_preparation.splitting import Split, Splitter, choose_split

MIN_ROWS = 10
MAX_LABEL_CHARACTERS = 256
"""A class is handed to scikit-learn with each row, in as much room as the longest one takes."""
MAX_CLASSES_OF_NUMBERS = 20
"""Where the problem is `auto`, whole numbers with at most this many different values are class labels."""
ROW_GROUP_VALUES = 4_000_000
"""How many values a row group of a part holds: large ones read fast, and memory does not grow with the columns."""
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
class _Spool:
    """The typed batches of one source file on disk."""

    path: Path
    name: str
    kinds: Mapping[str, Kind]
    rows: int
    infinities: Mapping[str, int]
    fingerprint: _Fingerprint
    summaries: dict[str, ColumnSummary]
    narrow: frozenset[str]
    """The columns of which floats were rounded to float32, or texts left out."""
    split: Split
    codes: RowCodes


@dataclass(frozen=True)
class _Column:
    """What becomes of a column: its summary, its role, how it is used, and the type that it is handed over in."""

    summary: ColumnSummary
    role: Role
    use: str
    reason: str | None
    type: pa.DataType | None


@dataclass(frozen=True)
class _Reading:
    """What is the same for all files of a data set while they are read."""

    request: TrainingRequest
    workspace: Path
    champion: Mapping[str, Any] | None
    thread: ThreadPoolExecutor
    exact: set[str]
    """The columns of which all is spooled, whatever was seen of them so far."""


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
    with disk_errors(), ThreadPoolExecutor(1) as thread:
        # The target is handed over in float64; a split column's numbers are told as they are.
        exact = {name for name in (request.target, request.split_column) if name is not None}
        spools, kinds, summaries = _read(files, _Reading(request, workspace, champion, thread, exact))
        rows_in = sum(spool.rows for spool in spools)
        parts_seen = _parts_seen(summaries, request)
        _check_mixed_types(spools, summaries)
        used_rows = _check_target(summaries[request.target], request, rows_in)
        problem = _problem(summaries[request.target], request)
        left_open = _left_open(request)
        request = request.resolve(problem)
        columns = _assign_columns(summaries, request, parts_seen)
        with _inherited(spools[0].split):
            splitter = _splitter(spools, summaries[request.target], request)
        rows, classes = _write_parts(spools, kinds, columns, splitter, request, workspace)
        for spool in spools:
            spool.path.unlink()
            spool.codes.delete()
    _check_parts(rows, classes, request)
    profile = {
        "sources": [dict(spool.fingerprint) for spool in spools],
        "fingerprint": _fingerprint(spools),
        "problem": problem,
        "target": request.target,
        "left_open": left_open,
        "rows": {"in": rows_in, "used": used_rows, "dropped": rows_in - used_rows, **rows},
        "dropped_rows": {"missing or infinite target": rows_in - used_rows},
        "split": _split_document(spools[0].split, splitter, kinds, rows),
        "classes": _class_counts(summaries[request.target]) if problem == "classification" else None,
        "columns": [_describe(column, spools) for column in columns],
    }
    return PreparedData(workspace / "train.parquet", workspace / "test.parquet", profile, request)


def _read(
    files: Iterable[SourceFile], reading: _Reading
) -> tuple[list[_Spool], dict[str, Kind], dict[str, ColumnSummary]]:
    """Read all files into spools, and sum up their columns over all of them.

    Whether float32 does for a column shows when all rows were seen. Until then its batches are in float32 where it does
    for those before. Where it does not in the end, that was too narrow for some of them: then the files are read once
    more, with the whole column in float64; the other way round it costs some of the disk. So are texts that hardly
    repeat at first left out, and read once more where they do later.
    """
    while True:
        spools = _spools(files, reading)
        kinds = _common_kinds(spools)
        summaries = _merged_summaries(spools, kinds, reading.request)
        rounded = {name for spool in spools for name in spool.narrow if not summaries[name].bears_narrowing}
        if not rounded:
            return spools, kinds, summaries
        reading.exact.update(rounded)


def _spools(files: Iterable[SourceFile], reading: _Reading) -> list[_Spool]:
    spools: list[_Spool] = []
    for index, file in enumerate(files):
        fingerprint = reading.thread.submit(file.fingerprint)  # while the file is read
        spools.append(_spool(file, index, reading, spools[0] if spools else None, fingerprint))
    return spools


def _spool(
    file: SourceFile, index: int, reading: _Reading, first: _Spool | None, fingerprint: Future[_Fingerprint]
) -> _Spool:
    """Read a file into typed batches on disk, and summarise its columns.

    Where a late row shows that earlier ones were given too narrow a kind, the file is read once more, with what is then
    known.
    """
    _check_disk(file, reading.workspace)
    kinds: dict[str, Kind] = {}
    request, path = reading.request, reading.workspace / f"spool-{index}.arrow"
    complete = False
    while not complete:
        complete, rows, infinities, summaries = True, 0, dict[str, int](), dict[str, ColumnSummary]()
        narrow = set[str]()
        with ExitStack() as stack:
            sink = stack.enter_context(pa.OSFile(str(path), "wb"))
            for batch in read_batches(file, kinds, encode_texts=True):
                if not summaries:
                    _check_same_columns(file.name, kinds, first)
                    check_columns(request, list(kinds))
                    known, summaries = dict(kinds), _summaries(kinds, request)
                    split = first.split if first else choose_split(request, list(kinds), reading.champion)
                    _check_split(split)
                    codes = stack.enter_context(_codes(path.with_suffix(".codes"), split, request, list(kinds)))
                rows += batch.num_rows
                complete = complete and kinds == known
                if complete:
                    usable = _with_target(_without_infinities(batch, infinities), request.target)
                    for name, column in zip(usable.schema.names, usable.columns, strict=True):
                        summaries[name].add(column)
                    with _inherited(split):
                        codes.write(usable)
                    narrow |= _write_batch(sink, usable, summaries, reading.exact)
        if not rows:
            raise InvalidDatasetError(f'"{file.name}" has a header but no rows.')
    digest = fingerprint.result()
    return _Spool(path, file.name, kinds, rows, infinities, digest, summaries, frozenset(narrow), split, codes)


@contextmanager
def _inherited(split: Split) -> Iterator[None]:
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


def _codes(path: Path, split: Split, request: TrainingRequest, names: Sequence[str]) -> RowCodes:
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


def _summaries(kinds: Mapping[str, Kind], request: TrainingRequest) -> dict[str, ColumnSummary]:
    counted = (request.target, request.split_column)
    return {name: ColumnSummary.of(name, kind, count_values=name in counted) for name, kind in kinds.items()}


def _without_infinities(batch: pa.RecordBatch, infinities: dict[str, int]) -> pa.RecordBatch:
    """Turn NaN and infinities into nulls, and count the infinities of each column."""
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        finite, found = without_infinities(column)
        infinities[name] = infinities.get(name, 0) + found
        columns.append(finite)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _with_target(batch: pa.RecordBatch, target: str) -> pa.RecordBatch:
    return batch.filter(pc.is_valid(batch[target])) if batch[target].null_count else batch


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
            return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return column


def _check_disk(file: SourceFile, workspace: Path) -> None:
    """Refuse more rows than the disk has room for; a file of a few KB may say that it has 2^40, all of them missing."""
    rows, free = declared_rows(file) or 0, shutil.disk_usage(workspace).free
    if rows * ROW_BYTES > free:
        raise InvalidDatasetError(
            f'"{file.name}" has {rows:,} rows, which take {rows * ROW_BYTES >> 20:,} MB at least, and the function\'s '
            f"temporary disk has {free >> 20:,} MB free: raise the parameter FunctionStorage or bring fewer rows."
        )


def _check_split(split: Split) -> None:
    """Refuse names that are too long together to be kept with a version, for the next run to split by."""
    size = len(pack_names(split.columns))
    if size > MAX_NAMES_BYTES:
        raise InvalidDatasetError(
            f"The names of the {len(split.columns):,} columns take {size >> 10:,} KB once they are packed, and the "
            f"registry has room for {MAX_NAMES_BYTES >> 10} KB: shorten them."
        )


def _check_same_columns(name: str, kinds: Mapping[str, Kind], first: _Spool | None) -> None:
    differing = sorted(kinds.keys() ^ first.kinds.keys()) if first else ()
    if first and differing:
        where = (f'"{column}" (only in "{name if column in kinds else first.name}")' for column in differing)
        raise InvalidDatasetError(f'"{first.name}" and "{name}" have different columns: {first_few(where)}.')


def _common_kinds(spools: list[_Spool]) -> dict[str, Kind]:
    """Return the kind of each column over all files, or say which file differs from those before it and how."""
    kinds = dict(spools[0].kinds)
    for spool in spools[1:]:
        for name, kind in spool.kinds.items():
            pair = {kind, kinds[name]} - {"null"}
            if pair == {"integer", "float"}:
                kinds[name] = "float"
            elif len(pair) > 1:
                raise InvalidDatasetError(
                    f'Column "{name}" mixes types: {kind} in "{spool.name}", {kinds[name]} in the files before it.'
                )
            elif pair:
                (kinds[name],) = pair
    return kinds


def check_columns(request: TrainingRequest, names: Sequence[str]) -> None:
    """Check that the columns that a request names are among the data set's.

    Raises
    ------
    InvalidDatasetError
        With the nearest names.
    """
    named = [("target", request.target), ("split column", request.split_column), ("time column", request.split_time)]
    for word, name in (*named, *(("key column", name) for name in request.split_key or ())):
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            if len(names) == 1 and (separator := next((each for each in ";\t|" if each in names[0]), None)):
                hint = f" The header is one column with {separator!r} in its name: save the file with commas."
            raise InvalidDatasetError(f'The {word} "{name}" is not a column of the data set.{hint}')


def _batches(spools: list[_Spool]) -> Iterator[pa.RecordBatch]:
    """Yield all rows that have a target, in types that differ from batch to batch."""
    for spool in spools:
        with pa.OSFile(str(spool.path)) as source:
            size = source.size()
            while source.tell() < size:
                with pa.ipc.open_stream(source) as reader:
                    yield from reader


def _merged_summaries(
    spools: list[_Spool], kinds: Mapping[str, Kind], request: TrainingRequest
) -> dict[str, ColumnSummary]:
    if len(spools) == 1:
        return spools[0].summaries
    summaries = _summaries(kinds, request)
    for spool in spools:
        for name, summary in summaries.items():
            summary.merge(spool.summaries[name])
    return summaries


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


def _left_open(request: TrainingRequest) -> list[str]:
    """Return which choices the request leaves to the data: `problem`, `metric`."""
    problem = ["problem"] if len(request.fitting_problems()) > 1 else []
    return [*problem, *(["metric"] if request.metric is None else [])]


def _check_mixed_types(spools: list[_Spool], summaries: Mapping[str, ColumnSummary]) -> None:
    """Refuse texts among numbers, which CSV cannot tell apart; a text column of a Parquet file is meant as it is."""
    if any(not spool.name.endswith(".parquet") for spool in spools):
        messages = [message for summary in summaries.values() if (message := mixed_types(summary))]
        if messages:
            raise InvalidDatasetError(first_few(messages, " "))


def _assign_columns(
    summaries: Mapping[str, ColumnSummary], request: TrainingRequest, parts_seen: set[str]
) -> list[_Column]:
    columns = []
    for name, summary in summaries.items():
        role, reason = infer_role(summary)
        if name == request.target:
            columns.append(_Column(summary, role, "target", None, _target_type(summary, request)))
        elif parts_seen and name == request.split_column:
            columns.append(_Column(summary, role, "split", None, None))
        elif reason is not None:
            columns.append(_Column(summary, role, "dropped", reason, None))
        else:
            columns.append(_Column(summary, role, "feature", None, feature_type(summary, role)))
    if not any(column.use == "feature" for column in columns):
        dropped = first_few((f'"{c.summary.name}": {c.reason}' for c in columns if c.use == "dropped"), "; ")
        raise InvalidDatasetError(f"No column is left to train on ({dropped or 'there is no other column'}).")
    return columns


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


class _PartWriter:
    """Writes one part as Parquet, in row groups of a size that reads fast."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        text = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        # Dictionaries pay for texts; numbers of many different values only lose time to them.
        self._writer = pq.ParquetWriter(path, schema, use_dictionary=text, compression="lz4", write_page_checksum=True)
        self._schema = schema
        self._row_group_rows = max(1024, ROW_GROUP_VALUES // len(schema))
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._pending_rows >= self._row_group_rows:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._pending, self._pending_rows = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pending and exception[0] is None:
            self._flush()
        self._writer.close()


def _write_parts(
    spools: list[_Spool],
    kinds: Mapping[str, Kind],
    columns: list[_Column],
    splitter: Splitter,
    request: TrainingRequest,
    workspace: Path,
) -> tuple[dict[str, int], dict[str, set[Any]]]:
    """Write both parts and return the rows and the classes in each."""
    kept = [column for column in columns if column.type is not None]
    # Whoever loads a part compares it with the profile's: both are of one reading of the data set.
    of_reading = {FINGERPRINT: _fingerprint(spools)}
    schema = pa.schema([(column.summary.name, column.type) for column in kept], metadata=of_reading)
    classes: dict[str, set[Any]] = {part: set() for part in PARTS}
    with _part_writers(workspace, schema) as writers:
        for batch in _batches(spools):
            test = splitter.test_mask(batch)
            converted = pa.RecordBatch.from_arrays(
                [_convert(batch[column.summary.name], column) for column in kept], schema=schema
            )
            for part, mask in (("train", ~test), ("test", test)):
                writers[part].write(converted.filter(pa.array(mask)))
                if request.problem == "classification":
                    labels = pc.unique(batch[request.target].filter(pa.array(mask)))
                    classes[part].update(pc.cast(labels, ARROW_TYPES[kinds[request.target]]).to_pylist())
    return {part: writers[part].rows for part in PARTS}, classes


@contextmanager
def _part_writers(workspace: Path, schema: pa.Schema) -> Iterator[dict[str, _PartWriter]]:
    with ExitStack() as stack:
        yield {part: stack.enter_context(_PartWriter(workspace / f"{part}.parquet", schema)) for part in PARTS}


def _splitter(spools: list[_Spool], target: ColumnSummary, request: TrainingRequest) -> Splitter:
    labels = None
    if request.problem == "classification" and target.counts is not None:
        type_ = ARROW_TYPES[target.kind]
        labels = [(pa.scalar(label, type_), rows) for label, rows in sorted(target.counts.items())]
    return Splitter(spools[0].split, [spool.codes for spool in spools], labels, request)


def _split_document(
    split: Split, splitter: Splitter, kinds: Mapping[str, Kind], rows: Mapping[str, int]
) -> dict[str, Any]:
    """Return what the profile says of the split, and how the next run inherits it."""
    document = {
        **split.document(),
        "test_share": rows["test"] / (rows["train"] + rows["test"]),
        "test_part": f"{splitter.test_part:016x}",
    }
    if splitter.first_time is not None:
        document["first_time"] = time_of(splitter.first_time, is_time=kinds[split.columns[0]] == "timestamp")
    return document


def _convert(column: pa.Array, kept: _Column) -> pa.Array:
    if kept.use == "feature" or pa.types.is_dictionary(kept.type):
        return to_part(column, kept.type)
    # A target keeps its digits; the nearest float stands for a whole number that has more of them.
    return pc.cast(column, kept.type, safe=not pa.types.is_floating(kept.type))


def _check_parts(rows: Mapping[str, int], classes: Mapping[str, set[Any]], request: TrainingRequest) -> None:
    way_out = (
        f'mark more rows in "{request.split_column}"'
        if request.split_column
        else "change test_fraction or bring more rows"
    )
    for part in PARTS:
        if rows[part] < 2:
            raise InvalidDatasetError(
                f"The split leaves {rows[part]} rows to the {part} part; at least 2 are needed: {way_out}."
            )
    if request.problem == "classification" and len(classes["train"]) < 2:
        raise InvalidDatasetError(f"The training part has one class only: {way_out}.")


def _fingerprint(spools: list[_Spool]) -> str:
    """Return one SHA-256 for the data set: of its files' digests, in order, whatever the files are called."""
    return hashlib.sha256("".join(str(spool.fingerprint["sha256"]) for spool in spools).encode()).hexdigest()


def _class_counts(target: ColumnSummary) -> list[dict[str, Any]]:
    return [{"label": label, "rows": rows} for label, rows in sorted((target.counts or {}).items())]


def _describe(column: _Column, spools: list[_Spool]) -> dict[str, Any]:
    summary = column.summary
    described: dict[str, Any] = {
        "name": summary.name,
        "role": column.role,
        "use": column.use,
        "kind": summary.kind,
        "dtype": None if column.type is None else dtype_name(column.type),
        "nulls": summary.nulls,
        "infinities": sum(spool.infinities.get(summary.name, 0) for spool in spools),
        **statistics(summary),
    }
    if column.use == "feature" and (by := splits_by(summary, column.role)):
        described["splits_by"] = by
    return described | ({"reason": column.reason} if column.reason else {})
