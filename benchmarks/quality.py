"""Compare this project's models with what other libraries make of the same tables by default: `make bench-quality`.

    python -m benchmarks.quality [--seeds N] [--budget SECONDS] [--only CONTESTANT …] [--tables TABLE …] [--again]

There is one process at a time, with one thread, for each contestant. What a fit has led to is one line of
results.jsonl, so that a run that was cut goes on where it was; `--again` measures the chosen ones anew. At the end the
document is written of all lines that there are.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks import ROOT
from benchmarks.peers import CONTESTANTS, environment_of
from benchmarks.quality_report import render
from benchmarks.quality_tables import FOLDER, SEEDS, TABLES, Table, export

RESULTS = FOLDER / "results.jsonl"
DOCUMENT = ROOT / "benchmarks" / "quality.md"
PROJECT = ("linear", "hist_gradient_boosting", "random_forest", "auto")
PEERS = ("mean_or_prior", "sklearn_boosting", "skrub", "lightgbm", "xgboost", "catboost", "flaml")
# FLAML, which takes its whole budget for each table, comes last.
NAMES = (*PEERS[:-1], *PROJECT, "flaml")
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
    # One seed after another, so that a run that is cut has all of the first.
    for seed, contestant in itertools.product(range(options.seeds), options.only):
        left = [table for table in chosen if (table.name, contestant, seed) not in known]
        while left:
            left = left[_measure(left, contestant, seed, options.budget) :]
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


def _measure(tables: list[Table], contestant: str, seed: int, budget: int) -> int:
    """Fit a contestant to tables in one process, keep a line of each, and return how many; an error is the last one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "functions"), "PYTHONWARNINGS": "ignore"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")
    jobs = "\n".join(json.dumps(_job(table, contestant, seed, budget)) for table in tables)
    done = 0
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as asked:
        asked.write(jobs)
        asked.seek(0)
        with subprocess.Popen(
            _command(contestant), env=environment, cwd=ROOT, text=True, stdin=asked, stdout=subprocess.PIPE, stderr=told
        ) as worker:
            # Libraries print, too.
            results = (json.loads(line) for line in worker.stdout or () if line.startswith('{"metrics"'))
            for table, result in zip(tables, results, strict=False):
                value = result["metrics"][table.metric]
                _append({"table": table.name, "contestant": contestant, "seed": seed, "value": value, **result})
                done += 1
        told.seek(0)
        reason = (told.read().strip() or f"exit code {worker.returncode}").splitlines()[-1]
    if done < len(tables):
        _append({"table": tables[done].name, "contestant": contestant, "seed": seed, "error": reason})
        done += 1
    return done


def _append(line: Line) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    told = line.get("error") or f"{line['value']:.4g}, {line['fit_seconds']:.1f} s"
    print(f"{line['table']}, {line['contestant']}, seed {line['seed']}: {told[:300]}", file=sys.stderr, flush=True)


def _command(contestant: str) -> list[str]:
    polite = ["nice", "-n", "19"]
    if contestant in PROJECT:
        return [*polite, sys.executable, "-m", "benchmarks.quality_project", contestant]
    python = str(environment_of("quality") / "bin/python")
    return [*polite, python, str(CONTESTANTS / "quality_peers.py"), contestant]


def _job(table: Table, contestant: str, seed: int, budget: int) -> dict[str, Any]:
    """Return what a worker has to know of a table."""
    if contestant in PROJECT:
        return {"table": table.name, "seed": seed}
    known = {"path": str(table.path), "target": table.target, "problem": table.problem}
    return {**known, "seed": seed, "seconds": budget}


if __name__ == "__main__":
    sys.exit(main())
