"""The plan of a run of batch scoring: which version scores which objects, and in which pieces."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from common.errors import InvalidRequestError
from common.reading_options import ReadOptions
from common.registry_item import from_item
from common.scoring_requests import ScoringRequest, parse_scoring_request
from common.storage import Stored, describe_file, read_json, write_json_once
from data_preparation.file_names import compression_by_name, kind_by_name
from data_preparation.objects import Listing, SourceObject, list_objects
from scoring.champion import NoChampionError
from scoring.object_parts import Part, parts_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_PIECES = 400
"""How many pieces a run has. One that is tried as often as its retries let it be, by a function or, after one call, as
a task, writes up to 62 events of the 25,000 of an execution:
https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""
PART_BYTES = 1 << 30
"""From how many bytes on an object is cut into parts of so many: of a CSV file of 30 columns four million rows."""
MOST_PARTS = 200
"""How many parts all objects of a run are cut into, about: beyond that, parts are larger."""
_SHARE_OF_DISK = 0.4
"""The share of the temporary disk that a part takes at most: its predictions may need as much."""


@dataclass(frozen=True)
class Plan:
    """What a run does, as it was decided once.

    Attributes
    ----------
    run_id, started_at
        Of the run.
    request
        With its defaults.
    entry
        What the registry says of the version that scores all objects.
    objects
        With the ETags that they were listed with.
    outputs
        The name of each object's file of predictions, within the run's folder.
    pieces
        The objects of each piece, by their numbers.
    parts
        Parts of objects that are cut, each of which is a piece behind those of whole objects.
    ignored
        The names of what is no data.
    """

    run_id: str
    started_at: str
    request: ScoringRequest
    entry: Mapping[str, Any]
    objects: Sequence[SourceObject]
    outputs: Sequence[str]
    pieces: Sequence[Sequence[int]]
    parts: Sequence[Part]
    ignored: Sequence[str]

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Plan:
        """Return the plan that `document` has written."""
        objects = [SourceObject(**each) for each in document["objects"]]
        parts, request = [Part(**each) for each in document["parts"]], parse_scoring_request(document["request"])
        return cls(**{**document, "request": request, "objects": objects, "parts": parts})

    def document(self) -> dict[str, Any]:
        """Return the plan in types of JSON."""
        request, objects = self.request.model_dump(exclude_unset=True), [asdict(each) for each in self.objects]
        return {**vars(self), "request": request, "objects": objects, "parts": [asdict(each) for each in self.parts]}

    def parts_of(self, number: int) -> dict[int, Part]:
        """Return the parts of an object, by the numbers of their pieces."""
        numbered = enumerate(self.parts, start=len(self.pieces))
        return {piece: part for piece, part in numbered if part.source == number}

    @property
    def cut(self) -> list[int]:
        """The numbers of the objects that are cut, in their order."""
        return list(dict.fromkeys(part.source for part in self.parts))


def run_folder(run_id: str) -> str:
    """Return the URI of the folder that a run writes to, with its slash."""
    return f"s3://{os.environ['ARTIFACT_BUCKET']}/scoring/{run_id}/"


def about_object(source: SourceObject) -> dict[str, Any]:
    """Return what is told of an object, whatever became of it."""
    return {"name": source.name, "uri": source.uri, "etag": source.etag, "bytes": source.size}


def plan_scoring(s3: S3Client, event: Mapping[str, Any]) -> dict[str, Any]:
    """Decide what a run does, and write it down; of a repeated call, what the first one has decided counts.

    Parameters
    ----------
    s3
        A client.
    event
        `run_id`, `started_at`, `request` as the execution's input has it, and `version`, the registry's item of the
        version that is to score, or None where there is none.

    Returns
    -------
    dict
        `plan`, for whoever reads it; `pieces`, their numbers; the model's name and version.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError
        If the request cannot be used, or there is nothing to score.
    NoChampionError
        If no version was promoted.
    """
    request = parse_scoring_request(event["request"])
    if event.get("version") is None:
        raise _no_version(request)
    entry = from_item(event["version"])
    listing = list_objects(s3, request.dataset_uri)
    decided = _plan(event, request, entry, listing, _parts(s3, request, listing.objects)).document()
    document, stored = write_json_once(s3, decided, run_folder(event["run_id"]) + "plan.json")
    plan = Plan.of_document(document)
    return {
        "plan": describe_file(stored),
        "pieces": list(range(len(plan.pieces) + len(plan.parts))),
        "model_name": plan.request.model_name,
        "version": plan.entry["version"],
    }


