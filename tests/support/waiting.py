"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_for(happened: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what it answers at last, which is to be within so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := happened()):
        assert time.monotonic() < deadline, f"{happened.__qualname__} was waited for in vain."
        time.sleep(0.1)
    return answer
