"""Calls in turn: moto is not safe in threads, where AWS looks at a condition and writes in one step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def one_at_a_time(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls it for one thread after the other, in any order."""
    lock = threading.Lock()

    def call_alone(*arguments: Any) -> Any:
        with lock:
            return call(*arguments)

    return call_alone
