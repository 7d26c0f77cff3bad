"""An item of the registry in DynamoDB's own JSON, read without boto3's resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Attribute = dict[str, Any]


def from_item(item: Mapping[str, Attribute]) -> dict[str, Any]:
    """Return an item of DynamoDB's own JSON in the types of JSON."""
    return {name: _value(attribute) for name, attribute in item.items()}


def _value(attribute: Attribute) -> Any:
    ((kind, value),) = attribute.items()
    match kind:
        case "N":
            return float(value) if any(sign in value for sign in ".eE") else int(value)
        case "M":
            return from_item(value)
        case "L":
            return [_value(each) for each in value]
        case "NULL":
            return None
    return value
