"""What makes a release: the images that were built, and when their pipeline execution began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.repositories import BY_DIGEST, digests_of, find_images, split_image


def parse_images(text: str, repositories: Mapping[str, str]) -> dict[str, str]:
    """Return the images of a release from what build_images.py printed.

    Parameters
    ----------
    text : str
        What it printed. Whoever commits to the model repository decides what the build of images prints.
    repositories : mapping
        The repository of each function: an image of any other is none of the release.

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
    problems += [
        f"the image of {name} is not in {repositories[name]}: {uri}"
        for name, uri in document.items()
        if name in repositories and split_image(str(uri))[0] != repositories[name]
    ]
    if problems:
        raise BadInputError(f"No release is recorded: {'; '.join(problems)}.")
    return {FUNCTIONS[name]: uri for name, uri in document.items()}


def require_images(images: Mapping[str, str]) -> None:
    """See that the registry holds every image of a release, so that the latest release is never one of nothing.

    Raises
    ------
    BadInputError
        With every image that it does not hold.
    OperationFailedError
        If it does not say so.
    """
    gone = [images[name] for name, digest in digests_of(find_images(images)).items() if digest is None]
    if gone:
        raise BadInputError(f"No release is recorded: the registry does not hold {', '.join(gone)}.")


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
