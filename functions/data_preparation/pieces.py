"""Preparation in pieces: each scanned, what they told merged, each written, and the parts put together.

Other calls of the function do the same as `preparation.prepare` does in one, with the same code, on the same files in
the same order, and come to the same rows, the same split and the same profile, byte for byte. What one of them has
found out another one reads from a document (`documents`).
"""

from __future__ import annotations

import copy
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from common.distributions import Bounds, RowSample
from common.errors import InvalidDatasetError
from common.hashing import Hashes
from common.request import TrainingRequest
from data_preparation.columns import MAX_READINGS, Columns, Wishes
from data_preparation.doubts import told_of_last_row
from data_preparation.findings import Findings, findings
from data_preparation.formats import EmptyFileError
from data_preparation.notation import Kind
from data_preparation.parts import (
    LEFT_OUT,
    Drawn,
    PartWriter,
    check_parts,
    chosen_rows,
    labels_of,
    part_schemas,
    parted,
)
from data_preparation.preparation import never_settled, nothing_read, profile_of, settled, splitter_of, told_of_empty
from data_preparation.profiling import ColumnSummary, Moments
from data_preparation.reading import SourceFile, open_table
from data_preparation.scanning import (
    First,
    Reading,
    Scan,
    check_split,
    codes_of,
    inherited,
    left_out_of,
    scan_file,
    scan_once,
    usable_rows,
    wanted,
    with_all,
    with_offsets,
)
from data_preparation.splitting import (
    BUCKET_ROWS,
    PARTS,
    Booleans,
    Occurrences,
    Split,
    TrainingSample,
    choose_split,
    limit_of,
    said_to_test,
    test_share,
)

EXACT_ROWS = 100_000_000
"""Up to so many rows each class has its exact share of test rows, and equal rows are counted over the whole data set:
their codes (2.4 GB at most) lie on the disk of one function. Beyond, a row is a test row if its hash is below the share
of all hashes, which is off by a ten-thousandth of it, and equal rows are counted within a batch."""
PIECE_CODES = "codes"
_MASK_ROWS = BUCKET_ROWS


