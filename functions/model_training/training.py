"""Builds, fits and saves one scikit-learn pipeline."""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import numpy.typing as npt
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from common.conversion import MAX_LEVELS, Profile, feature_columns, feature_dtype, is_large
from common.errors import InvalidDatasetError, without_values
from common.metrics import Weights
from common.request import TrainingRequest
from model_training.threads import ThreadBackend, one_blas_thread

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import BaseEstimator

# Named, not imported: a run loads the module of its one estimator.
ESTIMATOR_CLASSES: Mapping[tuple[str, str], str] = {
    ("regression", "linear_regression"): "sklearn.linear_model.LinearRegression",
    ("regression", "ridge"): "sklearn.linear_model.Ridge",
    ("regression", "random_forest"): "sklearn.ensemble.RandomForestRegressor",
    ("regression", "hist_gradient_boosting"): "sklearn.ensemble.HistGradientBoostingRegressor",
    ("classification", "logistic_regression"): "sklearn.linear_model.LogisticRegression",
    ("classification", "random_forest"): "sklearn.ensemble.RandomForestClassifier",
    ("classification", "hist_gradient_boosting"): "sklearn.ensemble.HistGradientBoostingClassifier",
}
MAX_NATIVE_CATEGORIES = 254
"""Trees get a column of more different texts as the target's means.

hist_gradient_boosting bins a category in one of 255 bins and keeps one bin for missing values. A forest that gets a
column for each text is slower, and no better.
"""
MAX_OWN_COLUMNS = 1000
"""Linear models get so many texts in columns of their own: these tell more than means, unless most are of few rows."""
MANY_LEVELS = "levels"
"""The transformer of such columns."""
MEANS_FOLDS = 5
GROUP_COLUMNS = 5
RECORDED_VERSIONS = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")


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
    """
    columns = feature_columns(profile)
    texts, many = _texts(request, profile)
    categorical = [name for name in texts if name not in many]
    numeric = [column["name"] for column in columns if column["role"] != "categorical"]
    estimator = _estimator(request)
    if request.estimator == "hist_gradient_boosting":
        # It splits on missing values and on categories by itself: neither imputing nor one-hot columns are needed.
        places = range(len(numeric), len(numeric) + len(categorical))
        estimator.set_params(categorical_features=list(places) or None)
        transformers = [("numeric", "passthrough", numeric), ("categorical", _ordinal_encoder(), categorical)]
    else:
        encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32)
        transformers = [*_numeric(request, profile, numeric), ("categorical", encoder, categorical)]
    transformers.append((MANY_LEVELS, _means_of_levels(request, profile), [name for name in texts if name in many]))
    features = ColumnTransformer([each for each in transformers if each[2]], verbose_feature_names_out=False)
    if not categorical and not many:
        # Without one-hot columns there is nothing to stack: a frame passes on as it is, an array would be copied.
        features.set_output(transform="pandas")
    return Pipeline([("features", features), ("model", estimator)])


def _texts(request: TrainingRequest, profile: Profile) -> tuple[dict[str, int | str], frozenset[str]]:
    """Return how many different texts a column has, and the columns of too many for each to be told apart."""
    trees = request.estimator in ("random_forest", "hist_gradient_boosting")
    most = MAX_NATIVE_CATEGORIES if trees else MAX_OWN_COLUMNS
    texts = {each["name"]: each["distinct"] for each in feature_columns(profile) if each["role"] == "categorical"}
    # A text says that there are more than are counted.
    many = (name for name, distinct in texts.items() if isinstance(distinct, str) or distinct > most)
    return texts, frozenset(many)


def _means_of_levels(request: TrainingRequest, profile: Profile) -> Pipeline:
    """Return what turns texts into the target's mean on the other rows of the same text, for each class of several.

    A row's own target is not among what it gets, nor is that of the rows in its fold: else a text of few rows would
    give its target away, and the model rely on that. Rare texts and those that training never saw are one level, and
    missing values another.
    """
    from sklearn.model_selection import KFold  # noqa: PLC0415 (most data have no such column)

    folds = KFold(MEANS_FOLDS, shuffle=True, random_state=request.seed)
    steps = [
        # Which levels it knows follows from the data (`_know_levels`).
        ("levels", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)),
        ("means", TargetEncoder(target_type="continuous" if request.problem == "regression" else "auto", cv=folds)),
    ]
    if request.estimator not in ("random_forest", "hist_gradient_boosting"):
        steps.append(("scale", StandardScaler(copy=False)))
    if request.estimator != "hist_gradient_boosting" and is_large(profile):
        steps.append(("narrow", FunctionTransformer(np.float32, feature_names_out="one-to-one")))
    return Pipeline(steps)


def _numeric(request: TrainingRequest, profile: Profile, names: list[str]) -> list[tuple[str, Pipeline, list[str]]]:
    """Return the transformers of the numbers: one, or several, that keep digits, or on large data time and memory.

    A forest casts what it gets to float32: of what does not fit it gets scaled numbers, in their places among the
    others, for it draws features by them.

    On large data one float64 column makes a whole group float64: such columns are in groups of their own, which are
    float32 once scaled. And scaling takes four times what its group holds.
    """
    forest, large = request.estimator == "random_forest", is_large(profile)
    if not (forest or large):
        return [("numeric", _numeric_steps(scale=True), names)]
    wide = _wide(profile)
    transformers = []
    for number, group in enumerate(_groups(names, wide, large=large), 1):
        is_wide = group[0] in wide
        steps = _numeric_steps(scale=is_wide or not forest, narrow=is_wide and large)
        transformers.append((f"numeric_{number}", steps, group))
    return transformers


def _wide(profile: Profile) -> frozenset[str]:
    """Return the numbers that float32 does not do for."""
    numeric = (column for column in feature_columns(profile) if column["role"] != "categorical")
    return frozenset(column["name"] for column in numeric if feature_dtype(column, large=True) == "float64")


def _groups(names: list[str], wide: Collection[str], *, large: bool) -> Iterator[list[str]]:
    """Yield groups of columns, of which all are wide or none is: on large data small ones, with the wide ones last."""
    for _, run in groupby(sorted(names, key=wide.__contains__) if large else names, wide.__contains__):
        group = list(run)
        size = GROUP_COLUMNS if large else len(group)
        yield from (group[at : at + size] for at in range(0, len(group), size))


def _numeric_steps(*, scale: bool, narrow: bool = False) -> Pipeline:
    steps = [("impute", SimpleImputer(keep_empty_features=True))]
    if scale:
        # Imputing has made a copy, which scaling may write into.
        steps.append(("scale", StandardScaler(copy=False)))
    if narrow:
        steps.append(("narrow", FunctionTransformer(np.float32, feature_names_out="one-to-one")))
    return Pipeline(steps)


def _ordinal_encoder() -> OrdinalEncoder:
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        max_categories=MAX_NATIVE_CATEGORIES,
        dtype=np.float32,
    )


def _estimator(request: TrainingRequest) -> BaseEstimator:
    module, name = ESTIMATOR_CLASSES[str(request.problem), str(request.estimator)].rsplit(".", 1)
    estimator = getattr(import_module(module), name)()
    fixed = {"random_state": request.seed, "n_jobs": -1} if request.estimator == "random_forest" else {}
    if request.estimator == "logistic_regression":
        # scikit-learn's 100 iterations are too few for many a real data set.
        fixed = {"max_iter": 1000}
    if "copy_X" in estimator.get_params():
        # What it gets was made for it.
        fixed = {"copy_X": False}
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
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            filled = _without_empty_columns(features)
            _know_levels(pipeline, filled)
            # What Pipeline.fit does, in two steps.
            transformed = _transform(pipeline["features"], filled, target, weights)
            del filled
            _keep_levels_once(pipeline)
            if consume:
                _empty(features)
            # Of ridge a second thread of BLAS makes nothing faster, and on a busy machine both wait for each other.
            with joblib.parallel_config(backend=ThreadBackend()), one_blas_thread():
                pipeline["model"].fit(transformed, target, **({} if weights is None else {"sample_weight": weights}))
        except ValueError as error:
            told = without_values(str(error))
            raise InvalidDatasetError(f"scikit-learn cannot fit {pipeline['model']}: {told}") from error
    if "n_jobs" in pipeline["model"].get_params():
        # Threads add up a forest's trees in any order; one thread gives the same prediction each time, to the last bit.
        pipeline["model"].set_params(n_jobs=None)
    # Boosting keeps the generator that it drew features by, which no prediction needs.
    vars(pipeline["model"]).pop("_feature_subsample_rng", None)
    messages = list(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught))
    return FittedModel(pipeline, messages, time.perf_counter() - started)


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


def _without_empty_columns(features: pd.DataFrame) -> pd.DataFrame:
    """Fill columns whose values are all in the test part: boosting cannot bin a column without any value."""
    filled = features
    for name in features.columns[features.isna().all()]:
        value = "missing" if features[name].dtype == "category" else 0.0
        filled = filled.assign(**{name: value})
    return filled


def describe(model: FittedModel, request: TrainingRequest, profile: Profile) -> dict[str, Any]:
    """Return what `model.json` says of a fitted model, besides the run and the release that it belongs to."""
    estimator = model.pipeline["model"]
    return {
        "problem": request.problem,
        "estimator": request.estimator,
        "class": f"{type(estimator).__module__}.{type(estimator).__name__}",
        "parameters": {name: _plain(value) for name, value in sorted(estimator.get_params(deep=False).items())},
        "features": [column["name"] for column in feature_columns(profile)],
        "target": request.target,
        "classes": [_plain(label) for label in getattr(estimator, "classes_", ())] or None,
        "rows": profile["rows"]["train"],
        "data_fingerprint": profile["fingerprint"],
        "seconds": round(model.seconds, 3),
        "warnings": model.warnings,
        "versions": {name: version(name) for name in RECORDED_VERSIONS},
        "request": request.model_dump(),
    }


def describe_baseline(target: npt.NDArray[Any], problem: str, weights: Weights = None) -> dict[str, Any]:
    """Return the best guess that takes no feature: the target's mean, or the share of each class in sorted order.

    Parameters
    ----------
    target
        Of the training part, shape (rows,).
    problem
        `regression` or `classification`.
    weights
        How much each row counts, shape (rows,); None for all alike.
    """
    if problem == "regression":
        return {"mean": float(np.average(target.astype(np.float64, copy=False), weights=weights))}
    codes = np.unique(target, return_inverse=True)[1]
    counts = np.bincount(codes, weights)
    return {"shares": (counts / counts.sum()).tolist()}


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's own type, which JSON knows."""
    return value.item() if isinstance(value, np.generic) else value


