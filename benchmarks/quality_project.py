"""Fits one of this project's estimators to tables and prints what each is worth.

    python -m benchmarks.quality_project ESTIMATOR

The estimator `auto` searches for a minute, as a request does that names none; `linear` is what that gets without a
search. A line of stdin is a table, as a JSON object with its name and the seed; a line of stdout is what it has led to.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy.typing as npt

from benchmarks.quality_tables import SEEDS, TABLES, Table, problem_of, split_name
from common.frames import load_part
from common.metrics import metrics_of, predict
from common.request import TrainingRequest, parse_request
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_training.blend_choice import CANDIDATES, HeldOutRows, choose_blend
from model_training.folds import Part, rows_to_try
from model_training.search import blend_candidates, plan, with_blend
from model_training.training import build_pipeline, fit
from model_training.trial import Tried
from model_training.trials import drawn_folds, run_trial

AT_ONCE = 4
"""How many trials a round has, as where the template's parameter is left alone."""
# Of a function, where it matters on no table.
MEMORY_MB, MOST_SECONDS = 10_240, 540.0


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
    return {**document, **({"search_trials": 0} if estimator == "linear" else {"estimator": estimator})}


def evaluate(table: Table, estimator: str, seed: int) -> dict[str, Any]:
    """Return the metrics on the test part, and the processor seconds of the search and the fit."""
    request = parse_request(request_of(table, estimator, seed))
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare([SourceFile(table.path.name, table.path)], request, Path(folder))
        profile, request = prepared.profile, prepared.request.with_positive_class(prepared.profile)
        part = Part(*load_part(prepared.train, profile))
        started, on_clock = time.process_time(), time.perf_counter()
        if request.search_trials:
            request = _searched(request, profile, part)
        model = fit(build_pipeline(request, profile), part.features, part.target)
        took = {"fit_seconds": time.process_time() - started, "fit_elapsed": time.perf_counter() - on_clock}
        features, target = load_part(prepared.test, profile)
        predictions = predict(model.pipeline, features, str(request.problem))
    return {
        "metrics": metrics_of(predictions, target, None, request.scoring)[0],
        **took,
        "estimator": request.estimator,
    }


def _searched(request: TrainingRequest, profile: dict[str, Any], part: Part) -> TrainingRequest:
    """Return the request with the choice of a search, made as the state machine makes it, one trial after another."""
    done, outputs = list[Tried](), dict[int, npt.NDArray[Any]]()
    while True:
        planned = plan(request, profile, done, at_once=AT_ONCE, memory_mb=MEMORY_MB, most_seconds=MOST_SECONDS)
        if not planned.trials:
            break
        for trial in planned.trials:
            outcome = run_trial(trial, request, profile, part)
            done.append(outcome.tried)
            if outcome.outputs is not None:
                outputs[trial.number] = outcome.outputs
    candidates = [each.number for each in blend_candidates(planned, request, profile, MOST_SECONDS)][:CANDIDATES]
    if len(candidates) > 1:
        drawn, folds = drawn_folds(rows_to_try(request, profile), request, profile, part)
        rows = HeldOutRows.of(folds, drawn.target, drawn.weights, str(request.problem))
        planned = with_blend(planned, choose_blend({each: outputs[each] for each in candidates}, rows, request))
    return request.with_choice(**(planned.chosen or {}))


if __name__ == "__main__":
    tables = {each.name: each for each in TABLES}
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(evaluate(tables[job["table"]], sys.argv[1], job["seed"])), flush=True)
