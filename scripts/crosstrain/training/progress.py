"""Shows how a run goes on: live on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.markup import escape

SEARCH = ("PlanSearch", "MakeTrials")
"""The states of a search."""
_WAITING = "WaitForApproval"
_AS_TASK = "RunTask"
_SEARCH = "Search"
_TOO_LARGE = "TooLargeForFunctionError"
_IS_TASK_OPEN = "IsTaskOpen"
_OTHER_WAYS = {"PlanPreparation": "in pieces", "StoreEvent": "as a task"}
"""How what does not fit a function goes on, by the state that follows it, or the choice `IsTaskOpen`."""

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from crosstrain.training.execution import StateEvent


class Progress:
    """Shows each step and each state of a run with the seconds that it took.

    Parameters
    ----------
    console
        Where to write; a terminal gets a spinner with the step at work, anything else one line when a step has ended.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner: Status | None = None
        self._failed: StateEvent | None = None
        # Of the states of a search, which are shown as one step.
        self._searched = 0.0
        # The step that goes on as a task.
        self._as_task = ""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show the work of a `with` block."""
        started = time.monotonic()
        self._begin(title)
        try:
            yield
        except BaseException:
            self._end(title, time.monotonic() - started, failed=True)
            raise
        self._end(title, time.monotonic() - started)

    @contextmanager
    def states(self) -> Iterator[Callable[[StateEvent], None]]:
        """Yield what shows the events of states; a spinner stops with the `with` block, whatever ends it.

        As long as it turns, the terminal has no cursor.
        """
        try:
            yield self._show
        finally:
            self._show_failed()
            self._stop()

    def _show(self, event: StateEvent) -> None:
        """Show what happened to a state; only those that work take time, and those of a search are one step."""
        if event.state == _AS_TASK:
            event = replace(event, state=self._as_task)
        if self._failed is not None and event.state != _IS_TASK_OPEN:
            self._show_failed(event.state)
        if event.kind == "failed":
            # Whether it goes on another way, the next state tells.
            self._failed = event
            return
        self._show_step(event)

    def _show_failed(self, following: str | None = None) -> None:
        """Show a state that has failed, or that goes on another way, with the state that follows."""
        event, self._failed = self._failed, None
        if event is None:
            return
        way = _OTHER_WAYS.get(following or "")
        if way is None:
            self._show_step(event)
            return
        told = _message(event.cause)
        if event.error != _TOO_LARGE:
            told = f"its function was stopped ({event.error}), and it goes on {way}."
        self._stop()
        self._line(f"[yellow]→[/] {event.state}: {escape(told)}")
        self._as_task = f"{event.state} as a task"

    def _show_step(self, event: StateEvent) -> None:
        if event.state in SEARCH:
            self._show_search(event)
            return
        if event.state_type not in ("Task", "Map"):
            return
        if event.kind == "entered" and event.state == _WAITING:
            self._line(
                "[yellow]⏸[/] A person is to approve it: models.py approve MODEL VERSION, or refuse; list says which."
            )
        if event.kind == "entered":
            self._begin(event.state)
        elif event.kind == "retried":
            self._line(f"[yellow]↻[/] {event.state} is tried again after {escape(event.error or 'an error')}")
        else:
            self._end(event.state, event.seconds, failed=event.kind == "failed")

    def _show_search(self, event: StateEvent) -> None:
        """Show how many trials were made and which is the best so far; rounds follow each other too fast for a line."""
        if event.kind == "entered" and not self._searched:
            self._begin(_SEARCH)
        if event.kind == "retried":
            self._line(f"[yellow]↻[/] {event.state} is tried again after {escape(event.error or 'an error')}")
        if event.kind in ("entered", "retried"):
            return
        self._searched += event.seconds
        plan = (event.output or {}).get("plan") or {}
        if event.kind == "failed" or (event.state == "PlanSearch" and not plan.get("trials")):
            self._end(_SEARCH, self._searched, failed=event.kind == "failed", more=_so_far(plan))
            self._searched = 0.0
        elif event.state == "PlanSearch" and plan.get("tried"):
            self._begin(f"{_SEARCH}: {_so_far(plan)}")

    def _begin(self, title: str) -> None:
        if self._console.is_terminal:
            self._stop()
            self._spinner = self._console.status(f"{title} …")
            self._spinner.start()

    def _end(self, title: str, seconds: float, *, failed: bool = False, more: str = "") -> None:
        self._stop()
        mark = "[red]✗[/]" if failed else "[green]✓[/]"
        self._line(f"{mark} {title:<28} {seconds:6.1f} s" + (f"  {more}" if more else ""))

    def _line(self, text: str) -> None:
        self._console.print(text)

    def _stop(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


def _message(cause: str | None) -> str:
    """Return what a function's error says to people: without the size as the state machine reads it."""
    try:
        return str(json.loads(cause or "")["errorMessage"]).partition(" [")[0]
    except (ValueError, LookupError, TypeError):
        return cause or "no cause was given."


def _so_far(plan: Mapping[str, Any]) -> str:
    """Return how many trials were made, and the best of them."""
    if not plan.get("tried"):
        return ""
    trials = "1 trial" if plan["tried"] == 1 else f"{plan['tried']} trials"
    best = plan.get("best")
    return trials + (f", best {best['estimator']}: {best['metric']} {best['score']:.4g}" if best else "")
