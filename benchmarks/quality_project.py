"""Fits one of this project's estimators to tables and prints what each is worth.

    python -m benchmarks.quality_project ESTIMATOR

The estimator `default` is what a request that names none gets. A line of stdin is a table, as a JSON object with its
name and the seed; a line of stdout is what it has led to.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.quality_tables import SEEDS, TABLES, Table, problem_of, split_name
from common.frames import load_part
from common.metrics import metrics_of, predict
from common.request import parse_request
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit


def request_of(table: Table, estimator: str, seed: int) -> dict[str, Any]:
    """Return the document that asks for the estimator, with the table's split of that seed and none of its others."""
    others = {split_name(number): "ignore" for number in range(SEEDS) if number != seed}
    document = {
        "dataset_uri": "s3://bucket/data.csv",
        "target": table.target,
        "problem": problem_of(table),
        "metric": table.metric,
        "split_column": split_name(seed),
        "columns": others,
        "seed": seed,
    }
    return document if estimator == "default" else {**document, "estimator": estimator}


def evaluate(table: Table, estimator: str, seed: int) -> dict[str, Any]:
    """Return the metrics on the test part, and the processor seconds of the fit."""
    request = parse_request(request_of(table, estimator, seed))
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare([SourceFile(table.path.name, table.path)], request, Path(folder))
        features, target = load_part(prepared.train, prepared.profile)
        started, on_clock = time.process_time(), time.perf_counter()
        model = fit(build_pipeline(prepared.request, prepared.profile), features, target)
        took = {"fit_seconds": time.process_time() - started, "fit_elapsed": time.perf_counter() - on_clock}
        features, target = load_part(prepared.test, prepared.profile)
        predictions = predict(model.pipeline, features, str(prepared.request.problem))
    return {"metrics": metrics_of(predictions, target)[0], **took}


if __name__ == "__main__":
    tables = {each.name: each for each in TABLES}
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(evaluate(tables[job["table"]], sys.argv[1], job["seed"])), flush=True)
