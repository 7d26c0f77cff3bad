"""The stages, and the file of each stage's own parameters and tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crosstrain.command import BadInputError

STAGES = ("dev", "test", "prod")
BOUNDED_STAGES = ("test", "prod")
"""The stages whose roles have the boundary of target-account.yaml."""


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
