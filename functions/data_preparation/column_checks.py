"""Whether a request and all files of a data set speak of the same columns, and of values that go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.conversion import ORDER
from common.errors import InvalidDatasetError
from common.request import TrainingRequest
from common.validation import did_you_mean
from data_preparation.notation import Kind


def common_kinds(files: Iterable[tuple[str, Mapping[str, Kind]]]) -> dict[str, Kind]:
    """Return the kind of each column over all files.

    Parameters
    ----------
    files
        The name of each, and the kinds of its columns.

    Raises
    ------
    InvalidDatasetError
        If a file has a column of another kind than those before it: which, and how.
    """
    kinds: dict[str, Kind] = {}
    for file, own in files:
        for name, kind in own.items():
            pair = {kind, kinds.setdefault(name, kind)} - {"null"}
            if pair == {"integer", "float"}:
                kinds[name] = "float"
            elif len(pair) > 1:
                raise InvalidDatasetError(
                    f'Column "{name}" mixes types: {kind} in "{file}", {kinds[name]} in the files before it. Say what '
                    f'it is: COLUMNS=\'{{"{name}": "number"}}\' takes what is none for missing, "category" keeps texts.'
                )
            elif pair:
                (kinds[name],) = pair
    return kinds


def named_as_in_file(request: TrainingRequest, names: Sequence[str]) -> TrainingRequest:
    """Return the request with columns named as the file does it: spaces around a name in a header are easily missed."""
    trimmed = {name.strip(): name for name in names}

    def found(name: str | None) -> str | None:
        return name if name is None or name in names else trimmed.get(name.strip(), name)

    single = ("target", "split_column", "split_time", "weight_column")
    changed: dict[str, Any] = {field_: found(getattr(request, field_)) for field_ in single}
    if request.split_key:
        changed["split_key"] = [found(name) for name in request.split_key]
    changed["columns"] = {found(name): kind for name, kind in request.columns.items()}
    return request.model_copy(update=changed)


def check_columns(request: TrainingRequest, names: Sequence[str], *, unnamed: bool = False) -> None:
    """Check that the columns that a request names are among the data set's.

    Parameters
    ----------
    request
        The request.
    names
        Of the columns.
    unnamed
        Whether the first line may be a row, not a header.

    Raises
    ------
    InvalidDatasetError
        With the nearest names.
    """
    if ORDER in names:
        raise InvalidDatasetError(
            f'A column is called "{ORDER}", as the training part calls what rows were split by: rename it, or leave it '
            f'out by COLUMNS=\'{{"{ORDER}": "ignore"}}\'.'
        )
    request = named_as_in_file(request, names)
    named = [
        ("target", request.target),
        ("split column", request.split_column),
        ("time column", request.split_time),
        ("weight column", request.weight_column),
        *(("key column", name) for name in request.split_key or ()),
        *((f"column to be read as {kind}", name) for name, kind in request.columns.items() if kind != "ignore"),
    ]
    for word, name in named:
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            if unnamed:
                hint = (
                    " Its first line looks like a row, not like names: READ='{\"header\": false}' names the columns "
                    "column_1, column_2 and so on, and a list of names in place of false names them as you like."
                )
            if unnamed or any(each.startswith("Unnamed: ") for each in names):
                hint += " If the names stand further down, READ='{\"skip_rows\": 1}' skips the lines above them."
            raise InvalidDatasetError(f'The {word} "{name}" is not a column of the data set.{hint}')
