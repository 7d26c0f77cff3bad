"""Growth: seconds and peak memory of this project's steps against rows, from ten thousand to ten million."""

from __future__ import annotations

import numpy as np

from benchmarks import data
from benchmarks.figures import Goal, Section, Spread, rounded
from benchmarks.options import Options
from benchmarks.storage import Project, Storage
from benchmarks.whole_run import LIMIT
from benchmarks.worker import Call
from crosstrain.delivery.functions import STEPS

ROWS = (10**4, 10**5, 10**6, 10**7)
LIMIT_ROWS = 10**6
"""In one process more rows need more memory than there is."""


def measure(options: Options) -> Section:
    """Return the slope of time against rows, and the memory of data preparation."""
    section = Section("Growth with rows: 30 mixed columns, ridge")
    sizes = [rows for rows in ROWS if not options.quick or rows <= options.rows]
    calls: dict[int, list[dict[str, Call]]] = {}
    limit: dict[int, list[float]] = {}
    with Storage() as storage:
        for rows in sizes:
            uri = storage.put(data.mixed(rows))
            request = {"dataset_uri": uri, "target": data.TARGET, "estimator": "ridge"}
            # Workers of its own for each number of rows: memory that a larger one has left behind would count.
            with Project(storage) as project, storage.worker(LIMIT) as in_process:
                project("run", request)  # which warms up
                calls[rows] = []
                for _ in range(options.repeats):
                    calls[rows].append(project("run", request))
                    if rows <= LIMIT_ROWS:
                        call = in_process({"dataset_uri": uri, "target": data.TARGET})
                        limit.setdefault(rows, []).append(call.seconds)
            storage.forget("")
    seconds = {rows: [sum(call.seconds for call in run.values()) for run in runs] for rows, runs in calls.items()}
    peaks = {step: {rows: max(run[step].peak_bytes for run in runs) for rows, runs in calls.items()} for step in STEPS}
    slope = log_slope({rows: Spread.of(each).median for rows, each in seconds.items() if rows >= 10**5})
    preparation, (fewer, most) = peaks["data_preparation"], sorted(calls)[-2:]
    growth, largest = preparation[most] / preparation[fewer], max(preparation.values()) / 2**20
    section.goals = [
        Goal("growth of time with rows, slope in log-log from 10^5 on", rounded(slope), "≤ 1.05", slope <= 1.05),
        Goal(f"peak memory of data preparation, {most:,} rows / {fewer:,}", rounded(growth), "≤ 1.1", growth <= 1.1),
        Goal("peak memory of data preparation", f"{largest:.0f} MB", "≤ 512 MB", largest <= 512),
    ]
    section.tables.append(
        (
            (
                "rows",
                "seconds",
                "the limit",
                *(f"{step}: seconds" for step in STEPS),
                *(f"{s}: peak MB" for s in STEPS),
            ),
            [
                (
                    f"{rows:,}",
                    Spread.of(seconds[rows]).text(),
                    Spread.of(limit[rows]).text() if rows in limit else "",
                    *(Spread.of([run[step].seconds for run in runs]).text() for step in STEPS),
                    *(f"{peaks[step][rows] / 2**20:.0f}" for step in STEPS),
                )
                for rows, runs in calls.items()
            ],
        )
    )
    section.notes.append(
        "Warm workers, new for each number of rows. Peaks are resident sets of the worker processes, which hold the "
        "imports too."
    )
    section.data = {
        "seconds": {str(rows): each for rows, each in seconds.items()},
        "limit": {str(rows): each for rows, each in limit.items()},
        "peaks": {step: {str(rows): peak for rows, peak in each.items()} for step, each in peaks.items()},
    }
    return section


def log_slope(seconds: dict[int, float]) -> float:
    """Return the slope of the least-squares line through log time against log rows."""
    rows, times = np.log(list(seconds)), np.log(list(seconds.values()))
    return float(np.polyfit(rows, times, 1)[0])
