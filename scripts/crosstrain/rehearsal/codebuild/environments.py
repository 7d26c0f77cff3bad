"""The Python environments that builds make: real ones, kept between builds by the packages that are locked for them."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What decides which packages are in an environment.
_LOCKS = ("pyproject.toml", "uv.lock", "scripts/set_up.sh", "requirements.txt")


@contextmanager
def kept_environments(source: Path, folder: Path) -> Iterator[None]:
    """Let `make` find the environments that it made of the same locked packages in an earlier build.

    Parameters
    ----------
    source : Path
        The build's sources, which have the same path in each build: environments hold it.
    folder : Path
        Where the environments are between two builds.
    """
    pairs = [(place, folder / _locked(place)) for place in _places(source)]
    for place, kept in pairs:
        if kept.is_dir():
            kept.rename(place / ".venv")
            # It is known by what it was made of: for `make`, newer sources of the same make it no older.
            (place / ".venv" / ".ready").touch()
    try:
        yield
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        for place, kept in pairs:
            if (place / ".venv" / ".ready").is_file():
                (place / ".venv").rename(kept)


def search_path(tools: Path) -> str:
    """Return the machine's PATH without this project's own environment, but with its `uv`, linked in a folder."""
    tools.mkdir(parents=True, exist_ok=True)
    own = Path(sys.executable).parent
    (tools / "uv").unlink(missing_ok=True)
    if (own / "uv").exists():
        (tools / "uv").symlink_to(own / "uv")
    elsewhere = [each for each in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(each) != own]
    return os.pathsep.join([str(tools), *elsewhere])


def _places(source: Path) -> list[Path]:
    """Return the folders of a checkout in which `make` makes an environment."""
    return [source, *sorted(path.parent for path in source.glob("tools/*/requirements.txt"))]


def _locked(place: Path) -> str:
    """Return a name for the environment of a folder: one for the same locked packages."""
    files = [place / name for name in _LOCKS]
    digest = hashlib.sha256(b"\0".join(each.read_bytes() for each in files if each.is_file()))
    return f"{place.name}-{digest.hexdigest()[:16]}"
