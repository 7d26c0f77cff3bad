"""What a search tries of each estimator first, and which of its hyperparameters may vary."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from common.conversion import Profile
from common.request import TrainingRequest
from model_training.custom import build_custom
from model_training.space import Space

SPACES: Mapping[str, Space] = {
    "linear_regression": Space(({},)),
    # Of what the request says: a search makes blends by itself (`blend_choice.py`).
    "blend": Space(({},)),
    # Of one number a few values do: near the best one they differ by less than folds do.
    "ridge": Space(({}, {"alpha": 30.0}, {"alpha": 300.0})),
    "logistic_regression": Space(({}, {"C": 0.03}, {"C": 30.0})),
    "random_forest": Space(
        ({"min_samples_leaf": 5}, {"min_samples_leaf": 2, "max_features": 0.5}),
        {
            "min_samples_leaf": IntDistribution(1, 20, log=True),
            "max_features": FloatDistribution(0.2, 1.0),
        },
    ),
    "hist_gradient_boosting": Space(
        (
            {"early_stopping": True, "max_iter": 1000, "learning_rate": 0.05, "max_features": 0.7},
            {},
            {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 8, "l2_regularization": 1.0},
        ),
        {
            "learning_rate": FloatDistribution(0.01, 0.2, log=True),
            "max_iter": IntDistribution(50, 800, log=True),
            "max_leaf_nodes": IntDistribution(4, 64, log=True),
            "min_samples_leaf": IntDistribution(3, 60, log=True),
            "l2_regularization": FloatDistribution(1e-3, 30.0, log=True),
            "max_features": FloatDistribution(0.3, 1.0),
            "early_stopping": CategoricalDistribution([False, True]),
        },
    ),
}


def space_of(name: str, request: TrainingRequest, profile: Profile) -> Space:
    """Return what a search tries of an estimator.

    Raises
    ------
    InvalidModelError
        If the estimator is `custom`, and its model cannot be used.
    """
    return build_custom(request, profile).space if name == "custom" else SPACES[name]
