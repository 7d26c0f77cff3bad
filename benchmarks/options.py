"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How much is measured: all of it, or what can be seen in two minutes."""

    quick: bool = False

    @property
    def repeats(self) -> int:
        """How many paired runs."""
        return 3 if self.quick else 5

    @property
    def rows(self) -> int:
        """The rows of a whole run."""
        return 100_000 if self.quick else 1_000_000

    @property
    def process_repeats(self) -> int:
        """How many paired starts of short processes."""
        return 3 if self.quick else 11

    @property
    def profiled_runs(self) -> int:
        """How many runs are made under the profiler."""
        return 1 if self.quick else 3
