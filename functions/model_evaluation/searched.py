"""What a report says of the search by which its model was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.metric_table import LOWER_IS_BETTER
from common.words import cost_in_words, number, rounded, with_spread
from model_evaluation import figures

SHOWN_TRIALS = 40
"""How many trials a report's table has, the best ones."""
_WAYS = {
    "rows": "rows drawn at random",
    "key": "rows of one key together",
    "time": "each fold scored on what comes after it",
    "column": "rows drawn at random",
}


@dataclass(frozen=True)
class Searched:
    """What a report shows of a search.

    Attributes
    ----------
    text
        How it was made and what came of it.
    told
        What else is to be known of it.
    svg, finding
        The figure of the scores, None where no two trials have one, and what it shows.
    metric, chosen
        What the scores are, and the numbers of the trials that were chosen: several where they are blended.
    rows
        Of the best trials: estimator, hyperparameters, score or error, its spread, seconds, number.
    hidden
        How many trials the table does not have.
    """

    text: str
    told: Sequence[str]
    svg: str | None
    finding: str
    metric: str
    chosen: frozenset[str]
    rows: Sequence[tuple[str, str, str, str, str, str]]
    hidden: int


def chosen_in(search: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what a search has chosen, with its `score` over the folds and their `deviation`; None if nothing."""
    return search and (search.get("blend") or best_of(search))


def best_of(search: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the best trial of a search; None where no trial came to a score."""
    return next((each for each in search["trials"] if each["number"] == search["best"]), None)


def cost_of(search: Mapping[str, Any]) -> str:
    """Return in words what the trials of a search have cost, and how many of them no function had room or time for."""
    # Records of earlier releases do not say what a trial ran on.
    tasks = [each for each in search["trials"] if (each.get("compute") or {}).get("kind") == "task"]
    cost = cost_in_words(search["seconds"] - sum(each["seconds"] for each in tasks), search["memory_mb"])
    if not tasks:
        return cost
    made = "1 trial as a task" if len(tasks) == 1 else f"{len(tasks)} trials as tasks"
    return f"{cost}, and {made} of up to {max(each['compute']['memory_mb'] for each in tasks):,} MB"


def searched(model: Mapping[str, Any]) -> Searched | None:
    """Return what to show of the search that a model's description tells of; None if there was none."""
    search = model.get("search")
    if not search:
        return None
    trials, metric = search["trials"], search["metric"]
    sign = 1 if metric in LOWER_IS_BETTER else -1
    scored = [each for each in trials if each["score"] is not None]
    ranked = sorted(scored, key=lambda each: (sign * each["score"], each["number"]))
    ranked += [each for each in trials if each["score"] is None]
    best = best_of(search)
    svg = None
    if best and len(scored) > 1:
        numbers, scores = (np.array([each[name] for each in scored], np.float64) for name in ("number", "score"))
        svg = figures.trials(numbers, scores, [each["estimator"] for each in scored], best["number"], metric)
    return Searched(
        _text(search, best, len(trials) - len(scored)),
        search["told"],
        svg,
        f"Trial {best['number']} ({best['estimator']}) has {_score(best)}." if best else "No trial has a score.",
        metric,
        frozenset((search.get("blend") or {"weights": {str(search["best"]): 1}})["weights"]),
        [_row(each) for each in ranked[:SHOWN_TRIALS]],
        max(0, len(ranked) - SHOWN_TRIALS),
    )


def _text(search: Mapping[str, Any], best: Mapping[str, Any] | None, failed: int) -> str:
    trials = len(search["trials"])
    made = (
        f"{trials} {'trial was' if trials == 1 else 'trials were'} made of {', '.join(search['estimators'])}, on "
        f"{search['rows']:,} rows of the training part and in {number(search['seconds'])} processor seconds "
        f"({cost_of(search)})."
    )
    compared = (
        f"They are compared by {search['metric']} in {search['folds']} folds ({_WAYS[search['by']]}); no trial sees "
        "the test part."
    )
    ended = f"The search ended when {search['ended']}." + (f" {failed} failed." if failed else "")
    if best is None:
        return f"{made} {compared} {ended}"
    chosen = f"The best one, of {best['estimator']}, has {_score(best)}."
    if blend := search.get("blend"):
        weights = ", ".join(f"{weight:.0%} of trial {number}" for number, weight in blend["weights"].items())
        chosen += f" A blend of several is better, with {_score(blend)}, and was chosen: {weights}."
    return f"{made} {compared} {ended} {chosen} What was chosen was fitted on all training rows."


def _score(trial: Mapping[str, Any]) -> str:
    return with_spread(trial["score"], trial["deviation"]) + (" over the folds" if trial["deviation"] else "")


def _row(trial: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    given = ", ".join(f"{name} {number(value)}" for name, value in trial["hyperparameters"].items())
    deviation = trial["deviation"] or 0.0
    score = str(trial["error"]) if trial["score"] is None else rounded(trial["score"], deviation)
    spread = rounded(deviation, deviation) if deviation else ""
    return trial["estimator"], given or "as it is", score, spread, number(trial["seconds"]), str(trial["number"])
