"""One training run from end to end: data to the stack's bucket, the run itself, and its files to a folder here."""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from common.capacity import FEWER_ROWS
from common.errors import DamagedFileError, InvalidDatasetError, InvalidRequestError
from common.request import TrainingRequest, parse_request
from common.storage import download, pinned
from crosstrain.command import BadInputError, OperationFailedError, check_name, reason_of
from crosstrain.training.data_files import DataFiles, find_data_files
from crosstrain.training.execution import ExecutionResult, execution_arn, new_run_id, outcome, start
from crosstrain.training.progress import Progress
from crosstrain.training.request_flags import NAMES
from crosstrain.training.stack import STACK_VARIABLE, find_stack
from crosstrain.training.summary import facts
from data_preparation.column_checks import check_columns
from data_preparation.file_names import compression_by_name, kind_by_name
from data_preparation.formats import EmptyFileError
from data_preparation.reading import SourceFile, open_table

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_stepfunctions import SFNClient

FILES = {
    "model.skops": ("model", "model"),
    "model.json": ("model", "info"),
    "profile.json": ("prepared", "profile"),
    "evaluation.json": ("evaluation", "evaluation"),
    "report.html": ("evaluation", "report"),
}
"""What is fetched of a run: the step that has written it, and what it is called there."""
_USERS_ERRORS = frozenset({InvalidRequestError.__name__, InvalidDatasetError.__name__, "NoChampionError"})
# Of a function that Lambda has stopped, which says no more than that:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
_STOPPED = frozenset({"Sandbox.Timedout", "Runtime.OutOfMemory", "Runtime.ExitError", "Lambda.Unknown"})
_OF_STOPPED = (
    "Lambda has stopped its function: set the parameter JobSubnetIds, with which it goes on as a task, raise "
    f"FunctionTimeout (900 seconds at most) or the function's memory, or {FEWER_ROWS}."
)


@dataclass(frozen=True)
class Clients:
    """A deployed training stack and the clients to work with it."""

    state_machine_arn: str
    bucket: str
    s3: S3Client
    sfn: SFNClient

    @classmethod
    def of(
        cls, output: Callable[[str], str], client: Callable[[Any], Any], machine: str = "StateMachineArn"
    ) -> Clients:
        """Return the clients of a stack whose outputs are found by their names, `machine` among them."""
        return cls(output(machine), output("ArtifactBucketName"), client("s3"), client("stepfunctions"))


class LocalTrainingStack(Protocol):
    """The training stack on an embedded AWS."""

    @property
    def outputs(self) -> Mapping[str, str]:
        """The outputs of the stack."""

    def client(self, service: str) -> Any:
        """Return a boto3 client."""


OpenLocal = Callable[[Progress], AbstractContextManager[LocalTrainingStack]]
"""Starts an embedded AWS with the training stack, for a run without a deployed one."""


def train(options: argparse.Namespace, progress: Progress, open_local: OpenLocal) -> dict[str, Any]:
    """Run one training and return the result document.

    Raises
    ------
    BadInputError, InvalidRequestError, InvalidDatasetError
        If the data or the request cannot be used; as far as can be known, before anything is started.
    OperationFailedError
        If the run failed for another reason, or what it needs did not start.
    """
    # What `make local-aws` keeps running is taken before an embedded AWS of this run's own.
    options.stack = options.stack or os.environ.get(STACK_VARIABLE)
    if options.stack and getattr(options, "memory", None) is not None:
        raise BadInputError(
            "MEMORY is of the functions that run on this machine; those of a deployed stack have its parameters "
            "ModelTrainingMemory and ModelEvaluationMemory."
        )
    with ExitStack() as resources:
        _expand_homes(options)
        if options.data is None:
            options.data = str(_diabetes(Path(resources.enter_context(tempfile.TemporaryDirectory()))))
            options.target = options.target or "target"
        files = _local_files(options)
        request = parse_request(_document(options, "s3://bucket/checked-before-upload"))
        _check_files(files, request)
        if getattr(options, "model_name", None) is None:
            options.model_name = name_of_model(options.data, options.target)
        _check_out(options.out)

        if options.stack:
            found = find_stack(options.stack)
            stack = Clients.of(found.output, found.session.client)
        else:
            local = resources.enter_context(open_local(progress))
            stack = Clients.of(local.outputs.__getitem__, local.client)
        run_id = new_run_id()
        uri = options.data if not files else upload_data(stack, files, run_id, Path(options.data), progress)
        request = parse_request(_document(options, uri))
        with told_what_goes_on(stack, run_id) if options.stack else nullcontext():
            result = _run(stack, request, run_id, progress)
        kept = _keeps_promoted(Path(options.out), result)
        paths = _fetch(stack, result, Path(options.out, run_id if kept else ""), progress)
    ignored = {"ignored_files": files.ignored} if isinstance(files, DataFiles) else {}
    return {**_result_document(run_id, result, paths), **facts(paths), **ignored, "kept": options.out if kept else None}


