"""Builds, fits and saves one scikit-learn pipeline."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import numpy.typing as npt
from sklearn import config_context
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from common.conversion import MAX_LEVELS, Profile, feature_columns, target_column
from common.errors import InvalidDatasetError, InvalidRequestError, without_values
from common.metric_table import METRIC_TABLE
from common.metrics import Weights, best_constant
from common.model_file import estimator_of
from common.request import TrainingRequest
from common.threads import few_threads
from model_training.blend import build_blend, join, members_of
from model_training.custom import build_custom, check_names
from model_training.features import BOOSTING, MANY_LEVELS, build_features, categorical_columns, numeric_columns
from model_training.threads import ThreadBackend

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

# Named, not imported: a run loads the module of its one estimator.
ESTIMATOR_CLASSES: Mapping[tuple[str, str], str] = {
    ("regression", "linear_regression"): "sklearn.linear_model.LinearRegression",
    ("regression", "ridge"): "sklearn.linear_model.Ridge",
    ("regression", "random_forest"): "sklearn.ensemble.RandomForestRegressor",
    ("regression", "hist_gradient_boosting"): "sklearn.ensemble.HistGradientBoostingRegressor",
    ("regression", "xgboost"): "model_training.boosting.XgboostRegressor",
    ("classification", "logistic_regression"): "sklearn.linear_model.LogisticRegression",
    ("classification", "random_forest"): "sklearn.ensemble.RandomForestClassifier",
    ("classification", "hist_gradient_boosting"): "sklearn.ensemble.HistGradientBoostingClassifier",
    ("classification", "xgboost"): "model_training.boosting.XgboostClassifier",
}
RECORDED_VERSIONS = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")

OF_LIBRARIES = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
"""What one library warns another's developers of says nothing of the data, nor of the fit."""


@dataclass(frozen=True)
class FittedModel:
    """A fitted pipeline, what scikit-learn warned of while it was fitted, and how long that took in seconds."""

    pipeline: Pipeline
    warnings: list[str]
    seconds: float


def build_pipeline(request: TrainingRequest, profile: Profile) -> Pipeline:
    """Return the unfitted pipeline for a request with every choice made (`TrainingRequest.resolve`).

    Parameters
    ----------
    request
        Names the problem, the estimator, its hyperparameters and the seed.
    profile
        Says which columns are features, and their roles.

    Returns
    -------
    sklearn.pipeline.Pipeline
        `features`, a ColumnTransformer, and `model`, the estimator.

    Raises
    ------
    InvalidModelError
        If the estimator is `custom`, and its model cannot be used.
    InvalidRequestError
        If the loss is undefined for some of the target's values.
    """
    _check_loss(request, profile)
    if request.estimator == "custom":
        pipeline = build_custom(request, profile).pipeline
        check_names("The request", request.hyperparameters, pipeline["model"])
        pipeline["model"].set_params(**request.hyperparameters)
        return pipeline
    if request.estimator == "blend":
        chosen, weights = zip(*request.members(), strict=True)
        names = [column["name"] for column in feature_columns(profile)]
        return build_blend([build_pipeline(each, profile) for each in chosen], weights, str(request.problem), names)
    estimator = _estimator(request)
    if request.estimator in BOOSTING:
        start, categorical = len(numeric_columns(profile)), categorical_columns(request, profile)
        estimator.set_params(categorical_features=list(range(start, start + len(categorical))) or None)
    return Pipeline([("features", build_features(request, profile)), ("model", estimator)])


def _check_loss(request: TrainingRequest, profile: Profile) -> None:
    """Refuse a loss that is undefined for values that the target has."""
    loss = request.hyperparameters.get("loss")
    if loss not in ("poisson", "gamma"):
        return
    target = target_column(profile)
    least, most = target.get("min", 0), target.get("max", 0)
    if least < 0 or most <= 0 or (loss == "gamma" and least <= 0):
        needed = "values above 0 alone" if loss == "gamma" else "values of 0 and above, and one above 0 at least"
        raise InvalidRequestError(
            f'The loss "{loss}" needs a target that holds {needed}, which "{request.target}" does not: choose another '
            "loss, or leave it out."
        )


