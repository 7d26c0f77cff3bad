"""Where a result comes from: the running code, as the deployment says, and the time."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime


def image_digest() -> str | None:
    """Return the digest of the function's image, or None where it was not deployed by digest."""
    _, _, digest = os.environ.get("IMAGE_URI", "").partition("@")
    return digest or None


def release() -> str:
    """Return the release that the stack was deployed from."""
    return os.environ.get("RELEASE", "unreleased")


def commit() -> str:
    """Return the commit of the code."""
    return os.environ.get("COMMIT", "unknown")


def now() -> str:
    """Return the time in UTC, to the millisecond, as ISO 8601 writes it; such texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pack_names(names: Sequence[str]) -> str:
    """Return the names of columns in little room; `unpack_names` reads them.

    Examples
    --------
    >>> unpack_names(pack_names(["price", "size"]))
    ['price', 'size']
    """
    return base64.b64encode(zlib.compress(json.dumps(list(names)).encode(), 9)).decode()


def unpack_names(text: str) -> list[str]:
    """Return the names that `pack_names` has packed."""
    return [str(name) for name in json.loads(zlib.decompress(base64.b64decode(text)))]
