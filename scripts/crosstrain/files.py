"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from crosstrain.command import OperationFailedError

SCRIPTS = Path(__file__).resolve().parents[1]
PROJECT = SCRIPTS.parent
"""The root of the checkout."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that nobody ever sees a part of it.

    Raises
    ------
    OperationFailedError
        If it cannot be written; a file that was there is then as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OperationFailedError(f"{path} cannot be written: {error}.") from error
