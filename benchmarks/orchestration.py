"""What starting steps and passing on costs: a run's wall-clock time less that of its three steps, on tiny data."""

from __future__ import annotations

from benchmarks import ROOT, peers
from benchmarks.figures import Goal, Section, Spread, at_most, interleaved
from benchmarks.options import Options
from benchmarks.stack import machine


def measure(options: Options) -> Section:
    """Return the overhead of the state machine on the embedded AWS, of Metaflow and of Kedro."""
    section = Section("Orchestration: 442 rows, so that little but the orchestration is left")
    data, target = ROOT / "data" / "diabetes.csv", "target"
    with machine() as state_machine:
        request = {"dataset_uri": state_machine.put(data), "target": target, "search_trials": 0}
        state_machine.run(request)  # starts the workers
        runs = interleaved(options.repeats, {"project": lambda _: state_machine.run(request)})
        runs |= interleaved(
            options.repeats,
            {"metaflow": lambda _: peers.metaflow(data, target), "kedro": lambda _: peers.kedro(data, target)},
        )
    overhead = {name: Spread.of([run.overhead for run in each]) for name, each in runs.items()}
    own = overhead["project"]
    section.goals = [at_most("orchestration per run, embedded AWS, warm workers", own, 0.5, " s")]
    for name in ("metaflow", "kedro"):
        section.goals.append(
            Goal(
                f"the same in {name.capitalize()}",
                overhead[name].text(" s"),
                "more than this project",
                own.median < overhead[name].median,
            )
        )
    section.tables.append(
        (
            ("", "seconds in all", "of that the steps", "orchestration"),
            [
                (
                    {"project": "this project"}.get(name, name.capitalize()),
                    Spread.of([run.seconds for run in each]).text(),
                    Spread.of([run.seconds - run.overhead for run in each]).text(),
                    overhead[name].text(),
                )
                for name, each in runs.items()
            ],
        )
    )
    section.notes.append(
        "Steps of this project: the durations that the embedded AWS reports for the three invocations. Steps of the "
        "others: timed in their bodies, their imports included, for they start processes anew each time."
    )
    section.data = {name: [run.overhead for run in each] for name, each in runs.items()}
    return section
