"""What stands at the top of a report: how good the model is, by what that was measured, and what to know first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE
from common.words import (
    baseline,
    figure,
    guess_in_words,
    limits,
    range_of,
    rows_in_words,
    shorten,
    with_spread,
)
from model_evaluation.searched import chosen_in

if TYPE_CHECKING:
    from model_evaluation.analysis import Analysis, ReportData

EQUAL_FEATURES = 0.01
"""From which share of the test rows on equal features in the training part are worth a word."""
FIRST = 5
"""How many warnings stand at the top."""
NAMED = 3
NAME_WIDTH, WARNING_WIDTH = 300, 600


@dataclass(frozen=True)
class Tile:
    """A figure with what it is of, and what there is to know of it."""

    name: str
    value: str
    note: str


def tiles(evaluation: Mapping[str, Any], model: Mapping[str, Any]) -> list[Tile]:
    """Return how good a model is: on the test part, beside a guess, in the folds of its search, on its own rows."""
    metric, value, rows = evaluation["metric"], evaluation["value"], evaluation["rows"]
    if value is None:
        reason = evaluation["undefined"].get(metric, "the test part leaves it undefined")
        return [Tile(metric, "undefined", f"On {rows_in_words(rows)} of the test part: {reason}.")]
    interval = limits(evaluation["interval"])
    sure = "without an interval, for they are too few" if interval is None else range_of(interval)
    found = [
        Tile(
            f"{metric} on the test part",
            figure(metric, value, interval, rows),
            f"{_capital(sure)}, on {rows_in_words(rows)}. {_meaning(metric)}",
        )
    ]
    if (guess := baseline(evaluation)) is not None:
        found.append(_beside_guess(metric, guess, rows))
    if (folds := _folds(model.get("search"))) is not None:
        found.append(folds)
    own = model.get("train_metric")
    if own is not None and own["value"] is not None and own["metric"] == metric:
        found.append(_own_rows(own, value, interval, rows))
    return found


def _beside_guess(metric: str, guess: Mapping[str, Any], rows: int) -> Tile:
    improvement, interval = guess["improvement"], guess["interval"]
    better = f"better by {figure(metric, improvement, interval, rows)}" if improvement > 0 else "not better"
    told = f"{_capital(guess_in_words(metric, guess, rows))}."
    if interval is not None:
        chance = ", so it may be chance" if improvement > 0 >= interval["low"] else ""
        told = f"{_capital(range_of(interval))}{chance}. {told}"
    return Tile("Beside a guess", better, told)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _meaning(metric: str) -> str:
    direction = "Lower" if metric in LOWER_IS_BETTER else "Higher"
    return f"{direction} is better: {METRIC_TABLE[metric].meaning}."


def _folds(search: Mapping[str, Any] | None) -> Tile | None:
    chosen = chosen_in(search)
    if search is None or chosen is None:
        return None
    trials = f"the best of {len(search['trials'])} trials" if len(search["trials"]) > 1 else "the one trial"
    return Tile(
        f"{search['metric']} over {search['folds']} folds",
        with_spread(chosen["score"], chosen["deviation"]),
        f"Mean and spread over the folds of {rows_in_words(search['rows'])} of the training part, of {trials}, which "
        "flatters a little; no test row was among them.",
    )


def _own_rows(own: Mapping[str, Any], value: float, interval: Mapping[str, float] | None, rows: int) -> Tile:
    """Return how good a model is on rows that it was fitted on, and what that says."""
    metric, known = own["metric"], own["value"]
    gain = value - known if metric in LOWER_IS_BETTER else known - value
    if interval is not None and interval["low"] <= known <= interval["high"]:
        said = "as good as on the test part, within its interval"
    elif interval is None:
        said = "the test part is too small to tell whether they differ"
    elif gain > 0:
        said = "better than on the test part, beyond its interval: what is learnt by heart does not carry over"
    else:
        said = "worse than on the test part, beyond its interval: the test rows are easier ones"
    shown = figure(metric, known, interval, rows)
    return Tile(f"{metric} on rows that it was fitted on", shown, f"{rows_in_words(own['rows'])}; {said}.")


def warnings_of(data: ReportData, analysis: Analysis) -> list[str]:
    """Return what may make the model worse than it looks here, what weighs most first."""
    evaluation, profile = data.evaluation, data.profile
    told = [each["text"] for each in evaluation["suspicions"]]
    told += [*evaluation["doubts"], *_about_split(evaluation, profile)]
    told += [f"The fit warned: {shorten(each, WARNING_WIDTH)}" for each in data.model["warnings"]]
    if weak := analysis.slices.weak:
        named = "; ".join(
            f"{shorten(each.column, NAME_WIDTH)}: {shorten(each.group, NAME_WIDTH)}" for each in weak[:NAMED]
        )
        groups = "one group" if len(weak) == 1 else f"{len(weak)} groups"
        told.append(f"On {groups} of rows the model is worse than on the others, beyond chance ({named}).")
    dropped = [each for each in profile["columns"] if each["use"] == "dropped"]
    if dropped:
        named = "; ".join(f"{shorten(each['name'], NAME_WIDTH)}: {each['reason']}" for each in dropped[:NAMED])
        more = f"; and {len(dropped) - NAMED:,} more" if len(dropped) > NAMED else ""
        columns = "One column is" if len(dropped) == 1 else f"{len(dropped):,} columns are"
        told.append(f"{columns} not used ({named}{more}).")
    return told


def _about_split(evaluation: Mapping[str, Any], profile: Mapping[str, Any]) -> list[str]:
    told = []
    equal, split = evaluation["rows_with_equal_features"], profile["split"]
    if equal > EQUAL_FEATURES * evaluation["rows"] and split["by"] == "rows":
        told.append(
            f"About {rows_in_words(equal)} of the test part {'has' if equal == 1 else 'have'} the same features as a "
            "training row. Where they are one and the same thing that was recorded twice, name by split_key what rows "
            "belong to."
        )
    if split["missing_columns"]:
        missing = ", ".join(shorten(name, NAME_WIDTH) for name in split["missing_columns"][:5])
        told.append(f"The champion's run was split by columns that these data lack: {missing}. Rows have moved.")
    return told