def _estimator(request: TrainingRequest) -> BaseEstimator:
    module, name = ESTIMATOR_CLASSES[str(request.problem), str(request.estimator)].rsplit(".", 1)
    estimator = getattr(import_module(module), name)()
    fixed: dict[str, Any] = {"random_state": request.seed, "n_jobs": -1} if request.estimator == "random_forest" else {}
    if request.estimator == "logistic_regression":
        # scikit-learn's 100 iterations are too few for many a real data set.
        fixed = {"max_iter": 1000}
    if "copy_X" in estimator.get_params():
        # What it gets was made for it.
        fixed = {"copy_X": False}
    if request.hyperparameters.get("loss") == "quantile":
        fixed = {"quantile": request.quantile}
    if "random_state" in estimator.get_params():
        fixed["random_state"] = request.seed
    return estimator.set_params(**{**fixed, **request.hyperparameters})


def fit(
    pipeline: Pipeline,
    features: pd.DataFrame,
    target: npt.NDArray[Any],
    weights: Weights = None,
    *,
    consume: bool = False,
) -> FittedModel:
    """Fit the pipeline.

    Parameters
    ----------
    pipeline
        From `build_pipeline`.
    features
        Shape (rows, features), as `common.frames.load_part` reads them.
    target
        Shape (rows,).
    weights
        How much each row counts, shape (rows,); None for all alike.
    consume : bool
        Whether the frame may be emptied once it is transformed, which leaves its memory to the estimator.

    Raises
    ------
    InvalidDatasetError
        If scikit-learn refuses the data.
    """
    members = members_of(pipeline)
    if members is not None:
        # The frame is there for the last of them, too.
        models = [fit(member, features, target, weights) for member in members]
        told = [message for model in models for message in model.warnings]
        joined = join(pipeline, [model.pipeline for model in models], features, target)
        return FittedModel(joined, list(dict.fromkeys(told)), sum(model.seconds for model in models))
    started, features_size = time.perf_counter(), features.size
    with as_told(pipeline) as messages:
        # What Pipeline.fit does, in two steps.
        transformed = learn_features(pipeline, features, target, weights)
        if consume:
            _empty(features)
        with joblib.parallel_config(backend=ThreadBackend()), few_threads(features_size):
            pipeline["model"].fit(transformed, target, **({} if weights is None else {"sample_weight": weights}))
    keep_what_predicts(pipeline)
    return FittedModel(pipeline, messages, time.perf_counter() - started)


def learn_features(pipeline: Pipeline, features: pd.DataFrame, target: npt.NDArray[Any], weights: Weights) -> Any:
    """Fit the features of a pipeline, and return what they make of the rows that they are fitted on."""
    filled = without_empty_columns(features)
    _know_levels(pipeline, filled)
    transformed = _transform(pipeline["features"], filled, target, weights)
    _keep_levels_once(pipeline)
    return transformed


def keep_what_predicts(pipeline: Pipeline) -> None:
    """Leave of a fitted pipeline's model what a prediction needs, which alone is in a model's file."""
    model = pipeline["model"]
    if hasattr(model, "fitted"):
        pipeline.steps[-1] = ("model", model.fitted())
    if "n_jobs" in model.get_params():
        # Threads add up a forest's trees in any order; one thread gives the same prediction each time, to the last bit.
        model.set_params(n_jobs=None)
    # Boosting keeps the generator that it drew features by, which no prediction needs.
    vars(model).pop("_feature_subsample_rng", None)


