"""What evaluation takes of time, reckoned from the profile and what describes the models, before the part is read.

Processor seconds of one core, rather too many than too few, as `model_training.duration` has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from common.bootstrap import MAX_DRAWS, MIN_RESAMPLES, RESAMPLES
from common.capacity import Work
from common.conversion import MOST_CHARACTERS, Profile, feature_columns
from common.frames import BLOCK_VALUES
from model_evaluation import effects, importance

START = 0.5
"""Clients, pictures, the report."""
READ, LOOK = 2e-8, 1e-7
"""A value of the part is read, and looked at for groups of rows, of a block of them at most."""
FEATURE = 4e-8
"""A value becomes what a model takes."""
RUN = 1e-6
"""A character of a free text becomes runs of letters."""
LEVEL: Mapping[str, float] = {"random_forest": 4e-8, "hist_gradient_boosting": 8e-9, "xgboost": 1.5e-8}
"""A row goes down a level of a tree."""
LINES = frozenset({"linear_regression", "ridge", "logistic_regression"})
"""These need nothing besides features."""
DRAW = 2.5e-8
"""A row of a resample counts in a metric; of classes it is sorted, too."""
DEEPEST, LEAVES = 6.0, 31


def evaluation_work(profile: Profile, challenger: Mapping[str, Any], champion: Mapping[str, Any] | None) -> Work:
    """Return about how much work an evaluation is.

    Parameters
    ----------
    profile
        Of the prepared data.
    challenger, champion
        What describes the models (`model.json`); None without a champion.
    """
    rows, columns = int(profile["rows"]["test"]), len(feature_columns(profile))
    draws = max(MIN_RESAMPLES * rows, min(RESAMPLES * rows, MAX_DRAWS))
    draws *= 2 if profile["problem"] == "classification" else 1
    # A champion is compared by resamples of its own, and reads the part in its own process.
    texts = (column["characters"] for column in feature_columns(profile) if column["role"] == "text")
    row = columns * READ + sum(min(each, MOST_CHARACTERS) for each in texts) * RUN
    models = [challenger] if champion is None else [challenger, champion]
    of_models = sum(rows * (row + seconds_of_row(each)) + draws * DRAW for each in models)
    looked_at = (importance.PREDICTED_ROWS + effects.PREDICTED_ROWS) * seconds_of_row(challenger)
    return Work(START + of_models + looked_at + min(rows * columns, BLOCK_VALUES) * LOOK)


def seconds_of_row(described: Mapping[str, Any]) -> float:
    """Return about how long a model takes to predict a row among many, in processor seconds.

    Parameters
    ----------
    described
        `model.json`.
    """
    estimator, chosen = str(described.get("estimator")), described.get("parameters") or {}
    if estimator == "blend":
        return sum(seconds_of_row({**described, **_as_described(each)}) for each in chosen.get("members", ()))
    columns, classes = len(described.get("features") or ()), len(described.get("classes") or ())
    trees = _number(chosen, "n_estimators") or _number(chosen, "max_iter") or 100
    # A forest's trees know all classes.
    outputs = classes if classes > 2 and estimator != "random_forest" else 1
    seconds = LEVEL.get(estimator, 0.0 if estimator in LINES else max(LEVEL.values()))
    return columns * FEATURE + trees * outputs * _levels(described, chosen) * seconds


def _as_described(member: Mapping[str, Any]) -> dict[str, Any]:
    """Return what would describe a member of a blend that was trained alone."""
    return {"estimator": member["estimator"], "parameters": member.get("hyperparameters")}


def _levels(described: Mapping[str, Any], chosen: Mapping[str, Any]) -> float:
    """Return how deep a tree is at most."""
    deepest = _number(chosen, "max_depth")
    if described.get("estimator") != "random_forest":
        return deepest or max(DEEPEST, math.log2(_number(chosen, "max_leaf_nodes") or LEAVES))
    rows, least = _number(described, "rows") or 1.0, _number(chosen, "min_samples_leaf") or 1.0
    levels = math.log2(max(2.0, rows / least))
    return min(levels, deepest or levels)


def _number(document: Mapping[str, Any], name: str) -> float | None:
    """Return a number; None for what is none, for a model of somebody's own has parameters of any kind."""
    value = document.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