@dataclass
class Round:
    """What holds for all pieces while a data set is read once.

    Attributes
    ----------
    number
        How often it was read before.
    request
        With columns named as in the files.
    champion
        `version`, `target` and `split` of the champion's run, or None.
    first
        The first file that has rows.
    decided, names
        What all files together have told (`scanning.Reading`).
    """

    number: int
    request: TrainingRequest
    champion: Mapping[str, Any] | None
    first: First
    decided: Mapping[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    cut: dict[str, Columns] = field(default_factory=dict)
    """What the columns of each file that is cut are taken for, so far."""

    def reading(self, workspace: Path) -> Reading:
        """Return it as files are read with it."""
        return Reading(self.request, workspace, self.champion, decided=dict(self.decided), names=list(self.names))

    def document(self) -> dict[str, Any]:
        """Return it as `documents.packed` takes it."""
        return dict(vars(self))


@dataclass
class PieceScan:
    """What the rows of one piece have told.

    Attributes
    ----------
    scans
        Of its files.
    told
        What is told of files that are no scans, for they have no rows.
    empty
        The first reason for that.
    summaries
        Of each column over all files of the piece; None where they have it in kinds that do not go together.
    moments
        Of each column those of each file, for they are merged in the order of all files.
    rows, hashes
        How many rows have a target, and the sum of their hashes modulo 2^64: whoever reads them again, finds the same.
    """

    scans: list[Scan] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    empty: str | None = None
    summaries: dict[str, ColumnSummary | None] = field(default_factory=dict)
    moments: dict[str, list[Moments]] = field(default_factory=dict)
    rows: int = 0
    hashes: int = 0
    part: bool | None = None
    """Of a part of a file, whether it is the last one; None of whole files."""
    fingerprint: dict[str, str | int] | None = None
    """Of a file that is cut, which is told before its parts."""
    begins: list[int] = field(default_factory=list)
    """Of all pieces together, how many rows that have a target come before each."""

    def document(self) -> dict[str, Any]:
        """Return it as `documents.packed` takes it."""
        return dict(vars(self))

    def add(self, other: PieceScan, request: TrainingRequest) -> None:
        """Take in what comes behind it."""
        self.scans += other.scans
        self.told += other.told
        self.empty = self.empty or other.empty
        for name, summary in other.summaries.items():
            self.summaries[name] = _joined(self.summaries.get(name, _NONE), summary, request)
            self.moments.setdefault(name, []).extend(other.moments[name])
        self.rows += other.rows
        self.hashes = (self.hashes + other.hashes) % 2**64


_NONE = ColumnSummary("", "null")


def _moments(summary: ColumnSummary) -> list[Moments]:
    return [summary.moments] if summary.kind in ("integer", "float") and summary.values else []


def _joined(known: ColumnSummary | None, new: ColumnSummary | None, request: TrainingRequest) -> ColumnSummary | None:
    """Return the summary of a column over two sets of rows; None where their kinds do not go together."""
    if known is None or new is None or known is _NONE:
        return new if known is _NONE else None
    kinds = {known.kind, new.kind} - {"null"}
    if len(kinds) > 1 and kinds != {"integer", "float"}:
        return None
    kind: Kind = "float" if len(kinds) > 1 else next(iter(kinds), "null")
    if kind != known.kind:
        known = summary_over([known], kind, request)
    known.merge(new)
    return known


def summary_over(summaries: Iterable[ColumnSummary], kind: Kind, request: TrainingRequest) -> ColumnSummary:
    """Return the summary of a column over several sets of rows, of a kind in which all of theirs hold."""
    first, *others = summaries
    counted = first.name in (request.target, request.split_column)
    merged = ColumnSummary.of(first.name, kind, count_values=counted)
    for each in (first, *others):
        merged.merge(each)
    return merged


def first_file(files: Iterable[SourceFile], request: TrainingRequest, champion: Any, workspace: Path) -> Round:
    """Return what holds for all pieces at first: the columns of the first file that has rows, and so the split.

    Raises
    ------
    InvalidDatasetError
        If no file has any, or the first one lacks a column that the request names.
    """
    reading, empty = Reading(request, workspace, champion), list[EmptyFileError]()
    for file in files:
        try:
            with open_table(file, request.read, workspace) as table:
                names = wanted(file.name, table, reading, None)
                columns = Columns(Wishes.of_request(reading.request))
                has_rows = any(batch.num_rows for batch in table.batches(columns, names, encode_texts=True))
        except EmptyFileError as error:
            empty.append(error)
            continue
        if not has_rows:
            empty.append(EmptyFileError(f'"{file.name}" has a header but no rows.'))
            continue
        split = choose_split(reading.request, names, champion)
        check_split(split)
        return Round(0, reading.request, champion, First(file.name, tuple(names), split))
    raise nothing_read(empty)


def scan_piece(files: Iterable[SourceFile], round_: Round, workspace: Path) -> PieceScan:
    """Read the files of a piece, and write the codes of their rows to `codes` in the workspace.

    Raises
    ------
    InvalidDatasetError
        If a file cannot be read, or has other columns than the first one.
    """
    piece, reading = PieceScan(), round_.reading(workspace)
    with (workspace / PIECE_CODES).open("wb") as all_codes:
        for file in files:
            try:
                scan, summaries, _, codes = scan_file(file, reading, round_.first, workspace / "file.codes")
            except EmptyFileError as error:
                piece.told.append(told_of_empty(file.name))
                piece.empty = piece.empty or str(error)
                continue
            hashes = sum(int(each[:, 0].sum(dtype=np.uint64)) for each in codes.chunks())
            with (workspace / "file.codes").open("rb") as source:
                shutil.copyfileobj(source, all_codes)
            moments = {name: _moments(each) for name, each in summaries.items()}
            found = PieceScan([scan], [], None, dict(summaries), moments, codes.rows, hashes % 2**64)
            piece.add(found, round_.request)
            codes.delete()
    return piece


def scan_part(file: SourceFile, round_: Round, workspace: Path) -> PieceScan:
    """Read a part of a file once, and write the codes of its rows to `codes` in the workspace.

    Whether it is to be read again, all parts together tell.

    Raises
    ------
    InvalidDatasetError
        If it cannot be read, or ends within a row.
    """
    reading = round_.reading(workspace)
    with open_table(file, reading.request.read, workspace) as table:
        names = wanted(file.name, table, reading, round_.first)
        columns = columns_of(file, round_, reading)
        codes = codes_of(workspace / PIECE_CODES, round_.first.split, reading.request, names)
        rows, infinities, summaries, _ = scan_once(
            table, names, columns, reading, round_.first.split, codes, None, is_traced=True
        )
        is_first, is_last = file.segment is None or file.segment.is_first, file.segment is None or file.segment.is_last
        told = (*(table.told if is_first else ()), *table.told_of_rows)
        left_out = left_out_of(table, reading)
        split = round_.first.split
        scan = Scan(file.name, tuple(names), columns, table.dialect, told, left_out, rows, infinities, {}, split)
    hashes = sum(int(each[:, 0].sum(dtype=np.uint64)) for each in codes.chunks())
    traces = {name: each.trace or [] for name, each in summaries.items()}
    for each in summaries.values():
        each.trace = None
    return PieceScan([scan], [], None, dict(summaries), traces, codes.rows, hashes % 2**64, is_last)


def columns_of(file: SourceFile, round_: Round, reading: Reading) -> Columns:
    """Return what the columns of a file that is cut are taken for."""
    wishes = Wishes.of_request(reading.request)
    known = round_.cut.get(file.name)
    # Each part changes its own.
    return Columns(wishes, reading.decided) if known is None else copy.deepcopy(known).adopt(wishes, reading.decided)


def _file_of(
    parts: Sequence[PieceScan], fingerprint: Mapping[str, Any], reading: Reading
) -> tuple[PieceScan, Columns, bool]:
    """Return what all parts of a file have told, what its columns are, and whether that is settled."""
    scans = [each.scans[0] for each in parts]
    adopted(scans, reading)
    columns = copy.deepcopy(scans[0].columns)
    for scan in scans[1:]:
        columns.follow(scan.columns)
    is_settled = columns.end()
    infinities = Counter[str]()
    for scan in scans:
        infinities.update(scan.infinities)
    rows = sum(scan.rows for scan in scans)
    scan = replace(scans[0], columns=columns, rows=rows, infinities=dict(infinities), fingerprint=dict(fingerprint))
    if is_settled and not rows:
        reason = f'"{scan.name}" has a header but no rows.'
        return PieceScan(told=[told_of_empty(scan.name)], empty=reason), columns, True
    whole = PieceScan([scan])
    if not is_settled:
        return whole, columns, False
    last = dict[str, float]()
    for part in parts:
        last |= {name: each.last for name, each in part.summaries.items() if each is not None and each.values}
        whole.add(replace(part, scans=[]), reading.request)
    for name, summary in whole.summaries.items():
        if summary is None:
            return whole, columns, False
        summary.replay(whole.moments[name])
        summary.last = last.get(name, 0.0)
        whole.moments[name] = _moments(summary)
    known = {name: each for name, each in whole.summaries.items() if each is not None}
    told = (*dict.fromkeys(sentence for each in scans for sentence in each.told), *columns.told)
    whole.scans = [replace(scan, told=(*told, *told_of_last_row(scan.name, known)))]
    return whole, columns, True


def merge_scans(pieces: Iterable[PieceScan], round_: Round) -> tuple[Round | None, PieceScan, Reading]:
    """Take together what all pieces have told.

    Parameters
    ----------
    pieces
        In order; each is done with before the next one is asked for.
    round_
        That they were read in.

    Returns
    -------
    again, whole, reading
        What the pieces are to be read with once more, None if they need not; what all of them told; and with what they
        were read.

    Raises
    ------
    InvalidDatasetError
        If there are no rows, or the files are read again and again.
    """
    reading = round_.reading(Path())
    whole, cut, is_settled = _over_files(pieces, reading)
    if not is_settled:
        _check_round(round_)
        return replace(round_, number=round_.number + 1, cut=cut), whole, reading
    if not whole.scans:
        raise nothing_read([EmptyFileError(whole.empty)] if whole.empty else [])
    reading.told = whole.told
    adopted(whole.scans, reading)
    first = whole.scans[0]
    kinds, _ = settled(whole.scans, reading, lambda kinds: dict.fromkeys(kinds, _NONE))
    if kinds and round_.first.names == first.names:
        round_.cut = cut
        return None, whole, reading
    _check_round(round_)
    names = reading.names if reading.request.read.unite else list(first.names)
    split = choose_split(reading.request, names, round_.champion)
    again = Round(
        round_.number + 1,
        round_.request,
        round_.champion,
        First(first.name, tuple(names), split),
        reading.decided,
        reading.names,
    )
    return again, whole, reading


def _check_round(round_: Round) -> None:
    if round_.number + 1 >= MAX_READINGS:
        raise never_settled()


def _over_files(pieces: Iterable[PieceScan], reading: Reading) -> tuple[PieceScan, dict[str, Columns], bool]:
    """Return what all files have told, what the columns of those that are cut are, and whether that is settled."""
    whole, cut, is_settled, begin = PieceScan(), dict[str, Columns](), True, 0
    parts, fingerprint = list[PieceScan](), dict[str, str | int]()
    for piece in pieces:
        whole.begins.append(begin)
        begin += piece.rows
        if piece.fingerprint is not None:
            fingerprint = piece.fingerprint
        elif piece.part is None:
            whole.add(piece, reading.request)
        else:
            parts.append(piece)
            if piece.part:
                file, columns, is_known = _file_of(parts, fingerprint, reading)
                cut[parts[0].scans[0].name] = columns
                is_settled = is_settled and is_known
                parts = []
                whole.add(file, reading.request)
    return whole, cut, is_settled


def adopted(scans: Sequence[Scan], reading: Reading) -> None:
    """Give the columns of scans that come from documents what these do not repeat."""
    wishes = Wishes.of_request(reading.request)
    for scan in scans:
        scan.columns.adopt(wishes, reading.decided)


def found_in(whole: PieceScan, reading: Reading) -> Findings:
    """Return what is known of the data set, as `findings.findings` does.

    Raises
    ------
    InvalidDatasetError, InvalidRequestError
        As that.
    """

    def summarise(kinds: Mapping[str, Kind]) -> dict[str, ColumnSummary]:
        summaries = {}
        for name, kind in kinds.items():
            own = whole.summaries[name]
            if own is None:
                raise never_settled()
            summaries[name] = own if own.kind == kind else summary_over([own], kind, reading.request)
            if len(whole.scans) > 1:
                summaries[name].replay(whole.moments[name])
        return summaries

    kinds, summaries = settled(whole.scans, reading, summarise)
    return findings(whole.scans, kinds, summaries, reading)


def is_split_by_piece(split: Split, rows: int) -> bool:
    """Return whether each piece sees by itself which of its rows are test rows.

    Raises
    ------
    InvalidDatasetError
        If nobody can: the latest of so many rows are not found.
    """
    if split.by == "column":
        return True
    if rows > EXACT_ROWS and split.by == "time":
        raise InvalidDatasetError(
            f"{rows:,} rows are more than the {EXACT_ROWS:,} that can be split by time: mark the test rows in a column "
            "and name it by split_column."
        )
    return rows > EXACT_ROWS


def write_masks(codes: Sequence[Path], round_: Round, found: Findings, target: Callable[[int], Path]) -> int | None:
    """Write which rows of each piece are test rows, one bit a row, and return the code of the first time of the part.

    Parameters
    ----------
    codes
        Where the codes of each piece are.
    round_, found
        How rows are split, and what is known of them.
    target
        Returns where the bits of a piece go.

    Raises
    ------
    InvalidDatasetError
        If all rows have one key or time.
    """
    split = round_.first.split
    with inherited(split):
        files = [codes_of(path, split, found.request, round_.first.names).found() for path in codes]
        splitter = splitter_of(split, files, found)
    for number, file in enumerate(files):
        taken = [splitter.next_mask(min(_MASK_ROWS, file.rows - at)) for at in range(0, file.rows, _MASK_ROWS)]
        mask = np.concatenate(taken) if taken else np.empty(0, np.bool_)
        target(number).write_bytes(np.packbits(mask).tobytes())
    return None if splitter.first_time is None else int(splitter.first_time)


@dataclass(frozen=True)
class Writing:
    """What holds for all pieces while they are written.

    Attributes
    ----------
    found
        What becomes of each column, without what only the profile tells.
    fingerprint
        Of the data set.
    split
        How rows are split.
    rows
        How many rows there are that have a target.
    by_piece
        Whether each piece sees by itself which of its rows are test rows.
    first_time
        As `splitting.Splitter` has it.
    """

    found: Findings
    fingerprint: str
    split: Split
    rows: int
    by_piece: bool
    first_time: int | None = None
    cut: dict[str, Columns] = field(default_factory=dict)
    """What the columns of each file are that is cut."""
    begins: Sequence[int] = ()
    """How many rows that have a target come before each piece."""

    def document(self) -> dict[str, Any]:
        """Return it as `documents.packed` takes it."""
        return dict(vars(self))

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """The schema of each part."""
        return part_schemas(self.found, self.fingerprint, self.split)


class PieceSplit:
    """Says which rows of a piece each part has: by what they hold, or by the bits that `write_masks` has written.

    Parameters
    ----------
    writing, number
        What holds for all pieces, and which one this is.
    bits
        Of the piece; None where each row tells.

    Attributes
    ----------
    test_part : int
        The sum of the test rows' hashes modulo 2^64.
    hashes : int
        That of all rows.
    rows : int
        How many there were.
    """

    def __init__(self, writing: Writing, number: int, bits: bytes | None) -> None:
        request = writing.found.request
        self._split, self.rows = writing.split, 0
        self._limit = limit_of(test_share(request, writing.rows))
        self._sampled = TrainingSample(request, writing.begins[number])
        self._mask = None if bits is None else np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.bool_)
        self.test_part = self.hashes = 0

    def __call__(self, batch: pa.RecordBatch, codes: Hashes) -> tuple[dict[str, Booleans], Hashes | None]:
        """Return which rows of a batch each part has, and what they are ordered by, all of shape (rows,)."""
        mask = self._of(batch, codes)
        self.rows += len(codes)
        self.hashes = (self.hashes + int(codes[:, 0].sum(dtype=np.uint64))) % 2**64
        self.test_part = (self.test_part + int(codes[mask, 0].sum(dtype=np.uint64))) % 2**64
        return chosen_rows(mask, self._sampled(len(codes))), codes[:, -1] if self._split.by in ("key", "time") else None

    def _of(self, batch: pa.RecordBatch, codes: Hashes) -> Booleans:
        if self._mask is not None:
            return self._mask[self.rows : self.rows + len(codes)]
        if self._split.by == "column":
            return said_to_test(batch[self._split.columns[0]])
        order = order_within(codes[:, 0]) if self._split.by == "rows" else codes[:, -1]
        return order <= self._limit