# Bytes at the peak of a fit for each row and column of a data set, as `make bench` measures them on 10^6 rows x 30
# columns, and for each row and one-hot column: those are stacked as they are made and once more beside all others.
BYTES_PER_VALUE: Mapping[str, int] = {
    "linear_regression": 16,
    "ridge": 12,
    "logistic_regression": 17,
    "random_forest": 13,
    "hist_gradient_boosting": 32,
}
BYTES_PER_WIDE_VALUE = 4
"""What the frame holds more of a value that float32 does not do for."""
BYTES_PER_ONE_HOT = 12
BYTES_PER_SPARSE_VALUE = 24
BYTES_PER_LEVEL = 130
"""What encoding takes for each row of a column of many texts."""
BYTES_PER_WEIGHT = 24
BYTES_PER_WEIGHTED_VALUE = 4
"""What ridge holds more of a value: a copy, multiplied by the weights' roots."""
IMPORTS_MB = 300


def check_memory(request: TrainingRequest, profile: Profile, memory_mb: int) -> None:
    """Refuse data whose fit would not fit the function's memory, before it is read.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data.
    memory_mb
        The function's memory in MB.

    Raises
    ------
    InvalidDatasetError
        Naming both figures and the parameter to raise.
    """
    rows, columns = profile["rows"]["train"], len(feature_columns(profile))
    classes = len(profile["classes"] or ())
    row = columns * BYTES_PER_VALUE[str(request.estimator)] + len(_wide(profile)) * BYTES_PER_WIDE_VALUE
    per_row = _one_hot_bytes(request, profile) + _means_bytes(request, profile) + _weight_bytes(request, columns)
    needed = rows * (row + per_row)
    if request.estimator == "random_forest":
        # The fitted trees, and once more as the bytes that are saved.
        needed += 2 * _forest_bytes(request, rows, classes)
    elif request.estimator in ("logistic_regression", "hist_gradient_boosting"):
        # Gradients, probabilities and one-hot labels: eight-byte values for each row and class.
        needed += rows * classes * 8 * 3
    needed_mb = IMPORTS_MB + (needed >> 20)
    if needed_mb > memory_mb:
        raise InvalidDatasetError(
            f"{rows:,} training rows with {columns} features need about {needed_mb:,} MB for {request.estimator}, and "
            f"the function has {memory_mb:,} MB: raise the parameter ModelTrainingMemory (10,240 MB at most, and 3,008 "
            "in a new account until AWS's support raises that), bring fewer rows, limit the trees or choose another "
            "estimator."
        )


