"""What earlier builds found, kept for the next rehearsal.

A build that gets nothing but sources, and hands nothing on, finds the same in the same sources.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from crosstrain.files import write_whole


class Verdicts:
    """The verdicts of builds that succeeded, kept in a folder.

    Parameters
    ----------
    folder : Path
        Where they are; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> list[str] | None:
        """Return what the build of a key found, or None if there was none."""
        path = self._path(key)
        if not path.is_file():
            return None
        found: list[str] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def save(self, key: str, details: Sequence[str]) -> None:
        """Keep what the build of a key found."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(key), json.dumps(list(details)))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def verdict_key(digests: Iterable[str], buildspec: str) -> str:
    """Return the key of a build: its sources, its buildspec, and the Python and the machine that run it."""
    parts = [*digests, buildspec, platform.python_version(), platform.platform()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
