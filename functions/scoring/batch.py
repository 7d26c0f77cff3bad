"""Lambda handler of batch scoring: plans a run, scores its pieces, and compares what was scored with training.

The state machine hands on numbers and the plan's address alone; all else is in documents beside the predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from common.storage import s3_client
from scoring.batch_piece import score_piece
from scoring.batch_plan import plan_scoring
from scoring.batch_result import compare_with_profile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
_TRANSIENT = frozenset(
    {
        *("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequestsException"),
        # Of two calls that write one object at a time, one is asked to try again.
        "ConditionalRequestConflict",
    }
)
_TASKS: Mapping[str, Callable[[S3Client, Mapping[str, Any]], dict[str, Any]]] = {
    "plan_scoring": plan_scoring,
    "score_piece": score_piece,
    "compare_with_profile": compare_with_profile,
}

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


class ServiceUnavailableError(Exception):
    """A service failed for a while, after the client's own retries: the state machine tries again."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do one step of a run.

    Parameters
    ----------
    event
        `task`, `run_id`, and what the task takes: `scoring.batch_plan.plan_scoring`,
        `scoring.batch_piece.score_piece`, `scoring.batch_result.compare_with_profile`.

    Returns
    -------
    dict
        What the task returns.

    Raises
    ------
    ServiceUnavailableError
        If S3 fails for a while.
    """
    with _service_errors():
        answer = _TASKS[event["task"]](s3_client(), event)
    logger.info("step done", extra={"run_id": event["run_id"], "task": event["task"], "piece": event.get("piece")})
    return answer


@contextmanager
def _service_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status < 500 and error.response["Error"]["Code"] not in _TRANSIENT:
            raise
        raise ServiceUnavailableError(str(error)) from error
    except (HTTPClientError, NoConnectionError) as error:
        raise ServiceUnavailableError(str(error)) from error
