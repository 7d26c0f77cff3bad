"""Large data: what each way takes of time, memory and dollars as rows grow, and whether all make the same of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import data
from benchmarks.cost import lambda_cost
from benchmarks.figures import Goal, Section, rounded
from benchmarks.growth import log_slope
from benchmarks.options import Options
from benchmarks.prices import price_by_name
from benchmarks.scale_fits import fits
from benchmarks.scale_paper import estimates, notes, table
from benchmarks.scale_routes import Routes
from benchmarks.scale_routes import note as routes_note
from benchmarks.scale_routes import table as routes_table
from benchmarks.storage import Storage
from benchmarks.worker import Call, Worker
from crosstrain.delivery.functions import STEPS

ROWS = (10**5, 10**6, 10**7)
"""Of data sets that the embedded AWS keeps in memory, twice: beside what the pieces hand over."""
FIT_ROWS = (10**6, 10**7, 10**8)
"""Of training parts that lie on the disk."""
GROWTH_FROM = 10**6
ESTIMATORS: Mapping[str, Mapping[str, Any]] = {"ridge": {}, "xgboost": {"n_estimators": 10}}
PIECE_BYTES = 16 << 20
IN_PIECES = "preparation, in pieces"
AT_ONCE = 40
"""The most that the template's PiecesAtOnce may say: how many pieces are worked on at a time."""
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
    def cpu_seconds(self) -> tuple[float, float]:
        """Processor seconds of the calls that are made for each piece, and of those that are made once."""
        each = [(len(phase) > 1, sum(call.cpu_seconds for call in phase)) for phase in self.phases]
        return sum(taken for is_map, taken in each if is_map), sum(taken for is_map, taken in each if not is_map)

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
    price = price_by_name()
    taken: dict[str, dict[int, Call | Pieces]] = {}
    same = []
    with Storage() as storage:
        for rows in sizes:
            uri = storage.put(data.mixed(rows))
            calls, equal, prepared = _of(storage, uri, rows)
            for name, call in calls.items():
                taken.setdefault(name, {})[rows] = call
            same.append(equal)
            if rows == min(FIT_ROWS) or options.quick:
                fitted, left_out = fits(storage, prepared["prepared"], _requests(prepared), _fit_rows(options))
                taken |= {f"fit of {estimator} alone": dict(calls) for estimator, calls in fitted.items() if calls}
                section.notes += [f"Not measured: {each}." for each in left_out]
            routes = Routes(_requests(prepared), storage.document(prepared["prepared"]["profile_uri"]))
            storage.forget("")
    section.goals.append(
        Goal("pieces make the same parts and profile as one call", f"{sum(same)} of {len(same)}", "all", all(same))
    )
    section.goals += _memory_goals(taken)
    section.tables.append(_table(taken, price))
    section.goals += [
        _growth_goal(name, {rows: _cpu_seconds(call) for rows, call in calls.items() if rows >= GROWTH_FROM})
        for name, calls in taken.items()
        if max(calls) > GROWTH_FROM
    ]
    section.notes.append(
        f"Pieces of {PIECE_BYTES >> 20} MB, made one after another; in seconds as if {AT_ONCE} were at work at a time, "
        f"which a data set of {AT_ONCE} GB needs by default. Growth: by the processor seconds of all calls together, "
        f"from {GROWTH_FROM:,} rows on, for below what takes as long for any number of rows hides it. Dollars: by "
        f"Lambda's list prices for {MEMORY_MB:,} MB. A fit alone reads a part from the disk that repeats the rows of a "
        "million."
    )
    section.data = {
        "measured": {
            name: {str(rows): [_cpu_seconds(call), call.peak_bytes] for rows, call in calls.items()}
            for name, calls in taken.items()
        },
        "seconds_per_row": _rates(taken),
    }
    section.tables.append(routes_table(routes.begins()))
    estimated = estimates(section.data["seconds_per_row"], routes, ESTIMATORS)
    section.data["estimates"] = [asdict(each) for each in estimated]
    section.goals.append(
        Goal(
            "trainings that are sent to a task which would refuse them",
            f"{routes.refused} of {routes.sent}",
            "none",
            not routes.refused,
        )
    )
    section.tables.append(table(estimated))
    section.notes += [routes_note(), notes()]
    return section