def order_within(hashes: Hashes) -> Hashes:
    """Return what rows are ordered by where equal ones are counted within a batch."""
    return Occurrences(np.unique(hashes))(hashes)


def for_writers(writing: Writing) -> Writing:
    """Return what writers need of it, for each of which it is read."""
    found = writing.found
    kept = [replace(each, summary=ColumnSummary(each.summary.name, each.summary.kind)) for each in found.kept]
    target = found.request.target
    short = replace(found, summaries={}, columns=kept, kinds={target: found.kinds[target]}, decisions={})
    return replace(writing, found=short)


@dataclass(frozen=True)
class Written:
    """What became of a piece's rows: how many each part has, of each class (`Drawn`), and the test rows' hashes."""

    rows: Mapping[str, int]
    classes: Mapping[str, list[tuple[Any, int]]]
    test_part: int


def write_piece(
    files: Iterable[SourceFile], piece: PieceScan, round_: Round, writing: Writing, split: PieceSplit, workspace: Path
) -> Written:
    """Write the rows of a piece as `train.arrow` and `test.arrow`, batch by batch as the single function has them.

    Parameters
    ----------
    files
        Of the piece, as they were when it was scanned.
    piece
        What that has told.
    round_, writing
        What holds for all pieces.
    split
        Which rows each part has.
    workspace
        Where to write.

    Returns
    -------
    Written
        What became of the rows.
    """
    reading = round_.reading(workspace)
    adopted(piece.scans, reading)
    for scan in piece.scans if piece.part is not None else ():
        vars(scan)["columns"] = writing.cut[scan.name].adopt(Wishes.of_request(reading.request), reading.decided)
    rows, classes = dict.fromkeys(PARTS, 0), {part: Counter[Any]() for part in (*PARTS, LEFT_OUT)}
    scans, schemas = {scan.name: scan for scan in piece.scans}, writing.schemas
    with _streams(workspace, schemas) as writers:
        for file in (each for each in files if each.name in scans):
            for batch, codes in _rows_again(file, scans[file.name], round_, workspace):
                chosen, order = split(batch, codes)
                for part, taken in parted(batch, chosen, order, writing.found, schemas).items():
                    writers[part].write_batch(taken)
                    rows[part] += taken.num_rows
                for part, labels in labels_of(batch, chosen, writing.found).items():
                    classes[part].update(labels)
    if (split.hashes, split.rows) != (piece.hashes, piece.rows):
        # Not a mistake of whoever brings data: the files are the same.
        raise RuntimeError("the rows of a piece were read otherwise than before")
    return Written(rows, {part: sorted(labels.items()) for part, labels in classes.items()}, split.test_part)


