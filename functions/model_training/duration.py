"""What training takes of time, reckoned from the request and the profile before the data are read.

Each fit is a formula of few constants, in processor seconds of one core: rather too many than too few.
`make bench ARGS="--only durations"` holds them to what is measured, docs/scale.md tells of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from common.capacity import Work
from common.conversion import Profile, feature_columns
from common.request import SEARCH_SECONDS, TrainingRequest
from model_training.features import Made, has_runs, text_characters, text_components, texts_of
from model_training.folds import FEW_ROWS, FEWER_FOLDS, MOST_FOLDS, rows_to_try
from model_training.other_splits import MOST_ROWS, MOST_SECONDS
from model_training.streaming import streams

START = 0.5
"""Clients, the samples that are looked at, the documents that are written."""
READ = 2e-8
"""A value of the part is read, and hashed for its row's record."""
NUMBER, CATEGORY, TIME, LEVEL = 2e-8, 5e-8, 3e-7, 3e-6
"""A value becomes features: a number, one of few texts, a time with the parts of the calendar, one of many texts."""
RUN, COMPONENT = 1e-6, 5e-9
"""A character of a free text becomes runs of letters, and adds to a component of these."""
PRODUCT, COEFFICIENT, EQUATION = 7e-11, 3e-9, 5e-9
"""A row adds to the product of two columns, and to a column; equations are solved for the cube of their number."""
STEP, SPARSE_STEP = 2.5e-9, 1e-8
"""A solver goes through a value of a row once more, and through one that is kept for not being 0."""
BIN, XGBOOST_BIN = 1e-7, 4e-7
"""A value is put into its bin, by XGBoost as its blocks are read again."""
GRADIENT, XGBOOST_GRADIENT, SPLIT = 6e-9, 3e-9, 2.5e-8
"""A value adds to a sum of a level of a boosted tree, and a bin of a leaf is looked at."""
SORT, SORT_ONE_HOT = 4.5e-9, 4.5e-10
"""A value is sorted among others for a level of a forest's tree, for each bit of their number, and one of 0 or 1."""
ITERATIONS = 100
"""How often a solver goes through the rows that stops by itself: hardly ever more often."""
MOST_WRONG = 3.0
"""How many times too many or too few an estimate is taken to be at most."""
LEVELS = 16
"""How deep trees are reckoned at most that are bound by leaves alone."""


@dataclass(frozen=True)
class Fit:
    """What an estimator gets.

    Attributes
    ----------
    rows
        How many there are.
    made
        The columns that features become.
    runs
        How many runs of letters a row's free texts are, where these are columns.
    outputs
        How many models it is in one: of more than two classes one for each.
    is_streamed
        Whether sums of products are enough (`model_training.streaming`).
    request
        With every choice made.
    chosen
        Its hyperparameters.
    """

    rows: float
    made: Made
    runs: float
    outputs: int
    is_streamed: bool
    request: TrainingRequest
    chosen: Mapping[str, Any]


def _of_products(fit: Fit) -> Work:
    """Return the work of a linear model by sums of products, or by a solver that goes from row to row."""
    is_sparse = fit.runs > 0 or not fit.made.is_dense
    if not fit.is_streamed and (is_sparse or fit.chosen.get("solver", "auto") in ("sag", "saga")):
        return _of_steps(fit)
    columns = fit.made.columns
    # A line without a penalty looks at the rows once more.
    passes = 2 if fit.request.estimator == "linear_regression" else 1
    return Work(passes * fit.rows * columns * (columns * PRODUCT + COEFFICIENT) + columns**3 * EQUATION)


def _of_steps(fit: Fit) -> Work:
    """Return the work of a solver that goes through the rows again and again."""
    iterations = min(int(fit.chosen.get("max_iter") or ITERATIONS), ITERATIONS)
    of_values = fit.made.values * (STEP if fit.made.is_dense else SPARSE_STEP) + fit.runs * SPARSE_STEP
    return Work(iterations * fit.rows * of_values * fit.outputs)


def _of_histograms(fit: Fit) -> Work:
    return _of_boosted(fit, "max_iter", fit.chosen.get("max_leaf_nodes", 31), None, (BIN, GRADIENT))


def _of_xgboost(fit: Fit) -> Work:
    return _of_boosted(fit, "n_estimators", fit.chosen.get("max_leaves"), 6, (XGBOOST_BIN, XGBOOST_GRADIENT))


def _of_boosted(fit: Fit, trees: str, leaves: int | None, deepest: int | None, seconds: tuple[float, float]) -> Work:
    """Return the work of boosted trees: a level's sums are of half of the rows, the others follow from those above."""
    least = int(fit.chosen.get("min_samples_leaf", 1))
    bounds = (
        fit.chosen.get("max_depth", deepest),
        math.log2(leaves or 2**LEVELS),
        math.log2(max(2.0, fit.rows / least)),
    )
    levels = min(float(each) for each in bounds if each is not None)
    bin_seconds, gradient_seconds = seconds
    values, bins = (
        fit.rows * fit.made.columns,
        min(int(fit.chosen.get("max_bins", 256)), int(fit.chosen.get("max_bin", 256))),
    )
    tree = values * (1 + levels / 2) * gradient_seconds + 2**levels * fit.made.columns * bins * SPLIT
    # The first is of the columns as they are, whichever a tree may split on.
    return Work(values * bin_seconds, int(fit.chosen.get(trees, 100)) * fit.outputs * tree)


