"""What data preparation has room and time for in one call, and how a larger data set is cut into pieces."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from common.capacity import (
    FEWER_ROWS,
    SHARE_OF_TIME,
    Need,
    Work,
    in_pieces,
    is_task,
    require_task,
    seconds_left,
    too_large,
)
from common.errors import InvalidDatasetError
from data_preparation.file_names import compression_by_name, kind_by_name
from data_preparation.objects import SourceObject
from data_preparation.parquet_pages import RowGroup, sections
from data_preparation.text_reading import BLOCK_BYTES

MOST_PIECES = 1000
"""How many pieces a run has: each writes 7 events while it is scanned and 7 while it is written, of the 25,000 that an
execution may have: https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""
EVENTS_OF_PIECE = 7
MOST_EVENTS = 24_000
"""How many events pieces may write, retries apart."""
LEAST_PIECE_BYTES = 1 << 30
"""How much a piece holds at least, but for the last: a call costs a second, whatever it does."""
OBJECT_BYTES = 1 << 20
"""What an object costs beside its bytes, as so many more of them: a call to S3, and a look at what it is."""
_BYTES_PER_SECOND = 25e6
"""How much text one call reads and writes in a second, with a reserve: 70 to 150 MB were measured on one core, and one
of Lambda's has about half of that core's speed."""
_FINGERPRINT_BYTES_PER_SECOND = 200e6
"""How fast one call is planned to go through an object for its SHA-256, which one core computes faster."""
_VALUES_PER_SECOND = 15e6
"""How many values one call puts together in a second, with a reserve as above: 35 to 93 million were measured."""


GroupsOf = Callable[[SourceObject], Sequence[RowGroup]]
"""Returns the row groups of an object."""


class _Needs(NamedTuple):
    """What a byte of a file takes beside itself.

    Bytes of text to read, and of the disk in one call and in a piece. Measured, of the disk: text 0.4 to 1 in one call
    and 0.5 in a piece, Parquet 1 to 2.6 and 0.5 to 1.3. What is packed, or turned into text first, is estimated.
    """

    text: float
    call: float
    piece: float


_NEEDS = {
    "text": _Needs(1, 1.2, 0.8),
    "json": _Needs(2, 2.2, 1.8),
    "excel": _Needs(8, 16, 12),
    "parquet": _Needs(2, 5, 2),
}
_PACKED = _Needs(4, 6, 2.5)


def _needs(source: SourceObject) -> _Needs:
    kind = _NEEDS[kind_by_name(source.name) or "text"]
    return max(kind, _PACKED) if compression_by_name(source.name) else kind


def text_bytes(source: SourceObject) -> float:
    """Return about how many bytes of text reading an object is as much work as, by its name and size."""
    return source.size * _needs(source).text


def check_room(objects: Sequence[SourceObject], folder: Path, context: Any, groups_of: GroupsOf) -> None:
    """See whether one call can prepare a data set, before any row of it is read.

    Parameters
    ----------
    objects
        Of the data set.
    folder
        On the temporary disk.
    context
        Of the call; None elsewhere than on Lambda.
    groups_of
        As `cut` takes it.

    Raises
    ------
    TooLargeForFunctionError
        If it cannot, or the variable `PIECE_BYTES` says that pieces are to be no larger.
    """
    total, forced = sum(each.size for each in objects), forced_bytes()
    if forced and total > forced:
        raise in_pieces(f"{total:,} bytes are more than a piece holds")
    free, limit = shutil.disk_usage(folder).free, SHARE_OF_TIME * seconds_left(context)
    disk = max((each.size for each in objects), default=0) + sum(each.size * _needs(each).call for each in objects)
    seconds = seconds_of(objects)
    if disk <= free and seconds <= limit:
        return
    pieces = cut(objects, room_of(folder, context), groups_of)
    # What a piece may have no more room for is tried, for all this is estimated; what it cannot have is not.
    if all(each.fits(free, limit) for each in pieces) or any(each.size > free for each in objects):
        raise in_pieces(
            f"{total >> 20:,} MB of data in {len(objects):,} objects take about {int(disk) >> 20:,} MB of the "
            f"temporary disk and {seconds:,.0f} seconds, and {free >> 20:,} MB and {limit:,.0f} seconds are planned for"
        )