def read_plan(s3: S3Client, stored: Mapping[str, Any]) -> Plan:
    """Return the plan that `plan_scoring` has written, if it is still that."""
    return Plan.of_document(read_json(s3, Stored(**stored)))


def _parts(s3: S3Client, request: ScoringRequest, objects: Sequence[SourceObject]) -> list[Part]:
    """Return the parts of the objects that are too large for one call and can be cut."""
    most = min(PART_BYTES, int(_SHARE_OF_DISK * shutil.disk_usage(tempfile.gettempdir()).total))
    # Each object that is cut has less than one part more than its bytes ask for.
    most = max(most, 2 * sum(each.size for each in objects) // MOST_PARTS)
    read = request.read or ReadOptions()
    return [
        part
        for number, each in enumerate(objects)
        if each.size > most
        for part in parts_of(s3, each, number, most, read)
    ]


def _plan(
    event: Mapping[str, Any],
    request: ScoringRequest,
    entry: Mapping[str, Any],
    listing: Listing,
    parts: Sequence[Part],
) -> Plan:
    cut = {part.source for part in parts}
    whole = [number for number in range(len(listing.objects)) if number not in cut]
    groups = pieces_of([listing.objects[number].size for number in whole], MOST_PIECES - len(parts))
    return Plan(
        run_id=event["run_id"],
        started_at=event["started_at"],
        request=request,
        entry=entry,
        objects=listing.objects,
        outputs=output_names([each.name for each in listing.objects], request.output_format),
        pieces=[[whole[each] for each in group] for group in groups],
        parts=parts,
        ignored=listing.ignored,
    )


def _no_version(request: ScoringRequest) -> Exception:
    if request.version is not None:
        return InvalidRequestError(
            f'The model "{request.model_name}" has no version "{request.version}": `models.py list` shows which it has.'
        )
    return NoChampionError(
        f'The model "{request.model_name}" has no champion yet: train it, or name one of its versions by "version".'
    )


def output_names(names: Sequence[str], output_format: str) -> list[str]:
    """Return what the files of predictions are called: as the objects, by their names without what says the format.

    Examples
    --------
    >>> output_names(["day=1/a.csv.gz", "b.csv", "b.parquet"], "csv")
    ['predictions/day=1/a.csv', 'predictions/b.csv.csv', 'predictions/b.parquet.csv']
    """
    stems = [_stem(name) for name in names]
    # Of several that would have one name, each keeps its own whole; another one may be called so by chance.
    counted = Counter([*stems, *names])
    chosen = [stem if counted[stem] - (stem == name) == 1 else name for stem, name in zip(stems, names, strict=True)]
    return [f"predictions/{each}.{output_format}" for each in chosen]


def _stem(name: str) -> str:
    stem = name
    while (kind_by_name(stem) or compression_by_name(stem)) and "." in stem.rpartition("/")[2][1:]:
        stem = stem.rpartition(".")[0]
    return stem


def pieces_of(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Return the numbers of the objects of each piece: one object or, of many, neighbours of as many bytes.

    Examples
    --------
    >>> pieces_of([10, 20], 400)
    [[0], [1]]
    """
    if len(sizes) <= most:
        return [[number] for number in range(len(sizes))]
    # An empty object costs a call to S3, too.
    weights = [size + 1 for size in sizes]
    total, pieces = sum(weights), dict[int, list[int]]()
    for number, (weight, end) in enumerate(zip(weights, accumulate(weights), strict=True)):
        pieces.setdefault((2 * end - weight) * most // (2 * total), []).append(number)
    return list(pieces.values())
