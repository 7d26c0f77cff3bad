"""Renders the report of one evaluation: a single HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.adjustment_words import adjustment_in_words
from common.conversion import described_rows
from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE, OF_POSITIVE_CLASS
from common.pages import LABEL_WIDTH, NAME_WIDTH, VALUE_WIDTH, template
from common.words import (
    difference,
    figure,
    in_words,
    label_of,
    limits,
    number,
    range_of,
    rounded,
    shorten,
)
from model_evaluation.analysis import Analysis, ReportData, analyse
from model_evaluation.card import intended_use
from model_evaluation.head import FIRST, tiles, warnings_of
from model_evaluation.importance import REPEATS
from model_evaluation.pictures import (
    class_rows,
    importance_rows,
    of_classification,
    of_effects,
    of_importance,
    of_regression,
    of_target,
)
from model_evaluation.searched import searched
from model_evaluation.slices import LEAST_ROWS, Slice

TEMPLATE = Path(__file__).with_name("report.html.j2")

# What bounds the size of a report, whatever the data set is.
IGNORED, SENTENCES = 10, 200
"""How many ignored files and how many sentences about the data the report shows."""
PROFILE_COLUMNS = 500


def render_report(data: ReportData, analysis: Analysis | None = None) -> str:
    """Return the report as one HTML document.

    The same data gives the same document, to the last byte.

    Parameters
    ----------
    data
        Of one evaluation.
    analysis
        What was measured of it; None to measure it.

    Returns
    -------
    str
        HTML with inline style and inline SVG. Whatever comes from the data set is escaped.
    """
    found = analyse(data) if analysis is None else analysis
    pictures, confusion, notes = (
        (of_regression(data), None, list[str]()) if found.output is None else of_classification(data, found.output)
    )
    warnings = warnings_of(data, found)
    return template(TEMPLATE).render(
        evaluation=data.evaluation,
        profile=data.profile,
        model=data.model,
        tiles=tiles(data.evaluation, data.model),
        first_warnings=warnings[:FIRST],
        warnings=warnings,
        comparison=_comparison(data.evaluation),
        improvement=_improvement(data.evaluation),
        scored_by=_scored_by(data),
        measured_by=found.metric,
        weighted_by=next((each["name"] for each in data.profile["columns"] if each["use"] == "weight"), None),
        split=_split(data.profile),
        target_picture=of_target(data),
        pictures=pictures,
        confusion=confusion,
        class_rows=[] if confusion is None else class_rows(data),
        notes=notes,
        importance=found.importance,
        importance_picture=of_importance(found.importance, found.metric),
        importance_rows=importance_rows(found.importance),
        effects=found.effects,
        effect_pictures=[] if found.effects is None else of_effects(found.effects, _predicted(data, found)),
        predicted=_predicted(data, found),
        slices=found.slices,
        slice_rows=[_slice_row(each) for each in found.slices.worst],
        least_rows=LEAST_ROWS,
        sampled=None if data.sample is None else len(data.sample),
        use=intended_use(data),
        repeats=REPEATS,
        seed=data.model["request"]["seed"],
        told=_told(data.profile),
        search=searched(data.model),
        adjusted=" ".join(
            adjustment_in_words(
                data.model.get("adjustment"), _second_class(data.model), data.evaluation.get("prediction_interval")
            )
        ),
        columns=[_profile_row(column, data.profile) for column in data.profile["columns"][:PROFILE_COLUMNS]],
        lineage=_lineage(data),
    )


def _second_class(model: Mapping[str, Any]) -> str:
    """Return what the second of two classes is called."""
    return shorten(label_of((model.get("classes") or ["", ""])[-1]), VALUE_WIDTH)


# Challenger against champion


def _comparison(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each metric; the difference says in words who is better."""
    champion = evaluation["champion"] or {}
    rows, decides = [], evaluation["metric"]
    for name, value in evaluation["metrics"].items():
        other = (champion.get("metrics") or {}).get(name)
        interval = limits(evaluation["interval"]) if name == decides else None
        rows.append(
            {
                "name": name,
                "decides": name == decides,
                "direction": "lower is better" if name in LOWER_IS_BETTER else "higher is better",
                "meaning": METRIC_TABLE[name].meaning,
                "value": figure(name, value, interval, evaluation["rows"]),
                "interval": "" if interval is None or value is None else f" ({range_of(interval)})",
                "undefined": evaluation["undefined"].get(name),
                "champion": figure(name, other, interval, evaluation["rows"]),
                "difference": _difference(name, value, other),
            }
        )
    return rows


def _scored_by(data: ReportData) -> str:
    """Return which class, or which quantile, those of the metrics are of that have to know."""
    request = data.model["request"]
    if data.evaluation["problem"] == "regression":
        return f"pinball is of the quantile {number(request['quantile'])}, as the request's quantile says."
    names, label = in_words(OF_POSITIVE_CLASS), request["pos_label"]
    if label is None:
        return f"{names} are of one class: the request's pos_label says which one, against all others."
    chosen = "as the request's pos_label says"
    if "pos_label" in data.profile["left_open"]:
        chosen = "the rarer of two; the request's pos_label says another one"
    return f'{names} are of the class "{shorten(label_of(label), VALUE_WIDTH)}", {chosen}.'


def _difference(metric: str, value: float | None, other: float | None) -> str:
    if value is None or other is None:
        return "cannot be compared"
    gain = other - value if metric in LOWER_IS_BETTER else value - other
    if gain == 0:
        return "= equal"
    return f"▲ {difference(gain)} better" if gain > 0 else f"▼ {difference(-gain)} worse"


