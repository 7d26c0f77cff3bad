"""The end of a run of batch scoring: what became of all objects, and how their rows are beside those of training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from common.errors import InvalidDatasetError, first_few
from common.storage import Stored, describe_file, exists, pinned, read_json, write_bytes, write_json, write_json_once
from scoring.batch_piece import counts_of, expected_predictions, object_uri, piece_uri
from scoring.batch_plan import Plan, about_object, read_plan, run_folder
from scoring.drift import compare, in_short
from scoring.drift_page import render_page
from scoring.events import MOST_NAMES
from scoring.measures import put_of_all

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READERS = 16
_REASON_CHARACTERS = 1000

Document = dict[str, Any]


class NothingScoredError(Exception):
    """No piece of a run could be scored, for reasons that are not in the data."""


def compare_with_profile(s3: S3Client, event: Mapping[str, Any]) -> dict[str, Any]:
    """Put together what the pieces have found, compare the rows with training's, and write the manifest last.

    Parameters
    ----------
    s3
        A client.
    event
        `run_id` and `plan`; `failed`, the pieces that have failed, each with its number and the error; `earlier`, what
        the registry keeps of earlier batches of the same version, the newest first.

    Returns
    -------
    dict
        `rows`, `objects` by state; whether the rows have `drifted`, why, and the changed columns; where
        the files are; and what is kept of the comparison in short.

    Raises
    ------
    InvalidDatasetError
        If no object can be scored.
    NothingScoredError
        If every piece has failed.
    """
    plan = read_plan(s3, event["plan"])
    pieces = _pieces(s3, plan, {each["piece"]: each["error"] for each in event["failed"]})
    objects = _in_order(plan, pieces)
    _require_scored(plan, objects, event["failed"])
    drift = _drift(s3, plan, pieces)
    folder = run_folder(plan.run_id)
    page = render_page(drift, _about(plan), event["earlier"][::-1])
    files = {
        "drift": write_json(s3, drift, folder + "drift.json"),
        "drift_page": write_bytes(s3, page.encode(), folder + "drift.html", "text/html; charset=utf-8"),
    }
    manifest, stored = write_json_once(s3, _manifest(plan, objects, drift, files), folder + "manifest.json")
    result = _result(plan, manifest, drift, {**files, "manifest": stored})
    _measure(plan, result, drift)
    return result


def _pieces(s3: S3Client, plan: Plan, failed: Mapping[int, str]) -> list[Document]:
    """Return the documents of pieces, and of objects that are cut; of what has none, that it has failed."""

    def read(piece: int) -> Document:
        # A piece may have been written by a call whose answer was lost.
        uri = piece_uri(plan.run_id, piece)
        if piece not in failed or exists(s3, uri):
            document: Document = read_json(s3, Stored(uri))
            return document
        return {"objects": [_failed(plan, number, failed[piece]) for number in plan.pieces[piece]], "counts": None}

    def read_cut(number: int) -> Document:
        uri = object_uri(plan.run_id, number)
        reasons = [failed[piece] for piece in plan.parts_of(number) if piece in failed]
        if not reasons or exists(s3, uri):
            document: Document = read_json(s3, Stored(uri))
            return document
        return {"objects": [_failed(plan, number, reasons[0])], "counts": None}

    with ThreadPoolExecutor(_READERS) as threads:
        return [*threads.map(read, range(len(plan.pieces))), *threads.map(read_cut, plan.cut)]


def _in_order(plan: Plan, pieces: Sequence[Document]) -> list[Document]:
    """Return what became of all objects, in the order of the listing."""
    numbers = [*(number for piece in plan.pieces for number in piece), *plan.cut]
    found = dict(zip(numbers, (each for piece in pieces for each in piece["objects"]), strict=True))
    return [found[number] for number in sorted(found)]


def _failed(plan: Plan, number: int, reason: str) -> Document:
    return {**about_object(plan.objects[number]), "state": "failed", "rows": 0, "reason": reason}


def _require_scored(plan: Plan, objects: Sequence[Mapping[str, Any]], failed_pieces: Sequence[object]) -> None:
    if any(each["state"] == "scored" for each in objects):
        return
    which = "The only object" if len(objects) == 1 else f"None of the {len(objects):,} objects"
    reasons = first_few(dict.fromkeys(each["reason"] for each in objects), " ")
    kind = NothingScoredError if failed_pieces else InvalidDatasetError
    verb = "cannot be scored" if len(objects) == 1 else "can be scored"
    raise kind(f"{which} of {plan.request.dataset_uri} {verb}: {reasons}")


def _drift(s3: S3Client, plan: Plan, pieces: Sequence[Document]) -> Document:
    profile = read_json(s3, pinned(plan.entry, "profile"))
    counts = counts_of(profile, expected_predictions(s3, plan.entry))
    if counts is None:
        rows = sum(each["rows"] for piece in pieces for each in piece["objects"])
        reason = "The model's profile does not say how its columns are distributed: train again to compare."
        return {"rows": rows, "columns": [], "prediction": None, "drifted": False, "reason": reason}
    for piece in pieces:
        # A piece that failed has counted nothing.
        if piece["counts"] is not None:
            counts.merge(piece["counts"])
    return compare(counts)


def _about(plan: Plan) -> Document:
    return {
        "model_name": plan.request.model_name,
        "version": plan.entry["version"],
        "rows_from": plan.request.dataset_uri,
        "at": plan.started_at,
    }


def _manifest(
    plan: Plan, objects: Sequence[Mapping[str, Any]], drift: Mapping[str, Any], files: Mapping[str, Stored]
) -> Document:
    states = [each["state"] for each in objects]
    return {
        "run_id": plan.run_id,
        "started_at": plan.started_at,
        "model_name": plan.request.model_name,
        "version": plan.entry["version"],
        "decision": plan.entry.get("decision"),
        "model": describe_file(pinned(plan.entry, "model")),
        "request": plan.request.model_dump(),
        "totals": {
            "rows": sum(each["rows"] for each in objects),
            "objects": {state: states.count(state) for state in ("scored", "empty", "failed")},
        },
        "drifted": drift["drifted"],
        "files": {name: describe_file(file) for name, file in files.items()},
        "ignored_files": list(plan.ignored),
        "objects": list(objects),
    }


def _result(plan: Plan, manifest: Document, drift: Document, files: Mapping[str, Stored]) -> Document:
    changed = [{"name": each["name"], "why": each["why"]} for each in drift["columns"] if each["drifted"]]
    return {
        "model_name": plan.request.model_name,
        "version": plan.entry["version"],
        "dataset_uri": plan.request.dataset_uri,
        "rows": manifest["totals"]["rows"],
        "objects": manifest["totals"]["objects"],
        "drifted": drift["drifted"],
        "reason": drift["reason"][:_REASON_CHARACTERS],
        "columns": len(drift["columns"]),
        "changed": len(changed),
        "changed_columns": changed[:MOST_NAMES],
        "short": in_short(drift),
        **{f"{name}_uri": file.uri for name, file in files.items()},
        "manifest": describe_file(files["manifest"]),
    }


def _measure(plan: Plan, result: Mapping[str, Any], drift: Mapping[str, Any]) -> None:
    """Write the run's metrics to the log, from which CloudWatch takes them."""
    put_of_all(
        os.environ["STACK_NAME"],
        plan.request.model_name,
        {
            "ScoredRows": result["rows"],
            "FailedObjects": result["objects"]["failed"],
            "DriftedColumns": result["changed"] if drift["columns"] else None,
            "LargestPsi": result["short"]["psi"],
        },
    )
