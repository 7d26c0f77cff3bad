"""The hyperparameters that a request may set, of each estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from common.validation import Strict

# Estimators count in 32 bits.
_Count = Annotated[int, Field(ge=1, lt=2**31)]


# The defaults below say what scikit-learn takes; only what a request sets is passed on (`hyperparameters`).


class LinearRegressionParameters(Strict):
    """Hyperparameters of `sklearn.linear_model.LinearRegression`."""

    fit_intercept: bool = True
    positive: bool = False


class RidgeParameters(Strict):
    """Hyperparameters of `sklearn.linear_model.Ridge`."""

    alpha: Annotated[float, Field(ge=0)] = 1.0
    fit_intercept: bool = True
    solver: Literal["auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"] = "auto"
    max_iter: _Count | None = None
    tol: Annotated[float, Field(ge=0)] = 1e-4


class LogisticRegressionParameters(Strict):
    """Hyperparameters of `sklearn.linear_model.LogisticRegression`."""

    C: Annotated[float, Field(gt=0)] = 1.0
    class_weight: Literal["balanced"] | None = None
    fit_intercept: bool = True
    max_iter: _Count = 100
    tol: Annotated[float, Field(gt=0)] = 1e-4


class RandomForestParameters(Strict):
    """Hyperparameters of `sklearn.ensemble.RandomForestRegressor` and `RandomForestClassifier`."""

    n_estimators: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_depth: _Count | None = None
    min_samples_leaf: _Count = 1
    min_samples_split: Annotated[int, Field(ge=2, lt=2**31)] = 2
    max_features: Annotated[float, Field(gt=0, le=1)] | Literal["sqrt", "log2"] | None = None
    max_samples: Annotated[float, Field(gt=0, le=1)] | None = None
    class_weight: Literal["balanced"] | None = None


class HistGradientBoostingParameters(Strict):
    """Hyperparameters of `sklearn.ensemble.HistGradientBoostingRegressor` and `HistGradientBoostingClassifier`."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    max_iter: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_leaf_nodes: Annotated[int, Field(ge=2, lt=2**31)] | None = 31
    max_depth: _Count | None = None
    min_samples_leaf: _Count = 20
    l2_regularization: Annotated[float, Field(ge=0)] = 0.0
    max_bins: Annotated[int, Field(ge=2, le=255)] = 255
    max_features: Annotated[float, Field(gt=0, le=1)] = 1.0
    early_stopping: bool | Literal["auto"] = "auto"
    n_iter_no_change: _Count = 10
    loss: Literal["squared_error", "absolute_error", "poisson", "gamma", "quantile"] = "squared_error"
    class_weight: Literal["balanced"] | None = None


class XgboostParameters(Strict):
    """Hyperparameters of XGBoost's trees (`common.boosted`); what it calls an objective is the `loss`, as above."""

    n_estimators: Annotated[int, Field(ge=1, le=10_000)] = 100
    learning_rate: Annotated[float, Field(gt=0)] = 0.3
    max_depth: Annotated[int, Field(ge=1, le=16)] = 6
    max_leaves: Annotated[int, Field(ge=2, le=2**16)] | None = None
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_bin: Annotated[int, Field(ge=2, le=256)] = 256
    loss: Literal["squared_error", "absolute_error", "poisson", "gamma", "quantile"] = "squared_error"
    class_weight: Literal["balanced"] | None = None


class CustomParameters(Strict):
    """Hyperparameters of the model of `model_training/model.py`, which alone knows their names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | int | float | str | None]


class BlendMember(Strict):
    """One of the models that a blend is made of."""

    estimator: Annotated[str, Field(min_length=1)]
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    # Their sum and each one's share of it are numbers, too.
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0


class BlendParameters(Strict):
    """What a blend is made of: the weighted mean of its members is predicted."""

    members: Annotated[list[BlendMember], Field(min_length=2, max_length=10)]


HYPERPARAMETERS: Mapping[str, type[Strict]] = {
    "linear_regression": LinearRegressionParameters,
    "ridge": RidgeParameters,
    "logistic_regression": LogisticRegressionParameters,
    "random_forest": RandomForestParameters,
    "hist_gradient_boosting": HistGradientBoostingParameters,
    "xgboost": XgboostParameters,
    "custom": CustomParameters,
    "blend": BlendParameters,
}
OF_ONE_PROBLEM: Mapping[str, str] = {"loss": "regression", "class_weight": "classification"}
"""Hyperparameters that estimators of one problem have alone."""
