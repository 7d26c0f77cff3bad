"""What a notebook or another program does with models: `import crosstrain`, then `crosstrain.load` and `.train`.

Examples
--------
>>> import crosstrain                                                            # doctest: +SKIP
>>> result = crosstrain.train(data="houses.csv", target="price")                 # doctest: +SKIP
>>> crosstrain.load("out", trust=True).predict(frame)                            # doctest: +SKIP
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from crosstrain.command import BadInputError, error_console, nearest_names
from crosstrain.local.server import open_training_stack
from crosstrain.training import inspection, runs
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.prediction import Model, open_model
from crosstrain.training.progress import Progress
from crosstrain.training.request_flags import NAMES

if TYPE_CHECKING:
    import pandas as pd


def load(
    folder: str | os.PathLike[str] | None = None,
    *,
    trust: bool = False,
    stack: str | None = None,
    model_name: str | None = None,
    version: str | None = None,
) -> Model:
    """Load a model, as `scripts/predict.py` does: that of a folder, or without one, of a deployed stack's registry.

    A model that its evaluation has rejected is warned of.

    Parameters
    ----------
    folder
        The results of a run, such as `out`.
    trust
        Whether the model of the folder, for which nobody else vouches, may be loaded.
    stack
        The deployed stack; if not given, the one that the environment variable CROSSTRAIN_STACK names.
    model_name
        The name of the model; if not given, that of the only one that there is.
    version
        A version of the model; if not given, the champion.

    Returns
    -------
    Model
        `model.predict(frame)` returns the predictions, and `model.origin` tells the run and its decision.

    Raises
    ------
    BadInputError
        If there is no such model, or nobody vouches for it.
    OperationFailedError
        If the model cannot be fetched or may not be loaded.
    """
    with errors_of_functions():
        model = open_model(folder, trust=trust, stack=stack, model_name=model_name, version=version)
    if model.origin.objection:
        warnings.warn(model.origin.objection, stacklevel=2)
    return model


def train(
    data: str | os.PathLike[str] | pd.DataFrame | None = None,
    target: str | None = None,
    *,
    out: str | os.PathLike[str] = "out",
    stack: str | None = None,
    quiet: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Train a model and return the result document, as `scripts/train.py --json` does.

    Parameters
    ----------
    data
        A file, a folder of files, an `s3://` URI (with a stack), or a frame; if not given, the diabetes data.
    target
        The column to predict.
    out
        The folder for the results.
    stack
        The deployed stack; if not given, the one that CROSSTRAIN_STACK names, else an embedded AWS of this run's own.
    quiet
        Whether nothing is told on stderr while it goes on.
    **options
        Any other field of the request, such as `estimator` or `hyperparameters`.

    Returns
    -------
    dict
        `run_id`, `decision`, `reason`, `metrics`, `files` and more.

    Raises
    ------
    BadInputError
        If the data or an option cannot be used.
    OperationFailedError
        If the run has failed.
    """
    if unknown := [name for name in options if name not in NAMES]:
        raise BadInputError(f'There is no option "{unknown[0]}".{nearest_names(unknown[0], NAMES)}')
    progress = Progress(Console(quiet=True) if quiet else error_console())
    with errors_of_functions(), _as_file(data) as path:
        chosen = argparse.Namespace(data=path, target=target, out=os.fspath(out), stack=stack, **options)
        return runs.train(chosen, progress, open_training_stack)


def inspect(
    data: str | os.PathLike[str] | pd.DataFrame,
    target: str | None = None,
    *,
    read: dict[str, Any] | None = None,
    columns: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return what training would understand of data, as `scripts/inspect_data.py --json` prints it.

    Parameters
    ----------
    data
        A file, a folder of files, or a frame.
    target
        The column to predict.
    read, columns
        How the files are written and what the columns are, as in a request.

    Returns
    -------
    dict
        `files`, what was `told` of them, and the `columns` with their kinds, roles, samples and doubts.

    Raises
    ------
    BadInputError
        If the data or an option cannot be used.
    """
    with errors_of_functions(), _as_file(data) as path:
        return inspection.inspect(argparse.Namespace(data=path, target=target, read=read, columns=columns))


@contextmanager
def _as_file(data: str | os.PathLike[str] | pd.DataFrame | None) -> Iterator[str | None]:
    """Yield the name of a data set; a frame gets a file for a while."""
    if data is None or isinstance(data, str | os.PathLike):
        yield None if data is None else os.fspath(data)
        return
    import pandas as pd  # noqa: PLC0415 (for a frame alone, which whoever has made it has paid for)
    import pyarrow as pa  # noqa: PLC0415 (the same)

    if not isinstance(data, pd.DataFrame):
        raise BadInputError(f"Data is the name of a file or a pandas DataFrame, not a {type(data).__name__}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.parquet"
        try:
            data.rename(columns=str).to_parquet(path, index=False)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise BadInputError(
                f"The frame cannot be written as Parquet ({' '.join(str(error).split())[:200]}): give each column a "
                "name and a type of its own."
            ) from error
        yield str(path)