def _expand_homes(options: argparse.Namespace) -> None:
    """Expand a leading `~`, which no shell expands in quotes, and some do not after `DATA=` either."""
    for name in ("data", "out"):
        if value := getattr(options, name):
            setattr(options, name, os.path.expanduser(value))  # noqa: PTH111 - Path would fail for an unknown user


def name_of_model(data: str, target: str) -> str:
    """Return the name of a model that nobody has named: of its data and its target, so that it meets no other.

    Examples
    --------
    >>> name_of_model("s3://bucket/data/Houses 2024.csv.gz", "sale price")
    'Houses-2024-sale-price'
    """
    stem = Path(data).name
    while kind_by_name(stem) or compression_by_name(stem):
        stem = stem.rpartition(".")[0]
    # A data set's name is cut first: one target of it must not be taken for another.
    words = [re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") for text in (stem, target)]
    name = "-".join(filter(None, (words[0][: max(16, 63 - len(words[1]))].strip("-"), words[1])))
    return name[:64].strip("-") or "model"


def _document(options: argparse.Namespace, dataset_uri: str) -> dict[str, Any]:
    """Return the input document with what the user has set; the rest is left to the request's defaults."""
    if options.target is None:
        raise BadInputError("Say which column to predict: TARGET=column, or --target column.")
    chosen = {name: value for name, value in vars(options).items() if name in NAMES and value is not None}
    return {"dataset_uri": dataset_uri, **chosen}


def _diabetes(folder: Path) -> Path:
    """Write scikit-learn's diabetes data (442 patients, https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html)."""
    # Half a second that only the main job pays.
    from sklearn.datasets import load_diabetes  # noqa: PLC0415

    path = folder / "diabetes.csv"
    load_diabetes(as_frame=True, scaled=False).frame.to_csv(path, index=False)
    return path


def _local_files(options: argparse.Namespace) -> list[SourceFile]:
    """Return the local data files, or none where the data is on S3 already."""
    if options.data.startswith("s3://"):
        if not options.stack:
            raise BadInputError(f"{options.data} is on S3: name the deployed stack to train with (--stack NAME).")
        return []
    return find_data_files(options.data)


def _check_files(files: list[SourceFile], request: TrainingRequest) -> None:
    """Check what the files show without a look at all rows: that they can be read, and have the columns."""
    names, unnamed, empty = list[list[str]](), False, list[EmptyFileError]()
    for file in files:
        try:
            with open_table(file, request.read) as table:
                names.append(table.columns)
                unnamed = unnamed or table.has_numbers_in_header
        except EmptyFileError as error:
            empty.append(error)
    if files and not names:
        raise InvalidDatasetError(str(empty[0]))
    united = list(dict.fromkeys(name for each in names for name in each))
    for each in [united] if request.read.unite and names else names:
        check_columns(request, each, unnamed=unnamed)


def _check_out(out: str) -> None:
    check_name(out, "the folder for the results")
    path = Path(out)
    existing = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise BadInputError(
            f'The results cannot be written to "{out}": "{existing}" is no folder that may be written to.'
        )
    if folder := next((path / name for name in FILES if (path / name).is_dir()), None):
        raise BadInputError(f'The results cannot be written to "{out}": "{folder}" is a folder.')


def upload_data(stack: Clients, files: list[SourceFile], run_id: str, data: Path, progress: Progress) -> str:
    """Copy files to a folder that a run has for itself, and return the URI of the data set."""
    prefix = f"data/{run_id}/"
    with progress.step("Upload the data"):
        for file in files:
            stack.s3.upload_file(str(file.path), stack.bucket, prefix + file.name)
    return f"s3://{stack.bucket}/{prefix}" + ("" if data.is_dir() else files[0].name)


def _run(stack: Clients, request: TrainingRequest, run_id: str, progress: Progress) -> ExecutionResult:
    arn = start(stack.sfn, stack.state_machine_arn, request.model_dump(exclude_unset=True), run_id)
    with progress.states() as show:
        result = outcome(stack.sfn, arn, on_event=show)
    if result.status != "SUCCEEDED":
        raise failure_of(run_id, result)
    return result


def failure_of(run_id: str, result: ExecutionResult) -> BadInputError | OperationFailedError:
    """Return the error of a run that did not succeed: data and requests are the user's, wherever that was found."""
    # The state machine puts the step before the cause of what it has caught.
    step, found, cause = (result.cause or "").partition(": ")
    if result.error in _USERS_ERRORS and found:
        return BadInputError(cause)
    step = result.failed_state or "the state machine"
    cause = (result.cause or "no cause is given").removeprefix(f"{step}: ")
    told = f"The run {run_id} failed in {step}: {result.error or result.status}: {cause}"
    return OperationFailedError(f"{told.rstrip('.')}. {_OF_STOPPED}" if result.error in _STOPPED else told)


@contextmanager
def told_what_goes_on(stack: Clients, run_id: str) -> Iterator[None]:
    """Say of a run that nobody waits for any longer that it goes on, and how to stop it."""
    try:
        yield
    except KeyboardInterrupt:
        arn = execution_arn(stack.state_machine_arn, run_id)
        raise KeyboardInterrupt(
            f"Stopped waiting; the run {run_id} goes on: "
            f"aws stepfunctions stop-execution --execution-arn {arn} stops it."
        ) from None


def _keeps_promoted(out: Path, result: ExecutionResult) -> bool:
    """Return whether a folder has results that may have been promoted, which those of a rejected run do not replace."""
    output = result.output or {}
    if output["evaluation"]["decision"] == "promote" or not any((out / name).exists() for name in FILES):
        return False
    try:
        return bool(json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["decision"] != "reject")
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return True


def _fetch(stack: Clients, result: ExecutionResult, out: Path, progress: Progress) -> dict[str, str]:
    """Download the run's files into `out`, each whole or not at all, and return their paths."""
    output = result.output or {}
    stored = {name: pinned(output[step], kind) for name, (step, kind) in FILES.items()}
    with progress.step("Fetch the results"), results_folder(out) as folder:
        for name, file in stored.items():
            try:
                download(stack.s3, file, folder / name)
            except DamagedFileError as error:
                raise OperationFailedError(f"{name} is not what the run has written: {error}") from error
        for name in FILES:
            (folder / name).replace(out / name)
    return {name: str(out / name) for name in FILES}


@contextmanager
def results_folder(out: Path) -> Iterator[Path]:
    """Yield a folder in `out` for what is not whole yet; where that fails, there is no more than there was before."""
    made = [each for each in (out, *out.parents) if not each.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".incoming-") as folder:
            yield Path(folder)
    except OSError as error:
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise OperationFailedError(
            f'The results cannot be written to "{out}" ({reason_of(error)}); what was there before is as it was.'
        ) from error


def _result_document(run_id: str, result: ExecutionResult, files: dict[str, str]) -> dict[str, Any]:
    output = result.output or {}
    evaluation = output["evaluation"]
    return {
        "run_id": run_id,
        "status": result.status,
        "seconds": round(result.seconds, 3),
        "problem": output["request"]["problem"],
        "estimator": output["request"]["estimator"],
        "target": output["request"]["target"],
        "rows": output["prepared"]["rows"],
        "features": output["prepared"]["columns"],
        "metrics": evaluation["metrics"],
        "metric": evaluation["metric"],
        "value": evaluation["value"],
        "decision": evaluation["decision"],
        "reason": evaluation["reason"],
        "doubts": evaluation["doubts"],
        "compute": {"training": output["model"].get("compute"), "evaluation": evaluation.get("compute")},
        "files": files,
    }
