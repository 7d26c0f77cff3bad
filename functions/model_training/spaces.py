"""What a search tries of each estimator first, and which of its hyperparameters may vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from common.conversion import Profile, target_column
from common.metric_table import METRIC_TABLE
from common.request import TrainingRequest
from model_training.custom import build_custom
from model_training.features import BOOSTING
from model_training.space import Space

SKEWED = 0.5
"""From which share of its mean on the standard deviation of amounts and counts grows with what is expected of them."""

RARE_ROWS = 10
"""With fewer rows of a class boosting is not stopped early."""

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
    "xgboost": Space(
        (
            {"learning_rate": 0.1, "n_estimators": 200},
            {},
            {"learning_rate": 0.05, "n_estimators": 300, "max_depth": 4, "colsample_bytree": 0.7},
        ),
        {
            "learning_rate": FloatDistribution(0.01, 0.3, log=True),
            "n_estimators": IntDistribution(50, 800, log=True),
            "max_depth": IntDistribution(3, 10),
            "min_child_weight": FloatDistribution(0.5, 60.0, log=True),
            "reg_lambda": FloatDistribution(1e-3, 30.0, log=True),
            "colsample_bytree": FloatDistribution(0.3, 1.0),
            "subsample": FloatDistribution(0.5, 1.0),
        },
    ),
}


def space_of(name: str, request: TrainingRequest, profile: Profile) -> Space:
    """Return what is tried of an estimator for the metric that decides, and for the target.

    Boosting may follow the metric by its loss, and amounts or counts that are skewed by a Poisson loss, whose mean is
    that of the target as a squared error's is (a logarithm's is not). Where the metric counts a rare class as much as a
    frequent one, so may a fit.

    Parameters
    ----------
    name
        Of the estimator.
    request
        With every choice made but the estimator.
    profile
        Of the prepared data: what values its target has.

    Raises
    ------
    InvalidModelError
        If the estimator is `custom`, and its model cannot be used.
    """
    if name == "custom":
        return build_custom(request, profile).space
    if name == "blend":
        return SPACES[name]
    space, metric = SPACES[name], str(request.metric)
    if name == "hist_gradient_boosting" and _too_few_of_a_class(profile):
        space = _without_early_stopping(space)
    if name in BOOSTING and request.problem == "regression":
        return _with_losses(space, _losses(metric, target_column(profile)))
    if request.problem == "classification" and METRIC_TABLE[metric].of_labels and metric != "accuracy":
        return _also_with(space, "class_weight", (None, "balanced"))
    return space


def _too_few_of_a_class(profile: Profile) -> bool:
    """Return whether early stopping, which holds a tenth of the rows out of each fit, may lack rows of a class for it.

    A search that is made on some of the rows may not meet the rarest class, and the fit on all rows would fail.
    """
    classes = profile["classes"] or ()
    rarest = min((each.get("trained", each["rows"]) for each in classes), default=RARE_ROWS)
    return rarest < RARE_ROWS or profile["rows"]["train"] < 20 * len(classes)


def _without_early_stopping(space: Space) -> Space:
    starts = tuple({**each, "early_stopping": False} for each in space.starts if not each.get("early_stopping"))
    return Space(starts, {**space.varied, "early_stopping": CategoricalDistribution([False])})


def _losses(metric: str, target: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the losses that may do for a metric, that of the start first."""
    if metric == "pinball":
        return "quantile", "squared_error"
    if metric in ("mae", "medae", "mape"):
        return "squared_error", "absolute_error"
    # What numbers are too large for has no moments.
    mean, std = (target.get(each) for each in ("mean", "std"))
    is_amount = mean is not None and std is not None and target["min"] >= 0 and std > SKEWED * mean
    return ("squared_error", "poisson") if is_amount else ("squared_error",)


def _with_losses(space: Space, losses: tuple[str, ...]) -> Space:
    if losses[0] != "squared_error":
        space = replace(space, starts=tuple({**each, "loss": losses[0]} for each in space.starts))
    return space if len(losses) == 1 else _also_with(space, "loss", losses)


def _also_with(space: Space, name: str, values: tuple[Any, ...]) -> Space:
    """Return a space in which the first start is tried with the last value, too, and where something varies this does.

    What has nothing that varies is made of a few starts, and would be tried again and again.
    """
    first, *others = space.starts
    varied = {**space.varied, name: CategoricalDistribution(values)} if space.varied else {}
    return Space((first, {**first, name: values[-1]}, *others), varied)