def check_finish(rows: int, columns: int, where: str, seconds: float) -> None:
    """See whether one call has the time to put the rows of all pieces together; a task is seen to before it starts.

    Parameters
    ----------
    rows, columns
        Of both parts.
    where
        The request's `compute`: `task` takes a task for this, and functions for the pieces themselves.
    seconds
        How long a call may take.

    Raises
    ------
    TooLargeForFunctionError
        If a task is to do it.
    InvalidDatasetError, InvalidRequestError
        If no task can, or the request or the stack takes none.
    """
    if is_task():
        return
    require_task(where, Need())
    needed, limit = rows * columns / _VALUES_PER_SECOND, SHARE_OF_TIME * seconds
    if needed > limit:
        raise too_large(
            f"{rows:,} rows of {columns:,} columns take about {needed:,.0f} seconds to be put together, and "
            f"{limit:,.0f} are planned for",
            FEWER_ROWS + ', or leave columns out by COLUMNS=\'{"name": "ignore"}\'',
            where=where,
            need=Need(work=Work(needed / SHARE_OF_TIME)),
        )


def forced_bytes() -> int:
    """Return how many bytes a piece is to hold, whatever a function has room for; 0 for as many as is useful."""
    return int(os.environ.get("PIECE_BYTES") or 0)


def seconds_of(objects: Sequence[SourceObject]) -> float:
    """Return about how long one call takes to prepare objects."""
    text = sum(map(text_bytes, objects))
    return (text + OBJECT_BYTES * len(objects)) / _BYTES_PER_SECOND


