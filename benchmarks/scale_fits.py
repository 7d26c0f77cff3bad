"""Fits on more rows than a function takes, from a part that repeats the row groups of a smaller one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from benchmarks import SCRATCH
from benchmarks.contestants.fit_alone import needed_mb
from benchmarks.storage import Storage
from benchmarks.worker import Call
from data_preparation.parts import PartWriter

FIT = "benchmarks.contestants.fit_alone:run"


def fits(
    storage: Storage,
    prepared: Mapping[str, Any],
    requests: Mapping[str, Mapping[str, Any]],
    sizes: Sequence[int],
) -> tuple[dict[str, dict[int, Call]], list[str]]:
    """Return what fits alone take, of each request and number of rows, in fresh processes; and what was not measured.

    Parameters
    ----------
    storage
        Where the prepared part is.
    prepared
        What data preparation has returned of it.
    requests
        By the names of their estimators.
    sizes
        Numbers of training rows: the part is written again and again, until there are so many.
    """
    taken: dict[str, dict[int, Call]] = {name: {} for name in requests}
    left_out = []
    with TemporaryDirectory(dir=SCRATCH) as folder:
        small = storage.fetch(prepared["train_uri"], Path(folder) / "train.parquet")
        profile = storage.fetch(prepared["profile_uri"], Path(folder) / "profile.json")
        for size in sizes:
            with _repeated(small, size, Path(folder) / "repeated.parquet") as (part, rows):
                for name, request in requests.items():
                    event = {"part": str(part), "profile": str(profile), "rows": rows, "request": request}
                    needed, there = needed_mb(event), _available_mb()
                    if needed > there:
                        left_out.append(f"{name} on {rows:,} rows: {needed:,} MB, and {there:,} MB were free")
                        continue
                    with storage.worker(FIT) as worker:
                        taken[name][rows] = worker(event)
    return taken, left_out


def _available_mb() -> int:
    """Return how much memory the kernel can give, in MB."""
    (line,) = (
        each for each in Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if "MemAvailable" in each
    )
    return int(line.split()[1]) >> 10


@contextmanager
def _repeated(small: Path, rows: int, target: Path) -> Iterator[tuple[Path, int]]:
    """Write the rows of a part again and again, at least so many as asked for, and yield the file and their number."""
    with pq.ParquetFile(small) as source:
        times = -(-rows // source.metadata.num_rows)
        with PartWriter(target, source.schema_arrow) as writer:
            for _ in range(times):
                for batch in source.iter_batches():
                    writer.write(batch)
        yield target, times * source.metadata.num_rows
    target.unlink()