def _one_hot_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return the bytes of a row's one-hot columns; ColumnTransformer keeps them sparse below a share of values."""
    columns = feature_columns(profile)
    texts, many = _texts(request, profile)
    categories = [int(distinct) for name, distinct in texts.items() if name not in many]
    if request.estimator == "hist_gradient_boosting" or not categories:
        return 0
    stacked = len(columns) - len(categories) + sum(categories)
    dense = len(columns) >= ColumnTransformer([]).sparse_threshold * stacked
    return sum(categories) * BYTES_PER_ONE_HOT if dense else len(columns) * BYTES_PER_SPARSE_VALUE


def _means_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return the bytes of a row's texts that are one of many, and of the means that become of them."""
    _, many = _texts(request, profile)
    classes = len(profile["classes"] or ())
    return len(many) * (BYTES_PER_LEVEL + 16 * (classes if classes > 2 else 1))


def _weight_bytes(request: TrainingRequest, columns: int) -> int:
    """Return the bytes that a row's weight takes."""
    if request.weight_column is None:
        return 0
    return BYTES_PER_WEIGHT + (columns * BYTES_PER_WEIGHTED_VALUE if request.estimator == "ridge" else 0)


def _forest_bytes(request: TrainingRequest, rows: int, classes: int) -> int:
    """Return the size of a fitted forest: 64 bytes a node and 8 for each of its values, about 1.3 nodes a row."""
    chosen = request.hyperparameters
    nodes = int(1.3 * rows * (chosen.get("max_samples") or 1.0) / chosen.get("min_samples_leaf", 1))
    if chosen.get("max_depth"):
        nodes = min(nodes, 2 ** (min(chosen["max_depth"], 62) + 1))
    trees: int = chosen.get("n_estimators", 100)
    return trees * nodes * (64 + 8 * max(1, classes))
