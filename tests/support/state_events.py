"""What happens to the states of a run, one event after another, for tests that act in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from crosstrain.training import execution


def follow(
    sfn: Any, execution_arn: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[execution.StateEvent]:
    """Yield what `execution.outcome` hands to its `on_event`, as it happens, until the run has ended."""
    tracker = execution._Tracker()
    for event in execution._history(sfn, execution_arn, sleep):
        yield from tracker.observe(event)
