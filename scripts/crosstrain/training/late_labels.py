"""Brings labels to the predictions that they belong to: by a stack's function, or on this machine by the same code."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from common.conversion import Profile
from common.scoring_requests import FeedbackRequest, parse_feedback_request
from common.storage import new_call, split_uri
from common.words import figure, limits, rows_in_words
from crosstrain.command import BadInputError, OperationFailedError, check_name, printable
from crosstrain.training.data_files import find_data_files
from crosstrain.training.progress import Progress
from crosstrain.training.registry import Registry
from crosstrain.training.stack import DeployedStack, find_stack

if TYPE_CHECKING:
    from rich.console import Console

FUNCTION = "FeedbackFunctionName"
"""The output that names the function."""
_RUN = re.compile(r"[A-Za-z0-9_-]{1,80}")
# The function is not called twice: it may take as long as a function may.
_PATIENCE = Config(read_timeout=910, retries={"total_max_attempts": 1})
_OF_THE_USER = ("InvalidRequestError", "InvalidDatasetError", "InvalidRowsError", "NothingToCompareError")
_ON_S3 = "s3://"

Document = dict[str, Any]


def feedback(options: argparse.Namespace, errors: Console) -> Document:
    """Measure what the options name, write the document and its page, and return the document.

    Raises
    ------
    BadInputError, InvalidDatasetError, InvalidRequestError
        If the labels, the predictions, the model or the place to write to cannot be used.
    OperationFailedError
        If the function fails.
    """
    check_name(options.out, "the folder for the results")
    progress = Progress(errors)
    if options.folder is not None:
        with progress.step("Join labels and predictions"):
            document, page = _here(options)
    else:
        document, page = _by_function(options, find_stack(options.stack), progress)
    out = Path(options.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "feedback.html").write_text(page, encoding="utf-8")
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (out / "feedback.json").write_text(f"{text}\n", encoding="utf-8")
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise BadInputError(
            f'The results cannot be written to "{printable(options.out)}": it is no folder that may be written to.'
        ) from error
    return document


def lines(document: Mapping[str, Any]) -> list[str]:
    """Return what is told of a document: what it says, and what was left out."""
    metric, rows = document["metric"], max(1, document["rows"])
    live = figure(metric, document["value"], limits(document["interval"]), rows)
    left_out = {
        "predictions without a label": document["unmatched"],
        "labels without a prediction": document["unmatched_labels"],
        "rows whose key another one has, too": document["duplicates"],
        "rows without a key": document["missing_keys"],
        "labels that are missing": document["missing_labels"],
    }
    counted = ", ".join(f"{name}: {count:,}" for name, count in left_out.items() if count)
    return [
        f"{'Dropped' if document['dropped'] else 'Not dropped'}: {document['reason']}",
        f"{metric} on {rows_in_words(document['rows'])} with a label: {live or 'undefined'}",
        *([f"Left out: {counted}."] if counted else []),
        *document["told"],
        *([f"Stored as {document['feedback_uri']}"] if "feedback_uri" in document else []),
    ]


def _request(options: argparse.Namespace, model_name: str, labels_uri: str, scores_uri: str | None) -> Document:
    given = {
        "target": options.target,
        "predictions_uri": scores_uri,
        "version": options.version,
        "since": options.since,
        "until": options.until,
        "read": options.read,
    }
    request = {"model_name": model_name, "labels_uri": labels_uri, "keys": options.key}
    return request | {name: value for name, value in given.items() if value is not None}


# With a stack


def _by_function(options: argparse.Namespace, stack: DeployedStack, progress: Progress) -> tuple[Document, str]:
    if options.scores is not None and (options.since or options.until):
        raise BadInputError("--since and --until are of captured requests: leave them out, or --scores.")
    function, bucket = stack.output(FUNCTION), stack.output("ArtifactBucketName")
    registry = Registry(stack.session.client("dynamodb"), stack.output("ModelRegistryTableName"))
    model_name = options.model_name or registry.only_model()
    s3, folder = stack.session.client("s3"), f"data/feedback-{new_call()}"
    # What is said wrongly is found before anything is sent.
    parse_feedback_request(_request(options, model_name, "s3://bucket/labels", None))
    with progress.step("Upload the labels"):
        scores = _scores(s3, bucket, folder, options.scores)
        labels = _uploaded(s3, bucket, f"{folder}/labels", options.labels)
    with progress.step("Join labels and predictions"):
        document = _invoke(
            stack.session.client("lambda", config=_PATIENCE), function, _request(options, model_name, labels, scores)
        )
        at, key = split_uri(document["page_uri"])
        page = s3.get_object(Bucket=at, Key=key)["Body"].read().decode()
    return document, page


def _scores(s3: Any, bucket: str, folder: str, scores: str | None) -> str | None:
    """Return where predictions are: as they are named, as a run's manifest, or as files that were uploaded."""
    if scores is None or scores.startswith(_ON_S3):
        return scores
    if not Path(scores).exists() and _RUN.fullmatch(scores):
        return f"s3://{bucket}/scoring/{scores}/manifest.json"
    return _uploaded(s3, bucket, f"{folder}/predictions", scores)


def _uploaded(s3: Any, bucket: str, folder: str, name: str) -> str:
    if name.startswith(_ON_S3):
        return name
    for file in find_data_files(name):
        s3.upload_file(str(file.path), bucket, f"{folder}/{file.name}")
    return f"s3://{bucket}/{folder}/"


def _invoke(client: Any, function: str, request: Mapping[str, Any]) -> Document:
    answer = client.invoke(FunctionName=function, Payload=json.dumps(request).encode())
    document: Document = json.loads(answer["Payload"].read())
    if "FunctionError" not in answer:
        return document
    kind, message = str(document.get("errorType")), str(document.get("errorMessage", "no reason was given"))
    if kind in _OF_THE_USER:
        raise BadInputError(message)
    raise OperationFailedError(f"The function {function} has failed with {kind}: {message}")


# Without one


def _here(options: argparse.Namespace) -> tuple[Document, str]:
    # They import scikit-learn, which a stack's function does elsewhere.
    from scoring.feedback import Found, feedback_page, measure_feedback  # noqa: PLC0415 (as said above)
    from scoring.label_files import read_predictions  # noqa: PLC0415 (as said above)

    _check_local(options)
    folder = Path(options.folder)
    profile, evaluation = _json(folder / "profile.json"), _json(folder / "evaluation.json")
    request: FeedbackRequest = parse_feedback_request(_request(options, "model", "s3://bucket/labels", None))
    predictions = read_predictions(find_data_files(options.scores), profile, request.keys)
    found = Found(predictions, evaluation.get("run_id"), Path(options.scores).name)
    document = measure_feedback(found, find_data_files(options.labels), profile, evaluation, request)
    return document, feedback_page(document, folder.name or "model")


def _check_local(options: argparse.Namespace) -> None:
    of_stack: Sequence[str] = ("stack", "model_name", "version", "since", "until")
    if named := [f"--{name.replace('_', '-')}" for name in of_stack if getattr(options, name)]:
        raise BadInputError(f"{named[0]} is of a stack, and --from is of a folder: leave one of them out.")
    if options.scores is None or options.scores.startswith(_ON_S3) or options.labels.startswith(_ON_S3):
        raise BadInputError("With --from predictions and labels are files here: name them by --scores and --labels.")


def _json(path: Path) -> Profile:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BadInputError(
            f'"{printable(str(path))}" cannot be read: name the folder that `make train` has written by --from.'
        ) from error
