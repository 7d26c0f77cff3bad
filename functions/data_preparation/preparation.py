"""Turns the files of a data set into a training part, a test part and a profile.

Two passes, each over record batches, so that memory does not grow with the files: read (whatever the format, into a
spool file of typed batches, with a summary of each column), and write (drop, convert, split).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from common.conversion import dtype_name
from common.distributions import Bounds, RowSample
from common.errors import InvalidDatasetError
from common.request import TrainingRequest
from common.storage import disk_errors
from data_preparation.column_checks import common_kinds
from data_preparation.columns import MAX_READINGS, merged
from data_preparation.decisions import Decision
from data_preparation.doubts import doubts_of, told_of_free_text, told_of_missing
from data_preparation.findings import Findings, PartColumn, findings
from data_preparation.formats import EmptyFileError
from data_preparation.notation import ARROW_TYPES, Kind
from data_preparation.parts import (
    LEFT_OUT,
    Drawn,
    check_parts,
    chosen_rows,
    labels_of,
    part_schemas,
    part_writers,
    parted,
)
from data_preparation.profiling import (
    ColumnSummary,
    distribution,
    splits_by,
    statistics,
)
from data_preparation.reading import SourceFile
from data_preparation.row_codes import RowCodes, time_of
from data_preparation.scanning import First, Reading, Scan, inherited, scan_file, summaries_of
from data_preparation.splitting import MAX_TEST_ROWS, PARTS, Split, Splitter, TrainingSample

MAX_TOLD = 100
"""How many sentences about its files a profile holds."""


@dataclass(frozen=True)
class PreparedData:
    """The two parts as Parquet files, the profile that describes them, and the request with its open choices made."""

    train: Path
    test: Path
    profile: dict[str, Any]
    request: TrainingRequest


@dataclass(frozen=True)
class _Spool:
    """The typed batches of one source file on disk, and what they have told."""

    path: Path
    scan: Scan
    summaries: dict[str, ColumnSummary]
    narrow: frozenset[str]
    """The columns of which floats were rounded to float32, or texts left out."""
    codes: RowCodes


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
            "used": sum(drawn.rows.values()),
            "dropped": found.rows_in - found.rows_used,
            **drawn.rows,
            LEFT_OUT: found.rows_used - sum(drawn.rows.values()),
        },
        "dropped_rows": {f"missing or infinite {_needed(request)}": found.rows_in - found.rows_used},
        "read": _read_document(scans, reading, request, drawn, found.rows_used),
        "split": _split_document(scans[0].split, drawn, found),
        "classes": _class_counts(found, drawn) if request.problem == "classification" else None,
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
    summaries = summaries_of(kinds, list(kinds), request, {})
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


def told_of_training_part(request: TrainingRequest, drawn: Drawn, rows: int) -> Iterator[str]:
    """Yield that the training part holds a share of the rows, as the request says."""
    if request.training_fraction < 1:
        yield (
            f"The training part holds {drawn.rows['train']:,} of {rows - drawn.rows['test']:,} rows, drawn by "
            f"training_fraction {request.training_fraction:g}: the others are neither trained nor tested on."
        )


def _read_document(
    scans: Sequence[Scan], reading: Reading, request: TrainingRequest, drawn: Drawn, rows: int
) -> dict[str, Any]:
    """Return what the profile says of how the files were read, and what was told of it."""
    told = [
        *told_of_training_part(request, drawn, rows),
        *told_of_test_part(request, rows),
        *reading.told,
        *(sentence for scan in scans for sentence in scan.told),
    ]
    options = request.read.model_dump(exclude_defaults=True)
    kinds = {name: kind for name, kind in request.columns.items() if kind != "ignore"}
    return {
        "options": options,
        "columns": kinds,
        "dialect": scans[0].dialect,
        "told": list(dict.fromkeys(told))[:MAX_TOLD],
    }


def _write_parts(
    spools: Sequence[_Spool], found: Findings, splitter: Splitter, workspace: Path, sample: RowSample
) -> Drawn:
    """Write both parts, show the rows of training to the sample, and return how many and what each part holds."""
    scans = [spool.scan for spool in spools]
    schemas = part_schemas(found, fingerprint_of(scans), scans[0].split)
    classes = {part: Counter[Any]() for part in (*PARTS, LEFT_OUT)}
    sampled = TrainingSample(found.request)
    with part_writers(workspace, schemas) as writers:
        for batch in _batches(spools):
            chosen = chosen_rows(splitter.test_mask(batch), sampled(batch.num_rows))
            for part, rows in parted(batch, chosen, splitter.order, found, schemas).items():
                if part == "train":
                    sample.add(rows)
                writers[part].write(rows)
            for part, labels in labels_of(batch, chosen, found).items():
                classes[part].update(labels)
    rows = {part: writers[part].rows for part in PARTS}
    return Drawn(rows, classes, splitter.test_part, splitter.first_time)


def splitter_of(split: Split, codes: Sequence[RowCodes], found: Findings) -> Splitter:
    """Return what splits the rows of which these are the codes."""
    labels, target = None, found.target
    if found.request.problem == "classification" and target.counts is not None:
        type_ = ARROW_TYPES[target.kind]
        labels = [(pa.scalar(label, type_), rows) for label, rows in sorted(target.counts.items())]
    return Splitter(split, codes, labels, found.request)


def _split_document(split: Split, drawn: Drawn, found: Findings) -> dict[str, Any]:
    """Return what the profile says of the split, and how the next run inherits it."""
    document = {
        **split.document(),
        "test_share": drawn.rows["test"] / found.rows_used,
        "test_part": f"{drawn.test_part:016x}",
    }
    if drawn.first_time is not None:
        document["first_time"] = time_of(drawn.first_time, is_time=found.kinds[split.columns[0]] == "timestamp")
    return document


def fingerprint_of(scans: Sequence[Scan]) -> str:
    """Return one SHA-256 for the data set: of its files' digests, in order, whatever the files are called."""
    return hashlib.sha256("".join(str(scan.fingerprint["sha256"]) for scan in scans).encode()).hexdigest()


def _class_counts(found: Findings, drawn: Drawn) -> list[dict[str, Any]]:
    """Return how many rows each class has, and where not all are trained on, of how many the training part is."""
    trained = drawn.classes["train"] if found.request.training_fraction < 1 else None
    return [
        {"label": label, "rows": rows} | ({} if trained is None else {"trained": trained.get(label, 0)})
        for label, rows in sorted((found.target.counts or {}).items())
    ]


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
