"""A whole run, from the data set in S3 to the metric: this project, the limit and the CSV design."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import data
from benchmarks.figures import Goal, Section, Spread, Table, at_most, check_same, interleaved, ratio, rounded
from benchmarks.options import Options
from benchmarks.storage import BUCKET, CsvDesign, Project, Storage
from benchmarks.worker import Call
from crosstrain.delivery.functions import STEPS

LIMIT = "benchmarks.contestants.in_process:run"
_PREPARE, _TRAIN, _EVALUATE = STEPS
# What is done, and the functions that do it: of which process, and by which name.
WORK: dict[str, list[tuple[str, str]]] = {
    "download the data set": [(_PREPARE, "storage.download_unchanged"), ("the limit", "in_process._download")],
    "read it": [(_PREPARE, "scanning.scan_file"), ("the limit", "in_process._parsed")],
    "of that, statistics": [(_PREPARE, "profiling.add")],
    "choose types, split": [
        (_PREPARE, "preparation._write_parts"),
        ("the limit", "in_process._features"),
        ("the limit", "in_process._frame"),
    ],
    "upload the parts": [(_PREPARE, "app._upload_parts")],
    "download and load the parts": [
        (_TRAIN, "storage.download"),
        (_TRAIN, "frames.target"),
        (_EVALUATE, "frames._block"),
    ],
    "fit": [(_TRAIN, "streaming.fit_streamed"), ("the limit", "in_process._fit")],
    "save and load the model": [(_TRAIN, "model_file.save_model"), (_EVALUATE, "model_file.load_model")],
    "predict and score": [
        (_EVALUATE, "metrics.predict"),
        (_EVALUATE, "evaluation.measure"),
        ("the limit", "in_process._rmse"),
    ],
    "report, with the importance of features": [(_EVALUATE, "app._card_and_report")],
}


def measure(options: Options) -> Section:
    """Return seconds, ratios and peaks of whole runs, each contestant warm."""
    section = Section(f"A whole run: {options.rows:,} rows, 30 mixed columns, ridge")
    with Storage() as storage:
        uri = storage.put(data.mixed(options.rows))
        # The limit makes no more features than there are columns.
        request = {"dataset_uri": uri, "target": data.TARGET, "estimator": "ridge", "features": "plain"}
        limit_event = {"dataset_uri": uri, "target": data.TARGET}
        with Project(storage) as project, storage.worker(LIMIT) as limit, CsvDesign(storage) as csv:
            # Runs replace each other's objects: the embedded AWS keeps them in memory.
            contestants: dict[str, Any] = {
                "project": lambda _: list(project("project", request).values()),
                "limit": lambda _: [limit(limit_event)],
                "csv": lambda _: csv("csv", uri, data.TARGET),
            }
            # The first round warms up, and tells what is handed over.
            first = {name: call(0) for name, call in contestants.items()}
            handed = {name: storage.size(f"runs/{name}/") for name in ("project", "csv")}
            measured = interleaved(options.repeats, contestants)
            profiled = [
                {
                    **{step: call.shares for step, call in project("profiled", request, profile=True).items()},
                    "the limit": limit(limit_event, profile=True).shares,
                }
                for _ in range(options.profiled_runs)
            ]
    section.notes.append(check_same({name: result_of(calls) for name, calls in first.items()}))
    seconds = {name: [sum(call.seconds for call in run) for run in runs] for name, runs in measured.items()}
    section.goals = _goals(
        ratio(seconds["project"], seconds["limit"]), ratio(seconds["csv"], seconds["project"]), options
    )
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
    section.tables.append(_shares(profiled))
    section.notes.append(
        f"The profile: median of {options.profiled_runs} more under Python's profiler, which doubles the time of the "
        "report and hardly changes the other lines. What has no figure for the limit is what three functions cost "
        "that hand over by S3, and what this project does besides. Evaluation's downloads are made by threads "
        "beside its own work, and have no line."
    )
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


def _shares(profiled: list[dict[str, dict[str, float]]]) -> Table:
    """Return where the time of this project's run goes, and of the limit's."""
    rows = [
        (
            what,
            _share(profiled, [(step, name) for step, name in own if step in STEPS]),
            _share(profiled, [(step, name) for step, name in own if step not in STEPS]),
        )
        for what, own in WORK.items()
    ]
    return ("in the profile", "this project, seconds", "the limit, seconds"), rows


def _share(profiled: list[dict[str, dict[str, float]]], functions: list[tuple[str, str]]) -> str:
    if not functions:
        return ""
    seconds = statistics.median(sum(run[of].get(name, 0.0) for of, name in functions) for run in profiled)
    # A profile holds what the thread of the call has done.
    unseen = ", ".join(name for of, name in functions if not any(name in run[of] for run in profiled))
    return rounded(seconds, 2) + (f" ({unseen} not called)" if unseen else "")


def _goals(to_limit: Spread, to_csv: Spread, options: Options) -> list[Goal]:
    """Return the two ratios; fewer rows say nothing of the goals, for the report takes as long on any number."""
    own, other = "this project / the limit (warm in-process script)", "the CSV design / this project"
    if options.quick:
        return [Goal(own, to_limit.text()), Goal(other, to_csv.text())]
    return [at_most(own, to_limit, 1.25), Goal(other, to_csv.text(), "≥ 4", to_csv.median >= 4)]


def _columns(calls: list[Call]) -> tuple[str, str, str]:
    return (
        Spread.of([call.seconds for call in calls]).text(),
        Spread.of([call.cpu_seconds for call in calls]).text(),
        rounded(max(call.peak_bytes for call in calls) / 1e6),
    )
