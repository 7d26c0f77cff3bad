"""Online scoring: the first answer of a fresh process, a row at a time, and a million rows at once."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import ROOT, SCRATCH, data
from benchmarks.figures import Goal, Section, Spread, at_most, interleaved, ratio, rounded
from benchmarks.options import Options
from benchmarks.prices import price_by_name
from benchmarks.processes import seconds_of
from common.frames import load_part
from common.model_file import save_model
from common.request import parse_request
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit

ESTIMATORS = ("ridge", "hist_gradient_boosting")
TRAINING_ROWS = 10_000
MEMORY_MB = 1769
"""The template's ScoringMemory by default: one vCPU."""
LIBRARIES = (
    "boto3, numpy, pyarrow.compute, aws_lambda_powertools.event_handler, pandas, skops.io, sklearn.compose, "
    "sklearn.impute, sklearn.linear_model, sklearn.pipeline, sklearn.preprocessing, threadpoolctl"
)
WORKER = ("-m", "benchmarks.scoring_worker")
ENVIRONMENT = {"PYTHONPATH": f"{ROOT / 'functions'}:{ROOT}"}


def measure(options: Options) -> Section:
    """Return how long answers take, of models of 30 mixed columns, with the registry's files on this disk."""
    section = Section("Online scoring: 30 mixed columns")
    rows, tables = options.rows, []
    folders = {estimator: _trained(estimator) for estimator in ESTIMATORS}
    cold, libraries = [*WORKER, "first", str(folders["ridge"])], ["-c", f"import {LIBRARIES}"]
    seconds_of(cold, ENVIRONMENT), seconds_of(libraries)  # writes the bytecode
    seconds = interleaved(
        options.process_repeats,
        {"first": lambda _: seconds_of(cold, ENVIRONMENT), "libraries": lambda _: seconds_of(libraries)},
    )
    section.goals.append(
        at_most("first answer of a fresh process / import of its libraries", ratio(*seconds.values()), 1.10)
    )
    for estimator, folder in folders.items():
        found = _run("warm", folder, 300 if options.quick else 2000)
        median, late = statistics.median(found), statistics.quantiles(found, n=100)[98]
        if estimator == "ridge":
            section.goals.append(
                at_most("one row by ridge, of the handler: median", Spread.of([1000 * median]), 10, " ms")
            )
            section.goals.append(Goal("1,000 calls of one row, by list prices", f"${rounded(_price_of_calls(median))}"))
        section.goals.append(Goal(f"one row by {estimator}, of the handler: 99 %", f"≤ {rounded(1000 * late)} ms"))
        pairs = [_run("bulk", folder, rows) for _ in range(options.repeats)]
        share = ratio([alone for _, alone in pairs], [whole for whole, _ in pairs])
        section.goals.append(
            Goal(
                f"{rows:,} rows by {estimator}: speed of the champion / of its pipeline alone",
                share.text(),
                "≥ 0.8",
                share.median >= 0.8,
            )
        )
        tables.append(
            (
                estimator,
                f"{rounded(1000 * median)} ms",
                f"{rounded(1000 * late)} ms",
                *(Spread.of(each).text() for each in zip(*pairs, strict=True)),
            )
        )
    head = ("", "one row: median", "one row: 99 %", f"{rows:,} rows: seconds", "of its pipeline alone: seconds")
    section.tables.append((head, tables))
    section.notes.append(
        f"The libraries: `import {LIBRARIES}`. The first answer has the import of the handler, the champion's files, "
        "their digests and their check in it; registry and bucket are this disk, so that no network is measured."
    )
    section.notes.append(
        "The pipeline alone gets the frame that training would have made of the rows; the champion makes it of Arrow's "
        "columns, counts what is odd in them and hands the predictions over as Arrow's."
    )
    section.notes.append(
        f"1,000 calls: at {MEMORY_MB:,} MB, a Function URL, nothing captured; logs and custom metrics not in it "
        "(docs/scoring.md)."
    )
    section.data = {"seconds": seconds}
    return section


def _price_of_calls(seconds: float) -> float:
    """Return what 1,000 calls cost that take so long each: Lambda bills whole milliseconds, and each request."""
    prices = price_by_name()
    billed = math.ceil(1000 * seconds) / 1000 * MEMORY_MB / 1024
    each: float = billed * prices["lambda_gb_second"] + prices["lambda_request"]
    return 1000 * each


def _run(what: str, folder: Path, count: int) -> list[float]:
    command = [sys.executable, *WORKER, what, str(folder), str(count)]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    # What the handler puts for CloudWatch comes first, a line for each request.
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _trained(estimator: str) -> Path:
    folder = SCRATCH / "scoring" / estimator
    folder.mkdir(parents=True, exist_ok=True)
    request = parse_request(
        {"dataset_uri": "s3://bucket/x.csv", "target": data.TARGET, "estimator": estimator, "search_trials": 0}
    )
    prepared = prepare([SourceFile("x.csv", data.mixed(TRAINING_ROWS))], request, folder)
    profile = prepared.profile
    fitted = fit(build_pipeline(prepared.request, profile), *load_part(prepared.train, profile))
    save_model(fitted.pipeline, folder / "model.skops")
    (folder / "profile.json").write_text(json.dumps(profile))
    (folder / "model.json").write_text("{}")
    return folder
