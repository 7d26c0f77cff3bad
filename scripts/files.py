"""Files that scripts read and write: the file of a stage, and files that are there as a whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from stack import BadInputError, OperationFailedError


def read_base(path: Path) -> dict[str, Any]:
    """Return the document of a stage's own parameters.

    Raises
    ------
    BadInputError
        If it cannot be read or is no JSON object.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"The stage's file {path} cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise BadInputError(f"The stage's file {path} is no JSON object.")
    return document


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
