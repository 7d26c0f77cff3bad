"""Train a model with the real state machine: on this machine, or with a deployed stack on AWS.

Without options it trains on scikit-learn's diabetes data. Progress goes to stderr, the result to stdout. It exits with
0 when the run has succeeded, whatever the decision; 1 when the run has failed; 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from common.request import TrainingRequest, parse_request
from common.storage import split_uri
from data_preparation.preparation import check_columns
from data_preparation.reading import SUFFIXES, SourceFile, read_columns
from execution import ExecutionResult, outcome, start
from local_aws import LocalAws, LocalAwsError
from progress import Progress
from stack import (
    STACK_VARIABLE,
    BadInputError,
    OperationFailedError,
    find_stack,
    result_console,
    run_command,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_stepfunctions import SFNClient

PROJECT = Path(__file__).resolve().parent.parent
FILES = ("model.skops", "model.json", "profile.json", "evaluation.json", "report.html")


@dataclass(frozen=True)
class Stack:
    """A deployed training stack and the clients to work with it."""

    state_machine_arn: str
    bucket: str
    s3: S3Client
    sfn: SFNClient


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    # What `make local-aws` keeps running is taken before an embedded AWS of this run's own.
    options.stack = options.stack or os.environ.get(STACK_VARIABLE)
    return run_command(lambda errors: _show(train(options, Progress(errors)), as_json=options.json))


def _show(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        result_console().print(_table(result))


def train(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Run one training and return the result document.

    Raises
    ------
    BadInputError, InvalidRequestError, InvalidDatasetError
        If something is wrong that can be known before anything is started.
    OperationFailedError
        If the run failed, or what it needs did not start.
    """
    with ExitStack() as resources:
        if options.data is None:
            options.data = str(_diabetes(Path(resources.enter_context(tempfile.TemporaryDirectory()))))
            options.target = options.target or "target"
        files = _local_files(options)
        request = parse_request(_document(options, "s3://bucket/checked-before-upload"))
        for file in files:
            check_columns(request, read_columns(file))
        _check_out(options.out)

        stack = _deployed_stack(options.stack) if options.stack else resources.enter_context(_local_stack(progress))
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        uri = options.data if not files else _upload(stack, files, run_id, Path(options.data), progress)
        request = parse_request(_document(options, uri))
        result = _run(stack, request, run_id, progress)
        paths = _fetch(stack, result, Path(options.out), progress)
    return _result_document(run_id, result, paths)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train.py", description="Train a model with the training stack.")
    parser.add_argument(
        "--data", help="a CSV, .csv.gz or Parquet file, a folder of them, or an s3:// URI (with --stack)"
    )
    parser.add_argument("--target", help="the column to predict")
    parser.add_argument("--problem", help="auto (the default), regression or classification")
    parser.add_argument("--estimator", help="ridge, linear_regression, logistic_regression, random_forest, …")
    parser.add_argument("--hyperparameters", type=_json_object, metavar="JSON", help='such as {"alpha": 0.5}')
    parser.add_argument("--split-column", help="a column that holds train and test")
    parser.add_argument("--test-fraction", type=float, help="the share of test rows (0.2)")
    parser.add_argument("--seed", type=int, help="the seed of the split and of the estimator (42)")
    parser.add_argument("--metric", help="the metric that decides (rmse; accuracy for classification)")
    parser.add_argument(
        "--threshold", type=float, help="the value that the metric must reach; else the model is rejected"
    )
    parser.add_argument("--minimum-improvement", type=float, help="how much better than the champion it must be (0)")
    parser.add_argument("--model-name", help="the name of the model (default)")
    parser.add_argument("--out", default="out", help="the folder for the results (out)")
    parser.add_argument("--stack", help="a deployed stack (the one that CROSSTRAIN_STACK names, else none)")
    parser.add_argument("--json", action="store_true", help="print the result document instead of the table")
    return parser


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


