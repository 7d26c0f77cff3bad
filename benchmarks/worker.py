"""A process that stays warm between calls, as a Lambda worker does, and measures each call.

    python -m benchmarks.worker module:function

It reads one JSON event a line, calls the function, and writes one JSON answer a line.
"""

from __future__ import annotations

import cProfile
import importlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3

from benchmarks import ROOT
from benchmarks.memory import back_memory

SPARE_BYTES = 1 << 30
"""The memory that a call finds besides what the worker's last one took: for its files, and for S3's copies of them."""
OWN = (str(ROOT / "functions"), str(ROOT / "benchmarks"))
"""Where the functions are whose shares of a call are told."""


@dataclass(frozen=True)
class Call:
    """One measured call.

    Attributes
    ----------
    result
        What the function returned.
    seconds, cpu_seconds
        Wall-clock and processor time of the call.
    peak_bytes, idle_bytes
        The largest resident set of the process during the call, and the one before its first call: what imports take.
    start_bytes
        The resident set when the call began.
    requests
        How often each operation of AWS was called.
    shares
        The seconds in each function of ours, with all that it calls, if the call was profiled.
    """

    result: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    idle_bytes: int
    start_bytes: int
    requests: dict[str, int]
    shares: dict[str, float]


class Worker:
    """Context manager around a worker process.

    Parameters
    ----------
    function : str
        `module:function`, called with one event.
    environment : mapping
        The environment of the process.
    cores : set of int, optional
        The processor cores that it may use; all, if not given.
    quiet : bool
        Whether what it writes to stderr is dropped: for calls that are expected to fail.
    """

    def __init__(
        self, function: str, environment: Mapping[str, str], cores: set[int] | None = None, *, quiet: bool = False
    ) -> None:
        self._function, self._quiet = function, quiet
        # The packages of the functions, as in their images.
        self._environment = {**environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'functions'}", "PYTHONWARNINGS": "ignore"}
        self._cores = cores
        self._last_bytes = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.worker", self._function]
        if self._cores:
            command = ["taskset", "--cpu-list", ",".join(map(str, sorted(self._cores))), *command]
        self._process = subprocess.Popen(
            command,
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if self._quiet else None,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.stdout.close()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def __call__(self, event: Mapping[str, Any], *, profile: bool = False) -> Call:
        """Call the function, if asked for under Python's profiler, which makes it slower.

        Raises
        ------
        RuntimeError
            If the process has ended: the function raised, and the traceback is on stderr.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        back_memory(SPARE_BYTES + self._last_bytes)
        self._process.stdin.write(json.dumps({"event": event, "profile": profile}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._function} failed")
        call = Call(**json.loads(answer))
        self._last_bytes = call.peak_bytes
        return call


def resident_bytes(field: str) -> int:
    """Return a figure of this process from the kernel: `VmRSS`, the resident set, or `VmHWM`, its peak."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel does not tell {field}")


def _shares(profiler: cProfile.Profile) -> dict[str, float]:
    """Return the seconds in each function of ours, by module and name."""
    written = ((each.code, each.totaltime) for each in profiler.getstats() if not isinstance(each.code, str))
    return {
        f"{Path(code.co_filename).stem}.{code.co_name}": seconds
        for code, seconds in written
        if code.co_filename.startswith(OWN)
    }


def main() -> None:
    """Answer calls until stdin ends."""
    requests: Counter[str] = Counter()
    boto3.setup_default_session()
    # Clients take the handlers of the session that they are made by.
    events = boto3._get_default_session().events
    events.register("before-call", lambda model, **_: requests.update([model.name]))
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    # What a handler prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    idle = resident_bytes("VmRSS")
    for line in sys.stdin:
        # 5 resets the peak: https://docs.kernel.org/filesystems/proc.html (clear_refs)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        requests.clear()
        start = resident_bytes("VmRSS")
        asked = json.loads(line)
        profiler = cProfile.Profile() if asked["profile"] else None
        call = partial(profiler.runcall, function) if profiler else function
        cpu, started = time.process_time(), time.perf_counter()
        result = call(asked["event"], None)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        peak, shares = resident_bytes("VmHWM"), _shares(profiler) if profiler else {}
        measured = Call(result, seconds, cpu_seconds, peak, idle, start, dict(requests), shares)
        print(json.dumps(vars(measured)), file=answers, flush=True)


if __name__ == "__main__":
    main()
