"""Proposes what a search tries next: first what is known to be good, then what Optuna's sampler makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from common.metric_table import LOWER_IS_BETTER
from common.request import TrainingRequest
from model_training.space import Space
from model_training.trial import Tried

RANDOM_TRIALS = 8
"""How many trials there have to be for the sampler to conclude anything from them."""

Proposal = tuple[str, dict[str, Any]]
"""An estimator and its hyperparameters."""

# It tells of each trial, on stderr.
optuna.logging.set_verbosity(optuna.logging.ERROR)


def propose(request: TrainingRequest, spaces: Mapping[str, Space], done: Sequence[Tried], count: int) -> list[Proposal]:
    """Return at most so many estimators and hyperparameters; fewer where there is nothing else to vary.

    The same question has the same answer.

    Parameters
    ----------
    request
        Its hyperparameters do not vary; its seed does the drawing.
    spaces
        Of the estimators that are tried, the simplest first.
    done
        What was tried so far.
    count
        How many are to be tried.
    """
    tried = [(each.estimator, dict(each.hyperparameters)) for each in done]
    starts = [
        (name, {**space.starts[place], **request.hyperparameters})
        for place in range(max(len(space.starts) for space in spaces.values()))
        for name, space in spaces.items()
        if place < len(space.starts)
    ]
    # Two starts are one where they differ by what the request says.
    proposed = [each for place, each in enumerate(starts) if each not in (*tried, *starts[:place])][:count]
    varied = {
        name: {key: each for key, each in space.varied.items() if key not in request.hyperparameters}
        for name, space in spaces.items()
        if set(space.varied) - set(request.hyperparameters)
    }
    if len(proposed) < count and varied:
        study = _study(request, varied, [each for each in done if each.estimator in varied])
        asked = [_asked(study, varied) for _ in range(count - len(proposed))]
        proposed += [(name, {**values, **request.hyperparameters}) for name, values in asked]
    return proposed


def _study(
    request: TrainingRequest, varied: Mapping[str, Mapping[str, BaseDistribution]], done: Sequence[Tried]
) -> optuna.Study:
    """Return a study that knows what was tried.

    References
    ----------
    S. Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components and their roles for better
    empirical performance", arXiv:2304.11127, 2023.
    """
    sampler = optuna.samplers.TPESampler(
        # Else each round would draw the same.
        seed=(request.seed + len(done)) % 2**32,
        n_startup_trials=RANDOM_TRIALS,
        constant_liar=True,
    )
    lower = str(request.metric) in LOWER_IS_BETTER
    study = optuna.create_study(direction="minimize" if lower else "maximize", sampler=sampler)
    for each in done:
        known = {
            key: distribution
            for key, distribution in varied[each.estimator].items()
            if key in each.hyperparameters and _holds(distribution, each.hyperparameters[key])
        }
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL if each.score is None else optuna.trial.TrialState.COMPLETE,
                value=each.score,
                params={
                    "estimator": each.estimator,
                    **{f"{each.estimator}.{key}": each.hyperparameters[key] for key in known},
                },
                distributions={
                    "estimator": CategoricalDistribution(list(varied)),
                    **{f"{each.estimator}.{key}": distribution for key, distribution in known.items()},
                },
            )
        )
    return study


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether the sampler may know of a value: what is tried first may lie beyond what varies."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if isinstance(distribution, FloatDistribution | IntDistribution) and isinstance(value, int | float):
        return bool(distribution.low <= value <= distribution.high)
    return False


def _asked(study: optuna.Study, varied: Mapping[str, Mapping[str, BaseDistribution]]) -> Proposal:
    trial = study.ask()
    name = str(trial.suggest_categorical("estimator", list(varied)))
    values = dict[str, Any]()
    for key, each in varied[name].items():
        called = f"{name}.{key}"
        if isinstance(each, FloatDistribution):
            # As many digits as anybody would type.
            values[key] = float(f"{trial.suggest_float(called, each.low, each.high, step=each.step, log=each.log):.4g}")
        elif isinstance(each, IntDistribution):
            values[key] = trial.suggest_int(called, each.low, each.high, step=each.step, log=each.log)
        elif isinstance(each, CategoricalDistribution):
            values[key] = trial.suggest_categorical(called, each.choices)
    return name, values
