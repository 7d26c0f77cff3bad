#!/usr/bin/env python3
"""Measure what the report adds to a run: seconds of import and of rendering, and the size of the page.

    python benchmarks/report_cost.py [--rows 100000] [--features 20] [--repeats 5]

Each measurement is a process of its own that has loaded what the handler has loaded, and nothing of the report.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "functions"))

from common.model_file import load_model, save_model
from common.request import TrainingRequest, parse_request
from model_training.training import FittedModel, build_pipeline, describe, fit

CASES = [
    ("regression", "ridge"),
    ("regression", "random_forest"),
    ("regression", "hist_gradient_boosting"),
    ("classification", "logistic_regression"),
    ("classification", "random_forest"),
    ("classification", "hist_gradient_boosting"),
]
TRAINING_ROWS = 20_000
CATEGORICAL = 4


def main() -> None:
    """Fit a model for each case, measure its report in fresh processes and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="test rows (default: %(default)s)")
    parser.add_argument("--features", type=int, default=20, help="%(default)s, four of them texts")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each case (default: %(default)s)")
    parser.add_argument("--measure", nargs=3, metavar=("PROBLEM", "ESTIMATOR", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, rows=options.rows, features=options.features)))
        return
    print(f"{options.rows:,} test rows, {options.features} features, medians of {options.repeats}")
    names = ("predict", "import", "render", "all", "slowest")
    print(f"{'problem':15} {'estimator':23} " + " ".join(f"{name:>8}" for name in names) + f" {'KB':>6}")
    for problem, estimator in CASES:
        runs = measured_apart(problem, estimator, options)
        median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        slowest = max(run["all"] for run in runs)
        print(
            f"{problem:15} {estimator:23} {median['predict']:7.2f}s {median['import']:7.2f}s {median['render']:7.2f}s "
            f"{median['all']:7.2f}s {slowest:7.2f}s {median['kilobytes']:6.0f}",
            flush=True,
        )


def measured_apart(problem: str, estimator: str, options: argparse.Namespace) -> list[dict[str, float]]:
    """Return what each process measured with one and the same model."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        features, target = made_up(problem, TRAINING_ROWS, options.features, seed=0)
        save_model(
            fit(
                build_pipeline(request_for(problem, estimator), profile_for(features, problem)), features, target
            ).pipeline,
            path,
        )
        for _ in range(options.repeats):
            command = [sys.executable, __file__, "--measure", problem, estimator, str(path)]
            done = subprocess.run(
                [*command, "--rows", str(options.rows), "--features", str(options.features)],
                stdout=subprocess.PIPE,
                check=True,
            )
            runs.append(json.loads(done.stdout))
    return runs


def measure(problem: str, estimator: str, model: str, *, rows: int, features: int) -> dict[str, float]:
    """Return seconds of the test part's prediction, of the report's import and rendering, and the page's kilobytes."""
    request = request_for(problem, estimator)
    pipeline = load_model(Path(model))
    frame, target = made_up(problem, rows, features, seed=1)
    profile = profile_for(frame, problem)
    started = time.perf_counter()
    predictions = pipeline.predict(frame) if problem == "regression" else pipeline.predict_proba(frame)
    predicted = time.perf_counter()
    from model_evaluation.analysis import ReportData, analyse  # noqa: PLC0415 (what is measured)
    from model_evaluation.card import model_card  # noqa: PLC0415
    from model_evaluation.report import render_report  # noqa: PLC0415

    imported = time.perf_counter()
    data = ReportData(
        evaluation_of(request, rows),
        profile,
        model_of(pipeline, request, profile),
        pipeline,
        frame,
        target,
        predictions,
    )
    analysis = analyse(data)
    model_card(data, analysis)
    page = render_report(data, analysis)
    rendered = time.perf_counter()
    return {
        "predict": predicted - started,
        "import": imported - predicted,
        "render": rendered - imported,
        "all": rendered - predicted,
        "kilobytes": len(page.encode()) / 1000,
    }


def made_up(problem: str, rows: int, features: int, seed: int) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Return features and a target that some of them tell, with noise."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({f"number_{index}": random.normal(size=rows) for index in range(features - CATEGORICAL)})
    for index in range(CATEGORICAL):
        frame[f"text_{index}"] = pd.Categorical(random.choice(list("abcdef"), rows))
    signal = frame.iloc[:, :5].sum(axis=1) + 2 * (frame["text_0"] == "a") + random.normal(size=rows)
    target = signal.to_numpy(dtype=np.float64)
    return frame, target if problem == "regression" else np.where(target > 0, "high", "low")


def request_for(problem: str, estimator: str) -> TrainingRequest:
    """Return a request with every choice made."""
    document = {"dataset_uri": "s3://bucket/data.csv", "target": "y", "problem": problem, "estimator": estimator}
    return parse_request(document).resolve(problem)


def profile_for(frame: pd.DataFrame, problem: str) -> dict[str, Any]:
    """Return a profile as data preparation writes it."""
    numbers = {"role": "numeric", "kind": "float", "dtype": "float32", "min": -1.0, "max": 1.0, "mean": 0.0, "std": 1.0}
    texts = {
        "role": "categorical",
        "kind": "text",
        "dtype": "category",
        "distinct": 6,
        "top": [{"value": each, "rows": len(frame) // 6} for each in "abcdef"],
    }
    columns = [
        {"name": name, "use": "feature", "nulls": 0, "infinities": 0, **(texts if name.startswith("text") else numbers)}
        for name in frame.columns
    ]
    columns.append({**columns[0], "name": "y", "use": "target"})
    return {
        "read": {"dialect": "Parquet", "told": []},
        "split": {
            "by": "rows",
            "columns": [],
            "seed": 0,
            "inherited_from": None,
            "missing_columns": [],
            "test_share": 0.2,
            "test_part": "0" * 16,
        },
        "left_open": [],
        "sources": [{"name": "data.csv", "bytes": 1, "sha256": "0" * 64}],
        "fingerprint": "0" * 64,
        "problem": problem,
        "target": "y",
        "rows": {"in": len(frame), "used": len(frame), "dropped": 0, "train": TRAINING_ROWS, "test": len(frame)},
        "dropped_rows": {},
        "classes": None,
        "columns": columns,
    }


def evaluation_of(request: TrainingRequest, rows: int) -> dict[str, Any]:
    """Return a decision with made-up numbers: they cost nothing to render."""
    return {
        "run_id": "benchmark",
        "problem": request.problem,
        "estimator": request.estimator,
        "rows": rows,
        "metric": request.metric,
        "value": 1.0,
        "threshold": None,
        "metrics": {str(request.metric): 1.0},
        "undefined": {},
        "interval": {"value": 1.0, "low": 0.9, "high": 1.1, "deviation": 0.05},
        "over_constant": {"value": 0.5, "low": 0.4, "high": 0.6, "loss": 1.5},
        "champion": None,
        "weight_column": None,
        "pos_label": None,
        "quantile": 0.5,
        "rows_with_equal_features": 0,
        "doubts": [],
        "suspicions": [],
        "comparisons": 1,
        "rule": "first",
        "decision": "promote",
        "reason": "It is a benchmark.",
        "model_uri": "s3://bucket/model.skops",
        "data_fingerprint": "0" * 64,
    }


def model_of(pipeline: Any, request: TrainingRequest, profile: dict[str, Any]) -> dict[str, Any]:
    """Return the model's description."""
    return describe(FittedModel(pipeline, [], 1.0), request, profile)


if __name__ == "__main__":
    main()