def _rows_again(
    file: SourceFile, scan: Scan, round_: Round, workspace: Path
) -> Iterator[tuple[pa.RecordBatch, Hashes]]:
    """Yield the rows of a file that have a target, in the batches that they were scanned in, and their codes."""
    request, infinities = round_.request, dict[str, int]()
    codes = codes_of(workspace / "file.codes", round_.first.split, request, scan.names)
    with open_table(file, request.read, workspace) as table:
        for batch in table.batches(scan.columns, scan.names, encode_texts=True):
            usable = usable_rows(with_all(batch, scan.names, scan.columns), request, infinities)
            with inherited(round_.first.split):
                yield usable, codes.of(with_offsets(usable, scan.columns))


@contextmanager
def _streams(workspace: Path, schemas: Mapping[str, pa.Schema]) -> Iterator[dict[str, pa.ipc.RecordBatchStreamWriter]]:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        sinks = {part: stack.enter_context(pa.OSFile(str(workspace / f"{part}.arrow"), "wb")) for part in PARTS}
        yield {
            part: stack.enter_context(pa.ipc.new_stream(sinks[part], schemas[part], options=options)) for part in PARTS
        }


def put_together(streams: Iterable[Path], schema: pa.Schema, sink: Any, sample: RowSample | None) -> int:
    """Write one part of all pieces as one Parquet file, as the single function would have, and return its rows.

    Parameters
    ----------
    streams
        What `write_piece` has written of the part, in the order of the pieces; each is done with before the next.
    schema
        Of the part.
    sink
        What the file is written to.
    sample
        Is shown all rows, if given.
    """
    with PartWriter(sink, schema) as writer:
        for stream in streams:
            with pa.OSFile(str(stream)) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    if sample is not None:
                        sample.add(batch)
                    writer.write(batch)
    return writer.rows


