"""Record the three images of a pair of commits as a release, and make it the latest unless a newer one is.

The images are the JSON that build_images.py prints. Which release is newer is told by when its pipeline execution
began: `--pipeline` and `--execution` look it up, `--order` says it. It exits with 0 when the release is recorded, 1 for
a failed operation, 2 for input that cannot be used; then nothing is recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ledger import BY_DIGEST, FUNCTIONS, Release, make_client, open_ledger, release_id
from stack import BadInputError, OperationFailedError, run_command

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.order is None and not (options.pipeline and options.execution):
        parser.error("say --order N, or --pipeline NAME and --execution ID")

    def work(errors: Console) -> None:
        name = release_id(options.model_commit, options.infrastructure_commit)
        images = parse_images(_read(options.images))
        order = options.order
        if order is None:
            order = execution_start(make_client("codepipeline"), options.pipeline, options.execution)
        release = Release(
            name,
            images,
            order,
            options.model_commit,
            options.infrastructure_commit,
            pipeline_execution=options.execution or "",
        )
        is_latest = open_ledger(options.ledger).record_release(release)
        errors.print(f"Release {name} is recorded" + (", the latest." if is_latest else "; a newer one is the latest."))
        print(name)

    return run_command(work)


def parse_images(text: str) -> dict[str, str]:
    """Return the images of a release from what build_images.py printed.

    Raises
    ------
    BadInputError
        With everything that is wrong.
    """
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise BadInputError(f"The images are no JSON as build_images.py prints it: {error}.") from error
    if not isinstance(document, dict):
        raise BadInputError("The images are no JSON object as build_images.py prints it.")
    problems = [f"{each} has no image" for each in FUNCTIONS if each not in document]
    problems += [f"{each} is no function" for each in document if each not in FUNCTIONS]
    problems += [
        f"the image of {name} is not given by digest (repository@sha256:…): {uri}"
        for name, uri in document.items()
        if name in FUNCTIONS and not (isinstance(uri, str) and BY_DIGEST.fullmatch(uri))
    ]
    if problems:
        raise BadInputError(f"No release is recorded: {'; '.join(problems)}.")
    return {FUNCTIONS[name]: uri for name, uri in document.items()}


def execution_start(codepipeline: Any, pipeline: str, execution: str) -> int:
    """Return when a pipeline execution began, in milliseconds.

    Raises
    ------
    BadInputError
        If the pipeline has no such execution, or there is no such pipeline.
    OperationFailedError
        If it may not be read.
    """
    try:
        pages = codepipeline.get_paginator("list_pipeline_executions").paginate(pipelineName=pipeline)
        for page in pages:
            for each in page["pipelineExecutionSummaries"]:
                if each["pipelineExecutionId"] == execution:
                    return int(each["startTime"].timestamp() * 1000)
    except ClientError as error:
        if error.response["Error"]["Code"] == "PipelineNotFoundException":
            raise BadInputError(f'There is no pipeline "{pipeline}" in this account and region.') from error
        raise OperationFailedError(
            f'When the execution of pipeline "{pipeline}" began cannot be read, which needs '
            f"codepipeline:ListPipelineExecutions: {error}"
        ) from error
    except BotoCoreError as error:
        raise OperationFailedError(f"CodePipeline cannot be reached: {str(error).rstrip('.')}.") from error
    raise BadInputError(f'The pipeline "{pipeline}" has no execution {execution}.')


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The images cannot be read: {error}.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", default="-", help="the file of what build_images.py printed; - is standard input")
    parser.add_argument("--model-commit", required=True, help="the full commit of the model repository")
    parser.add_argument(
        "--infrastructure-commit", required=True, help="the full commit of the infrastructure repository"
    )
    parser.add_argument("--ledger", help="the ledger's table; LEDGER_TABLE if left out")
    parser.add_argument("--order", type=int, help="the milliseconds at which the build began, in place of an execution")
    parser.add_argument("--pipeline", help="the pipeline that builds the release")
    parser.add_argument("--execution", help="the id of its execution")
    return parser


if __name__ == "__main__":
    sys.exit(main())
