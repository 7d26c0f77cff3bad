"""Clients of AWS, items of DynamoDB as JSON knows them, and the time as both tables hold it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from crosstrain.command import BadInputError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

CALL_ATTEMPTS = 6
"""How often a call is made that is throttled, each time after a longer wait."""
THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""The error codes of a call that may go through a moment later."""


def make_client(service: str, region: str | None = None) -> Any:
    """Return a client of an AWS service that tries throttled calls again.

    Raises
    ------
    BadInputError
        If the user's settings do not say how to reach AWS.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": CALL_ATTEMPTS}, connect_timeout=10, read_timeout=20
    )
    try:
        # The stubs have an overload for each service's name, and none for a name that is not known here.
        return boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]
    except BotoCoreError as error:
        raise BadInputError(
            f"AWS cannot be called: {str(error).rstrip('.')}. Set AWS_PROFILE and AWS_REGION."
        ) from error


def to_dynamodb(item: Mapping[str, Any]) -> dict[str, AttributeValueTypeDef]:
    """Return an item in the types of JSON as DynamoDB's client takes it."""
    serialize = TypeSerializer().serialize
    return {name: serialize(_decimal(value)) for name, value in item.items()}


def from_dynamodb(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item of DynamoDB's client in the types of JSON."""
    deserialize = TypeDeserializer().deserialize
    return {name: _plain(deserialize(value)) for name, value in item.items()}


def timestamp(timespec: str = "milliseconds") -> str:
    """Return the present time in UTC, as ISO 8601 writes it: `2026-11-25T08:51:08.123Z`."""
    return datetime.now(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _decimal(value: Any) -> Any:
    # DynamoDB's numbers are decimal; a float's shortest form is the number that it was written as.
    return Decimal(repr(value)) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