def sample_of(found: Findings) -> RowSample:
    """Return what draws the rows that the profile's distributions are made of."""
    return RowSample(found.watched, Bounds.of(len(found.watched)).rows)


def whole_profile(
    whole: PieceScan, reading: Reading, writing: Writing, written: Sequence[Written], sample: RowSample
) -> dict[str, Any]:
    """Return the profile of the data set, as `preparation.profile_of` does.

    Raises
    ------
    InvalidDatasetError
        As that.
    """
    return profile_of(whole.scans, writing.found, drawn_of(writing, written), reading, sample)


def drawn_of(writing: Writing, written: Sequence[Written]) -> Drawn:
    """Return how the rows of all pieces were split.

    Raises
    ------
    InvalidDatasetError
        If the split leaves too few rows, or a single class, to a part.
    """
    rows = {part: sum(each.rows[part] for each in written) for part in PARTS}
    classes = {part: Counter[Any]() for part in (*PARTS, LEFT_OUT)}
    for each, part in itertools.product(written, classes):
        classes[part].update(dict(each.classes[part]))
    test_part = sum(each.test_part for each in written) % 2**64
    first = None if writing.first_time is None else np.uint64(writing.first_time)
    drawn = Drawn(rows, classes, test_part, first)
    check_parts(drawn, writing.found.request)
    return drawn
