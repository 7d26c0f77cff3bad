"""A whole run, from the data set in S3 to the metric: this project, the limit and the CSV design."""

from __future__ import annotations

from typing import Any

from benchmarks import data
from benchmarks.figures import Goal, Section, Spread, at_most, check_same, interleaved, ratio, rounded
from benchmarks.options import Options
from benchmarks.storage import BUCKET, STEPS, CsvDesign, Project, Storage
from benchmarks.worker import Call

LIMIT = "benchmarks.contestants.in_process:run"


def measure(options: Options) -> Section:
    """Return seconds, ratios and peaks of whole runs, each contestant warm."""
    section = Section(f"A whole run: {options.rows:,} rows, 30 mixed columns, ridge")
    with Storage() as storage:
        uri = storage.put(data.mixed(options.rows))
        request = {"dataset_uri": uri, "target": data.TARGET, "estimator": "ridge"}
        limit_event = {"dataset_uri": uri, "target": data.TARGET}
        with Project(storage) as project, storage.worker(LIMIT) as limit, CsvDesign(storage) as csv:
            contestants: dict[str, Any] = {
                "project": lambda number: list(project(f"project-{number}", request).values()),
                "limit": lambda _: [limit(limit_event)],
                "csv": lambda number: csv(f"csv-{number}", uri, data.TARGET),
            }
            # The first round warms up, and tells what is handed over.
            first = {name: call(-1) for name, call in contestants.items()}
            handed = {name: storage.size(f"runs/{name}--1/") for name in ("project", "csv")}
            measured = interleaved(options.repeats, contestants)
    section.notes.append(check_same({name: result_of(calls) for name, calls in first.items()}))
    seconds = {name: [sum(call.seconds for call in run) for run in runs] for name, runs in measured.items()}
    section.goals = [
        at_most("this project / the limit (warm in-process script)", ratio(seconds["project"], seconds["limit"]), 1.25),
        _faster(ratio(seconds["csv"], seconds["project"])),
    ]
    steps = {
        "this project": [(step, index, "project") for index, step in enumerate(STEPS)],
        "CSV through S3, pandas": [(step, index, "csv") for index, step in enumerate(STEPS)],
    }
    rows = [
        (f"{name}: {step}", *_columns([run[index] for run in measured[key]]))
        for name, parts in steps.items()
        for step, index, key in parts
    ]
    rows += [("the limit: one process", *_columns([run[0] for run in measured["limit"]]))]
    rows += [
        (f"**{name}, all of it**", Spread.of(seconds[key]).text(), "", "")
        for name, key in (("this project", "project"), ("CSV through S3", "csv"), ("the limit", "limit"))
    ]
    section.tables.append((("", "seconds", "processor seconds", "peak MB"), rows))
    section.notes.append(
        f"Handed over through S3 (bucket {BUCKET} of the embedded AWS): this project {handed['project'] / 1e6:.0f} MB, "
        f"the CSV design {handed['csv'] / 1e6:.0f} MB. The limit reads the data set from the same bucket. This project "
        "also writes the profile, the model with its description, and the report; the limit writes nothing."
    )
    section.data = {"seconds": seconds, "rows": options.rows}
    return section


def result_of(calls: list[Call]) -> dict[str, Any]:
    """Return test rows and rmse of a run by the answer of its last call."""
    last = calls[-1].result
    if "rmse" in last:
        return last
    return {"rows": calls[0].result["prepared"]["rows"]["test"], "rmse": last["metrics"]["rmse"]}


def _faster(spread: Spread) -> Goal:
    return Goal("the CSV design / this project", spread.text(), "≥ 4", spread.median >= 4)


def _columns(calls: list[Call]) -> tuple[str, str, str]:
    return (
        Spread.of([call.seconds for call in calls]).text(),
        Spread.of([call.cpu_seconds for call in calls]).text(),
        rounded(max(call.peak_bytes for call in calls) / 1e6),
    )
