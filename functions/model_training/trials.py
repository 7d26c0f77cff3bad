"""Makes one trial of a search: cross-validation of one estimator on the training part."""

from __future__ import annotations

import faulthandler
import logging
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from common.conversion import Profile
from common.errors import InvalidDatasetError, InvalidModelError, InvalidRequestError, without_values
from common.metric_table import OF_POSITIVE_CLASS
from common.metrics import Predictions, metrics_of, predict
from common.request import TrainingRequest
from common.threads import few_threads
from model_training.folds import Fold, Part, PartOnDisk, draw_rows, make_folds
from model_training.training import build_pipeline, fit
from model_training.trial import MOST_CHARACTERS, OUT_OF_TIME, Trial, Tried

logger = logging.getLogger(__name__)

Outputs = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Outcome:
    """What a trial has led to.

    Attributes
    ----------
    tried
        With an error in place of a score where a fold cannot be fitted or scored, or the time does not do.
    document
        The same, and each fold's rows, score, seconds and warnings.
    outputs
        What was predicted of the rows that each fold holds out, fold after fold: float64 of shape (rows,), or
        probabilities of shape (rows, classes) as float32; None where there is an error.
    """

    tried: Tried
    document: dict[str, Any]
    outputs: Outputs | None


def drawn_folds(
    trial_rows: int, request: TrainingRequest, profile: Profile, part: Part | PartOnDisk
) -> tuple[Part, list[Fold]]:
    """Return the rows that trials are made on, and their folds: the same for all trials of a search."""
    drawn = part.take(draw_rows(len(part.target), part.order, profile["split"]["by"], trial_rows, request.seed))
    return drawn, make_folds(drawn.target, drawn.order, profile, request.seed, _least_rows(request, drawn.target))


def _least_rows(request: TrainingRequest, target: npt.NDArray[Any]) -> int | None:
    """Return how many rows the rarest class has that the metric has to meet in each fold; None if it need meet none."""
    if request.metric == "roc_auc":
        return int(np.unique(target, return_counts=True)[1].min())
    return int((target == request.pos_label).sum()) if request.metric in OF_POSITIVE_CLASS else None


def run_trial(trial: Trial, request: TrainingRequest, profile: Profile, part: Part | PartOnDisk) -> Outcome:
    """Fit and score the trial's pipeline on each fold, until its time is over.

    Parameters
    ----------
    trial
        What is tried.
    request
        The request of the run; it says how the trial is scored.
    profile
        Of the prepared data.
    part
        The training part.
    """
    begin = time.process_time()
    drawn, folds, scored, outputs, error = part, list[Fold](), list[dict[str, Any]](), list[Outputs](), None
    try:
        chosen = request.with_choice(trial.estimator, trial.hyperparameters)
        drawn, folds = drawn_folds(trial.rows, request, profile, part)
        classes = None if request.problem == "regression" else np.unique(drawn.target)
        with few_threads(drawn.features.size):
            for fold in folds:
                used = time.process_time() - begin
                if used + max((each["seconds"] for each in scored), default=0.0) > trial.seconds:
                    error = f"{OUT_OF_TIME}: {len(scored)} of {len(folds)} folds were done in {used:.1f} s"
                    break
                told, predicted = _score(chosen, profile, drawn, fold)
                scored.append(told)
                outputs.append(predicted.over(classes, np.float32))
    except (InvalidDatasetError, InvalidModelError, InvalidRequestError) as failure:
        error = str(failure)
    # Whatever a library or somebody's own model raises fails this trial alone; the log has where.
    except Exception as failure:
        logger.exception("trial failed", extra={"trial": trial.number})
        error = f"{type(failure).__name__}: {without_values(str(failure))}"
    tried = Tried(
        trial.number,
        trial.estimator,
        trial.hyperparameters,
        seconds=round(time.process_time() - begin, 3),
        fit_seconds=max((each["fit_seconds"] for each in scored), default=0.0),
        fitted_rows=max((each["fitted_rows"] for each in scored), default=0),
        rows=len(drawn.target),
        folds=len(folds),
        error=None if error is None else error[:MOST_CHARACTERS],
    )
    if error is None:
        values = [each["score"] for each in scored]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        tried = replace(tried, score=statistics.fmean(values), deviation=deviation)
    document = {**vars(tried), "error": error, "metric": request.metric, "folds": scored}
    return Outcome(tried, document, np.concatenate(outputs) if error is None else None)


def _score(request: TrainingRequest, profile: Profile, part: Part, fold: Fold) -> tuple[dict[str, Any], Predictions]:
    """Return the metric of one fold and what it took, and what was predicted.

    Raises
    ------
    InvalidDatasetError
        If scikit-learn cannot fit, or the metric is undefined on the rows that are scored.
    """
    begin = time.process_time()
    fitted, scored = part.take(fold.fitted), part.take(fold.scored)
    if request.problem == "classification" and (fitted.target == fitted.target[0]).all():
        raise InvalidDatasetError(f"A fold is fitted on {len(fold.fitted):,} rows that are all of one class.")
    model = fit(build_pipeline(request, profile), fitted.features, fitted.target, fitted.weights)
    fit_seconds = time.process_time() - begin
    predictions = predict(model.pipeline, scored.features, str(request.problem))
    metrics, reasons = metrics_of(predictions, scored.target, scored.weights, request.scoring)
    value = metrics[str(request.metric)]
    if value is None:
        raise InvalidDatasetError(
            f"{request.metric} is undefined on a fold of {len(fold.scored):,} rows: {reasons[str(request.metric)]}."
        )
    told = {
        "score": value,
        "fitted_rows": len(fold.fitted),
        "scored_rows": len(fold.scored),
        "seconds": round(time.process_time() - begin, 4),
        "fit_seconds": round(fit_seconds, 4),
        "warnings": model.warnings,
    }
    return told, predictions


@contextmanager
def ended_after(seconds: float, processor_seconds: float) -> Iterator[None]:
    """End this process if what is done within takes longer, whatever it is at: for a fit that never ends.

    The function's next call finds a new process. The trial has failed, and the others go on.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    # Of all threads; the signal ends a process by itself, also where nothing of Python's gets to run.
    signal.setitimer(signal.ITIMER_PROF, processor_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