def _of_forest(fit: Fit) -> Work:
    """Return the work of trees that sort the rows of each node by each column that is tried there."""
    rows = max(2.0, fit.rows * (fit.chosen.get("max_samples") or 1.0))
    levels = math.log2(max(2.0, rows / int(fit.chosen.get("min_samples_leaf", 1))))
    levels = min(levels, float(fit.chosen.get("max_depth") or levels))
    columns = fit.made.columns
    share = fit.chosen.get("max_features", 1.0 if fit.request.problem == "regression" else "sqrt")
    tried = {"sqrt": math.sqrt(columns), "log2": math.log2(max(2, columns)), None: columns}.get(share)
    tried = columns * float(share) if tried is None else tried
    value = (fit.made.dense * SORT + fit.made.one_hot * SORT_ONE_HOT) / columns
    tree = rows * math.log2(rows) * levels * max(1.0, tried) * value
    return Work(shared=int(fit.chosen.get("n_estimators", 100)) * tree)


FITS: Mapping[str, Callable[[Fit], Work]] = {
    "linear_regression": _of_products,
    "ridge": _of_products,
    "logistic_regression": _of_steps,
    "random_forest": _of_forest,
    "hist_gradient_boosting": _of_histograms,
    "xgboost": _of_xgboost,
    # Nobody knows what it does: as much as boosting with its defaults.
    "custom": _of_histograms,
}


def training_work(request: TrainingRequest, profile: Profile, search: Mapping[str, Any] | None) -> Work:
    """Return about how much work training is.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data.
    search
        The record of the search that has chosen the model; None without one.
    """
    rows, columns = int(profile["rows"]["train"]), feature_columns(profile)
    work = Work(START + rows * (len(columns) + 1) * READ)
    work += fit_work(request, profile, rows) * _as_tried(request, profile, search)
    if request.learns_of_folds(searched=search is not None):
        work += folds_work(request, profile, rows_to_try(_of_a_minute(request), profile))
    if any("splits_by" in column for column in columns):
        # Each of two kinds is fitted twice, unless that takes too long.
        few = fit_work(request, profile, min(rows, MOST_ROWS)) * 4
        work += Work(min(MOST_SECONDS, few.processor_seconds))
    return work


def _as_tried(request: TrainingRequest, profile: Profile, search: Mapping[str, Any] | None) -> float:
    """Return how many times as long as reckoned a fit takes, by what the trial took that has found it."""
    best = None if search is None else search.get("best")
    for tried in () if search is None else search.get("trials", ()):
        if tried["number"] == best and tried["estimator"] == request.estimator and tried["fit_seconds"]:
            reckoned = fit_work(request, profile, tried["fitted_rows"]).processor_seconds
            # On few rows more is lost and won by chance than a fit of many has to do with.
            return min(max(float(tried["fit_seconds"]) / reckoned, 1 / MOST_WRONG), MOST_WRONG)
    return 1.0


def _of_a_minute(request: TrainingRequest) -> TrainingRequest:
    """Return a request as held-out folds are made for it (`held_out.predict_folds`)."""
    return request.model_copy(update={"search_seconds": SEARCH_SECONDS})


def folds_work(request: TrainingRequest, profile: Profile, rows: int) -> Work:
    """Return about how much work it is to fit on all folds of some rows but one, for each of them."""
    folds = MOST_FOLDS if rows < FEW_ROWS else FEWER_FOLDS
    return fit_work(request, profile, rows * (folds - 1) / folds) * folds


def fit_work(request: TrainingRequest, profile: Profile, rows: float) -> Work:
    """Return about how much work it is to learn features and fit the estimator on so many rows."""
    if request.estimator == "blend":
        return sum((fit_work(member, profile, rows) for member, _ in request.members()), Work())
    classes = len(profile["classes"] or ())
    runs = sum(text_characters(profile)) if has_runs(request, profile) else 0.0
    outputs, is_streamed = classes if classes > 2 else 1, streams(request, profile)
    # What a model of somebody's own calls by these names nobody knows.
    chosen = {} if request.estimator == "custom" else request.hyperparameters
    fit = Fit(rows, Made.of(request, profile), runs, outputs, is_streamed, request, chosen)
    return Work(rows * _feature_seconds(request, profile)) + FITS[str(request.estimator)](fit)


def _feature_seconds(request: TrainingRequest, profile: Profile) -> float:
    """Return about how long the features of a row take, in seconds."""
    many, characters = texts_of(request, profile)[1], sum(text_characters(profile))
    of_role = {"numeric": NUMBER, "boolean": NUMBER, "timestamp": TIME, "categorical": CATEGORY, "text": 0.0}
    columns = (LEVEL if each["name"] in many else of_role[each["role"]] for each in feature_columns(profile))
    components = 0 if has_runs(request, profile) else text_components(profile)
    return sum(columns) + characters * (RUN + components * COMPONENT)