@dataclass(frozen=True)
class Piece:
    """What one call scans and writes: some objects, a part of one, or the fingerprint of one that is cut into parts.

    Attributes
    ----------
    objects
        Neighbours in the data set; a single one, if it is cut.
    begin, end
        Of the part, in bytes; both None where there is none.
    is_fingerprint
        Whether only the fingerprint of the object is wanted.
    groups
        Of a part of a Parquet file, the first of its row groups and the one behind its last.
    """

    objects: list[SourceObject]
    begin: int | None = None
    end: int | None = None
    is_fingerprint: bool = False
    groups: tuple[int, int] | None = None

    @property
    def begins_object(self) -> bool:
        """Whether nothing of its first object comes before it."""
        return not self.begin if self.groups is None else self.groups[0] == 0

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Piece:
        """Return the piece that `document` has written."""
        return cls(**{**document, "objects": [SourceObject(**each) for each in document["objects"]]})

    def fits(self, disk: float, seconds: float) -> bool:
        """Return whether a call that has so many bytes of the disk and so much time can scan and write it."""
        if self.is_fingerprint:
            return self.objects[0].size / _FINGERPRINT_BYTES_PER_SECOND <= seconds
        held = self.objects
        if self.begin is not None and self.end is not None:
            held = [replace(self.objects[0], size=self.end - self.begin)]
        needed = max(each.size for each in held) + sum(each.size * _needs(each).piece for each in held)
        return needed <= disk and seconds_of(held) <= seconds

    def document(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {**vars(self), "objects": [dict(vars(each)) for each in self.objects]}


def cut(objects: Sequence[SourceObject], room: float, groups_of: GroupsOf) -> list[Piece]:
    """Return the pieces of a data set, in its order.

    Parameters
    ----------
    objects
        Of the data set.
    room
        How many bytes of text a call has room and time for: text and Parquet of more is cut, where it is not packed.
    groups_of
        Returns the row groups of an object; asked for those of Parquet that are to be cut.

    Examples
    --------
    >>> sizes = (3 << 29, 1 << 29, 1 << 30, 5 << 30)
    >>> objects = [SourceObject(f"s3://bucket/data/{size}.csv", f"{size}.csv", size, "e") for size in sizes]
    >>> [[each.size >> 29 for each in piece.objects] for piece in cut(objects, 4 << 30, lambda _: [])]
    [[3], [1, 2], [10], [10], [10], [10], [10], [10]]
    """
    forced, least = forced_bytes(), 1 if forced_bytes() else OBJECT_BYTES
    total = sum(each.size + least for each in objects)
    number = max(1, min(MOST_PIECES, total // (forced or LEAST_PIECE_BYTES)))
    most = -(-total // number)
    limit = min(room, forced) if forced else room
    found, group, end = list[Piece](), dict[int, list[SourceObject]](), 0
    for each in objects:
        weight = each.size + least
        end += weight
        if text_bytes(each) > limit and (parts := _parts(each, most, groups_of)):
            found += [Piece(held) for held in group.values()] + [Piece([each], is_fingerprint=True), *parts]
            group = {}
        else:
            # An object belongs where its middle is.
            group.setdefault((2 * end - weight) * number // (2 * total), []).append(each)
    return found + [Piece(held) for held in group.values()]


def _parts(source: SourceObject, most: int, groups_of: GroupsOf) -> list[Piece]:
    """Return the parts of an object, by its name: text between blocks, Parquet between sections; none of others."""
    kind = kind_by_name(source.name)
    if compression_by_name(source.name) or kind not in (None, "text", "parquet"):
        return []
    if kind == "parquet":
        return _parts_of_groups(source, most, groups_of(source))
    step = max(1, most // BLOCK_BYTES) * BLOCK_BYTES
    return [Piece([source], at, min(source.size, at + step)) for at in range(0, source.size, step)]


def _parts_of_groups(source: SourceObject, most: int, groups: Sequence[RowGroup]) -> list[Piece]:
    found, held = list[Piece](), list[range]()
    for section in sections(groups):
        if held and groups[section[-1]].end - groups[held[0][0]].begin > most:
            found.append(_part_of_groups(source, held, groups))
            held = []
        held.append(section)
    return [*found, _part_of_groups(source, held, groups)] if found else []


def _part_of_groups(source: SourceObject, held: Sequence[range], groups: Sequence[RowGroup]) -> Piece:
    numbers = range(held[0].start, held[-1].stop)
    begin = min(groups[number].begin for number in numbers)
    end = max(groups[number].end for number in numbers)
    return Piece([source], begin, end, groups=(numbers.start, numbers.stop))


def room_of(folder: Path, context: Any) -> float:
    """Return how many bytes of text a call has room and time for."""
    free = shutil.disk_usage(folder).free
    return min(free / (1 + _NEEDS["text"].piece), SHARE_OF_TIME * seconds_left(context) * _BYTES_PER_SECOND)


def check_pieces(pieces: Sequence[Piece], folder: Path, context: Any) -> None:
    """Refuse an object, or so many of them, that no call has room or time for.

    Raises
    ------
    InvalidDatasetError
        With the way out.
    """
    free, limit = shutil.disk_usage(folder).free, SHARE_OF_TIME * seconds_left(context)
    too_many = 2 * EVENTS_OF_PIECE * len(pieces) > MOST_EVENTS
    for piece in pieces:
        largest = max(piece.objects, key=text_bytes)
        if too_many or (len(piece.objects) > 1 and not piece.fits(free, limit)):
            raise InvalidDatasetError(
                f"The data set is more than {MOST_PIECES:,} pieces of what a function has room and time for: bring "
                "fewer rows, or a sample of them."
            )
        if not piece.fits(free, limit):
            raise _without_room(piece, largest)


def _without_room(piece: Piece, source: SourceObject) -> InvalidDatasetError:
    told, cure = f"has {source.size >> 20:,} MB", "write it as"
    if _is_packed(source):
        told += " packed"
    elif kind_by_name(source.name) == "parquet" and not piece.is_fingerprint:
        # Between row groups it would have been cut.
        size = source.size if piece.begin is None or piece.end is None else piece.end - piece.begin
        told = f"has a row group of about {size >> 20:,} MB"
        cure = "write it with row groups of 128 MB or less, or as"
    return InvalidDatasetError(
        f'"{source.name}" {told}, more than one function has room and time for: {cure} several files, of about a GB '
        "each, in a folder of their own."
    )


def _is_packed(source: SourceObject) -> bool:
    return compression_by_name(source.name) is not None or kind_by_name(source.name) == "excel"
