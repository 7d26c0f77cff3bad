"""One piece of a run of batch scoring: its objects are read, scored and counted, each with a file of predictions."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.conversion import Profile
from common.distributions import Distribution
from common.errors import InvalidDatasetError, InvalidRowsError
from common.storage import describe_file, exists, pinned, read_json, s3_client, upload, workspace, write_json_once
from data_preparation.formats import EmptyFileError, recognise
from data_preparation.objects import Downloads, SourceObject
from data_preparation.reading import SourceFile, open_table
from scoring.batch_plan import Plan, read_plan, run_folder
from scoring.champion import Champion, load_champion
from scoring.counts import Counts, NothingToCompareError
from scoring.kept_columns import KeptRows, check_kept
from scoring.oddities import Oddities
from scoring.prediction_files import open_writer, schema_of, write_predictions
from scoring.reading import read_options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def piece_uri(run_id: str, piece: int) -> str:
    """Return where a piece's document is."""
    return f"{run_folder(run_id)}pieces/{piece:03}.json"


def score_piece(s3: S3Client, event: Mapping[str, Any]) -> dict[str, Any]:
    """Score the objects of a piece; a repeated call finds what an earlier one has written.

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
    DamagedFileError, UntrustedModelError
        If the model is not the one that the registry knows, or fails. What is wrong with an object is in the document.
    """
    uri = piece_uri(event["run_id"], event["piece"])
    if exists(s3, uri):
        return {"piece": event["piece"]}
    plan = read_plan(s3, event["plan"])
    entry = json.dumps({"model_name": plan.request.model_name, **plan.entry}, sort_keys=True)
    champion, predictions = _version(entry)
    objects, all_counts = list[dict[str, Any]](), counts_of(champion.profile, predictions)
    for number in plan.pieces[event["piece"]]:
        counts = counts_of(champion.profile, predictions)
        objects.append(_outcome(s3, plan, number, champion, counts))
        # What was counted of an object that could be scored in part is none of the run's rows.
        if counts is not None and all_counts is not None and objects[-1]["state"] == "scored":
            all_counts.merge(counts.document())
    document = {"objects": objects, "counts": None if all_counts is None else all_counts.document()}
    write_json_once(s3, document, uri)
    return {"piece": event["piece"]}


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


def about_object(source: SourceObject) -> dict[str, Any]:
    """Return what is told of an object, whatever became of it."""
    return {"name": source.name, "uri": source.uri, "etag": source.etag, "bytes": source.size}


def _outcome(s3: S3Client, plan: Plan, number: int, champion: Champion, counts: Counts | None) -> dict[str, Any]:
    """Score one object and return what became of it."""
    source = plan.objects[number]
    about = about_object(source)
    try:
        with workspace() as folder:
            for file in Downloads(s3, [source], folder):
                path = folder / f"predictions.{plan.request.output_format}"
                told = _score(champion, file, path, plan, counts)
                stored = upload(s3, path, run_folder(plan.run_id) + plan.outputs[number])
                return {**about, "state": "scored", **told, "predictions": describe_file(stored)}
    except EmptyFileError as error:
        return {**about, "state": "empty", "rows": 0, "reason": str(error)}
    except InvalidDatasetError as error:
        return {**about, "state": "failed", "rows": 0, "reason": str(error)}
    except InvalidRowsError as error:
        # The reason of the only object, or of all, goes on into logs, events and mails.
        return {**about, "state": "failed", "rows": 0, "reason": error.plain}
    raise AssertionError(f"{source.uri} was not read")


def _score(champion: Champion, file: SourceFile, path: Path, plan: Plan, counts: Counts | None) -> dict[str, Any]:
    """Write the predictions for one file and return what is told of it."""
    model, request = champion.model, plan.request
    if recognise(file).kind == "excel":
        raise InvalidDatasetError(
            f'"{file.name}" is an Excel workbook, which batch scoring does not read: save it as CSV or Parquet.'
        )
    read = request.read or read_options(champion.profile)
    with open_table(file, read, path.parent) as table:
        keep = table.all_columns if request.keep == "all" else list(dict.fromkeys(request.keep))
        others = model.check_columns(file.name, table.all_columns)
        check_kept(keep, table.all_columns, model.schema.names, file.name)
        kept, oddities = KeptRows(table, keep), Oddities()
        with open_writer(path, schema_of(model, kept), keep_formulas=False, spelled=model.spelled) as writer:
            rows, blank = write_predictions(model, kept, writer, oddities, read, counts)
        told = [*table.told, *filter(None, oddities.told)]
    return {"rows": rows, "blank_lines": blank, "told": told, "unused_columns": [x for x in others if x not in keep]}
