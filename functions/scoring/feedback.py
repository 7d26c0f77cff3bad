"""Lambda handler of feedback: labels that have come late, joined with what was predicted, and the metric on them.

Whoever brings labels needs the right to call it and none to write what it finds out.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import ClientError

from common.conversion import Profile, target_column
from common.errors import InvalidDatasetError, InvalidRequestError
from common.lineage import now
from common.metrics import PROBABILITY
from common.scoring_requests import FeedbackRequest, parse_feedback_request
from common.storage import (
    Stored,
    download,
    new_call,
    pinned,
    read_json,
    s3_client,
    workspace,
    write_bytes,
    write_json,
)
from common.words import rows_in_words
from data_preparation.objects import Downloads, list_objects, unreadable
from data_preparation.reading import SourceFile
from scoring import events, measures
from scoring.captured import find_objects, read_objects
from scoring.clients import client as _client
from scoring.drift_page import render_page
from scoring.label_files import captured_predictions, read_labels, read_predictions
from scoring.live import live_metric
from scoring.prediction_files import PREDICTION
from scoring.settings import WatchSettings
from scoring.versions import champion_of, entry_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST = "manifest.json"
"""What a run of batch scoring calls the list of its files."""

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)

# What was imported stays for good: without it a full collection looks at 10,000 objects and not at 300,000.
gc.freeze()


@dataclass(frozen=True)
class Found:
    """Predictions, whose they are, and what is told of them.

    Attributes
    ----------
    table
        The key's columns and those of the predictions.
    version
        Of the model; None where nobody has recorded it.
    rows_from
        Where they come from, for people.
    told
        A sentence for each thing that was left out.
    """

    table: pa.Table
    version: str | None
    rows_from: str
    told: Sequence[str] = ()


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Join labels with predictions and tell how good these were.

    Parameters
    ----------
    event
        As `common.request.FeedbackRequest` describes it.
    _context
        Of the call.

    Returns
    -------
    dict
        The document of `measure_feedback`, with `feedback_uri` and `page_uri`.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError
        If the request, the labels or the predictions cannot be used.
    """
    request, settings, s3 = parse_feedback_request(dict(event)), WatchSettings.of(), s3_client()
    manifest = _manifest(s3, settings, request)
    model = _model(s3, settings, request, manifest)
    with workspace() as folder:
        found = _predictions(s3, settings, request, model, manifest, folder)
        labels = _downloads(s3, settings, request.labels_uri, folder)
        document = measure_feedback(found, labels, model.profile, model.evaluation, request)
    return _record(s3, settings, request, document)


def measure_feedback(
    found: Found,
    labels: Iterable[SourceFile],
    profile: Profile,
    evaluation: Mapping[str, Any],
    request: FeedbackRequest,
) -> dict[str, Any]:
    """Return how good predictions were.

    Parameters
    ----------
    found
        The predictions.
    labels
        Files of labels, to be gone through once.
    profile, evaluation
        Of the version that predicted.
    request
        Says what the columns are called, and how the labels are written.

    Returns
    -------
    dict
        The document of `scoring.live.live_metric`, and `version`, `keys`, `target` and `rows_from`.
    """
    target = request.target or target_column(profile)["name"]
    truths = read_labels(
        labels,
        profile,
        request.keys,
        target,
        read=request.read,
        weights=evaluation["weight_column"],
    )
    table, told = found.table, list(found.told)
    if missing := table[PREDICTION].null_count:
        table = table.filter(table[PREDICTION].is_valid())
        told.append(f"Rows without a prediction, as blank lines have none: {missing:,}.")
    _check_kind(table, evaluation)
    live = live_metric(table, truths, request.keys, target, evaluation)
    live["told"] = [*told, *live["told"]]
    return {
        **live,
        "version": found.version,
        "keys": list(request.keys),
        "target": target,
        "rows_from": found.rows_from,
    }


def _check_kind(table: pa.Table, evaluation: Mapping[str, Any]) -> None:
    """Insist on predictions of this model's kind: others would have a metric, too."""
    predicted = table[PREDICTION]
    if evaluation["problem"] == "regression":
        if table.num_rows and not (pa.types.is_integer(predicted.type) or pa.types.is_floating(predicted.type)):
            raise InvalidDatasetError("The predictions are no numbers, and the model predicts numbers: bring its own.")
        return
    for label in sorted(set(pc.cast(predicted, pa.string()).to_pylist())):
        if f"{PROBABILITY}{label}" not in table.column_names:
            raise InvalidDatasetError(
                f'The predictions have no column "{PROBABILITY}{label}": bring the file as it was written.'
            )


def feedback_page(document: Mapping[str, Any], model_name: str) -> str:
    """Return the page of a document of `measure_feedback`."""
    about = {
        "model_name": model_name,
        "version": document["version"] or "unknown",
        "rows_from": document["rows_from"],
        "at": now(),
    }
    nothing = {"rows": document["rows"], "columns": [], "prediction": None, "drifted": False, "reason": ""}
    return render_page(nothing, about, live=document)


@dataclass(frozen=True)
class _Model:
    """The version that has predicted, and what training and evaluation have recorded of it."""

    version: str
    profile: Profile
    evaluation: Mapping[str, Any]