def _document(options: argparse.Namespace, dataset_uri: str) -> dict[str, Any]:
    """Return the input document with what the user has set; the rest is left to the request's defaults."""
    if options.target is None:
        raise BadInputError("Say which column to predict: TARGET=column, or --target column.")
    names = set(TrainingRequest.model_fields) - {"dataset_uri"}
    chosen = {name: value for name, value in vars(options).items() if name in names and value is not None}
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
    path = Path(options.data)
    if not path.exists():
        raise BadInputError(f'"{path}" does not exist.')
    if path.is_dir():
        # As data preparation does: names that begin with _ or . are markers, not data.
        found = [each for each in sorted(path.rglob("*")) if each.is_file() and not each.name.startswith(("_", "."))]
    else:
        found = [path]
    if not found:
        raise BadInputError(f'"{path}" is a folder without a data file.')
    for each in found:
        if not each.name.endswith(SUFFIXES):
            raise BadInputError(
                f'"{each}" cannot be read: the name of a data file must end in {" or ".join(SUFFIXES)}.'
            )
    return [SourceFile(each.relative_to(path).as_posix() if path.is_dir() else each.name, each) for each in found]


def _check_out(out: str) -> None:
    path = Path(out)
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise BadInputError(
            f'The results cannot be written to "{out}": "{existing}" is no folder that may be written to.'
        )


@contextmanager
def _local_stack(progress: Progress) -> Iterator[Stack]:
    with ExitStack() as resources:
        try:
            with progress.step("Start the embedded AWS"):
                aws = resources.enter_context(LocalAws())
            with progress.step("Deploy the training stack"):
                stack = aws.deploy_training_stack(PROJECT / "template.yaml")
        except LocalAwsError as error:
            raise OperationFailedError(str(error)) from error
        outputs = stack.outputs
        yield Stack(
            outputs["StateMachineArn"], outputs["ArtifactBucketName"], stack.client("s3"), stack.client("stepfunctions")
        )


def _deployed_stack(name: str) -> Stack:
    found = find_stack(name)
    return Stack(
        found.output("StateMachineArn"),
        found.output("ArtifactBucketName"),
        found.session.client("s3"),
        found.session.client("stepfunctions"),
    )


def _upload(stack: Stack, files: list[SourceFile], run_id: str, data: Path, progress: Progress) -> str:
    prefix = f"data/{run_id}/"
    with progress.step("Upload the data"):
        for file in files:
            stack.s3.upload_file(str(file.path), stack.bucket, prefix + file.name)
    return f"s3://{stack.bucket}/{prefix}" + ("" if data.is_dir() else files[0].name)


def _run(stack: Stack, request: TrainingRequest, run_id: str, progress: Progress) -> ExecutionResult:
    arn = start(stack.sfn, stack.state_machine_arn, request.model_dump(exclude_unset=True), run_id)
    result = outcome(stack.sfn, arn, tell=progress.show)
    if result.status != "SUCCEEDED":
        step = result.failed_state or "the state machine"
        cause = (result.cause or "no cause is given").removeprefix(f"{step}: ")
        raise OperationFailedError(f"The run {run_id} failed in {step}: {result.error or result.status}: {cause}")
    return result


def _fetch(stack: Stack, result: ExecutionResult, out: Path, progress: Progress) -> dict[str, str]:
    """Download the run's files into `out`, each whole or not at all, and return their paths."""
    output = result.output or {}
    uris = {
        "model.skops": output["model"]["model_uri"],
        "model.json": output["model"]["info_uri"],
        "profile.json": output["prepared"]["profile_uri"],
        "evaluation.json": output["evaluation"]["evaluation_uri"],
        "report.html": output["evaluation"]["report_uri"],
    }
    out.mkdir(parents=True, exist_ok=True)
    with progress.step("Fetch the results"), tempfile.TemporaryDirectory(dir=out, prefix=".incoming-") as folder:
        for name in FILES:
            bucket, key = split_uri(uris[name])
            stack.s3.download_file(bucket, key, str(Path(folder) / name))
        for name in FILES:
            (Path(folder) / name).replace(out / name)
    return {name: str(out / name) for name in FILES}


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
        "files": files,
    }


def _table(result: dict[str, Any]) -> Table:
    rows = result["rows"]
    table = Table(show_header=False, title=f"Run {result['run_id']}", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "model", f"{result['estimator']} ({result['problem']} of {result['target']}, {result['features']} features)"
    )
    table.add_row("rows", f"{rows['in']:,} in, {rows['used']:,} used, {rows['dropped']:,} dropped")
    table.add_row("split", f"{rows['train']:,} train, {rows['test']:,} test")
    for name, value in result["metrics"].items():
        table.add_row(name, "undefined" if value is None else f"{value:,.6g}")
    table.add_row("decision", result["decision"])
    table.add_row("reason", result["reason"])
    table.add_row("files", "\n".join(result["files"].values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
