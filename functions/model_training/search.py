"""Chooses what is tried next, and in the end what is best: a search over estimators and their hyperparameters.

A search goes on in rounds of as many trials as run at once. It keeps nothing between them: what was tried comes with
the question, and what is tried next follows from it and the seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from common.conversion import Profile
from common.errors import InvalidDatasetError, InvalidRequestError, first_few
from common.metric_table import LOWER_IS_BETTER
from common.request import TrainingRequest
from model_training.folds import FEW_ROWS, FEWER_FOLDS, MOST_FOLDS, rows_to_try
from model_training.memory import check_memory
from model_training.spaces import PORTFOLIO, Space, space_of

PATIENCE = 12
"""After so many trials without a better one a search ends."""
MOST_MESSAGES = 3
_RANDOM_TRIALS = 8

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Trial:
    """What is to be tried.

    Attributes
    ----------
    number
        From 0.
    estimator, hyperparameters
        As a request has them.
    rows
        How many rows of the training part it is tried on.
    seconds
        After how many processor seconds it is given up.
    """

    number: int
    estimator: str
    hyperparameters: Mapping[str, Any]
    rows: int
    seconds: float


@dataclass(frozen=True)
class Tried:
    """What became of a trial.

    Attributes
    ----------
    number, estimator, hyperparameters
        Those of the trial.
    score, deviation
        The metric's mean over the folds, and the standard deviation of the folds; None where it failed.
    seconds, fit_seconds
        Processor seconds of all of it, and of the longest fit.
    fitted_rows
        How many rows that fit had.
    error
        Why it failed.
    uri
        Of the document with each fold.
    """

    number: int
    estimator: str
    hyperparameters: Mapping[str, Any]
    score: float | None = None
    deviation: float | None = None
    seconds: float = 0.0
    fit_seconds: float = 0.0
    fitted_rows: int = 0
    error: str | None = None
    uri: str | None = None


@dataclass(frozen=True)
class Plan:
    """What comes next.

    Attributes
    ----------
    trials
        To be tried at once; none where the search has ended.
    chosen
        The estimator and the hyperparameters that are best; None before the end.
    record
        What the model's description says of the search; None before the end.
    tried
        How many trials were made.
    best
        Estimator, metric and score of the best of them, for people to see.
    """

    trials: list[Trial] = field(default_factory=list)
    chosen: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    tried: int = 0
    best: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def plan(
    request: TrainingRequest,
    profile: Profile,
    done: Sequence[Tried],
    *,
    at_once: int,
    memory_mb: int,
    most_seconds: float,
) -> Plan:
    """Return what is tried next or, where that is enough, what is best.

    Parameters
    ----------
    request
        With every choice made but the estimator.
    profile
        Of the prepared data.
    done
        What was tried so far.
    at_once
        How many trials run at the same time.
    memory_mb
        The memory of the function that fits, in MB.
    most_seconds
        How long the fit on all rows may take, in seconds.

    Raises
    ------
    InvalidDatasetError
        If no estimator fits the memory, or none could be fitted.
    InvalidRequestError
        If no trial ends within the seconds that the search has.
    """
    spaces = {name: space_of(name, request, profile) for name in _affordable(request, profile, memory_mb)}
    left = float(request.search_seconds or 0) - sum(each.seconds for each in done)
    reason = _end(request, done, left, at_once) if done else None
    so_far = _best_so_far(request, done)
    if reason is None:
        asked = _ask(request, spaces, done, min(at_once, int(request.search_trials or 0) - len(done)))
        if asked:
            rows = rows_to_try(request, profile)
            return Plan(
                [
                    Trial(len(done) + place, name, values, rows, max(left, 1.0) / len(asked))
                    for place, (name, values) in enumerate(asked)
                ],
                tried=len(done),
                best=so_far,
            )
        reason = "there is nothing else to vary"
    best, slow = _best(request, profile, done, most_seconds)
    record = {
        "estimators": list(spaces),
        "metric": request.metric,
        "by": profile["split"]["by"],
        "folds": MOST_FOLDS if rows_to_try(request, profile) < FEW_ROWS else FEWER_FOLDS,
        "rows": rows_to_try(request, profile),
        "best": best.number,
        "seconds": round(sum(each.seconds for each in done), 3),
        "ended": reason,
        "told": slow,
        "trials": [asdict(each) for each in done],
    }
    chosen = {"estimator": best.estimator, "hyperparameters": dict(best.hyperparameters)}
    return Plan([], chosen, record, len(done), so_far)


def _affordable(request: TrainingRequest, profile: Profile, memory_mb: int) -> list[str]:
    """Return the estimators whose fit on all rows fits the memory."""
    names = PORTFOLIO[str(request.problem)] if request.estimator == "auto" else (request.estimator,)
    fitting, refused = list[str](), None
    for name in names:
        try:
            check_memory(request.with_choice(name, {}), profile, memory_mb)
            fitting.append(name)
        except InvalidDatasetError as error:
            refused = error
    if not fitting and refused is not None:
        raise refused
    return fitting


def _end(request: TrainingRequest, done: Sequence[Tried], left: float, at_once: int) -> str | None:
    """Return why a search is at its end; None if it goes on."""
    scored = [each for each in done if each.score is not None]
    if len(done) >= int(request.search_trials or 0):
        return f"{len(done)} trials were made"
    if left <= 0 or (scored and left < at_once * min(each.seconds for each in scored)):
        return f"the {request.search_seconds:g} seconds were used"
    if scored and done[-1].number - _ranked(request, scored)[0].number >= max(PATIENCE, at_once):
        return f"no trial was better for {PATIENCE} trials"
    return None


def _ask(
    request: TrainingRequest, spaces: Mapping[str, Space], done: Sequence[Tried], count: int
) -> list[tuple[str, dict[str, Any]]]:
    """Return what to try next: what each estimator starts with, then what the sampler proposes."""
    tried = [(each.estimator, dict(each.hyperparameters)) for each in done]
    starts = [
        (name, {**space.starts[place], **request.hyperparameters})
        for place in range(max(len(space.starts) for space in spaces.values()))
        for name, space in spaces.items()
        if place < len(space.starts)
    ]
    # Two starts are one where they differ by what the request says.
    asked = [each for place, each in enumerate(starts) if each not in (*tried, *starts[:place])][:count]
    varied = {name: of_name for name, space in spaces.items() if (of_name := _varied(request, space))}
    if len(asked) < count and varied:
        study = _study(request, varied, [each for each in done if each.estimator in varied])
        asked += [_proposed(study, request, varied) for _ in range(count - len(asked))]
    return asked


Varied = Mapping[str, Mapping[str, BaseDistribution]]
"""What may vary of each estimator."""


def _varied(request: TrainingRequest, space: Space) -> dict[str, BaseDistribution]:
    return {key: each for key, each in space.varied.items() if key not in request.hyperparameters}


def _study(request: TrainingRequest, spaces: Varied, done: Sequence[Tried]) -> optuna.Study:
    """Return a study that knows what was tried.

    References
    ----------
    S. Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components and their roles for better
    empirical performance", arXiv:2304.11127, 2023.
    """
    sampler = optuna.samplers.TPESampler(
        # Else each round would draw the same.
        seed=(request.seed + len(done)) % 2**32,
        n_startup_trials=_RANDOM_TRIALS,
        constant_liar=True,
    )
    lower = str(request.metric) in LOWER_IS_BETTER
    study = optuna.create_study(direction="minimize" if lower else "maximize", sampler=sampler)
    for each in done:
        varied = {key: dist for key, dist in spaces[each.estimator].items() if key in each.hyperparameters}
        known = {key: dist for key, dist in varied.items() if _holds(dist, each.hyperparameters[key])}
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL if each.score is None else optuna.trial.TrialState.COMPLETE,
                value=each.score,
                params={
                    "estimator": each.estimator,
                    **{f"{each.estimator}.{key}": each.hyperparameters[key] for key in known},
                },
                distributions={
                    "estimator": CategoricalDistribution(list(spaces)),
                    **{f"{each.estimator}.{key}": dist for key, dist in known.items()},
                },
            )
        )
    return study


def _holds(varied: BaseDistribution, value: Any) -> bool:
    """Return whether a value is one that the sampler may propose."""
    # Optuna's own way takes of choices their places.
    return value in varied.choices if isinstance(varied, CategoricalDistribution) else varied._contains(value)


def _proposed(study: optuna.Study, request: TrainingRequest, spaces: Varied) -> tuple[str, dict[str, Any]]:
    trial = study.ask()
    name = str(trial.suggest_categorical("estimator", list(spaces)))
    values = dict[str, Any]()
    for key, each in spaces[name].items():
        called = f"{name}.{key}"
        if isinstance(each, FloatDistribution):
            values[key] = float(f"{trial.suggest_float(called, each.low, each.high, log=each.log):.4g}")
        elif isinstance(each, IntDistribution):
            values[key] = trial.suggest_int(called, each.low, each.high, log=each.log)
        elif isinstance(each, CategoricalDistribution):
            values[key] = trial.suggest_categorical(called, each.choices)
    return name, {**values, **request.hyperparameters}


def _ranked(request: TrainingRequest, scored: Sequence[Tried]) -> list[Tried]:
    """Return what has a score, the best first, and of equals the first."""
    sign = 1 if str(request.metric) in LOWER_IS_BETTER else -1
    return sorted(scored, key=lambda each: (sign * float(each.score or 0), each.number))


def _best_so_far(request: TrainingRequest, done: Sequence[Tried]) -> dict[str, Any] | None:
    ranked = _ranked(request, [each for each in done if each.score is not None])
    if not ranked:
        return None
    return {"estimator": ranked[0].estimator, "metric": request.metric, "score": ranked[0].score}


def _best(
    request: TrainingRequest, profile: Profile, done: Sequence[Tried], most_seconds: float
) -> tuple[Tried, list[str]]:
    """Return the best trial that can be fitted on all rows in time, and what is to be told of better ones."""
    scored = [each for each in done if each.score is not None]
    if not scored:
        raise _of_none(request, done)
    rows = profile["rows"]["train"]
    slow = list[str]()
    for each in _ranked(request, scored):
        seconds = each.fit_seconds * rows / max(1, each.fitted_rows)
        if seconds <= most_seconds:
            return each, slow
        slow.append(
            f"Trial {each.number} ({each.estimator}) was better, and its fit on all {rows:,} rows would take about "
            f"{seconds:,.0f} s, more than the {most_seconds:,.0f} s that training has: raise ModelTrainingMemory for "
            "more vCPUs, or bring fewer rows."
        )
    raise InvalidDatasetError(slow[-1])


def _of_none(request: TrainingRequest, done: Sequence[Tried]) -> InvalidRequestError | InvalidDatasetError:
    """Return the error of a search in which no trial came to a score."""
    errors = list(dict.fromkeys(str(each.error) for each in done))
    if all(each.error and each.error.startswith(OUT_OF_TIME) for each in done):
        fastest = statistics.median(each.seconds for each in done)
        return InvalidRequestError(
            f"search_seconds is {request.search_seconds:g}, and none of {len(done)} trials ended in its share of that "
            f"(each had {fastest:.1f} s): raise it, or train without a search (search_trials 0)."
        )
    return InvalidDatasetError(
        f"None of {len(done)} trials could be fitted and scored: {first_few(errors, ' ')} Train without a search "
        "(search_trials 0) to see the whole error."
    )


OUT_OF_TIME = "OutOfTime"
"""What the error of a trial begins with that has used up its seconds."""
