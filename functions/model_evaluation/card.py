"""Writes the card of a model: what it is for, on what it was trained and measured, how good it is, and where it is not.

References
----------
M. Mitchell et al., "Model Cards for Model Reporting", Conference on Fairness, Accountability, and Transparency, 2019:
the sections, and the order of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.bootstrap import CONFIDENCE
from common.conversion import described_rows, feature_columns
from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE
from common.words import MANY_MISSING, baseline, limits
from model_evaluation.searched import chosen_in
from model_evaluation.slices import LEAST_ROWS

if TYPE_CHECKING:
    from model_evaluation.analysis import Analysis, ReportData

COLUMNS, CLASSES, CATEGORIES = 200, 200, 10
"""How many columns, classes, and categories of a column a card has; profile.json has all that is known."""

_STRAIGHT, _FLAT = "a line goes on as it is, and ", "trees predict as at the end of the range, and "
_BEYOND = {
    **dict.fromkeys(("linear_regression", "ridge", "logistic_regression"), _STRAIGHT),
    **dict.fromkeys(("random_forest", "hist_gradient_boosting", "xgboost"), _FLAT),
}
"""What estimators do beyond the values that they were trained on."""


def model_card(data: ReportData, analysis: Analysis) -> dict[str, Any]:
    """Return the card, in types of JSON.

    Returns
    -------
    dict
        `model_details`, `intended_use`, `factors`, `metrics`, `evaluation_data`, `training_data`,
        `quantitative_analyses` and `caveats`. What a section does not know is None, never left out.
    """
    return {
        "model_details": _model_details(data),
        "intended_use": intended_use(data),
        "factors": _factors(analysis),
        "metrics": _metrics(data.evaluation),
        "evaluation_data": {
            "rows": data.profile["rows"]["test"],
            **_split(data.profile),
            "chosen_before_training": True,
        },
        "training_data": _training_data(data),
        "quantitative_analyses": _analyses(data, analysis),
        "caveats": _caveats(data, analysis),
    }


def _model_details(data: ReportData) -> dict[str, Any]:
    model, evaluation, request = data.model, data.evaluation, data.model["request"]
    search = model.get("search")
    return {
        "name": request["model_name"],
        "version": evaluation["run_id"],
        "date": evaluation.get("evaluated_at"),
        "problem": evaluation["problem"],
        "estimator": evaluation["estimator"],
        "class": model["class"],
        "hyperparameters": model["parameters"],
        "seed": request["seed"],
        "search": search and {name: search[name] for name in ("estimators", "metric", "by", "folds", "rows", "ended")},
        "fit_seconds": model["seconds"],
        "compute": model.get("compute"),
        "versions": model["versions"],
        "lineage": {
            "model_uri": evaluation["model_uri"],
            "dataset_uri": request["dataset_uri"],
            "data_fingerprint": evaluation["data_fingerprint"],
            "release": model.get("release"),
            "commit": model.get("commit"),
            "image_digests": {
                "data_preparation": data.profile.get("image_digest"),
                "model_training": model.get("image_digest"),
            },
        },
        "decision": {name: evaluation[name] for name in ("decision", "rule", "reason")},
    }


def intended_use(data: ReportData) -> dict[str, Any]:
    """Return what a model predicts from which columns, and for which rows it was not made."""
    features = feature_columns(data.profile)
    target = data.model["target"]
    what = f"the number {target}" if data.evaluation["problem"] == "regression" else f"the class {target}"
    return {
        "primary_use": f"To predict {what} of rows like those of the data set, from {len(features):,} columns.",
        "target": target,
        "classes": data.model["classes"] and data.model["classes"][:CLASSES],
        "columns": [_column(each) for each in features[:COLUMNS]],
        "further_columns": max(0, len(features) - COLUMNS),
        "out_of_scope": _out_of_scope(data, features),
    }


def _column(column: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a column has to hold: the range of its numbers and times, or its most frequent categories."""
    range_ = {"from": column["min"], "to": column["max"]} if "min" in column else None
    categories = [each["value"] for each in column["top"][:CATEGORIES]] if "top" in column else None
    return {
        "name": column["name"],
        "role": column["role"],
        "range": range_,
        "categories": categories,
        "different": column.get("distinct"),
    }


