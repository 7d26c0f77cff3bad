"""Where the running code comes from, as the deployment says."""

from __future__ import annotations

import os


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
