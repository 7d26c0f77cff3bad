"""What a report and a card are made of, from prepared data."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics

from common.frames import load_part
from data_preparation.preparation import PreparedData
from model_evaluation.analysis import ReportData
from model_evaluation.evaluation import HeldOut, Scores, against_constant
from model_training.training import build_pipeline, describe, describe_baseline, fit

COMPUTE = {"kind": "function", "memory_mb": 3008}


def report_data(prepared: PreparedData, **evaluation: Any) -> ReportData:
    """Fit the request's model and return the documents of its evaluation, some fields as they are given."""
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    features, target = load_part(prepared.test, prepared.profile)
    regression = prepared.request.problem == "regression"
    predictions = model.pipeline.predict(features) if regression else model.pipeline.predict_proba(features)
    scores: dict[str, float | None] = (
        {
            "rmse": metrics.root_mean_squared_error(target, predictions),
            "mae": metrics.mean_absolute_error(target, predictions),
            "r2": metrics.r2_score(target, predictions),
        }
        if regression
        else {"accuracy": float(np.mean(model.pipeline.predict(features) == target)), "log_loss": None}
    )
    baseline = describe_baseline(load_part(prepared.train, prepared.profile)[1], prepared.request)
    classes = None if regression else model.pipeline.classes_
    measured = Scores(predictions, scores, {}, classes)
    interval, over = against_constant(measured, HeldOut(features, target), baseline, prepared.request)
    document = {
        "run_id": "run-1",
        "problem": prepared.request.problem,
        "estimator": prepared.request.estimator,
        "rows": len(target),
        "metric": str(prepared.request.metric),
        "value": scores.get(str(prepared.request.metric)),
        "interval": None if interval is None else vars(interval),
        "over_constant": None if over is None else vars(over),
        "weight_column": None,
        "pos_label": prepared.profile["pos_label"],
        "quantile": 0.5,
        "champion": None,
        "threshold": None,
        "metrics": scores,
        "undefined": {} if regression else {"log_loss": "so it is"},
        "decision": "promote",
        "rule": "first",
        "comparisons": 1,
        "rows_with_equal_features": 0,
        "doubts": [],
        "suspicions": [],
        "reason": "The reason in words.",
        "model_uri": "s3://bucket/runs/run-1/model/model.skops",
        "data_fingerprint": prepared.profile["fingerprint"],
        **evaluation,
    }
    info = {
        "run_id": "run-1",
        **describe(model, prepared.request, prepared.profile),
        "image_digest": None,
        "compute": COMPUTE,
    }
    return ReportData(document, prepared.profile, info, model.pipeline, features, target, predictions)
