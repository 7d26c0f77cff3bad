"""The log of an action: a file, whose last line is in the action's record."""

from __future__ import annotations

import threading
from pathlib import Path

from crosstrain.rehearsal.report.records import ActionRecord


class ActionLog:
    """Writes an action's log file.

    Parameters
    ----------
    record
        The action; it gets the path of the log, and its last line.
    path : Path
        The file, which begins anew.
    """

    def __init__(self, record: ActionRecord, path: Path) -> None:
        self._record = record
        self._lock = threading.Lock()
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        record.log = path

    def write(self, text: str) -> None:
        """Add lines to the log."""
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            for line in text.splitlines():
                file.write(f"{line}\n")
                if line.strip():
                    self._record.last_line = line.strip()

    def text(self) -> str:
        """Return what has been written so far."""
        return self.path.read_text(encoding="utf-8", errors="replace")
