"""Trees that two workers grow together, against one task: processor seconds and memory, on one machine over TLS."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import data
from benchmarks.figures import Goal, Section, rounded
from benchmarks.growth import log_slope
from benchmarks.storage import Storage
from common.frames import PartFile
from common.request import parse_request
from common.storage import download, pinned, read_json, s3_client, workspace
from crosstrain.delivery.functions import STEPS
from model_training.boosting_rows import fit_block_by_block
from model_training.distributed import Workers, started
from model_training.training import build_pipeline

if TYPE_CHECKING:
    from benchmarks.options import Options
    from model_training.distributed import Cluster

ROWS = (1_000_000, 3_000_000)
COLUMNS, TREES, WORKERS = 30, 10, 2
ALONE, TELLS, WORK = "one task", "the task that tells", "workers"
SECONDS_OF_START = 300.0
HOST = "127.0.0.1"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Fits:
    """What the same fit took of one task and of several.

    Attributes
    ----------
    seconds
        Processor seconds of each that takes part.
    peaks
        Peak memory in bytes, of one process.
    bytes_a_value
        Memory above the imports, of all together, for each value of a feature: of one task, and of several.
    """

    seconds: dict[str, float]
    peaks: dict[str, int]
    bytes_a_value: tuple[float, float]

    @property
    def of_several(self) -> float:
        """Processor seconds of several tasks but for their start and the scheduler, alike for any rows."""
        return self.seconds[TELLS] + self.seconds[WORK]


def measure(options: Options) -> Section:
    """Return what the same fit takes alone and with two workers, and how that grows with the rows."""
    sizes = [rows for rows in ROWS if not options.quick or rows <= options.rows] or [options.rows]
    section = Section(f"Trees on two workers: {COLUMNS} decimals, {TREES} trees, a thread each")
    taken = dict[int, Fits]()
    with Storage() as storage:
        storage.keep_versions()
        for rows in sizes:
            taken[rows] = _of(storage, rows)
    section.tables.append(
        (
            ("", "rows", "processor seconds", "peak MB, of one"),
            [
                (name, f"{rows:,}", rounded(each), f"{fits.peaks[name] / 2**20:,.0f}" if name in fits.peaks else "")
                for rows, fits in taken.items()
                for name, each in fits.seconds.items()
            ],
        )
    )
    section.data = {str(rows): asdict(fits) for rows, fits in taken.items()}
    if len(taken) > 1:
        slope = log_slope({rows: fits.of_several for rows, fits in taken.items()})
        section.goals.append(
            Goal("growth of a fit with workers, slope in log-log", rounded(slope), "≤ 1.05", slope <= 1.05)
        )
    largest, fits = max(taken.items())
    one, several = fits.bytes_a_value
    section.notes.append(
        f"Memory above the imports, of all together, for {largest:,} rows: {rounded(one)} bytes a value of one task, "
        f"{rounded(several)} with workers."
    )
    section.notes.append("The part is downloaded by the one task; workers read their row groups from S3 by ranges.")
    return section


def _of(storage: Storage, rows: int) -> Fits:
    request = {
        "dataset_uri": storage.put(data.numeric(rows)), "target": data.TARGET, "search_trials": 0,
        "estimator": "xgboost", "hyperparameters": {"n_estimators": TREES},
    }  # fmt: skip
    event: dict[str, Any] = {"run_id": f"cluster-{rows}", "request": request}
    with storage.worker(f"{STEPS[0]}.app:handler") as prepare:
        event |= prepare(event).result
    values = event["prepared"]["rows"]["train"] * COLUMNS
    with storage.worker("benchmarks.cluster:alone", variables=ONE_THREAD) as process:
        one = process(event)
    with storage.worker("benchmarks.cluster:together", variables=ONE_THREAD) as process:
        several = process(event)
    told = several.result
    above = several.peak_bytes + sum(told["peaks"]) - several.idle_bytes * (1 + WORKERS)
    return Fits(
        seconds={
            ALONE: one.cpu_seconds,
            TELLS: several.cpu_seconds,
            WORK: told["workers"],
            "their start": told["start"],
            "the scheduler": told["scheduler"],
        },
        peaks={ALONE: one.peak_bytes, TELLS: several.peak_bytes, WORK: max(told["peaks"])},
        bytes_a_value=((one.peak_bytes - one.idle_bytes) / values, above / values),
    )


def alone(event: dict[str, Any], _context: Any = None) -> dict[str, Any]:
    """Grow the trees in this process."""
    with workspace() as folder:
        _fit(event, folder, None)
    return {}


def together(event: dict[str, Any], _context: Any = None) -> dict[str, Any]:
    """Grow them with workers; return the peak of each in bytes, and the processor seconds of all but this process."""
    with workspace() as folder:
        with started(HOST, folder) as cluster:
            command = [sys.executable, "-m", "model_training.cluster_process", "worker"]
            command += [str(folder / "credentials.json"), cluster.address]
            processes = [subprocess.Popen(command) for _ in range(WORKERS)]
            cluster.wait(WORKERS, SECONDS_OF_START)
            start = sum(_processor_seconds(process.pid) for process in processes)
            _fit(event, folder, cluster)
        used = [os.wait4(process.pid, 0)[2] for process in processes]
    workers, children = (sum(each.ru_utime + each.ru_stime for each in found) for found in (used, [_of_children()]))
    return {
        "peaks": [each.ru_maxrss * 1024 for each in used],
        "start": start,
        "workers": workers - start,
        "scheduler": children - workers,
    }


def _of_children() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _processor_seconds(process: int) -> float:
    """Return what a process has used so far: https://docs.kernel.org/filesystems/proc.html (stat)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _fit(event: dict[str, Any], folder: Path, cluster: Cluster | None) -> None:
    stored, profile = pinned(event["prepared"], "train"), read_json(s3_client(), pinned(event["prepared"], "profile"))
    part = PartFile(download(s3_client(), stored, folder / "train.parquet"), profile)
    elsewhere = None if cluster is None else Workers(cluster, stored, WORKERS)
    pipeline = build_pipeline(parse_request(event["request"]), profile)
    fit_block_by_block(pipeline, part, profile, part.target(), elsewhere=elsewhere)
