"""The OpenAPI document of the champion: what a row is and what comes back, by the profile of its training data.

What training has seen is told, not demanded: a number beyond its range, or a text that is new, is scored all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from common.conversion import feature_columns, target_column
from scoring import answers
from scoring.champion import Challenger, Champion
from scoring.fitted import FittedModel

EXAMPLES = 50
"""How many texts of a column are shown."""
_TEXT_CHARACTERS = 200
JSON, CSV = "application/json", "text/csv"

_NUMBER = {"type": "number"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_TYPES: Mapping[str, dict[str, Any]] = {
    "numeric": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "categorical": {"type": ["string", "null"]},
    "text": {"type": ["string", "null"]},
    "timestamp": {"type": ["string", "null"], "format": "date-time", "examples": ["2024-01-31T12:00:00Z"]},
}


def openapi(champion: Champion, challenging: Challenger | None = None) -> dict[str, Any]:
    """Return the document, of OpenAPI 3.1: a challenger answers the champion's rows by predictions of its own."""
    refused = {
        "400": _answer("The body cannot be read.", "Refusal"),
        "413": _answer("The request is longer, or has more rows, than one may.", "Refusal"),
        "415": _answer("The body is neither JSON nor CSV, by its content type or as it is.", "Refusal"),
        "422": _answer("Rows do not fit the model.", "Refusal"),
    }
    away = {"503": _answer("There is no champion, or none that can be read.", "Refusal")}
    failed = {"500": _answer("The model has failed.", "Refusal")}
    body = {
        JSON: {"schema": _ref("Rows"), "example": {"rows": [example_row(champion)]}},
        CSV: {"schema": {"type": "string"}, "example": _as_csv(example_row(champion))},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": champion.model_name,
            "version": champion.version,
            "description": f'Predicts "{target_column(champion.profile)["name"]}" with the champion of '
            f'"{champion.model_name}", which it is since {champion.since}.',
        },
        "paths": {
            "/predictions": {
                "post": {
                    "operationId": "predict",
                    "summary": "Score rows.",
                    "requestBody": {"required": True, "content": body},
                    "responses": {"200": _answer("Their predictions.", "Predictions"), **refused, **away, **failed},
                }
            },
            "/model": {"get": _get("describeModel", "What the champion is.", "Model", away)},
            "/health": {"get": _get("checkHealth", "Whether a champion can be used.", "Health", away)},
            "/openapi.json": {"get": _get("describeApi", "This document.", "Document", away)},
        },
        "components": {"schemas": _schemas(champion, challenging)},
    }


def row_schema(champion: Champion) -> dict[str, Any]:
    """Return the schema of a row."""
    columns = {column["name"]: column_schema(column) for column in feature_columns(champion.profile)}
    return {
        "type": "object",
        "description": "A value for each column; null for one that is missing. Other members are ignored.",
        "properties": columns,
        "required": list(columns),
        "example": example_row(champion),
    }


