"""One piece of a run of batch scoring: its objects are read, scored and counted, each with a file of predictions.

A piece may be a part of a large object, too; whoever scores the last part puts the file of predictions together.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.capacity import compute
from common.conversion import Profile
from common.distributions import Distribution
from common.errors import InvalidDatasetError, InvalidRowsError
from common.storage import (
    Stored,
    describe_file,
    exists,
    names_in,
    pinned,
    read_json,
    s3_client,
    upload,
    workspace,
    write_json_once,
)
from data_preparation.formats import EmptyFileError, recognise
from data_preparation.objects import Downloads
from data_preparation.reading import SourceFile, Table, open_table
from scoring.batch_join import Written, join_parts
from scoring.batch_plan import Plan, about_object, read_plan, run_folder
from scoring.champion import Champion, load_champion
from scoring.counts import Counts, NothingToCompareError
from scoring.kept_columns import KeptRows, check_kept
from scoring.object_parts import Part, open_part, require_whole_rows
from scoring.oddities import Oddities
from scoring.prediction_files import open_writer, schema_of, write_predictions
from scoring.reading import read_options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


Document = dict[str, Any]


def piece_uri(run_id: str, piece: int) -> str:
    """Return where a piece's document is."""
    return f"{run_folder(run_id)}pieces/{piece:03}.json"


def object_uri(run_id: str, number: int) -> str:
    """Return where the document of an object is that was scored in parts."""
    return f"{run_folder(run_id)}pieces/object-{number}.json"


def score_piece(s3: S3Client, event: Mapping[str, Any]) -> dict[str, Any]:
    """Score the objects of a piece, or a part of one; a repeated call finds what an earlier one has written.

    Parameters
    ----------
    s3
        A client.
    event
        `run_id`, `plan` as `plan_scoring` returns it, and the number of the `piece`.

    Returns
    -------
    dict
        The number of the `piece`. Its document has what became of each object, and the counts of all rows.

    Raises
    ------
    TooLargeForFunctionError
        If a task is to do it, which has a larger disk.
    DamagedFileError, UntrustedModelError
        If the model is not the one that the registry knows, or fails. What is wrong with an object is in the document.
    """
    plan, uri = read_plan(s3, event["plan"]), piece_uri(event["run_id"], event["piece"])
    part = event["piece"] - len(plan.pieces)
    if not exists(s3, uri):
        scored = _score_objects(s3, plan, plan.pieces[event["piece"]]) if part < 0 else _score_part(s3, plan, part)
        write_json_once(s3, scored, uri)
    if part >= 0:
        _join_if_last(s3, plan, plan.parts[part].source)
    return {"piece": event["piece"]}


def _score_objects(s3: S3Client, plan: Plan, numbers: Sequence[int]) -> Document:
    """Return what became of some objects, and the counts of their rows."""
    champion, predictions = _version_of(plan)
    objects, all_counts = list[Document](), counts_of(champion.profile, predictions)
    for number in numbers:
        counts = counts_of(champion.profile, predictions)
        objects.append(_outcome(s3, plan, number, champion, counts))
        # What was counted of an object that could be scored in part is none of the run's rows.
        if counts is not None and all_counts is not None and objects[-1]["state"] == "scored":
            all_counts.merge(counts.document())
    return {"objects": objects, "counts": None if all_counts is None else all_counts.document()}


def _score_part(s3: S3Client, plan: Plan, number: int) -> Document:
    """Return what became of a part of an object, whose predictions are in a file of their own."""
    part, (champion, predictions) = plan.parts[number], _version_of(plan)
    source, counts = plan.objects[part.source], counts_of(champion.profile, predictions)
    read = plan.request.read or read_options(champion.profile)
    try:
        with workspace("auto") as folder:
            path = folder / f"predictions.{plan.request.output_format}"
            with open_part(s3, source, part, read, folder) as table:
                written = _write(champion, table, path, plan, counts, part)
                require_whole_rows(table, part, written.rows, written.blank)
            stored = upload(s3, path, f"{run_folder(plan.run_id)}parts/{number:03}.{plan.request.output_format}")
    except InvalidDatasetError as error:
        return {"state": "failed", "reason": str(error)}
    except InvalidRowsError as error:
        return {"state": "failed", "reason": error.plain}
    return {
        "state": "scored",
        **written.document(),
        "predictions": describe_file(stored),
        "compute": [compute()],
        "counts": None if counts is None else counts.document(),
    }


