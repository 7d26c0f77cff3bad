"""The context of a call, as far as handlers ask for it."""

from __future__ import annotations


class Call:
    """The context of a call that has so many seconds left."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return them in milliseconds."""
        return int(1000 * self._seconds)