def _manifest(s3: S3Client, settings: WatchSettings, request: FeedbackRequest) -> Mapping[str, Any] | None:
    """Return the manifest of the run of batch scoring that the predictions are of; None if they are of none."""
    uri = request.predictions_uri
    if uri is None or not uri.endswith(f"/{MANIFEST}"):
        return None
    try:
        manifest: Mapping[str, Any] = read_json(s3, Stored(uri))
    except ClientError as error:
        raise unreadable(uri, error, _way_out(settings)) from error
    if manifest["model_name"] != request.model_name:
        raise InvalidRequestError(
            f'"{uri}" is a run of the model "{manifest["model_name"]}": name that one, or a run of '
            f'"{request.model_name}".'
        )
    if request.version not in (None, manifest["version"]):
        raise InvalidRequestError(f'"{uri}" has scored with the version {manifest["version"]}: leave the version out.')
    return manifest


def _model(
    s3: S3Client, settings: WatchSettings, request: FeedbackRequest, manifest: Mapping[str, Any] | None
) -> _Model:
    named = request.version if manifest is None else manifest["version"]
    version = named or _champion(settings, request)
    entry = entry_of(_client("dynamodb"), settings.table, request.model_name, version)
    return _Model(version, *(read_json(s3, pinned(entry, name)) for name in ("profile", "evaluation")))


def _champion(settings: WatchSettings, request: FeedbackRequest) -> str:
    version = champion_of(_client("dynamodb"), settings.table, request.model_name)
    if version is None:
        raise InvalidRequestError(f'The model "{request.model_name}" has no champion: name the version that predicted.')
    return version


def _predictions(
    s3: S3Client,
    settings: WatchSettings,
    request: FeedbackRequest,
    model: _Model,
    manifest: Mapping[str, Any] | None,
    folder: Path,
) -> Found:
    uri = request.predictions_uri
    if uri is None:
        return _captured(s3, settings, request, model.version)
    if manifest is None:
        files = _downloads(s3, settings, uri, folder)
        return Found(read_predictions(files, model.profile, request.keys), model.version, uri)
    # Each file as the run's manifest has recorded it.
    scored = [each for each in manifest["objects"] if each["state"] == "scored"]
    table = read_predictions(_stored_files(s3, scored, folder), model.profile, request.keys)
    failed = sum(each["state"] == "failed" for each in manifest["objects"])
    told = [f"Files that the run could not score: {failed:,}."] if failed else []
    return Found(table, model.version, uri, told)


def _captured(s3: S3Client, settings: WatchSettings, request: FeedbackRequest, version: str) -> Found:
    until = datetime.now(UTC) if request.until is None else request.until
    objects = find_objects(s3, settings.bucket, request.model_name, request.since, until)
    lines = chain.from_iterable(read_objects(s3, objects.uris))
    table, others, without, beyond = captured_predictions(lines, version, request.keys)
    sentences = {
        f"{rows_in_words(others)} of other versions left out.": others,
        f"{rows_in_words(without)} without the key, or with a private one, left out.": without,
        f"There are more rows than are read: {beyond:,} left out. Name a shorter time.": beyond,
        f"There are more requests than are read: {objects.left_out:,}, drawn by chance, left out.": objects.left_out,
    }
    told = [sentence for sentence, is_so in sentences.items() if is_so]
    since = "the first" if request.since is None else f"{request.since:%Y-%m-%d %H:%M}"
    return Found(table, version, f"captured requests, from {since} to {until:%Y-%m-%d %H:%M} UTC", told)


def _stored_files(s3: S3Client, objects: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[SourceFile]:
    for each in objects:
        stored = Stored(**each["predictions"])
        path = download(s3, stored, folder / "predictions")
        yield SourceFile(stored.uri.rpartition("/")[2], path)
        path.unlink()


def _downloads(s3: S3Client, settings: WatchSettings, uri: str, folder: Path) -> Downloads:
    way_out = _way_out(settings)
    return Downloads(s3, list_objects(s3, uri, way_out).objects, folder, way_out)


def _way_out(settings: WatchSettings) -> str:
    """Return what helps where labels or predictions may not be read: no parameter opens another bucket to this role."""
    return (
        f"put labels and predictions under data/ in the bucket {settings.bucket}, or let scripts/feedback.py send them "
        "there by naming files of your own."
    )


def _record(s3: S3Client, settings: WatchSettings, request: FeedbackRequest, live: Mapping[str, Any]) -> dict[str, Any]:
    """Write a document with its page, and announce what has dropped."""
    of = {"model_name": request.model_name, "version": str(live["version"]), "run_id": new_call()}
    folder = f"s3://{settings.bucket}/feedback/{request.model_name}/{of['run_id']}"
    document = {**live, **of, "request": json.loads(request.model_dump_json())}
    uri = write_json(s3, document, f"{folder}/feedback.json").uri
    page = feedback_page(live, request.model_name).encode()
    page_uri = write_bytes(s3, page, f"{folder}/feedback.html", "text/html; charset=utf-8").uri
    if live["dropped"]:
        detail = events.performance_detail(live, {"stack": settings.stack, **of}, uri, page_uri)
        events.announce(_client("events"), events.PERFORMANCE_DROPPED, detail)
    measured = {} if live["value"] is None else {"LiveMetric": live["value"]}
    measures.put(settings.stack, request.model_name, of["version"], {"LabelledRows": live["rows"], **measured})
    return {**document, "feedback_uri": uri, "page_uri": page_uri}