def _improvement(evaluation: Mapping[str, Any]) -> str | None:
    """Return the sentences on the improvement and its interval, or None where there is none."""
    found = (evaluation["champion"] or {}).get("improvement")
    if found is None:
        return None
    low, high = found["low"], found["high"]
    of = f"{found['rows']:,} of the {evaluation['rows']:,} test rows, those that count"
    if low is None:
        gain = _gain(found["value"], abs(found["value"]))
        return (
            f"{found['metric']} is {gain}, without an interval: the models differ on {found['different']:,} of {of}, "
            "too few for one."
        )
    verdict = "The interval includes 0: on these rows neither model is clearly the better one."
    if low > 0:
        verdict = "The whole interval is above 0: the challenger is better."
    elif high < 0:
        verdict = "The whole interval is below 0: the challenger is worse."
    return (
        f"{found['metric']} is {_gain(found['value'], high - low)} "
        f"({range_of(found)}; positive: the challenger is better). "
        f"{verdict} Method: {found['method']}, {found['resamples']:,} resamples of {of}, seed {found['seed']}."
    )


def _split(profile: Mapping[str, Any]) -> str:
    """Return in words how the rows were split."""
    split = profile["split"]
    columns = ", ".join(shorten(name, NAME_WIDTH) for name in split["columns"])
    ways = {
        "rows": f"by what each row holds, seed {split['seed']}",
        "key": f"rows of equal {columns} together, seed {split['seed']}",
        "time": f"the last rows by {columns}, from {split.get('first_time')}",
        "column": f"as the column {columns} says",
    }
    origin = f", as the run of champion {split['inherited_from']}" if split["inherited_from"] else ""
    return f"{ways[split['by']]}{origin}; {split['test_share']:.1%} of the rows are the test part {split['test_part']}"


def _gain(value: float, width: float) -> str:
    if value == 0:
        return "equal"
    return f"{'better' if value > 0 else 'worse'} by {rounded(abs(value), width)}"


def _predicted(data: ReportData, analysis: Analysis) -> str:
    """Return what the effects are of."""
    if analysis.output is None:
        return f"predicted {shorten(data.model['target'], LABEL_WIDTH)}"
    return f"probability of {shorten(label_of(data.pipeline.classes_[analysis.output]), LABEL_WIDTH)}"


# Tables


def _slice_row(found: Slice) -> tuple[str, str, str, str, str]:
    """Return a group in words, its rows, the metric with its interval, that of the others, and what follows."""
    width = found.high - found.low
    value, low, high, others = (rounded(each, width) for each in (found.value, found.low, found.high, found.others))
    verdict = "▼ worse" if found.worse else "may be chance"
    return f"{found.column}: {found.group}", f"{found.rows:,}", f"{value} ({low} to {high})", others, verdict


def _told(profile: Mapping[str, Any]) -> list[str]:
    """Return what was found out about files and columns, what is doubtful first."""
    doubts, told = (
        [sentence for column in profile["columns"] for sentence in column.get(key, ())] for key in ("doubts", "told")
    )
    ignored = profile.get("ignored_files")
    files = [f"No data by their names, and ignored: {', '.join(ignored[:IGNORED])}."] if ignored else []
    return [*doubts, *profile["read"]["told"], *files, *told][:SENTENCES]


def _profile_row(column: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, str]:
    nulls, used = column["nulls"], described_rows(profile)
    return {
        "name": shorten(column["name"], NAME_WIDTH),
        "role": column["role"],
        "written": column.get("notation", {}).get("style", ""),
        "use": column["use"] + (f": {column['reason']}" if column.get("reason") else ""),
        "dtype": column["dtype"] or f"{column['kind']}, not handed over",
        "nulls": f"{nulls:,} ({nulls / used:.1%})" if nulls else "0",
        "infinities": f"{column['infinities']:,}",
        "values": _values(column, max(1, used - nulls)),
    }


def _values(column: Mapping[str, Any], rows: int) -> str:
    if "min" in column:
        # As the mean of so many values is known.
        width = 4 * (column.get("std") or 0.0) / math.sqrt(rows)
        moments = [f"{name} {rounded(column[name], width)}" for name in ("mean", "std") if column.get(name) is not None]
        return ", ".join([f"{number(column['min'])} to {number(column['max'])}", *moments])
    if "distinct" not in column:
        return "none"
    if column["role"] == "text":
        return f"{number(column['distinct'])} different, of {number(column['words'])} words on average"
    top = [f"{shorten(each['value'], VALUE_WIDTH)} ({each['rows']:,})" for each in column.get("top", ())[:5]]
    more = [] if len(top) == column["distinct"] else ["…"]
    return f"{number(column['distinct'])} different" + (f": {', '.join(top + more)}" if top else "")


def _lineage(data: ReportData) -> list[tuple[str, str | None]]:
    """Return what the model comes from, None where a document does not tell."""
    return [
        ("Run", data.evaluation["run_id"]),
        ("Evaluated at", data.evaluation.get("evaluated_at")),
        ("Data set", data.model["request"]["dataset_uri"]),
        ("Fingerprint of the data (SHA-256)", data.evaluation["data_fingerprint"]),
        ("Model file", data.evaluation["model_uri"]),
        ("Image digest of data preparation", data.profile.get("image_digest")),
        ("Image digest of model training", data.model.get("image_digest")),
        ("Release", data.model.get("release")),
        ("Commit", data.model.get("commit")),
    ]
