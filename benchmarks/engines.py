"""Other engines that could read CSV for data preparation: DuckDB and Polars beside pyarrow, as it is used here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any

from benchmarks import ROOT, SCRATCH
from benchmarks.data import mixed
from benchmarks.figures import DifferentResultError, Goal, Section, Spread, interleaved, ratio
from benchmarks.options import Options
from benchmarks.peers import CONTESTANTS, environment_of
from data_preparation.columns import Columns
from data_preparation.reading import SourceFile, open_table

ENGINES = {
    "pyarrow": "pyarrow, as data preparation reads",
    "duckdb": "DuckDB, one pass, types given",
    "duckdb_staged": "DuckDB, all as text, TRY_CAST counted, then cast",
    "polars": "Polars, streaming, types given",
}
OUTPUTS = {"batches": "typed batches", "parquet": "Parquet"}
IMPORTS = {
    "pyarrow": "import pyarrow.compute, pyarrow.csv, pyarrow.parquet",
    "duckdb": "import duckdb",
    "polars": "import polars",
}
NOTES = [
    (
        "Fresh processes, held to as many cores as threads; peaks are resident sets, imports included. Texts end as "
        "dictionaries, for a category is hashed once, not once for each row. Parquet is LZ4, all columns in one file."
    ),
    (
        "pyarrow finds the types itself; those of DuckDB in one pass and of Polars are given, in their favour. "
        "Refusing a file, and numbering its rows, is no part of the time."
    ),
    (
        "MB in an image: the engine's own wheels after `slim_packages.py`, without what they depend on. Data "
        "preparation hashes, summarises and spools Arrow batches, so that another engine comes on top of pyarrow."
    ),
]
Measured = dict[str, list[dict[str, Any]]]


def measure(options: Options) -> Section:
    """Return what it takes each engine to read a CSV file, and what it adds to an image and to a cold start."""
    section = Section(f"Engines that read CSV: {options.rows:,} rows, 30 mixed columns")
    rows = []
    for threads in (1, 2):
        for output, label in OUTPUTS.items():
            measured = _read(options, output, threads)
            rows += [_row(f"{threads} vCPU, {label}", engine, measured[engine]) for engine in ENGINES]
            section.goals += [
                Goal(f"{engine} / pyarrow, CSV to {label}, {threads} vCPU, processor time", _ratio(measured, engine))
                for engine in ("duckdb", "polars")
            ]
    section.tables += [
        (("from CSV to", "engine", "processor seconds", "seconds", "peak MB"), rows),
        (("", "import, seconds", "MB in an image"), _weights(options)),
    ]
    section.notes = NOTES
    return section


def _read(options: Options, output: str, threads: int) -> Measured:
    """Return what the runs of each engine took, once all have read the same number of rows."""
    path = mixed(options.rows)
    columns = Columns()
    with open_table(SourceFile(path.name, path)) as table:
        next(table.batches(columns))
    kinds = columns.kinds

    def run(engine: str) -> dict[str, Any]:
        arguments = [engine, output, str(path), json.dumps(kinds), str(threads)]
        result: dict[str, Any] = json.loads(_python(str(CONTESTANTS / "csv_engines.py"), *arguments, cores=threads))
        return result

    run("pyarrow")  # brings the file into the system's cache
    measured = interleaved(options.repeats, {engine: lambda _, it=engine: run(it) for engine in ENGINES})
    counts = {engine: runs[0]["rows"] for engine, runs in measured.items()}
    if set(counts.values()) != {options.rows}:
        raise DifferentResultError(f"rows read: {counts}")
    return measured


def _row(case: str, engine: str, runs: list[dict[str, Any]]) -> tuple[str, ...]:
    cpu, seconds = (Spread.of([run[name] for run in runs]).text() for name in ("cpu", "seconds"))
    return case, ENGINES[engine], cpu, seconds, f"{max(run['peak'] for run in runs) / 1e6:.0f}"


def _ratio(measured: Measured, engine: str) -> str:
    ones, others = ([run["cpu"] for run in measured[name]] for name in (engine, "pyarrow"))
    return ratio(ones, others).text()


def _weights(options: Options) -> list[tuple[str, ...]]:
    """Return the seconds that a fresh process imports each engine in, and its size."""

    def start(code: str) -> float:
        started = time.perf_counter()
        _python("-c", code)
        return time.perf_counter() - started

    imports = {"nothing": "pass", **IMPORTS}
    seconds = interleaved(
        options.process_repeats, {name: lambda _, it=code: start(it) for name, code in imports.items()}
    )
    return [
        (f"`{code}`", Spread.of(seconds[name]).text(), f"{_installed_bytes(name) / 1e6:.0f}" if name in IMPORTS else "")
        for name, code in imports.items()
    ]


def _python(*arguments: str, cores: int = 2) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "functions")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = ["taskset", "--cpu-list", f"0-{cores - 1}", str(environment_of("engines") / "bin/python"), *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _installed_bytes(engine: str) -> int:
    """Return the size of an engine's own wheels, slimmed as the images are."""
    pinned = (CONTESTANTS.parent / "requirements" / "engines.txt").read_text(encoding="ascii").splitlines()
    folder = SCRATCH / "images" / engine
    shutil.rmtree(folder, ignore_errors=True)
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*install, *(line for line in pinned if line.startswith(engine))], check=True)
    slim = [sys.executable, str(ROOT / "functions" / "slim_packages.py"), str(folder)]
    subprocess.run(slim, check=True, stdout=subprocess.DEVNULL)
    size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    shutil.rmtree(folder)
    return size
