"""Holds processes to a share of the processor, as Lambda does by a function's memory: with a control group."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

ROOTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
PERIOD_US = 20_000


class NoShareError(Exception):
    """Control groups cannot be made here."""


class CpuShare:
    """Context manager: a control group whose processes together get so many processors' time.

    Parameters
    ----------
    vcpus : float
        The share, such as 0.5.

    Raises
    ------
    NoShareError
        On entry, if the user may not make control groups.
    """

    def __init__(self, vcpus: float) -> None:
        self._quota = round(vcpus * PERIOD_US)

    def __enter__(self) -> Self:
        for root in ROOTS:
            self._folder = root / f"crosstrain-benchmark-{os.getpid()}"
            try:
                self._folder.mkdir()
            except OSError:
                continue
            try:
                if (self._folder / "cpu.max").exists():
                    (self._folder / "cpu.max").write_text(f"{self._quota} {PERIOD_US}", encoding="ascii")
                else:
                    (self._folder / "cpu.cfs_period_us").write_text(str(PERIOD_US), encoding="ascii")
                    (self._folder / "cpu.cfs_quota_us").write_text(str(self._quota), encoding="ascii")
            except OSError:
                self._folder.rmdir()
                continue
            return self
        raise NoShareError("control groups of the processor cannot be made by this user on this machine")

    def add(self, pid: int) -> None:
        """Put a process, with its threads, under the limit."""
        (self._folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._folder.rmdir()
