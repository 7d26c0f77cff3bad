"""Batch scoring: seconds, peak memory and cost of a run over one object, of 10^5 to 10^7 rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks import ROOT, data
from benchmarks.cost import lambda_cost, s3_cost
from benchmarks.figures import Goal, Section, Spread, rounded
from benchmarks.growth import log_slope
from benchmarks.options import Options
from benchmarks.prices import price_by_name
from benchmarks.storage import Project, Storage
from benchmarks.worker import Call, Worker

ROWS = (10**5, 10**6, 10**7)
QUICK_ROWS = (10**4, 10**5)
TRAINING_ROWS = 10_000
REPEATS = 3
FORMATS = ("csv", "parquet")
MEMORY_MB = 3008
"""BatchScoringMemory, as template.yaml has it by default."""
ROW_GROUP_BYTES = 64 << 20
"""Of a CSV file, which are 260,000 rows: as much as writers usually put into a row group, about."""
MODEL_NAME = "default"
STARTED = "2026-03-01T08:00:00.000Z"


@dataclass(frozen=True)
class Run:
    """The calls of one run: its plan, its pieces, and the comparison with training."""

    plan: Call
    pieces: Sequence[Call]
    comparison: Call

    @property
    def calls(self) -> list[Call]:
        """All calls, in their order."""
        return [self.plan, *self.pieces, self.comparison]

    @property
    def seconds(self) -> float:
        """Of all calls one after another: what is billed."""
        return sum(call.seconds for call in self.calls)

    @property
    def peak_bytes(self) -> int:
        """Of the call that took most memory."""
        return max(call.peak_bytes for call in self.calls)


def measure(options: Options) -> Section:
    """Return how a run grows with the rows of its object, which has 30 mixed columns, by a ridge regression."""
    section = Section("Batch scoring: 30 mixed columns, ridge, one object")
    sizes, runs = QUICK_ROWS if options.quick else ROWS, dict[tuple[str, int], list[Run]]()
    with Storage() as storage:
        version = _trained(storage)
        for format_ in FORMATS:
            for rows in sizes:
                uri = storage.put(_object(rows, format_))
                # A worker of its own for each: memory that a larger object has left behind would count.
                with storage.worker("scoring.batch:handler", memory_mb=MEMORY_MB, quiet=True) as worker:
                    name = f"{format_}-{rows}"
                    measured = [_run(worker, version, uri, f"{name}-{each}") for each in range(1 + REPEATS)]
                runs[format_, rows] = measured[1:]
                storage.forget("scoring/")
                storage.forget(f"data/{Path(uri).name}")
    for format_ in FORMATS:
        section.goals += _goals(format_, {rows: runs[format_, rows] for rows in sizes})
    section.tables.append(_table(runs))
    section.notes.append(
        f"Through the handlers, in a warm worker that is new for each object and has {MEMORY_MB:,} MB, the template's "
        "default; the embedded AWS on the same cores serves the object. Pieces are scored one after another, which is "
        "what is billed; the state machine runs eight at once. Peaks are resident sets, which hold the imports too. "
        "The cost is of list prices (`benchmarks/prices.json`): Lambda's time, memory, disk and calls, S3's requests "
        "and state transitions; storage and the registry's items are not in it."
    )
    section.data = {
        "seconds": {f"{format_} {rows}": [run.seconds for run in each] for (format_, rows), each in runs.items()},
        "peaks": {f"{format_} {rows}": [run.peak_bytes for run in each] for (format_, rows), each in runs.items()},
    }
    return section


def _trained(storage: Storage) -> dict[str, Any]:
    """Return the registry's item of a model, as the state machine reads it."""
    request = {"dataset_uri": storage.put(data.mixed(TRAINING_ROWS)), "target": data.TARGET, "estimator": "ridge"}
    with Project(storage) as project:
        evaluated = project("run", request)["model_evaluation"].result
    version: dict[str, Any] = evaluated["registry"]["version"]
    return version


def _object(rows: int, format_: str) -> Path:
    """Return a file of the same rows in a format."""
    source = data.mixed(rows)
    path = source.with_suffix(f".{format_}")
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        # Each block becomes a row group.
        block = pa.csv.ReadOptions(block_size=ROW_GROUP_BYTES)
        with pa.csv.open_csv(source, block) as batches, pq.ParquetWriter(unfinished, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        unfinished.rename(path)
    return path


def _run(worker: Worker, version: Mapping[str, Any], uri: str, run_id: str) -> Run:
    """Call the handler as the state machine does."""
    request = {"dataset_uri": uri, "model_name": MODEL_NAME}
    event = {"run_id": run_id, "started_at": STARTED, "request": request, "version": version}
    planned = worker({"task": "plan_scoring", **event})
    of_run = {"run_id": run_id, "plan": planned.result["plan"]}
    pieces = [worker({"task": "score_piece", **of_run, "piece": each}) for each in planned.result["pieces"]]
    comparison = worker({"task": "compare_with_profile", **of_run, "failed": [], "earlier": []})
    if comparison.result["objects"]["scored"] != 1:
        raise RuntimeError(f"{uri} was not scored: {comparison.result}")
    return Run(planned, pieces, comparison)


def _goals(format_: str, runs: Mapping[int, Sequence[Run]]) -> list[Goal]:
    slope = log_slope({rows: Spread.of([run.seconds for run in each]).median for rows, each in runs.items()})
    peaks = {rows: max(run.peak_bytes for run in each) for rows, each in runs.items()}
    fewer, most = sorted(peaks)[-2:]
    growth = peaks[most] / peaks[fewer]
    return [
        Goal(
            f"batch scoring, {format_}: growth of time with rows, slope in log-log",
            rounded(slope),
            "≤ 1.05",
            slope <= 1.05,
        ),
        Goal(
            f"batch scoring, {format_}: peak memory, {most:,} rows / {fewer:,}", rounded(growth), "≤ 1.1", growth <= 1.1
        ),
    ]


def _table(
    runs: Mapping[tuple[str, int], Sequence[Run]],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    head = ("object", "rows", "pieces", "seconds", "the longest piece", "peak MB", "dollars", "dollars for 10^6 rows")
    states, price = _states_on_the_way(), price_by_name()
    lines = []
    for (format_, rows), each in runs.items():
        cost = min(run_cost(run, states, price) for run in each)
        lines.append(
            (
                format_,
                f"{rows:,}",
                str(len(each[0].pieces)),
                Spread.of([run.seconds for run in each]).text(),
                Spread.of([max(call.seconds for call in run.pieces) for run in each]).text(),
                f"{max(run.peak_bytes for run in each) / 2**20:.0f}",
                rounded(cost),
                rounded(cost / rows * 10**6),
            )
        )
    return head, lines


def run_cost(run: Run, states: int, price: Mapping[str, float]) -> float:
    """Return the price of a run by list prices.

    Parameters
    ----------
    run
        Its calls.
    states
        How many states an execution goes through besides those of its pieces, each of which is one more.
    price
        Of each thing (`prices.json`).
    """
    calls = sum(lambda_cost(call, MEMORY_MB, price) + s3_cost(call, price) for call in run.calls)
    return calls + (states + len(run.pieces)) * price["state_transition"]


def _states_on_the_way() -> int:
    """Return how many states an execution goes through from its start to its success."""
    definition = json.loads((ROOT / "statemachine" / "scoring.asl.json").read_text(encoding="utf-8"))
    name, count = definition["StartAt"], 1
    while (state := definition["States"][name])["Type"] != "Succeed":
        name, count = state.get("Default") or state["Next"], count + 1
    return count
