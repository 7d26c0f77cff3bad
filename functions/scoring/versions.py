"""Which version of a model is meant, and what the registry says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from common.errors import InvalidRequestError
from common.registry_item import Attribute, from_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def get_entry(dynamodb: DynamoDBClient, table: str, model_name: str, entry: str) -> dict[str, Any] | None:
    """Return what the registry holds under a model's name by now; None if there is nothing."""
    key = {"model_name": {"S": model_name}, "entry": {"S": entry}}
    item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return None if item is None else from_item(cast("dict[str, Attribute]", item))


def champion_of(dynamodb: DynamoDBClient, table: str, model_name: str) -> str | None:
    """Return the version that is the champion; None if there is none yet."""
    pointer = get_entry(dynamodb, table, model_name, "champion")
    return None if pointer is None else str(pointer["champion_version"])


def entry_of(dynamodb: DynamoDBClient, table: str, model_name: str, version: str) -> dict[str, Any]:
    """Return the entry of a version.

    Raises
    ------
    InvalidRequestError
        If the model has none of this name.
    """
    entry = get_entry(dynamodb, table, model_name, f"version#{version}")
    if entry is None:
        raise InvalidRequestError(f'The model "{model_name}" has no version "{version}": name one that it has.')
    return entry
