"""The calls of data preparation in pieces, and what they hand over to each other on S3, where it is kept for days.

Payloads hold the folder and numbers alone, however many pieces there are. What a call writes follows from what it
reads, so that one that is repeated finds what it was about to write.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.capacity import seconds_left
from common.errors import InvalidDatasetError, TooLargeForFunctionError
from common.request import parse_request
from common.storage import (
    Stored,
    describe_files,
    download,
    new_call,
    new_folder,
    open_upload,
    pinned,
    read_bytes,
    upload,
    workspace,
    write_bytes,
    write_json,
)
from data_preparation import pieces
from data_preparation.documents import packed, unpacked
from data_preparation.file_parts import part_of
from data_preparation.object_ranges import copy_range
from data_preparation.objects import Downloads, SourceObject, list_objects
from data_preparation.piece_plan import (
    EVENTS_OF_PIECE,
    MOST_EVENTS,
    Piece,
    check_finish,
    check_pieces,
    cut,
    room_of,
)
from data_preparation.pieces import PieceScan, Round, Writing, Written
from data_preparation.preparation import fingerprint_of, never_settled
from data_preparation.reading import SourceFile
from data_preparation.results import inherited_split, profile_with, result_of
from data_preparation.row_groups import fetch_groups, groups_of
from data_preparation.splitting import PARTS, kept_rows

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from mypy_boto3_s3 import S3Client

_THREADS = 8
MOST_DOCUMENT_BYTES = 1 << 30
"""How many bytes all pieces may have to tell together, packed: one function reads them."""


class Handed:
    """What the calls hand over to each other.

    Parameters
    ----------
    s3
        A client.
    folder
        Of the call that has planned the pieces.
    """

    def __init__(self, s3: S3Client, folder: str) -> None:
        self.s3, self.folder = s3, folder

    def uri(self, name: str) -> str:
        """Return where something is."""
        return f"{self.folder}/{name}"

    def put(self, name: str, value: Any) -> int:
        """Write a value, and return how many bytes it has taken."""
        content = packed(value)
        write_bytes(self.s3, content, self.uri(name), "application/gzip")
        return len(content)

    def get(self, name: str) -> Any:
        """Return a value that was written."""
        return unpacked(read_bytes(self.s3, Stored(self.uri(name))))

    def fetch(self, name: str, path: Path) -> Path:
        """Copy a file that was written to a path, and return the path."""
        return download(self.s3, Stored(self.uri(name)), path)

    def scan(self, round_number: int, piece: int) -> PieceScan:
        """Return what a piece has told in a round."""
        return PieceScan(**self.get(f"scan-{round_number}-{piece:04}"))

    def round(self, number: int) -> Round:
        """Return what holds for all pieces in a round."""
        return Round(**self.get(f"round-{number}"))

    def piece(self, number: int) -> Piece:
        """Return what a piece is."""
        return Piece.of_document(self.get(f"piece-{number:04}"))

    def files(self, piece: Piece, folder: Path) -> Iterator[SourceFile]:
        """Yield the files of a piece, or the part of a file, each until the next one is asked for."""
        if piece.is_fingerprint:
            return
        if piece.begin is None or piece.end is None:
            yield from Downloads(self.s3, piece.objects, folder)
            return
        (source,) = piece.objects
        if piece.groups is not None:
            groups = fetch_groups(self.s3, source, range(*piece.groups), folder)
            yield SourceFile(source.name, folder / "groups", groups)
            return
        copy = partial(copy_range, self.s3, source)
        yield part_of(source.name, source.size, piece.begin, piece.end, copy, folder)


def plan_pieces(s3: S3Client, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """List a data set, cut it into pieces, and find out what all of them have in common.

    Parameters
    ----------
    s3
        A client.
    event
        `run_id`, `request` and `champion`, as the single function gets them.
    context
        Of the call.

    Returns
    -------
    dict
        `folder`, where all else is handed over; the `count` of pieces; and the `round` in which they are to be scanned.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError
        If the request cannot be used, there are no rows, or an object fits no piece.
    """
    request = parse_request(event["request"])
    handed = Handed(s3, f"s3://{os.environ['ARTIFACT_BUCKET']}/pieces/{event['run_id']}/{new_call()}")
    with workspace() as folder:
        listing = list_objects(s3, request.dataset_uri)
        planned = cut(listing.objects, room_of(folder, context), partial(groups_of, s3))
        check_pieces(planned, folder, context)
        champion = inherited_split(event.get("champion"))
        # Of a file that is cut, the first part is as good as the whole.
        files = (file for piece in planned if piece.begins_object for file in handed.files(piece, folder))
        round_ = pieces.first_file(files, request, champion, folder)
    contents: dict[str, Any] = {"ignored": listing.ignored, "round-0": round_.document()}
    for number, piece in enumerate(planned):
        contents[f"piece-{number:04}"] = piece.document()
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda name: handed.put(name, contents[name]), contents))
    return {"folder": handed.folder, "count": len(planned), "round": 0, "again": False}


def scan_piece(s3: S3Client, event: Mapping[str, Any]) -> None:
    """Read a piece, and hand over what it tells.

    Parameters
    ----------
    s3
        A client.
    event
        `pieces`, as `plan_pieces` or `merge_scans` returns it, and the number of the `piece`.
    """
    handed, number, piece = _of(s3, event)
    with workspace() as folder:
        scan = _scanned(handed, handed.piece(piece), handed.round(number), folder)
        upload(s3, folder / pieces.PIECE_CODES, handed.uri(f"codes-{number}-{piece:04}"))
        handed.put(f"scan-{number}-{piece:04}", scan.document())


def _scanned(handed: Handed, piece: Piece, round_: Round, folder: Path) -> PieceScan:
    if piece.is_fingerprint:
        (folder / pieces.PIECE_CODES).touch()
        return PieceScan(fingerprint=_fingerprint(handed.s3, piece.objects[0]))
    files = handed.files(piece, folder)
    if piece.begin is None:
        return pieces.scan_piece(files, round_, folder)
    return pieces.scan_part(next(files), round_, folder)


def _fingerprint(s3: S3Client, source: SourceObject) -> dict[str, str | int]:
    """Return name, size and SHA-256 of an object, as `SourceFile.fingerprint` does, of which nothing is kept."""
    digest = Digest()
    copy_range(s3, source, 0, source.size, digest)
    return {"name": source.name, "bytes": source.size, "sha256": digest.value.hexdigest()}


class Digest(io.RawIOBase):
    """Takes the SHA-256 of what is written to it."""

    def __init__(self) -> None:
        self.value = hashlib.sha256()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, content: ReadableBuffer) -> int:
        """Take in some more bytes."""
        self.value.update(content)
        return memoryview(content).nbytes


def merge_scans(s3: S3Client, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Take together what pieces have told: they are scanned once more, or written.

    Parameters
    ----------
    s3
        A client.
    event
        `pieces`, as `plan_pieces` or this returns it.
    context
        Of the call.

    Returns
    -------
    dict
        `pieces` of the event, with the next `round` and `again`, whether they are to be scanned.

    Raises
    ------
    InvalidDatasetError, InvalidRequestError
        If the data cannot be used, or nobody could put the parts together.
    """
    seconds = seconds_left(context)
    planned = dict(event["pieces"])
    handed, number, count = Handed(s3, planned["folder"]), planned["round"], planned["count"]
    round_ = handed.round(number)
    again, whole, reading = pieces.merge_scans(_scans(handed, number, count), round_)
    if again is not None:
        # Those of scans until now, of the next one, and of writing.
        if (number + 3) * count * EVENTS_OF_PIECE > MOST_EVENTS:
            raise never_settled()
        handed.put(f"round-{again.number}", again.document())
        return {**planned, "round": again.number, "again": True}
    found = pieces.found_in(whole, reading)
    # What a task has the time for, one is started for when it comes to that.
    with suppress(TooLargeForFunctionError):
        rows = kept_rows(round_.first.split, found.request, found.rows_used)
        check_finish(rows, len(found.kept), found.request.compute, seconds)
    split = round_.first.split
    by_piece = pieces.is_split_by_piece(split, whole.rows)
    with workspace() as folder:
        first_time = (
            None
            if by_piece
            else _write_masks(handed, number, count, partial(pieces.write_masks, round_=round_, found=found), folder)
        )
    writing = Writing(
        found, fingerprint_of(whole.scans), split, whole.rows, by_piece, first_time, round_.cut, whole.begins
    )
    handed.put("merged", {"whole": whole.document(), "writing": writing.document()})
    handed.put("writing", pieces.for_writers(writing).document())
    return {**planned, "again": False}


