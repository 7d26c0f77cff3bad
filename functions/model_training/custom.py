"""Builds the model of `model.py`, and says in one sentence what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sklearn.pipeline import Pipeline

from common.conversion import Profile
from common.errors import InvalidModelError, InvalidRequestError
from common.request import TrainingRequest
from common.validation import did_you_mean
from model_training import model
from model_training.blend import members_of
from model_training.model import CustomModel

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from model_training.space import Space


def build_custom(request: TrainingRequest, profile: Profile) -> CustomModel:
    """Return what `model.custom_model` returns.

    Raises
    ------
    InvalidModelError
        If it raises, returns something else, or its search space names what its model does not have.
    """
    try:
        found = model.custom_model(request, profile)
    except InvalidModelError:
        raise
    # Whatever somebody's own code raises.
    except Exception as error:
        raise InvalidModelError(f"custom_model in model_training/model.py raised {type(error).__name__}.") from error
    if not isinstance(found, CustomModel) or not isinstance(found.pipeline, Pipeline):
        raise InvalidModelError(
            "custom_model in model_training/model.py returns no CustomModel with a scikit-learn Pipeline, but "
            f"{type(found).__name__}."
        )
    if [name for name, _ in found.pipeline.steps] != ["features", "model"]:
        raise InvalidModelError(
            "The pipeline of model_training/model.py has other steps than features and model: put what is between them "
            "into either."
        )
    if members_of(found.pipeline) is not None:
        raise InvalidModelError(
            "The model of model_training/model.py is a vote of several, which only a blend is: return one of them, and "
            'name the others as its members (the estimator "blend").'
        )
    names = {name for start in found.space.starts for name in start} | set(found.space.varied)
    check_names("The search space of model_training/model.py", names, found.pipeline["model"])
    _check_starts(found.space, request)
    return found


def _check_starts(space: Space, request: TrainingRequest) -> None:
    """Refuse what goes through no request, such as a tuple."""
    for start in space.starts:
        try:
            request.with_choice("custom", start)
        except InvalidRequestError as error:
            raise InvalidModelError(
                f"A start of model_training/model.py is none that a request may say. {error}"
            ) from error


def check_names(who: str, names: Iterable[str], estimator: BaseEstimator) -> None:
    """Refuse hyperparameters that an estimator does not have.

    Raises
    ------
    InvalidModelError
        With the nearest names.
    """
    known = estimator.get_params()
    for name in sorted(names):
        if name not in known:
            raise InvalidModelError(
                f'{who} has "{name}", which {type(estimator).__name__} does not have.{did_you_mean(name, known)}'
            )
