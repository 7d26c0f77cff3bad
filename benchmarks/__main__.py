"""Run the benchmarks, print their result and write it to benchmarks/results.md, with its plots in docs/.

    python -m benchmarks [--quick] [--only NAME …]

A quick run prints only. With `--only` the other sections are what they were in the last full run; where one was never
measured on this machine, nothing is written.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from dataclasses import asdict

from benchmarks import ROOT, SCRATCH
from benchmarks.figures import Section
from benchmarks.options import Options
from benchmarks.results import render

# Each is a module with a function `measure(options)`; in the order of the result.
NAMES = (
    "whole_run",
    "orchestration",
    "growth",
    "scale",
    "training_memory",
    "durations",
    "cluster",
    "cold_start",
    "scoring",
    "scoring_load",
    "scoring_batch",
    "images",
    "builds",
    "resolving",
    "flights",
    "estimators",
    "cost",
    "idle",
    "decisions",
    "coverage",
    "drift",
    "split",
    "engines",
)
QUICK = ("whole_run", "orchestration", "cold_start", "resolving")
RAW = SCRATCH / "figures.json"


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, in about two minutes")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="these benchmarks alone")
    options = parser.parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    chosen = options.only or (QUICK if options.quick else NAMES)
    kept = json.loads(RAW.read_text(encoding="utf-8")) if RAW.exists() and options.only else {}
    measured: dict[str, Section] = {name: Section(**section) for name, section in kept.items() if name in NAMES}
    for name in chosen:
        started = time.monotonic()
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        measured[name] = importlib.import_module(f"benchmarks.{name}").measure(Options(options.quick))
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
        if not options.quick:
            RAW.write_text(json.dumps({each: asdict(section) for each, section in measured.items()}), encoding="utf-8")
    ordered = {name: measured[name] for name in NAMES if name in measured}
    text = render(ordered, quick=options.quick)
    print(text)
    if missing := [name for name in NAMES if name not in ordered and not options.quick]:
        print(f"results.md stays as it is: {', '.join(missing)} were never measured here.", file=sys.stderr)
    elif not options.quick:
        # What was stored is what is drawn, whether measured now or before.
        stored = json.loads(RAW.read_text(encoding="utf-8"))
        ordered = {name: Section(**stored[name]) for name in ordered}
        importlib.import_module("benchmarks.plots").draw(ordered)
        (ROOT / "benchmarks" / "results.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
