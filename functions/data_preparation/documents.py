"""What reading a piece of a data set has found out, as JSON: another call of the function goes on with it.

Only the classes below come back, each as nothing but its fields, so a document runs no code, whoever has written it.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from common.conversion import dtype_name, part_type
from common.request import TrainingRequest
from data_preparation.columns import Column, Columns
from data_preparation.decisions import Decision, WholeNumbers
from data_preparation.distinct import DistinctTexts
from data_preparation.findings import Findings, PartColumn
from data_preparation.notation import Notation
from data_preparation.profiling import ColumnSummary
from data_preparation.scanning import First, Scan
from data_preparation.splitting import Split
from data_preparation.survey import Asked, Fit, Survey

_CLASSES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(Asked, Column, Columns, ColumnSummary, Decision, DistinctTexts, Findings, First, Fit, Notation, PartColumn),
        *(Scan, Split, Survey, WholeNumbers),
    )
}
_DEFAULTS: dict[str, Mapping[str, Any]] = {
    name: {each.name: each.default for each in fields(class_)} if is_dataclass(class_) else {}
    for name, class_ in _CLASSES.items()
}
# What is found out again where it is asked for.
_CACHES: Mapping[type, Mapping[str, Any]] = {
    Survey: {"_told": None},
    ColumnSummary: {"_words": None},
    # The same for all files of a data set (`Columns.adopt`).
    Columns: {"wishes": None, "_decided": None},
}


def packed(value: Any) -> bytes:
    """Return a value as a compressed JSON document; `unpacked` reads it.

    The same value gives the same bytes: a call that is repeated writes what the first one has written.
    """
    text = json.dumps(_plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return gzip.compress(text.encode(), 1, mtime=0)


def unpacked(content: bytes) -> Any:
    """Return the value that `packed` has written.

    Raises
    ------
    KeyError
        If there is something in it that `packed` does not write.
    """
    return _value(json.loads(gzip.decompress(content)))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        kind = "counter" if isinstance(value, Counter) else "dict"
        return {kind: [[_plain(key), _plain(each)] for key, each in value.items()]}
    if isinstance(value, (tuple, set, frozenset)):
        # The order of a set is none, and is to be the same in each process.
        items = value if isinstance(value, tuple) else sorted(value, key=repr)
        return {type(value).__name__: [_plain(each) for each in items]}
    return _tagged(value)


def _tagged(value: Any) -> dict[str, Any]:
    match value:
        case datetime():
            return {"time": pa.scalar(value, pa.timestamp("us")).value}
        case np.ndarray():
            return {"u64": base64.b64encode(value.astype("<u8", casting="equiv").tobytes()).decode()}
        case pa.Int64Array():
            return {"i64": base64.b64encode(value.to_numpy().astype("<i8").tobytes()).decode()}
        case pa.DataType():
            return {"type": dtype_name(value)}
        case TrainingRequest():
            return {"request": _plain(value.model_dump())}
    return {type(value).__name__: _fields(value)}


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of an object of one of the classes, but for those that are as they are at first."""
    usual, caches = _defaults(type(value)), _CACHES.get(type(value), {})
    return {
        name: _plain(each)
        for name, each in vars(value).items()
        if name not in caches and not (type(each) in (int, str, bool, type(None)) and usual.get(name, ...) == each)
    }


def _defaults(class_: type) -> Mapping[str, Any]:
    return _DEFAULTS[class_.__name__]


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, held),) = plain.items()
    if kind in _VALUES:
        return _VALUES[kind](held)
    class_ = _CLASSES[kind]
    made: Any = object.__new__(class_)
    given = {name: _value(each) for name, each in held.items()}
    # Frozen ones, too, are made whole here.
    vars(made).update({**_defaults(class_), **_CACHES.get(class_, {}), **given})
    return made


_VALUES: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "tuple": lambda held: tuple(map(_value, held)),
    "set": lambda held: set(map(_value, held)),
    "frozenset": lambda held: frozenset(map(_value, held)),
    "dict": lambda held: {_value(key): _value(each) for key, each in held},
    "counter": lambda held: Counter({_value(key): _value(each) for key, each in held}),
    "time": lambda held: pa.scalar(held, pa.timestamp("us")).as_py(),
    "u64": lambda held: np.frombuffer(base64.b64decode(held), "<u8").astype(np.uint64),
    "i64": lambda held: pa.array(np.frombuffer(base64.b64decode(held), "<i8")),
    "type": part_type,
    "request": lambda held: TrainingRequest(**_value(held)),
}
