"""Compare this project's models with what other libraries make of the same tables by default: `make bench-quality`.

    python -m benchmarks.quality [--seeds N] [--budget SECONDS] [--only CONTESTANT …] [--tables TABLE …] [--again]

Each fit is a process with one thread, one at a time. What a fit has led to is one line of results.jsonl, so that a run
that was cut goes on where it was; `--again` measures the chosen ones anew. At the end the document is written of all
lines that there are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import ROOT
from benchmarks.peers import CONTESTANTS, environment_of
from benchmarks.quality_report import render
from benchmarks.quality_tables import FOLDER, SEEDS, TABLES, Table, export

RESULTS = FOLDER / "results.jsonl"
DOCUMENT = ROOT / "benchmarks" / "quality.md"
PROJECT = ("default", "hist_gradient_boosting", "random_forest", "auto")
PEERS = ("mean_or_prior", "sklearn_boosting", "skrub", "lightgbm", "xgboost", "catboost", "flaml")
# FLAML, which takes its whole budget for each table, comes last.
NAMES = (*PEERS[:-1], *PROJECT, "flaml")
TIMEOUT = 1800
"""Seconds that a fit may take."""
Line = dict[str, Any]


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    tables = [table.name for table in TABLES]
    parser.add_argument("--seeds", type=int, choices=range(1, SEEDS + 1), default=SEEDS, help="how many splits")
    parser.add_argument("--budget", type=int, default=60, help="seconds that FLAML searches for")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="these contestants alone")
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables, help="these tables alone")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    options = parser.parse_args()
    chosen = [table for table in TABLES if table.name in options.tables]
    for table in chosen:
        export(table)
    # What has failed is tried again.
    known = {_key(line) for line in read() if "error" not in line} if not options.again else set()
    for seed, contestant, table in _todo(options, chosen):
        if (table.name, contestant, seed) not in known:
            _append(_measure(table, contestant, seed, options.budget))
    DOCUMENT.write_text(render(read()), encoding="utf-8")
    print(f"{DOCUMENT.relative_to(ROOT)} is written.", file=sys.stderr)
    return 0


def read() -> list[Line]:
    """Return what was measured, the last line of each fit."""
    if not RESULTS.exists():
        return []
    lines = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    return list({_key(line): line for line in lines}.values())


def _key(line: Line) -> tuple[str, str, int]:
    return line["table"], line["contestant"], line["seed"]


def _todo(options: argparse.Namespace, tables: list[Table]) -> Iterator[tuple[int, str, Table]]:
    """Yield what is to be measured, one seed after another, so that a run that is cut has all of the first."""
    for seed in range(options.seeds):
        for contestant in options.only:
            for table in tables:
                yield seed, contestant, table


def _append(line: Line) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _measure(table: Table, contestant: str, seed: int, budget: int) -> Line:
    """Return the line of one fit, or of why there is none."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "functions"), "PYTHONWARNINGS": "ignore"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")
    command = ["nice", "-n", "19", *_command(table, contestant, seed, budget)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    line: Line = {"table": table.name, "contestant": contestant, "seed": seed}
    if done.returncode:
        told = done.stderr.strip().splitlines()
        line["error"] = told[-1] if told else f"exit code {done.returncode}"
        print(f"{table.name}, {contestant}, seed {seed}: {line['error'][:300]}", file=sys.stderr)
        return line
    # What a library prints of its own comes before.
    result = json.loads(done.stdout.splitlines()[-1])
    line |= {"value": result["metrics"][table.metric], **result}
    print(f"{table.name}, {contestant}, seed {seed}: {line['value']:.4g}, {line['fit_seconds']:.1f} s", file=sys.stderr)
    return line


def _command(table: Table, contestant: str, seed: int, budget: int) -> list[str]:
    if contestant in PROJECT:
        return [sys.executable, "-m", "benchmarks.quality_project", contestant, table.name, str(seed)]
    script = [str(environment_of("quality") / "bin/python"), str(CONTESTANTS / "quality_peers.py")]
    return [*script, contestant, str(table.path), table.target, table.problem, str(seed), str(budget)]


if __name__ == "__main__":
    sys.exit(main())