def _scans(handed: Handed, number: int, count: int) -> Iterator[PieceScan]:
    """Yield what all pieces have told, a few read ahead."""
    size = 0
    with ThreadPoolExecutor(_THREADS) as threads:
        for at in range(0, count, _THREADS):
            names = [f"scan-{number}-{piece:04}" for piece in range(at, min(count, at + _THREADS))]
            for content in threads.map(lambda name: read_bytes(handed.s3, Stored(handed.uri(name))), names):
                size += len(content)
                if size > MOST_DOCUMENT_BYTES:
                    raise InvalidDatasetError(
                        "The data set has so many files and columns that what is known of them does not fit a "
                        "function: write it as fewer files, of about a GB each."
                    )
                yield PieceScan(**unpacked(content))


def _write_masks(handed: Handed, number: int, count: int, write: Callable[..., int | None], folder: Path) -> int | None:
    names = [f"codes-{number}-{piece:04}" for piece in range(count)]
    with ThreadPoolExecutor(_THREADS) as threads:
        codes = list(threads.map(lambda name: handed.fetch(name, folder / name), names))
        masks = [folder / f"mask-{piece:04}" for piece in range(count)]
        first_time = write(codes, target=lambda piece: masks[piece])
        list(threads.map(lambda path: upload(handed.s3, path, handed.uri(path.name)), masks))
    return first_time


