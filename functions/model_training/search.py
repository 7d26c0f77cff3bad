"""Chooses what is tried next, and in the end what is best: a search over estimators and their hyperparameters.

A search goes on in rounds of as many trials as run at once. It keeps nothing between them: what was tried comes with
the question, and what is tried next follows from it and the seed.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from common.capacity import FEWER_ROWS, largest_task_mb
from common.conversion import Profile
from common.errors import InvalidDatasetError, InvalidRequestError, TooLargeForFunctionError, first_few
from common.metric_table import LOWER_IS_BETTER
from common.request import ESTIMATORS, TrainingRequest
from model_training.blend_choice import Blend
from model_training.folds import rows_to_try
from model_training.memory import check_memory, needed_memory_mb
from model_training.model import PORTFOLIO
from model_training.proposals import Proposal, propose
from model_training.spaces import space_of
from model_training.trial import OUT_OF_TIME, Trial, Tried

PATIENCE = 30
"""After so many trials without a better one a search ends."""
MOST_BYTES, BYTES_PER_TRIAL = 230_000, 1100
"""How long a request and its trials may be as JSON, and what becomes of a trial besides its hyperparameters: a state
hands on 256 KiB at most, and nothing catches the error of more.

References
----------
https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""


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
        If no trial ends within the seconds that the search has, or the request leaves no room for one.
    """
    names, told = _affordable(request, profile, memory_mb)
    left = float(request.search_seconds or 0) - sum(each.seconds for each in done)
    reason = _end(request, done, left, at_once) if done else None
    so_far = _best_so_far(request, done)
    if reason is None:
        spaces = {name: space_of(name, request, profile) for name in names}
        asked = propose(request, spaces, done, min(at_once, int(request.search_trials or 0) - len(done)))
        fitting = _within_payload(request, asked, done)
        if fitting:
            rows = rows_to_try(request, profile)
            return Plan(
                [
                    Trial(len(done) + place, name, values, rows, max(left, 1.0) / len(fitting))
                    for place, (name, values) in enumerate(fitting)
                ],
                tried=len(done),
                best=so_far,
            )
        reason = "the state machine could hand on no more trials" if asked else "there is nothing else to vary"
    record = {
        "estimators": names,
        "metric": request.metric,
        "by": profile["split"]["by"],
        "folds": max((each.folds for each in done), default=0),
        "rows": rows_to_try(request, profile),
        "best": None,
        "seconds": round(sum(each.seconds for each in done), 3),
        "memory_mb": memory_mb,
        "ended": reason,
        "told": told,
        "blend": None,
        "trials": [asdict(each) for each in done],
    }
    first = ESTIMATORS[str(request.problem)][0]
    if first in names and "search" in profile["left_open"] and not _ranked(request, done):
        # Nobody has asked for the search: who trains with no option gets the model that there is without one.
        record["told"] = [*told, f"{_of_none(request, done)} {first} was fitted without a search."]
        return Plan([], {"estimator": first, "hyperparameters": {}}, record, len(done))
    best, slow = _best(request, profile, done, most_seconds)
    record |= {"folds": best.folds, "rows": best.rows, "best": best.number, "told": [*told, *slow]}
    chosen = {"estimator": best.estimator, "hyperparameters": dict(best.hyperparameters)}
    return Plan([], chosen, record, len(done), so_far)


def _affordable(request: TrainingRequest, profile: Profile, memory_mb: int) -> tuple[list[str], list[str]]:
    """Return the estimators whose fit on all rows fits the memory, and what is told of them.

    If none does, or a task is asked for, they are those that fit a task.
    """
    names = PORTFOLIO[str(request.problem)] if request.estimator == "auto" else (request.estimator,)
    found, refused, told = dict[str, bool](), None, list[str]()
    for name in names:
        try:
            found[name] = _fits(name, request, profile, memory_mb)
        except InvalidDatasetError as error:
            refused = error
        if name == _BOOSTING and request.estimator == "auto" and not _is_enough(found.get(name), request):
            told += _instead(request, profile, memory_mb, found)
    if not found and refused is not None:
        raise refused
    fitting = [name for name, fits in found.items() if fits]
    return (fitting if fitting and request.compute != "task" else [*found]), told


_BOOSTING, _OTHER_BOOSTING = "hist_gradient_boosting", "xgboost"


def _fits(name: str, request: TrainingRequest, profile: Profile, memory_mb: int) -> bool:
    """Return whether an estimator's fit on all rows fits the memory, and not a task alone.

    Raises
    ------
    InvalidDatasetError
        If it fits neither.
    """
    try:
        check_memory(request.with_choice(name, {}), profile, memory_mb)
    except TooLargeForFunctionError:
        return False
    return True


def _is_enough(fits: bool | None, request: TrainingRequest) -> bool:
    return bool(fits) or (fits is not None and request.compute == "task")


def _instead(request: TrainingRequest, profile: Profile, memory_mb: int, found: dict[str, bool]) -> list[str]:
    """Put the other boosting among what fits, if it does, and return what is told of that."""
    try:
        fits = _fits(_OTHER_BOOSTING, request, profile, memory_mb)
    except InvalidDatasetError:
        return []
    if not fits and _BOOSTING in found:
        # Both need a task.
        return []
    found.pop(_BOOSTING, None)
    found[_OTHER_BOOSTING] = fits
    needed = [needed_memory_mb(request.with_choice(each, {}), profile) for each in (_BOOSTING, _OTHER_BOOSTING)]
    told = (
        f"{_OTHER_BOOSTING} was tried in place of {_BOOSTING}, whose fit on all rows needs about {needed[0]:,} MB and "
        f"not {needed[1]:,}, and there are {memory_mb:,} MB."
    )
    return [told]


def _within_payload(request: TrainingRequest, asked: Sequence[Proposal], done: Sequence[Tried]) -> list[Proposal]:
    """Return as many proposals as the state machine can hand on, with all that was tried and what becomes of them."""
    left = MOST_BYTES - len(request.model_dump_json()) - len(json.dumps([asdict(each) for each in done]))
    fitting = list[Proposal]()
    for each in asked:
        # As what is asked, and with what became of it.
        left -= BYTES_PER_TRIAL + 2 * len(json.dumps(each))
        if left < 0:
            break
        fitting.append(each)
    if asked and not fitting and not done:
        raise InvalidRequestError(
            f"The request is too long for a search, whose state machine hands on {MOST_BYTES >> 10:,} KB: shorten it, "
            "or train without a search (search_trials 0)."
        )
    return fitting


def _end(request: TrainingRequest, done: Sequence[Tried], left: float, at_once: int) -> str | None:
    """Return why a search is at its end; None if it goes on."""
    scored = [each for each in done if each.score is not None]
    if len(done) >= int(request.search_trials or 0):
        return "1 trial was made" if len(done) == 1 else f"{len(done)} trials were made"
    if left <= 0 or (scored and left < at_once * min(each.seconds for each in scored)):
        return f"the {request.search_seconds:g} seconds were used"
    if not scored and len(done) >= max(PATIENCE, at_once):
        return f"none of {len(done)} trials had a score"
    if scored and done[-1].number - _ranked(request, done)[0].number >= max(PATIENCE, at_once):
        return f"no trial was better for {PATIENCE} trials"
    return None


def _ranked(request: TrainingRequest, done: Sequence[Tried]) -> list[Tried]:
    """Return what has a score, the best first, and of equals the first."""
    scored = [each for each in done if each.score is not None]
    sign = 1 if str(request.metric) in LOWER_IS_BETTER else -1
    return sorted(scored, key=lambda each: (sign * float(each.score or 0), each.number))


def _best_so_far(request: TrainingRequest, done: Sequence[Tried]) -> dict[str, Any] | None:
    ranked = _ranked(request, done)
    if not ranked:
        return None
    return {"estimator": ranked[0].estimator, "metric": request.metric, "score": ranked[0].score}


def _best(
    request: TrainingRequest, profile: Profile, done: Sequence[Tried], most_seconds: float
) -> tuple[Tried, list[str]]:
    """Return the best trial that can be fitted on all rows in time, and what is to be told of better ones."""
    ranked = _ranked(request, done)
    if not ranked:
        raise _of_none(request, done)
    rows = profile["rows"]["train"]
    slow = list[str]()
    for each in ranked:
        seconds = _seconds_on_all(each, profile)
        if seconds <= most_seconds:
            return each, slow
        slow.append(
            f"Trial {each.number} ({each.estimator}) was better, and its fit on all {rows:,} rows would take about "
            f"{seconds:,.0f} s, more than the {most_seconds:,.0f} s that training has: raise ModelTrainingMemory for "
            f"more vCPUs, or {FEWER_ROWS}."
        )
    if largest_task_mb() and request.compute != "lambda":
        seconds = _seconds_on_all(ranked[0], profile)
        return ranked[0], [f"The fit on all {rows:,} rows takes about {seconds:,.0f} s: a task has the time for it."]
    raise InvalidDatasetError(slow[-1])


def _of_none(request: TrainingRequest, done: Sequence[Tried]) -> InvalidRequestError | InvalidDatasetError:
    """Return the error of a search in which no trial came to a score."""
    errors = list(dict.fromkeys(str(each.error) for each in done))
    if all(each.error and each.error.startswith(OUT_OF_TIME) for each in done):
        each_had = statistics.median(each.seconds for each in done)
        return InvalidRequestError(
            f"search_seconds is {request.search_seconds:g}, and none of {len(done)} trials ended in its share of that "
            f"(each had {each_had:.1f} s): raise it, or train without a search (search_trials 0)."
        )
    return InvalidDatasetError(
        f"None of {len(done)} trials could be fitted and scored: {first_few(errors, ' ')} Train without a search "
        "(search_trials 0), or choose another metric."
    )


# The end of a search: several trials may be better together than the best of them.


def blend_candidates(planned: Plan, request: TrainingRequest, profile: Profile, most_seconds: float) -> list[Tried]:
    """Return the trials that a blend may be made of, the best first, which together can be fitted in time.

    Parameters
    ----------
    planned
        The end of the search.
    request, profile
        As `plan` takes them.
    most_seconds
        How long the fits on all rows may take together, in seconds.
    """
    record = planned.record or {}
    done = [Tried(**each) for each in record["trials"]]
    left, found = most_seconds, list[Tried]()
    for each in _ranked(request, done):
        seconds = _seconds_on_all(each, profile)
        if seconds <= left:
            left -= seconds
            found.append(each)
    return found


def with_blend(planned: Plan, blend: Blend | None) -> Plan:
    """Return the end of a search with a blend chosen; without one, as it is."""
    if blend is None or planned.record is None:
        return planned
    trials = {each["number"]: each for each in planned.record["trials"]}
    members = [
        {
            "estimator": trials[number]["estimator"],
            "hyperparameters": dict(trials[number]["hyperparameters"]),
            "weight": weight,
        }
        for number, weight in blend.weights.items()
    ]
    kept = {
        "weights": {str(number): weight for number, weight in blend.weights.items()},
        "score": blend.score,
        "deviation": blend.deviation,
    }
    chosen = {"estimator": "blend", "hyperparameters": {"members": members}}
    best = {**(planned.best or {}), "estimator": "blend", "score": blend.score}
    return replace(planned, chosen=chosen, record={**planned.record, "blend": kept}, best=best)


def that_fits(blended: Plan, planned: Plan, request: TrainingRequest, profile: Profile, memory_mb: int) -> Plan:
    """Return the end of a search with a blend if all rows' fits of its members fit the memory, else that without.

    Parameters
    ----------
    blended, planned
        The end of the search with and without a blend.
    request, profile
        As `plan` takes them.
    memory_mb
        The memory of the function that fits, in MB.
    """
    if blended.chosen is None or planned.record is None:
        return planned
    try:
        check_memory(request.with_choice(**blended.chosen), profile, memory_mb)
    except TooLargeForFunctionError:
        if request.compute == "task":
            return blended
        more = "A blend of trials was better, and its fits do not fit a function: with the compute task it is taken."
        told = [*planned.record["told"], more]
        return replace(planned, record={**planned.record, "told": told})
    except InvalidDatasetError as error:
        told = [*planned.record["told"], f"A blend of trials was better. {error}"]
        return replace(planned, record={**planned.record, "told": told})
    return blended


def _seconds_on_all(tried: Tried, profile: Profile) -> float:
    """Return about how long the fit on all rows takes, by what the trial's has taken."""
    return float(tried.fit_seconds * profile["rows"]["train"] / max(1, tried.fitted_rows))
