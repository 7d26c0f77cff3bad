"""A model of your own: change this file, and nothing else has to change. docs/customise.md has a whole example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.conversion import Profile
from common.errors import InvalidModelError
from common.request import TrainingRequest

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from model_training.space import Space

PORTFOLIO = {
    "regression": ("ridge", "hist_gradient_boosting", "random_forest"),
    "classification": ("logistic_regression", "hist_gradient_boosting", "random_forest"),
}
"""What the estimator `auto` tries for each problem, the simplest first: of two that are as good, the first is taken.

With `custom` among them, or alone, a model of your own takes part in each run's search.
"""


@dataclass(frozen=True)
class CustomModel:
    """What `custom_model` returns.

    Attributes
    ----------
    pipeline
        Unfitted: `features`, a ColumnTransformer, as `model_training.features.build_features` makes one, and `model`,
        which a request's `hyperparameters` are set on.
    space
        What a search tries first, and which hyperparameters of `model` it may vary.
    """

    pipeline: Pipeline
    space: Space


def custom_model(request: TrainingRequest, profile: Profile) -> CustomModel:  # noqa: ARG001 - yours takes them
    """Return the model that the estimator `custom` stands for.

    It is called for each fit, and has to return a new pipeline each time.

    Parameters
    ----------
    request
        With every choice made: `problem`, `metric`, `seed`, …
    profile
        Of the prepared data: `common.conversion.feature_columns(profile)` are the features, with their roles.
    """
    raise InvalidModelError(
        'The estimator "custom" is a model of your own, and there is none yet: write it in '
        "functions/model_training/model.py, as docs/customise.md shows."
    )
