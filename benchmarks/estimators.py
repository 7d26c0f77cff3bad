"""The estimators that use threads, with one and with two vCPUs."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

from benchmarks import data
from benchmarks.figures import Goal, Section, Spread, interleaved, ratio
from benchmarks.options import Options
from benchmarks.storage import Storage
from common import MB_PER_VCPU
from crosstrain.delivery.functions import STEPS

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ridge", {}),
    ("hist_gradient_boosting", {}),
    ("random_forest", {"n_estimators": 5}),
)
ROWS = 100_000


def measure(options: Options) -> Section:
    """Return seconds of the training handler at 1,769 and 3,538 MB, with so many threads and cores."""
    section = Section(f"Estimators at one and two vCPUs: training, {ROWS:,} rows, 30 mixed columns")
    if len(os.sched_getaffinity(0)) < 2:
        section.notes.append("Not measured: this machine lets us use one core only.")
        return section
    rows = []
    with Storage() as storage:
        uri = storage.put(data.mixed(ROWS))
        for estimator, hyperparameters in CASES:
            request = {"dataset_uri": uri, "target": data.TARGET, "estimator": estimator}
            event: dict[str, Any] = {"run_id": estimator, "request": {**request, "hyperparameters": hyperparameters}}
            with storage.worker(f"{STEPS[0]}.app:handler") as prepare:
                event |= prepare(event).result
            handler = f"{STEPS[1]}.app:handler"
            with (
                storage.worker(handler, vcpus=1, memory_mb=MB_PER_VCPU) as one,
                storage.worker(handler, vcpus=2, memory_mb=2 * MB_PER_VCPU) as two,
            ):
                one(event), two(event)
                seconds = interleaved(
                    options.repeats,
                    {
                        "one": lambda _, it=one, on=event: it(on).seconds,
                        "two": lambda _, it=two, on=event: it(on).seconds,
                    },
                )
            gain = ratio(seconds["one"], seconds["two"])
            chosen = ", ".join(f"{name} {value}" for name, value in hyperparameters.items())
            rows.append(
                (
                    f"{estimator}{f' ({chosen})' if chosen else ''}",
                    *(Spread.of(seconds[name]).text() for name in ("one", "two")),
                    gain.text(),
                )
            )
            section.goals.append(Goal(f"{estimator}: one vCPU / two", gain.text()))
    section.tables.append((("estimator", "1 vCPU: seconds", "2 vCPUs: seconds", "times faster"), rows))
    section.notes.append(
        "The functions use as many threads as their memory gives vCPUs (1,769 MB each); the worker is held to as many "
        "cores."
    )
    section.notes.append(
        "Measured with /dev/shm, which Lambda lacks: docs/benchmarks.md says how to do without."
        if _has_semaphores()
        else "Measured without /dev/shm, as on Lambda."
    )
    return section


def _has_semaphores() -> bool:
    """Return whether processes can share locks here, without which joblib takes one worker for granted."""
    try:
        multiprocessing.Lock()
    except OSError:
        return False
    return True
