"""Trains models and predicts from Python; and what the commands in scripts/ are made of.

The commands import this package, too, with fewer libraries: what `crosstrain.load` and `crosstrain.train` need is
imported when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosstrain.api import inspect as inspect
    from crosstrain.api import load as load
    from crosstrain.api import train as train
    from crosstrain.command import BadInputError as BadInputError
    from crosstrain.command import OperationFailedError as OperationFailedError
    from crosstrain.training.prediction import Model as Model

_MODULES = {
    "BadInputError": "crosstrain.command",
    "Model": "crosstrain.training.prediction",
    "OperationFailedError": "crosstrain.command",
    "inspect": "crosstrain.api",
    "load": "crosstrain.api",
    "train": "crosstrain.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