def column_schema(column: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a column, by its entry in the profile; `x-training` is what training has seen of it."""
    seen = {name: column[name] for name in ("min", "max", "mean", "std", "nulls", "distinct") if name in column}
    texts = [text for text in _top(column) if isinstance(text, str) and len(text) <= _TEXT_CHARACTERS]
    return {
        **_TYPES[column["role"]],
        **({"examples": texts[:EXAMPLES]} if column["role"] == "categorical" and texts else {}),
        "description": _described(column),
        "x-training": seen,
    }


def _described(column: Mapping[str, Any]) -> str:
    told = [*column.get("told", ())]
    match column["role"]:
        case "categorical":
            told.append("A text; one that training has not seen is scored as unknown.")
        case "text":
            told.append("A free text.")
        case "boolean":
            told.append("True or false.")
        case "timestamp":
            told.append(
                f"A time in ISO 8601, of UTC without an offset; training saw {column['min']} to {column['max']}."
            )
        case _ if "min" in column:
            told.append(f"A number; training saw {column['min']} to {column['max']}.")
    told.append("null if it is missing." if column["nulls"] else "null if it is missing, which training has not seen.")
    return " ".join(told)


def example_row(champion: Champion) -> dict[str, Any]:
    """Return a row as training may have had it: usual texts, and numbers near the mean."""
    return {column["name"]: _usual(column) for column in feature_columns(champion.profile)}


def _usual(column: Mapping[str, Any]) -> Any:
    top = [value for value in _top(column) if value is not None]
    if column["role"] in ("categorical", "boolean"):
        return top[0] if top else None
    if column["role"] == "timestamp":
        return column["max"]
    if column["kind"] == "integer":
        return round(column["mean"])
    # Four digits, as people write numbers.
    return float(f"{column['mean']:.4g}") if "mean" in column else None


def _top(column: Mapping[str, Any]) -> list[Any]:
    return [each["value"] for each in column.get("top", ())]


def _as_csv(row: Mapping[str, Any]) -> str:
    def quoted(value: Any) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in '",\r\n') else text

    return "\n".join(",".join(map(quoted, line)) for line in (row, row.values())) + "\n"


def _schemas(champion: Champion, challenging: Challenger | None) -> dict[str, Any]:
    named = {"model_name": {"type": "string"}, "version": {"type": ["string", "null"]}}
    warnings = {
        "type": "array",
        "items": {"type": "string"},
        "description": "What is odd, and was scored all the same.",
    }
    problem = _object(
        {"row": {"type": "integer"}, "column": {"type": ["string", "null"]}, "reason": {"type": "string"}}
    )
    of_challenger = {}
    if challenging is not None and challenging.share is not None:
        of_challenger["ChallengerPrediction"] = _prediction(challenging.loaded.model, {"version": {"type": "string"}})
    return {
        "Row": row_schema(champion),
        "Rows": _object(
            {
                "rows": {
                    "type": "array",
                    "items": _ref("Row"),
                    "minItems": 1,
                    "maxItems": answers.most_rows(champion.model),
                }
            },
            additionalProperties=False,
        ),
        "Prediction": _prediction(champion.model),
        **of_challenger,
        "Predictions": _object(
            named
            | {
                "predictions": {
                    "type": "array",
                    "items": {"anyOf": [*map(_ref, ("Prediction", *of_challenger)), {"type": "null"}]},
                    "description": "In the order of the rows; null for a blank line of CSV. What has a version of "
                    "its own was predicted by the challenger.",
                },
                "warnings": warnings,
            }
        ),
        "Model": _object(
            named
            | {
                "card": {"type": "object"},
                "challenger": {"type": ["object", "null"]},
                "features": {"type": "object"},
                "warnings": warnings,
            }
        ),
        "Health": _object(named | {"status": {"type": "string"}, "warnings": warnings}),
        "Document": {"type": "object"},
        "Refusal": {
            **_object(named | {"error": {"type": "string"}}),
            "properties": named | {"error": {"type": "string"}, "problems": {"type": "array", "items": problem}},
        },
    }


def _prediction(model: FittedModel, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    if model.classes is None:
        limits = (answers.LOW, answers.HIGH) if len(model.schema.names) > 1 else ()
        return _object({**dict.fromkeys((answers.PREDICTION, *limits), _NUMBER), **more})
    names = answers.class_names(model)
    labels: list[Any] = names if answers.spelling(model) is not None else model.classes.tolist()
    shares = _object(dict.fromkeys(names, _SHARE))
    return _object({answers.PREDICTION: {"enum": labels}, answers.PROBABILITIES: shares, **more})


def _object(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties), **more}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, name: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": _ref(name)}}}


def _get(operation: str, summary: str, name: str, errors: Mapping[str, Any]) -> dict[str, Any]:
    return {"operationId": operation, "summary": summary, "responses": {"200": _answer(summary, name), **errors}}