def _join_if_last(s3: S3Client, plan: Plan, number: int) -> None:
    """Put the parts of an object together once all of them are there: whoever writes the last one finds them so."""
    parts, written = plan.parts_of(number), names_in(s3, f"{run_folder(plan.run_id)}pieces/")
    uris = [piece_uri(plan.run_id, piece) for piece in parts]
    if object_uri(plan.run_id, number).rpartition("/")[2] in written:
        return
    if not {uri.rpartition("/")[2] for uri in uris} <= written:
        return
    documents = [read_json(s3, Stored(uri)) for uri in uris]
    failed = next((each["reason"] for each in documents if each["state"] != "scored"), None)
    if failed is None:
        joined = join_parts(s3, plan, number, documents, counts_of(*_expected(plan)))
    else:
        # Whole it may be read, and what is wrong with it is told by its rows' numbers.
        joined = _score_objects(s3, plan, [number])
        if joined["objects"][0]["state"] != "scored":
            joined["objects"][0]["reason"] += f" Cut into parts: {failed}"
    write_json_once(s3, joined, object_uri(plan.run_id, number))


def _expected(plan: Plan) -> tuple[Profile, Distribution | None]:
    champion, predictions = _version_of(plan)
    return champion.profile, predictions


def _version_of(plan: Plan) -> tuple[Champion, Distribution | None]:
    """Return the version that scores all objects, and what it is to predict."""
    return _version(json.dumps({"model_name": plan.request.model_name, **plan.entry}, sort_keys=True))


@functools.lru_cache(maxsize=1)
def _version(entry: str) -> tuple[Champion, Distribution | None]:
    """Return a version, and what it is to predict, which a worker keeps for the next piece; a text can be compared."""
    known = json.loads(entry)
    return load_champion(s3_client(), known["model_name"], "", known), expected_predictions(s3_client(), known)


def expected_predictions(s3: S3Client, entry: Mapping[str, Any]) -> Distribution | None:
    """Return how the predictions of the test part are distributed, None where no evaluation says so."""
    if "evaluation" not in entry["sha256"]:
        return None
    predictions: Distribution | None = read_json(s3, pinned(entry, "evaluation")).get("predictions")
    return predictions


def counts_of(profile: Profile, predictions: Distribution | None) -> Counts | None:
    """Return what counts rows by the distributions of training, None where training has recorded none."""
    try:
        return Counts(profile, predictions)
    except NothingToCompareError:
        return None


def _outcome(s3: S3Client, plan: Plan, number: int, champion: Champion, counts: Counts | None) -> Document:
    """Score one object and return what became of it."""
    source = plan.objects[number]
    about = about_object(source)
    try:
        with workspace("auto") as folder:
            for file in Downloads(s3, [source], folder, takes_task=True):
                path = folder / f"predictions.{plan.request.output_format}"
                told = _score(champion, file, path, plan, counts)
                stored = upload(s3, path, run_folder(plan.run_id) + plan.outputs[number])
                predictions = describe_file(stored)
                return {**about, "state": "scored", **told, "predictions": predictions, "compute": [compute()]}
    except EmptyFileError as error:
        return {**about, "state": "empty", "rows": 0, "reason": str(error)}
    except InvalidDatasetError as error:
        return {**about, "state": "failed", "rows": 0, "reason": str(error)}
    except InvalidRowsError as error:
        # The reason of the only object, or of all, goes on into logs, events and mails.
        return {**about, "state": "failed", "rows": 0, "reason": error.plain}
    raise AssertionError(f"{source.uri} was not read")


def _score(champion: Champion, file: SourceFile, path: Path, plan: Plan, counts: Counts | None) -> Document:
    """Write the predictions for one file and return what is told of it."""
    if recognise(file).kind == "excel":
        raise InvalidDatasetError(
            f'"{file.name}" is an Excel workbook, which batch scoring does not read: save it as CSV or Parquet.'
        )
    with open_table(file, plan.request.read or read_options(champion.profile), path.parent) as table:
        return _write(champion, table, path, plan, counts).told_of_object()


def _write(
    champion: Champion, table: Table, path: Path, plan: Plan, counts: Counts | None, part: Part | None = None
) -> Written:
    """Write the predictions for an opened table."""
    model, request, name = champion.model, plan.request, table.file.name
    keep = table.all_columns if request.keep == "all" else list(dict.fromkeys(request.keep))
    others = model.check_columns(name, table.all_columns)
    check_kept(keep, table.all_columns, model.schema.names, name)
    kept, oddities, read = KeptRows(table, keep), Oddities(), request.read or read_options(champion.profile)
    has_header = part is None or part.number == 0
    with open_writer(
        path, schema_of(model, kept), keep_formulas=False, spelled=model.spelled, header=has_header
    ) as writer:
        rows, blank = write_predictions(model, kept, writer, oddities, read, counts, as_training=part is not None)
    return Written(rows, blank, list(table.told), oddities, [each for each in others if each not in keep])