def write_piece(s3: S3Client, event: Mapping[str, Any]) -> None:
    """Read a piece again, and hand over its rows in both parts.

    Parameters
    ----------
    s3
        A client.
    event
        As `scan_piece` gets it.
    """
    handed, number, piece = _of(s3, event)
    writing = Writing(**handed.get("writing"))
    bits = None if writing.by_piece else read_bytes(s3, Stored(handed.uri(f"mask-{piece:04}")))
    with workspace() as folder:
        files = handed.files(handed.piece(piece), folder)
        scan, round_ = handed.scan(number, piece), handed.round(number)
        written = pieces.write_piece(files, scan, round_, writing, pieces.PieceSplit(writing, piece, bits), folder)
        stored = {part: upload(s3, folder / f"{part}.arrow", handed.uri(f"{part}-{piece:04}")) for part in PARTS}
        handed.put(f"written-{piece:04}", {"written": dict(vars(written)), **describe_files(stored)})


def finish_pieces(s3: S3Client, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Put the parts of all pieces together, and write the profile.

    Parameters
    ----------
    s3
        A client.
    event
        `run_id`, and `pieces` as `merge_scans` returns it.
    context
        Of the call.

    Returns
    -------
    dict
        `request` and `prepared`, as the single function returns them.

    Raises
    ------
    TooLargeForFunctionError
        If a task is to do it.
    """
    planned = event["pieces"]
    handed, number, count = Handed(s3, planned["folder"]), planned["round"], planned["count"]
    merged, round_ = handed.get("merged"), handed.round(number)
    whole, writing = PieceScan(**merged["whole"]), Writing(**merged["writing"])
    found = writing.found
    reading = round_.reading(Path())
    reading.told = whole.told
    pieces.adopted(whole.scans, reading)
    with ThreadPoolExecutor(_THREADS) as threads:
        documents = list(threads.map(lambda piece: handed.get(f"written-{piece:04}"), range(count)))
    written = [Written(**each["written"]) for each in documents]
    rows = sum(sum(each.rows.values()) for each in written)
    check_finish(rows, len(found.kept), found.request.compute, seconds_left(context))
    sample, files = pieces.sample_of(found), dict[str, Stored]()
    with workspace() as folder:
        # What is wrong with the split is told before anything is written.
        pieces.drawn_of(writing, written)
        prefix = new_folder(event["run_id"], "prepared")
        for part in PARTS:
            # By their digests alone: this function has no right to read versions.
            coming = [replace(pinned(each, part), version_id=None) for each in documents]
            with open_upload(s3, f"{prefix}/{part}.parquet") as sink:
                shown = sample if part == "train" else None
                pieces.put_together(_ahead(s3, coming, folder), writing.schemas[part], sink, shown)
            files[part] = sink.stored
    profile = pieces.whole_profile(whole, reading, writing, written, sample)
    profile = profile_with(profile, handed.get("ignored"))
    # Written last: where it is, the parts are whole.
    files["profile"] = write_json(s3, profile, f"{prefix}/profile.json")
    return result_of(found.request, profile, files)


def _ahead(s3: S3Client, files: Sequence[Stored], folder: Path) -> Iterator[Path]:
    """Yield files one after another; the next one is on its way, if the disk has room for both."""
    with ThreadPoolExecutor(1) as thread:
        coming: Future[Path] | None = None
        for number, file in enumerate(files):
            path = download(s3, file, folder / str(number)) if coming is None else coming.result()
            coming = None
            if number + 1 < len(files) and (files[number + 1].size or 0) < shutil.disk_usage(folder).free:
                coming = thread.submit(download, s3, files[number + 1], folder / str(number + 1))
            yield path
            path.unlink()


def _of(s3: S3Client, event: Mapping[str, Any]) -> tuple[Handed, int, int]:
    return Handed(s3, event["pieces"]["folder"]), event["pieces"]["round"], event["piece"]
