"""Where a result comes from: the running code, as the deployment says, and the time."""

from __future__ import annotations

import os
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