def _out_of_scope(data: ReportData, features: list[dict[str, Any]]) -> list[str]:
    roles = {each["role"] for each in features}
    told = ["Rows that lack one of the columns: the model refuses them."]
    if roles & {"numeric", "timestamp"}:
        beyond = _BEYOND.get(data.evaluation["estimator"], "")
        told.append(f"Numbers and times beyond the ranges of the columns: {beyond}nobody has measured how well.")
    if "categorical" in roles:
        told.append("Categories that the data did not hold: they are taken for none that is known.")
    split = data.profile["split"]
    if split["by"] == "rows":
        told.append(
            "Rows of other times, places or groups than those of the data: the test part was drawn from the same ones."
        )
    elif split["by"] == "key":
        told.append(
            "Rows of another population: the test part holds other keys than the training part, of the same one."
        )
    elif split["by"] == "time":
        told.append("Times long after the test part: the further ahead, the less its figures say.")
    return told


def _factors(analysis: Analysis) -> dict[str, Any]:
    slices = analysis.slices
    return {
        "columns": slices.columns,
        "groups": slices.looked_at,
        "fewest_rows": LEAST_ROWS,
        "metric": slices.metric,
        "most_important_features": analysis.importance.names[:10],
    }


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    metric = evaluation["metric"]
    interval = evaluation["interval"]
    return {
        "deciding": metric,
        "meaning": METRIC_TABLE[metric].meaning,
        "better": "lower" if metric in LOWER_IS_BETTER else "higher",
        "threshold": evaluation["threshold"],
        "pos_label": evaluation["pos_label"],
        "quantile": evaluation["quantile"],
        "weighted_by": evaluation["weight_column"],
        "confidence": None if limits(interval) is None else CONFIDENCE,
        "interval_by": None if limits(interval) is None else "bootstrap of the test rows, expanded percentile",
    }


def _split(profile: Mapping[str, Any]) -> dict[str, Any]:
    split = profile["split"]
    return {
        "split_by": split["by"],
        "split_columns": split["columns"],
        "seed": split["seed"],
        "first_time": split.get("first_time"),
        "period": _period(profile),
    }


def _period(profile: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return from when to when all rows are, where they are split by a time."""
    split = profile["split"]
    if split["by"] != "time":
        return None
    column = next(each for each in profile["columns"] if each["name"] == split["columns"][0])
    return {"column": column["name"], "from": column.get("min"), "to": column.get("max")}


def _training_data(data: ReportData) -> dict[str, Any]:
    profile = data.profile
    target = next(each for each in profile["columns"] if each["use"] == "target")
    kept = ("min", "max", "mean", "std")
    return {
        "rows": data.model["rows"],
        "source": data.model["request"]["dataset_uri"],
        "files": len(profile["sources"]),
        "data_fingerprint": profile["fingerprint"],
        "read_as": profile["read"]["dialect"],
        "rows_in": profile["rows"]["in"],
        "rows_dropped": profile["dropped_rows"],
        "rows_left_out": profile["rows"].get("left_out", 0),
        "period": _period(profile),
        "target_in_all_rows": {name: target[name] for name in kept if name in target}
        or (profile["classes"] or [])[:CLASSES],
    }


def _analyses(data: ReportData, analysis: Analysis) -> dict[str, Any]:
    evaluation, model = data.evaluation, data.model
    champion = evaluation["champion"]
    return {
        "metrics": evaluation["metrics"],
        "undefined": evaluation["undefined"],
        "interval": limits(evaluation["interval"]),
        "baseline": baseline(evaluation),
        "cross_validated": _cross_validated(model.get("search")),
        "on_training_rows": model.get("train_metric"),
        "against_champion": champion and {name: champion[name] for name in ("version", "status", "improvement")},
        "slices": [vars(each) for each in analysis.slices.worst],
    }


def _cross_validated(search: Mapping[str, Any] | None) -> dict[str, Any] | None:
    chosen = chosen_in(search)
    if search is None or chosen is None:
        return None
    return {
        "metric": search["metric"],
        "folds": search["folds"],
        **{name: chosen[name] for name in ("score", "deviation")},
    }


def _caveats(data: ReportData, analysis: Analysis) -> dict[str, Any]:
    evaluation, profile = data.evaluation, data.profile
    used = described_rows(profile)
    missing = {each["name"]: each["nulls"] / used for each in feature_columns(profile)[:COLUMNS]}
    return {
        "suspicions": evaluation["suspicions"],
        "doubts": evaluation["doubts"],
        "fit_warnings": data.model["warnings"],
        "rows_with_equal_features": evaluation["rows_with_equal_features"],
        "weak_slices": len(analysis.slices.weak),
        "missing_values": {name: round(share, 4) for name, share in missing.items() if share >= MANY_MISSING},
        "dropped_columns": {
            each["name"]: each["reason"] for each in profile["columns"][:COLUMNS] if each["use"] == "dropped"
        },
        "recommendations": [
            "Importances and effects say what the model does, and not what causes what.",
            "Whether it is fair to people, and legal, no figure here says.",
        ],
    }
