"""Large data: what each way takes of time, memory and dollars as rows grow, and whether all make the same of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import ROOT, data
from benchmarks.cost import lambda_cost
from benchmarks.figures import Goal, Section, rounded
from benchmarks.growth import log_slope
from benchmarks.options import Options
from benchmarks.scale_paper import paper
from benchmarks.storage import Storage
from benchmarks.worker import Call, Worker
from crosstrain.delivery.functions import STEPS

ROWS = (10**5, 10**6, 10**7)
ESTIMATORS: Mapping[str, Mapping[str, Any]] = {"ridge": {}, "xgboost": {"n_estimators": 10}}
PIECE_BYTES = 16 << 20
AT_ONCE = 40
"""The template's MostPieces by default: how many pieces are worked on at a time."""
MEMORY_MB = 3008
"""Of a function, by which its seconds are paid for here."""


@dataclass(frozen=True)
class Pieces:
    """What the calls of a preparation in pieces took, in the phases in which the state machine makes them."""

    phases: Sequence[Sequence[Call]]

    @property
    def prepared(self) -> dict[str, Any]:
        """What the last call returns."""
        return self.phases[-1][-1].result

    @property
    def seconds_of_all(self) -> float:
        """Seconds of all calls together."""
        return sum(call.seconds for phase in self.phases for call in phase)

    @property
    def seconds(self) -> float:
        """Seconds from the first call to the end of the last one, of a phase `AT_ONCE` at a time."""
        return sum(
            math.ceil(len(phase) / AT_ONCE) * max(call.seconds for call in phase) for phase in self.phases if phase
        )

    @property
    def peak_bytes(self) -> int:
        """The largest peak of a call."""
        return max(call.peak_bytes for phase in self.phases for call in phase)


def measure(options: Options) -> Section:
    """Return the figures of each way, and what follows from them for more rows than this machine can hold."""
    section = Section("Large data: 30 mixed columns, one call against pieces, and fits block by block")
    sizes = [rows for rows in ROWS if not options.quick or rows <= options.rows]
    prices = json.loads((ROOT / "benchmarks" / "prices.json").read_text(encoding="utf-8"))
    price = {name: each["price"] for name, each in prices.items() if "price" in each}
    taken: dict[str, dict[int, Call | Pieces]] = {}
    same = []
    with Storage() as storage:
        for rows in sizes:
            uri = storage.put(data.mixed(rows))
            calls, equal = _of(storage, uri, rows)
            for name, call in calls.items():
                taken.setdefault(name, {})[rows] = call
            same.append(equal)
            storage.forget("")
    section.goals.append(
        Goal("pieces make the same parts and profile as one call", f"{sum(same)} of {len(same)}", "all", all(same))
    )
    section.tables.append(_table(taken, price))
    slopes = {name: log_slope({rows: _work(call) for rows, call in calls.items()}) for name, calls in taken.items()}
    for name, slope in slopes.items():
        if len(sizes) > 1:
            section.goals.append(Goal(f"growth of {name}, slope in log-log", rounded(slope), "≤ 1.05", slope <= 1.05))
    section.notes.append(
        f"Pieces of {PIECE_BYTES >> 20} MB, made one after another; in seconds as if {AT_ONCE} were at work at a time, "
        f"which a data set of {AT_ONCE} GB needs by default. Seconds for the slope: those of all calls together. "
        f"Dollars: by Lambda's list prices for {MEMORY_MB:,} MB."
    )
    section.data = {
        name: {str(rows): [_work(call), call.peak_bytes] for rows, call in calls.items()}
        for name, calls in taken.items()
    }
    largest = max(sizes)
    head, lines, notes = paper({name: _work(calls[largest]) / largest for name, calls in taken.items()}, prices)
    section.tables.append((head, lines))
    section.notes += notes
    return section


def _of(storage: Storage, uri: str, rows: int) -> tuple[dict[str, Call | Pieces], bool]:
    """Return what each way took for a data set, in fresh processes, and whether pieces have made what one call made."""
    request = {"dataset_uri": uri, "target": data.TARGET, "search_trials": 0}
    found: dict[str, Call | Pieces] = {}
    event: dict[str, Any] = {"run_id": f"scale-{rows}", "request": request, "champion": None}
    with storage.worker(f"{STEPS[0]}.app:handler") as worker:
        one = found["preparation, one call"] = worker(event)
    with storage.worker(f"{STEPS[0]}.app:handler", variables={"PIECE_BYTES": str(PIECE_BYTES)}) as worker:
        pieces = found["preparation, in pieces"] = _in_pieces(worker, {**event, "run_id": f"scale-{rows}-pieces"})
    for estimator, hyperparameters in ESTIMATORS.items():
        asked = {**request, "estimator": estimator, "hyperparameters": hyperparameters}
        trained: dict[str, Any] = {"run_id": f"scale-{rows}-{estimator}", "request": asked, "champion": None}
        with storage.worker(f"{STEPS[0]}.app:handler") as worker:
            trained |= worker(trained).result
        with storage.worker(f"{STEPS[1]}.app:handler") as worker:
            call = found[f"training of {estimator}"] = worker(trained)
        with storage.worker(f"{STEPS[2]}.app:handler") as worker:
            found[f"evaluation of {estimator}"] = worker({**trained, "model": call.result, "contended": False})
    return found, one.result["prepared"]["sha256"] == pieces.prepared["prepared"]["sha256"]


def _in_pieces(worker: Worker, event: Mapping[str, Any]) -> Pieces:
    """Make the calls that the state machine makes."""
    phases = [[worker({**event, "task": "plan_pieces"})]]
    pieces: dict[str, Any] = {**phases[0][0].result, "again": True}
    run = {"run_id": event["run_id"]}

    def each(task: str) -> list[Call]:
        return [worker({**run, "task": task, "pieces": pieces, "piece": number}) for number in range(pieces["count"])]

    while pieces["again"]:
        phases.append(each("scan_piece"))
        phases.append([worker({**run, "task": "merge_scans", "pieces": pieces})])
        pieces = phases[-1][0].result
    phases.append(each("write_piece"))
    phases.append([worker({**run, "task": "finish_pieces", "pieces": pieces})])
    return Pieces(phases)


def _work(call: Call | Pieces) -> float:
    return call.seconds if isinstance(call, Call) else call.seconds_of_all


def _dollars(call: Call | Pieces, price: Mapping[str, float]) -> float:
    if isinstance(call, Call):
        return lambda_cost(call, MEMORY_MB, price)
    return sum(lambda_cost(each, MEMORY_MB, price) for phase in call.phases for each in phase)


def _table(
    taken: Mapping[str, Mapping[int, Call | Pieces]], price: Mapping[str, float]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    head = ("way", "rows", "seconds", "processor seconds", "peak MB", "dollars")
    rows = []
    for name, calls in taken.items():
        for count, call in calls.items():
            cpu = (
                call.cpu_seconds
                if isinstance(call, Call)
                else sum(each.cpu_seconds for phase in call.phases for each in phase)
            )
            peak = f"{call.peak_bytes / 2**20:,.0f}"
            rows.append(
                (name, f"{count:,}", rounded(call.seconds), rounded(cpu), peak, f"{rounded(_dollars(call, price))}")
            )
    return head, rows
