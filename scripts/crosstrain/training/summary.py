"""What a person has to know of a run: as data, and in words with as many digits as the rows bear."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.adjustment_words import adjustment_in_words
from common.conversion import described_rows
from common.metric_table import OF_POSITIVE_CLASS
from common.words import (
    MANY_MISSING,
    baseline,
    baseline_in_words,
    estimate,
    in_words,
    limits,
    with_spread,
)
from model_evaluation.searched import best_of, cost_of

_SHOWN = 3
_CHARACTERS = 300
_LABEL = 40


def facts(files: Mapping[str, str]) -> dict[str, Any]:
    """Return what the files of a run, by their names, tell of its columns, its fit and its metric.

    Returns
    -------
    dict
        `ignored_files`, which are no data by their names; `dropped_columns` with `name` and `reason`; `read`, how files
        and columns were read: the `dialect`, what was `told` and what `doubts` there are; `missing_values` with `name`
        and `share` of the used rows, of features that lack many; the `search` that the model was chosen by, or None;
        the `adjustment`, in sentences what held-out folds have taught of probabilities, decision or interval; the
        `prediction_interval`, its `share`, `width` and `coverage` of the test part, or None;
        `warnings` of the fit; the `weight_column` by which rows count, or None; the `positive_class` that some metrics
        are of, with its `label` and whether it was `chosen` as the rarer of two, or None for a regression; the
        `quantile` that pinball is of; `suspicions`, what is `about` which `columns` suspected of the data or the
        choices, and in `text` the way out; `interval` of the metric; and
        `baseline`, the `value` that the metric takes for the best `guess` without features and the model's
        `improvement` over it, with its interval.
    """
    profile, info, evaluation = (
        json.loads(Path(files[name]).read_text(encoding="utf-8"))
        for name in ("profile.json", "model.json", "evaluation.json")
    )
    return {
        "ignored_files": profile.get("ignored_files", []),
        "dropped_columns": [
            {"name": column["name"], "reason": column["reason"]}
            for column in profile["columns"]
            if column["use"] == "dropped"
        ],
        "missing_values": _missing_values(profile),
        "read": _read(profile),
        "search": _search(info.get("search")),
        "adjustment": list(
            adjustment_in_words(info.get("adjustment"), _second_class(info), evaluation.get("prediction_interval"))
        ),
        "prediction_interval": evaluation.get("prediction_interval"),
        "warnings": info["warnings"],
        "suspicions": info["suspicions"],
        "weight_column": evaluation["weight_column"],
        "positive_class": _positive_class(evaluation, profile),
        "quantile": evaluation["quantile"],
        "interval": limits(evaluation["interval"]),
        "baseline": baseline(evaluation),
    }


def _search(search: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what came of a search, without each of its trials."""
    if search is None:
        return None
    best = best_of(search)
    kept = ("estimators", "metric", "by", "folds", "rows", "seconds", "memory_mb", "ended", "told")
    return {
        **{name: search[name] for name in kept},
        "trials": len(search["trials"]),
        "failed": [each["error"] for each in search["trials"] if each["score"] is None],
        "best": best
        and {name: best[name] for name in ("number", "estimator", "hyperparameters", "score", "deviation")},
        "blend": search.get("blend"),
        "cost": cost_of(search),
    }


def _second_class(info: Mapping[str, Any]) -> str:
    """Return what the second of two classes is called."""
    return _shortened(str((info.get("classes") or ["", ""])[-1]))


