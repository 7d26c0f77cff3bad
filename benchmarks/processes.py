"""Times short processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks import ROOT


def seconds_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Return the wall-clock time of a process of this Python that must succeed."""
    whole = {**os.environ, "PYTHONPATH": str(ROOT / "functions"), **(environment or {})}
    # Without bytecode files every start compiles.
    whole.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], env=whole, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