@contextmanager
def as_told(pipeline: Pipeline) -> Iterator[list[str]]:
    """Yield a list that is filled, at the end, with what is warned of while a pipeline is fitted.

    Raises
    ------
    InvalidDatasetError
        If scikit-learn refuses the data.
    """
    messages = list[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield messages
        except ValueError as error:
            told = without_values(str(error))
            raise InvalidDatasetError(f"scikit-learn cannot fit {pipeline['model']}: {told}") from error
    meant = [warning for warning in caught if not issubclass(warning.category, OF_LIBRARIES)]
    messages += dict.fromkeys(" ".join(str(warning.message).split()) for warning in meant)


def _know_levels(pipeline: Pipeline, features: pd.DataFrame) -> None:
    """Tell the encoder of many texts the most frequent ones, `MAX_LEVELS` of each column: a model does not hold all."""
    for name, steps, columns in pipeline["features"].transformers:
        if name == MANY_LEVELS:
            steps["levels"].set_params(categories=[_frequent_texts(features[column]) for column in columns])


def _frequent_texts(column: pd.Series[Any]) -> npt.NDArray[np.object_]:
    counts = column.value_counts()
    counts = counts[counts > 0]
    # By the texts themselves, so that the order of the rows makes no difference.
    counts.index = counts.index.astype(object)
    frequent = counts.sort_index().sort_values(ascending=False, kind="stable")[:MAX_LEVELS].index.sort_values()
    return np.array([*frequent, *([np.nan] if column.isna().any() else [])], dtype=object)


def _keep_levels_once(pipeline: Pipeline) -> None:
    """Take back what `_know_levels` has told: the fitted encoder has a copy, and each would be in the model's file."""
    features = pipeline["features"]
    for each in (features.transformers, features.transformers_):
        for name, steps, _ in each:
            if name == MANY_LEVELS:
                steps["levels"].set_params(categories="auto")


def _transform(
    transformer: ColumnTransformer, features: pd.DataFrame, target: npt.NDArray[Any], weights: Weights
) -> Any:
    """Fit the transformer of the features, its scalers by the weights, and return what it makes of them.

    What fills gaps takes no weights: the mean is then that of the rows as they are.
    """
    scalers = _scalers(transformer.transformers)
    if weights is None or not scalers:
        return transformer.fit_transform(features, target)
    with config_context(enable_metadata_routing=True):
        for scaler in scalers:
            scaler.set_fit_request(sample_weight=True)
        transformed = transformer.fit_transform(features, target, sample_weight=weights)
    # What was asked for is of no use to a prediction, and no type that a model's file may hold.
    for scaler in (*scalers, *_scalers(transformer.transformers_)):
        del scaler._metadata_request
    return transformed


def _scalers(transformers: Sequence[tuple[str, Any, Any]]) -> list[StandardScaler]:
    """Return the scalers among the steps of transformers."""
    pipelines = [each for _, each, _ in transformers if isinstance(each, Pipeline)]
    return [step for pipeline in pipelines for _, step in pipeline.steps if isinstance(step, StandardScaler)]


def _empty(frame: pd.DataFrame) -> None:
    """Take all columns out of a frame, which frees their memory, without the warning that pandas has for developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        frame.drop(columns=list(frame.columns), inplace=True)  # noqa: PD002 - one by one takes minutes


def without_empty_columns(features: pd.DataFrame) -> pd.DataFrame:
    """Fill columns whose values are all in the test part: boosting cannot bin a column without any value."""
    filled = features
    for name in features.columns[features.isna().all()]:
        value = {"category": "missing", "str": ""}.get(str(features[name].dtype), 0.0)
        filled = filled.assign(**{name: value})
    return filled


def describe(model: FittedModel, request: TrainingRequest, profile: Profile) -> dict[str, Any]:
    """Return what `model.json` says of a fitted model, besides the run and the release that it belongs to."""
    estimator = estimator_of(model.pipeline)
    return {
        "problem": request.problem,
        "estimator": request.estimator,
        "class": f"{type(estimator).__module__}.{type(estimator).__name__}",
        "parameters": _parameters(estimator, request),
        "features": [column["name"] for column in feature_columns(profile)],
        "target": request.target,
        "classes": [_plain(label) for label in getattr(estimator, "classes_", ())] or None,
        "rows": profile["rows"]["train"],
        "data_fingerprint": profile["fingerprint"],
        "seconds": round(model.seconds, 3),
        "warnings": model.warnings,
        "versions": {name: version(name) for name in RECORDED_VERSIONS} | _versions_of(request),
        "request": request.model_dump(),
    }


def _versions_of(request: TrainingRequest) -> dict[str, str]:
    """Return the versions of what this estimator alone needs."""
    chosen = [member for member, _ in request.members()] if request.estimator == "blend" else [request]
    if all(each.estimator != "xgboost" for each in chosen):
        return {}
    import xgboost  # noqa: PLC0415 (as it was to fit)

    return {"xgboost": xgboost.__version__}


def _parameters(estimator: BaseEstimator, request: TrainingRequest) -> dict[str, Any]:
    if request.estimator == "blend":
        return request.hyperparameters
    return {name: _plain(value) for name, value in sorted(estimator.get_params(deep=False).items())}


def describe_baseline(target: npt.NDArray[Any], request: TrainingRequest, weights: Weights = None) -> dict[str, Any]:
    """Return the best guess that takes no feature: a constant for the metric, or each class's share in sorted order.

    Parameters
    ----------
    target
        Of the training part, shape (rows,).
    request
        With every choice made.
    weights
        How much each row counts, shape (rows,); None for all alike.
    """
    metric = str(request.metric)
    if request.problem == "regression":
        values = target.astype(np.float64, copy=False)
        return {METRIC_TABLE[metric].constant: best_constant(metric, values, weights, request.quantile)}
    codes = np.unique(target, return_inverse=True)[1]
    counts = np.bincount(codes, weights)
    return {"shares": (counts / counts.sum()).tolist()}


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's own type, which JSON knows."""
    return value.item() if isinstance(value, np.generic) else value
