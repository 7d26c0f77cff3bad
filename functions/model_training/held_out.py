"""Predictions of held-out folds: what a model's errors on rows that it was not fitted on are learned from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from common.conversion import Profile
from common.errors import InvalidDatasetError
from common.metrics import Codes, class_codes, predict
from common.request import SEARCH_SECONDS, TrainingRequest
from model_training.folds import Part, PartOnDisk, draw_rows, make_folds, rows_to_try
from model_training.training import build_pipeline, fit

Floats = npt.NDArray[np.float64]

NOISE = 2.0
"""How many standard errors better something has to be on held-out folds, not to be chance."""
_DIGITS = 6


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of rows by pipelines that were fitted on other rows.

    Attributes
    ----------
    outputs
        Values of shape (rows,) for regression; for classification probabilities of shape (rows, classes).
    target
        Shape (rows,).
    folds
        Which fold each row is in, from 0 on, shape (rows,).
    weights
        How much each row counts, shape (rows,).
    classes
        Those of the columns, sorted; None for regression.
    """

    outputs: Floats
    target: npt.NDArray[Any]
    folds: Codes
    weights: Floats
    classes: npt.NDArray[Any] | None = None

    @property
    def count(self) -> int:
        """How many folds there are."""
        return int(self.folds.max()) + 1

    @cached_property
    def codes(self) -> Codes:
        """The place of each row's class among the classes, shape (rows,)."""
        return class_codes(np.asarray(self.classes), self.target)[0]


def predict_folds(request: TrainingRequest, profile: Profile, part: Part | PartOnDisk, seconds: float) -> OutOfFold:
    """Return predictions of held-out folds, of as many rows and the same folds as the trials of a search of a minute.

    Raises
    ------
    InvalidDatasetError
        If there are too few rows for folds, one of them cannot be fitted, or there is no time for them.
    """
    begin, longest = time.monotonic(), 0.0
    most = rows_to_try(request.model_copy(update={"search_seconds": SEARCH_SECONDS}), profile)
    drawn = part.take(draw_rows(len(part.target), part.order, profile["split"]["by"], most, request.seed))
    classes = np.unique(part.target) if request.problem == "classification" else None
    folds = make_folds(drawn.target, drawn.order, profile, request.seed)
    outputs = list[Floats]()
    for fold in folds:
        started = time.monotonic()
        if started - begin + longest > seconds:
            raise InvalidDatasetError(f"{len(folds)} fits would take more than the {seconds:.0f} s that there are.")
        fitted = drawn.take(fold.fitted)
        model = fit(build_pipeline(request, profile), fitted.features, fitted.target, fitted.weights)
        predicted = predict(model.pipeline, drawn.features.iloc[fold.scored], str(request.problem))
        outputs.append(np.asarray(predicted.over(classes, np.float64), np.float64))
        longest = max(longest, time.monotonic() - started)
    rows = np.concatenate([fold.scored for fold in folds])
    weights = np.ones(len(rows)) if drawn.weights is None else drawn.weights[rows]
    numbers = np.repeat(np.arange(len(folds)), [len(fold.scored) for fold in folds])
    return OutOfFold(np.concatenate(outputs), drawn.target[rows], numbers, weights, classes)


def rounded(value: float) -> float:
    """Return a number as far as machines agree on it, so that the same data make the same model."""
    return float(f"{value:.{_DIGITS}g}")