def _rates(taken: Mapping[str, Mapping[int, Call | Pieces]]) -> dict[str, float]:
    """Return processor seconds per row at the largest number of rows of each way, of pieces by what is done at once."""
    largest = {name: max(calls.items()) for name, calls in taken.items()}
    rates = {name: _cpu_seconds(call) / rows for name, (rows, call) in largest.items()}
    rows, pieces = largest[IN_PIECES]
    if isinstance(pieces, Pieces):
        at_once, alone = pieces.cpu_seconds
        rates |= {"a piece's calls": at_once / rows, "calls before and after": alone / rows}
    return rates


def _of(storage: Storage, uri: str, rows: int) -> tuple[dict[str, Call | Pieces], bool, dict[str, Any]]:
    """Return what each way took for a data set; whether pieces have made what one call made; and what that returned."""
    request = {"dataset_uri": uri, "target": data.TARGET, "search_trials": 0}
    found: dict[str, Call | Pieces] = {}
    event: dict[str, Any] = {"run_id": f"scale-{rows}", "request": request, "champion": None}
    with storage.worker(f"{STEPS[0]}.app:handler") as worker:
        one = found["preparation, one call"] = worker(event)
    with storage.worker(f"{STEPS[0]}.app:handler", variables={"PIECE_BYTES": str(PIECE_BYTES)}) as worker:
        pieces = found[IN_PIECES] = _in_pieces(worker, {**event, "run_id": f"scale-{rows}-pieces"})
    storage.forget("pieces/")
    for estimator, asked in _requests(one.result).items():
        trained = {**event, **one.result, "run_id": f"scale-{rows}-{estimator}", "request": asked}
        with storage.worker(f"{STEPS[1]}.app:handler") as worker:
            call = found[f"training of {estimator}"] = worker(trained)
        with storage.worker(f"{STEPS[2]}.app:handler") as worker:
            found[f"evaluation of {estimator}"] = worker({**trained, "model": call.result, "contended": False})
    return found, one.result["prepared"]["sha256"] == pieces.prepared["prepared"]["sha256"], one.result


def _requests(prepared: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the request of each estimator, by what data preparation has returned."""
    return {
        name: {**prepared["request"], "estimator": name, "hyperparameters": dict(chosen)}
        for name, chosen in ESTIMATORS.items()
    }


def _fit_rows(options: Options) -> list[int]:
    return [rows for rows in FIT_ROWS if not options.quick or rows <= options.rows] or [options.rows]


def _memory_goals(taken: Mapping[str, Mapping[int, Call | Pieces]]) -> list[Goal]:
    """Return whether any fit took more memory than the check before it had reckoned, which decides where it goes."""
    shares = [
        call.peak_bytes / 2**20 / call.result["needed_mb"]
        for calls in taken.values()
        for call in calls.values()
        if isinstance(call, Call) and "needed_mb" in call.result
    ]
    return [
        Goal(
            "memory of a fit / what was reckoned before it, the largest", rounded(max(shares)), "≤ 1", max(shares) <= 1
        )
    ]


def _growth_goal(name: str, seconds: Mapping[int, float]) -> Goal:
    slope = log_slope(dict(seconds))
    return Goal(f"growth of {name}, slope in log-log", rounded(slope), "≤ 1.05", slope <= 1.05)


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


def _cpu_seconds(call: Call | Pieces) -> float:
    if isinstance(call, Call):
        return call.cpu_seconds
    return sum(call.cpu_seconds)


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
            peak = f"{call.peak_bytes / 2**20:,.0f}"
            rows.append(
                (
                    name,
                    f"{count:,}",
                    rounded(call.seconds),
                    rounded(_cpu_seconds(call)),
                    peak,
                    f"{rounded(_dollars(call, price))}",
                )
            )
    return head, rows
