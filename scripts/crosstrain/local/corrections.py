"""What ministack 1.5.33 answers otherwise than AWS, put right where this project depends on it."""

from __future__ import annotations

from typing import Any

from ministack.services import s3, stepfunctions

Answer = tuple[int, dict[str, str], bytes]

_ministacks_get_object = s3._get_object
_ministacks_execute_task = stepfunctions._execute_task
_ministacks_error_name = stepfunctions._prefix_sdk_error


def _get_object(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> Answer:
    """Answer the range that is asked of a version: ministack answers all of it, and downloads in parts are garbled.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    status, answered, body = _ministacks_get_object(bucket, key, headers, query)
    asked = s3._parse_range(headers["range"], len(body)) if status == 200 and headers.get("range") else None
    if asked is None:
        return status, answered, body
    first, last = asked
    part = body[first : last + 1]
    # A checksum is that of the whole.
    kept = {name: value for name, value in answered.items() if not name.lower().startswith("x-amz-checksum")}
    span = {"Content-Length": str(len(part)), "Content-Range": f"bytes {first}-{last}/{len(body)}"}
    return 206, kept | span, part


def _execute_task(
    state: dict[str, Any], raw_input: Any, execution: dict[str, Any], context: dict[str, Any]
) -> tuple[Any, str | None]:
    """Run a task for the seconds that an expression says: ministack takes numbers alone, and fails.

    https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html#task-state-fields
    """
    if isinstance(state.get("TimeoutSeconds"), str):
        seconds = stepfunctions._jsonata_state_field(state, "TimeoutSeconds", "number", raw_input, context)
        state = {**state, "TimeoutSeconds": seconds}
    ended: tuple[Any, str | None] = _ministacks_execute_task(state, raw_input, execution, context)
    return ended


def _error_name(service: str, code: str) -> str:
    """Name an error of Step Functions' own API as the SDK for Java does, which a state machine calls it with.

    https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
    """
    name: str = _ministacks_error_name(service, code)
    return name if service != "sfn" or name.endswith("Exception") else f"{name}Exception"


def apply() -> None:
    """Put it right in this process."""
    s3._get_object = _get_object
    stepfunctions._execute_task = _execute_task
    stepfunctions._prefix_sdk_error = _error_name
