"""What MLflow calls to load an exported model: `loader_module` of its flavor `python_function` names this module.

https://mlflow.org/docs/latest/ml/model/python_model/
"""

from __future__ import annotations

from pathlib import Path

from crosstrain.training.errors import errors_of_functions
from crosstrain.training.prediction import Model


def _load_pyfunc(path: str) -> Model:
    """Return the model of a folder; its `predict` takes and returns frames, as MLflow asks for it.

    Raises
    ------
    OperationFailedError
        If the model's file may not be loaded.
    """
    with errors_of_functions():
        return Model.load(Path(path))