def _missing_values(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    shares = [
        {"name": column["name"], "share": column["nulls"] / described_rows(profile)}
        for column in profile["columns"]
        if column["use"] == "feature"
    ]
    many = [each for each in shares if each["share"] >= MANY_MISSING]
    return sorted(many, key=lambda each: each["share"], reverse=True)


def _read(profile: Mapping[str, Any]) -> dict[str, Any]:
    told, doubts = (
        [sentence for column in profile["columns"] for sentence in column.get(key, ())] for key in ("told", "doubts")
    )
    return {"dialect": profile["read"]["dialect"], "told": [*profile["read"]["told"], *told], "doubts": doubts}


def _positive_class(evaluation: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any] | None:
    if evaluation["problem"] == "regression":
        return None
    label = evaluation["pos_label"]
    return {"label": label, "chosen": label is not None and "pos_label" in profile["left_open"]}


def lines(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and texts of what a result document tells, one after another."""
    rows = result["rows"]
    model = f"{result['estimator']} ({result['problem']} of {result['target']}, {result['features']} features)"
    yield "model", model
    yield "read as", result["read"]["dialect"]
    yield from _few("ignored", result.get("ignored_files", []), "profile.json")
    yield from _few("notes", result["read"]["told"], "profile.json")
    yield from _few("doubtful", result["read"]["doubts"], "profile.json")
    left_out = rows.get("left_out", 0)
    used = f"{rows['in']:,} in, {rows['used']:,} used, {rows['dropped']:,} dropped"
    yield "rows", used + (f", {left_out:,} left out by training_fraction" if left_out else "")
    yield "split", f"{rows['train']:,} train, {rows['test']:,} test"
    if result["weight_column"] is not None:
        yield "weights", f"each row counts by {result['weight_column']}, in the fit and in the metrics"
    dropped = [f"{each['name']}: {each['reason']}" for each in result["dropped_columns"]]
    yield from _few("dropped", dropped, "profile.json")
    missing = [f"{each['name']}: {each['share']:.0%} of the values" for each in result["missing_values"]]
    yield from _few("missing", missing, "profile.json")
    if result["search"] is not None:
        yield "search", _search_in_words(result["search"])
        yield from _few("failed", result["search"]["failed"], "model.json")
        yield from _few("not taken", result["search"]["told"], "model.json")
    if result["adjustment"]:
        yield "adjusted", "\n".join(result["adjustment"])
    yield from _few("warnings", result["warnings"], "model.json")
    yield from _metrics(result)
    if result["baseline"] is not None:
        yield "baseline", baseline_in_words(result["metric"], result["baseline"], rows["test"])
    yield "decision", result["decision"]
    yield "reason", result["reason"]
    if result["doubts"]:
        yield "doubts", "\n".join(result["doubts"])
    suspicions = [each["text"] for each in result["suspicions"]]
    if suspicions:
        yield "suspicions", "\n".join(suspicions)
    if any(each and each["kind"] == "task" for each in result["compute"].values()):
        told = [f"{step} by a {on['kind']} with {on['memory_mb']:,} MB" for step, on in result["compute"].items() if on]
        yield "ran on", "\n".join(told)
    yield "files", "\n".join(result["files"].values())
    if result["kept"] is not None:
        yield "kept", f"{result['kept']} has the files of an earlier run, which was promoted, as they were"


def _search_in_words(search: Mapping[str, Any]) -> str:
    best, blend = search["best"], search["blend"]
    told = (
        f"{search['trials']} trials of {', '.join(search['estimators'])} in {search['seconds']:.0f} processor seconds, "
        f"{search['cost']}, until {search['ended']}"
    )
    if best is None:
        return f"{told}; none ended"
    parameters = ", ".join(f"{name} {value}" for name, value in best["hyperparameters"].items())
    told += f"; best {best['estimator']}" + (f" ({parameters})" if parameters else "")
    told += f" with {search['metric']} {with_spread(best['score'], best['deviation'])}"
    if blend:
        together = with_spread(blend["score"], blend["deviation"])
        told += f", and a blend of {len(blend['weights'])} trials with {together}, which was taken,"
    return f"{told} in {search['folds']} folds of the training part"


def _metrics(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the metrics, the one that decides first, and of which class or quantile those are that have to know."""
    metric = result["metric"]
    for name, value in {metric: result["metrics"][metric], **result["metrics"]}.items():
        if value is not None or name == metric:
            interval = result["interval"] if name == metric else None
            yield name, "undefined" if value is None else estimate(name, value, interval, result["rows"]["test"])
    undefined = [name for name, value in result["metrics"].items() if value is None and name != metric]
    if undefined:
        yield "undefined", f"{', '.join(undefined)}: report.html says why"
    if metric == "pinball":
        yield "quantile", f"{result['quantile']:g}; QUANTILE says another one"
    positive = result["positive_class"]
    if positive is not None:
        yield "positive", _positive_in_words(positive["label"], chosen=positive["chosen"])


def _positive_in_words(label: Any, *, chosen: bool) -> str:
    names = in_words(OF_POSITIVE_CLASS)
    if label is None:
        return f"no class: POS_LABEL says which one {names} are of, against all others"
    return f'"{_shortened(str(label))}" in {names}' + (
        ", the rarer class; POS_LABEL says another one" if chosen else ""
    )


def _shortened(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[:_LABEL]}…"


def _few(name: str, items: list[str], file: str) -> Iterator[tuple[str, str]]:
    if items:
        shown = [each if len(each) <= _CHARACTERS else f"{each[:_CHARACTERS]}…" for each in items[:_SHOWN]]
        more = [f"and {len(items) - _SHOWN:,} more: see {file}"] if len(items) > _SHOWN else []
        yield name, "\n".join([*shown, *more])
