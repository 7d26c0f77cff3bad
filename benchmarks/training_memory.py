"""Memory of training: bytes for each row and column above the imports, and the largest data that fits a function."""

from __future__ import annotations

from typing import Any

from benchmarks import data
from benchmarks.figures import Goal, Section, Spread
from benchmarks.options import Options
from benchmarks.storage import Storage
from crosstrain.delivery.functions import STEPS

LARGEST_MB = 10_240
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
COLUMNS = 30
TINY = 1_000
CASES: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    # Of so many rows nothing is kept.
    ("ridge", "numeric", {}, 3_000_000),
    ("ridge", "mixed", {}, 3_000_000),
    ("linear_regression", "numeric", {}, 3_000_000),
    ("hist_gradient_boosting", "numeric", {"max_iter": 3}, 1_000_000),
    ("hist_gradient_boosting", "mixed", {"max_iter": 3}, 1_000_000),
    ("xgboost", "numeric", {"n_estimators": 3}, 1_000_000),
    ("xgboost", "mixed", {"n_estimators": 3}, 1_000_000),
    ("xgboost", "classes", {"n_estimators": 3}, 1_000_000),
    ("logistic_regression", "classes", {"max_iter": 10}, 1_000_000),
    ("random_forest", "numeric", {"n_estimators": 3, "max_depth": 10}, 500_000),
)


def measure(options: Options) -> Section:
    """Return the peak of each estimator's training in a fresh process."""
    section = Section("Memory of training: 30 columns, each case in fresh processes")
    rows = []
    with Storage() as storage:
        for estimator, kind, hyperparameters, size in CASES:
            taken = [
                _bytes(storage, estimator, kind, hyperparameters, size) for _ in range(_repeats(options, estimator))
            ]
            spread = Spread.of([each for each, _ in taken])
            idle = max(idle for _, idle in taken)
            largest = (LARGEST_MB * 2**20 - idle) / (spread.median * COLUMNS)
            if (estimator, kind) == ("ridge", "numeric"):
                section.goals.append(
                    Goal(
                        "memory of training, bytes per row and column above the imports (ridge)",
                        spread.text(),
                        "≤ 12",
                        spread.median <= 12,
                    )
                )
            chosen = ", ".join(f"{name} {value}" for name, value in hyperparameters.items())
            rows.append(
                (
                    f"{estimator}{f' ({chosen})' if chosen else ''}",
                    {"numeric": "30 decimals", "mixed": "30 mixed", "classes": "30 decimals, 3 classes"}[kind],
                    spread.text(),
                    f"{largest / 1e6:.0f} million rows",
                )
            )
            section.data[f"{estimator} {kind}"] = spread.median
    section.tables.append(
        (("estimator", "columns", "bytes per row and column", f"largest training part for {LARGEST_MB:,} MB"), rows)
    )
    section.notes.append(
        "The peak resident set of the training handler, less that of the same worker after a run on a thousand rows "
        "(imports, clients, buffers), over the training part's rows and features. The largest part follows from it."
    )
    section.notes.append(
        "Ridge and linear regression take the rows block by block: a row of more columns needs no more, and of "
        "more rows a smaller share is what they need at any size."
    )
    return section


def _repeats(options: Options, estimator: str) -> int:
    return options.repeats if estimator == "ridge" else 1


def _bytes(
    storage: Storage, estimator: str, kind: str, hyperparameters: dict[str, Any], size: int
) -> tuple[float, int]:
    """Return bytes per training row and feature above the imports, and the bytes of the imports."""
    uri = storage.put(getattr(data, kind)(size))
    request = {"dataset_uri": uri, "target": data.TARGET, "estimator": estimator, "hyperparameters": hyperparameters}
    event: dict[str, Any] = {"run_id": f"memory-{estimator}-{kind}", "request": request}
    with storage.worker(f"{STEPS[0]}.app:handler") as prepare, storage.worker(f"{STEPS[1]}.app:handler") as train:
        tiny = {**event, "request": {**request, "dataset_uri": storage.put(getattr(data, kind)(TINY))}}
        train({**tiny, **prepare(tiny).result})
        event |= prepare(event).result
        call = train(event)
    prepared = event["prepared"]
    storage.forget("")
    return (call.peak_bytes - call.start_bytes) / (prepared["rows"]["train"] * prepared["columns"]), call.start_bytes
