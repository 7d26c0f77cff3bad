"""Documents that come from outside: checked against models, with a sentence for whatever is wrong with them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import InvalidRequestError

_MAX_PROBLEMS = 8


class Strict(BaseModel):
    """No unknown field, no silent conversion, no change after validation."""

    # Built at its first use: a run uses two of these models, and building each takes milliseconds of a cold start.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


_Document = TypeVar("_Document", bound=Strict)


def validated(kind: type[_Document], document: Any) -> _Document:
    """Return a document as its model.

    Raises
    ------
    InvalidRequestError
        Naming the fields that are wrong, eight at most, with the nearest valid name where one is close.
    """
    if not isinstance(document, dict):
        raise InvalidRequestError(f"The request must be a JSON object, not {type(document).__name__}.")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InvalidRequestError(sentence("request", error, kind)) from error


def sentence(subject: str, error: ValidationError, model: type[BaseModel]) -> str:
    """Return what is wrong with a document that is called so, by what its model has found."""
    problems = []
    details = error.errors(include_url=False)
    for detail in details[:_MAX_PROBLEMS]:
        name = _name(detail["loc"]) or subject
        if detail["type"] == "extra_forbidden":
            known = _model_at(detail["loc"][:-1], model).model_fields
            problems.append(f'"{name}" is unknown.{did_you_mean(str(detail["loc"][-1]), known)}')
        elif detail["type"] == "missing":
            problems.append(f'"{name}" is missing.')
        elif detail["type"] == "literal_error" and isinstance(detail["input"], str):
            # As Python writes them: a comma is among them, and an apostrophe in double quotes.
            quoted = re.findall(r"""'([^']*)'|"([^"]*)\"""", detail["ctx"]["expected"])
            names = ["".join(each) for each in quoted]
            problems.append(f'"{name}" is "{detail["input"]}".{did_you_mean(detail["input"], names)}')
        else:
            problems.append(f'"{name}" is {shown(detail["input"])}: {detail["msg"][0].lower()}{detail["msg"][1:]}.')
    more = len(details) - _MAX_PROBLEMS
    if more > 0:
        problems.append(f"So are {more:,} more.")
    return f"The {subject} cannot be used: " + " ".join(dict.fromkeys(problems))


def _model_at(location: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel]:
    """Return the model of an object within a document; the document's own, where there is none."""
    field = model.model_fields.get(str(location[0])) if location else None
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)), model)


def _name(location: tuple[int | str, ...]) -> str:
    """Return what a field is called: of an object among the fields, with that field's name before it."""
    nested = location[:1] in (("read",), ("columns",))
    return ".".join(map(str, location[: 2 if nested else 1]))


def shown(value: Any) -> str:
    """Return what a field holds, as Python writes it, where that has an end: lists may nest a hundred thousand deep."""
    if isinstance(value, dict):
        return "a JSON object"
    if isinstance(value, list):
        return "a JSON array"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length():,} bits"
    return repr(value)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean "…"?` with the nearest names, or the list of what is known where none is near."""
    names = [str(each) for each in known]
    by_folded = {each.casefold().strip(): each for each in names}
    near = difflib.get_close_matches(name.casefold().strip(), list(by_folded), n=3, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(f'"{by_folded[each]}"' for each in near) + "?"
    shown = ", ".join(f'"{each}"' for each in names[:12]) + (", …" if len(names) > 12 else "")
    return f" Known: {shown}."
