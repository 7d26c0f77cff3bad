"""One run of batch scoring from end to end: rows to the stack's bucket, the run itself, and predictions to a folder."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import DamagedFileError
from common.scoring_requests import parse_scoring_request
from common.storage import Stored, download
from crosstrain.command import BadInputError, OperationFailedError, check_name
from crosstrain.training.data_files import find_data_files
from crosstrain.training.execution import ExecutionResult, new_run_id, outcome, start
from crosstrain.training.folder_models import name_in
from crosstrain.training.progress import Progress
from crosstrain.training.registry import Registry
from crosstrain.training.runs import (
    Clients,
    LocalTrainingStack,
    failure_of,
    results_folder,
    told_what_goes_on,
    upload_data,
)
from crosstrain.training.stack import STACK_VARIABLE, find_stack

if TYPE_CHECKING:
    from data_preparation.reading import SourceFile

MACHINE = "BatchScoringStateMachineArn"
"""The output of the stack that names the state machine."""

OpenWithModel = Callable[[Progress, Path], AbstractContextManager[LocalTrainingStack]]
"""Starts an embedded AWS whose champion is the model of a folder."""


@dataclass(frozen=True)
class _Stack:
    """Where a run takes place, and which model scores."""

    clients: Clients
    model_name: str


def score(options: argparse.Namespace, progress: Progress, open_with_model: OpenWithModel) -> dict[str, Any]:
    """Score what the options name and return the result document.

    Raises
    ------
    BadInputError, InvalidRequestError, InvalidDatasetError
        If the data, the model or the request cannot be used.
    OperationFailedError
        If the run failed for another reason, or what it has written cannot be fetched.
    """
    stack_name = options.stack or (None if options.folder else os.environ.get(STACK_VARIABLE))
    files = _local_files(options, stack_name)
    # What is wrong with the request is said before anything is started.
    parse_scoring_request(_document(options, "s3://bucket/checked-before-upload", options.model_name or "checked"))
    check_name(options.out, "the folder for the predictions")
    with ExitStack() as resources:
        stack = _open(options, stack_name, progress, resources, open_with_model)
        run_id = new_run_id()
        uri = options.data if not files else upload_data(stack.clients, files, run_id, Path(options.data), progress)
        request = _document(options, uri, stack.model_name)
        with told_what_goes_on(stack.clients, run_id):
            result = _run(stack.clients, request, run_id, progress)
        out, paths = Path(options.out, run_id), list[str]()
        manifest = _fetch(stack.clients, result, out, progress, paths)
    output = result.output or {}
    # What was on an embedded AWS of this run's own is gone.
    kept = None if options.folder else output["manifest_uri"].removesuffix("manifest.json")
    seconds = round(result.seconds, 3)
    return {**output, "seconds": seconds, "uri": kept, "out": str(out), "files": paths, **manifest}


def _local_files(options: argparse.Namespace, stack_name: str | None) -> list[SourceFile]:
    """Return the local files, or none where the rows are on S3 already."""
    if not options.data.startswith("s3://"):
        options.data = os.path.expanduser(options.data)  # noqa: PTH111 - Path would fail for an unknown user
        return find_data_files(options.data)
    if stack_name is None:
        raise BadInputError(f"{options.data} is on S3: name the deployed stack to score with (--stack NAME).")
    return []


def _document(options: argparse.Namespace, uri: str, model_name: str) -> dict[str, Any]:
    """Return the input document with what the user has set."""
    keep = "all" if options.keep_all else options.keep
    chosen = {"version": options.version, "keep": keep, "output_format": options.format, "read": options.read}
    return {
        "dataset_uri": uri,
        "model_name": model_name,
        **{name: value for name, value in chosen.items() if value is not None},
    }


def _open(
    options: argparse.Namespace,
    stack_name: str | None,
    progress: Progress,
    resources: ExitStack,
    open_with_model: OpenWithModel,
) -> _Stack:
    if options.folder is None:
        found = find_stack(stack_name)
        clients = Clients.of(found.output, found.session.client, MACHINE)
        registry = Registry(found.session.client("dynamodb"), found.output("ModelRegistryTableName"))
        return _Stack(clients, options.model_name or registry.only_model())
    if options.stack or options.model_name or options.version:
        raise BadInputError(
            f'"{options.folder}" is a local folder, which holds one model: leave the stack, the version and the '
            "model's name out."
        )
    if not options.trust:
        raise BadInputError(
            f'Nobody vouches for the model in "{options.folder}": say --trust if you know where it comes from, or '
            "leave the folder out for the champion of a stack."
        )
    folder = Path(options.folder)
    name = name_in(folder)
    local = resources.enter_context(open_with_model(progress, folder))
    return _Stack(Clients.of(local.outputs.__getitem__, local.client, MACHINE), name)


def _run(stack: Clients, request: dict[str, Any], run_id: str, progress: Progress) -> ExecutionResult:
    arn = start(stack.sfn, stack.state_machine_arn, request, run_id)
    with progress.states() as show:
        result = outcome(stack.sfn, arn, on_event=show)
    if result.status != "SUCCEEDED":
        raise failure_of(run_id, result)
    return result


def _fetch(stack: Clients, result: ExecutionResult, out: Path, progress: Progress, paths: list[str]) -> dict[str, Any]:
    """Download what the run has written, whole or not at all, and return what the manifest says of single objects."""
    output = result.output or {}
    with progress.step("Fetch the predictions"), results_folder(out) as folder:
        try:
            manifest_file = download(stack.s3, Stored(**output["manifest"]), folder / "manifest.json")
            manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
            written = {Path(each["uri"]).name: each for each in manifest["files"].values()}
            base = output["manifest_uri"].removesuffix("manifest.json") + "predictions/"
            for each in manifest["objects"]:
                if each["state"] == "scored":
                    written[each["predictions"]["uri"].removeprefix(base)] = each["predictions"]
            for name, stored in written.items():
                download(stack.s3, Stored(**stored), _within(folder, name))
        except DamagedFileError as error:
            raise OperationFailedError(f"The predictions are not what the run has written: {error}") from error
        for name in [*written, "manifest.json"]:
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(target)
            paths.append(str(target))
    told = {
        kind: [[each["name"], each["reason"]] for each in manifest["objects"] if each["state"] == kind]
        for kind in ("failed", "empty")
    }
    return {"totals": manifest["totals"], **told}


def _within(folder: Path, name: str) -> Path:
    """Return where a file goes, whose name an object's key was: some lead out of any folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise OperationFailedError(f'The predictions of "{name}" have no place in a folder: rename that object.')
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
