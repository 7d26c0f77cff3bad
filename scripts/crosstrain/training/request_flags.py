"""The flags of a training command that are fields of the request: each is made of what the request says of it."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from common.metric_table import METRICS
from common.reading_options import ReadOptions
from common.request import TrainingRequest

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

# How much of a wrong value an error shows.
_SHOWN = 80
# A command finds the data set in ways of its own.
NAMES = tuple(name for name in TrainingRequest.model_fields if name != "dataset_uri")
# What the request's first choice is for each problem.
_CHOICES = {"metric": METRICS}


def add_request_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser a flag for each field, without a default: what is not given is left to the request.

    A flag takes any value of its type; what is wrong with one the request says, with the way out.
    """
    for name in NAMES:
        field = TrainingRequest.model_fields[name]
        make = _type_of(field)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=make,
            metavar=_METAVARS.get(make),
            help=_help_of(name, field).replace("%", "%%"),
        )


def add_read_flag(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--read`, for files that may be written otherwise than those of training."""
    parser.add_argument(
        "--read",
        type=json_object,
        metavar="JSON",
        help=f'how the {what} are written, such as {{"separator": ";"}} (as was said for training)',
    )


def add_keep_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--keep` and `--keep-all`, of which one may be given."""
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--keep",
        type=names_of,
        metavar="NAME,NAME",
        help="columns of the input to write before the predictions, as they are (none)",
    )
    kept.add_argument("--keep-all", action="store_true", help="write all columns of the input before the predictions")


def known_values(field: FieldInfo) -> tuple[str, ...]:
    """Return the names that a field may hold; none, where it takes more than names."""
    alternatives = _alternatives(field)
    return next((get_args(each) for each in alternatives if get_origin(each) is Literal), ())


def _alternatives(field: FieldInfo) -> list[Any]:
    """Return the types that a field may be of, without their limits."""
    alternatives = (field.annotation, *get_args(field.annotation))
    return [get_args(each)[0] if get_origin(each) is Annotated else each for each in alternatives]


def _type_of(field: FieldInfo) -> Callable[[str], Any]:
    if get_origin(field.annotation) is dict or field.annotation is ReadOptions:
        return json_object
    alternatives = _alternatives(field)
    if any(get_origin(each) is list for each in alternatives):
        return names_of
    if bool in alternatives:
        # What may be a text as well is one: the request knows what it stands for.
        return str if str in alternatives else _truth
    # A number with limits is an alternative that is annotated.
    plain = [get_args(each)[0] if get_origin(each) is Annotated else each for each in alternatives]
    return next((each for each in (int, float) if each in plain), str)


def _help_of(name: str, field: FieldInfo) -> str:
    """Return a field's description, the names that it knows, and in brackets what counts when it is not given."""
    default = field.default
    if name in _CHOICES:
        default = " or ".join(fitting[0] for fitting in _CHOICES[name].values())
    known = ", ".join(known_values(field))
    given = str(default).lower() if isinstance(default, bool) else default
    given = f"{given:g}" if isinstance(given, int | float) else given
    return f"{field.description}" + (f": {known}" if known else "") + (f" ({given})" if isinstance(given, str) else "")


def names_of(text: str) -> list[str]:
    """Return the names in a text, which commas or, for names that hold some, a JSON list keeps apart."""
    if not text.lstrip().startswith("["):
        return [name for name in text.split(",") if name]
    return list(_parsed(text))


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a text says."""
    value = _parsed(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{_shortened(text)} is not a JSON object")
    return value


def _parsed(text: str) -> Any:
    """Return what a text says as JSON."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise argparse.ArgumentTypeError(f"{_shortened(text)} nests too deep") from error
    # No JSON, or a whole number of more digits than Python takes.
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{_shortened(text)} is not JSON ({error})") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are all different: of two values for one, Python would take the last in silence."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"the key {_shortened(twice[0])} is there twice")
    return dict(pairs)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


_METAVARS: dict[Callable[[str], Any], str] = {json_object: "JSON", names_of: "NAME,NAME", _truth: "true|false"}
