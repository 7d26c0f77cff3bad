"""A rehearsal as it goes on: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from crosstrain.rehearsal.report.formatting import (
    MARKS,
    duration,
    plain,
    plain_lines,
    stage_seconds,
    stage_state,
    stages,
)
from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console, RenderableType

STYLES = {
    State.WAITING: "dim",
    State.RUNNING: "cyan",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.NOT_RUN: "dim",
}
_REFRESHES_PER_SECOND = 8
_POLL_SECONDS = 0.1


class View(Protocol):
    """What shows a rehearsal."""

    def pause(self) -> AbstractContextManager[None]:
        """Show nothing during a `with` block, in which something else uses the terminal."""


@contextmanager
def live(record: RehearsalRecord, console: Console) -> Iterator[View]:
    """Show a rehearsal during a `with` block.

    The record is all that is looked at: whoever runs the pipeline sets its fields, from any thread, and calls nothing.

    Parameters
    ----------
    record
        The rehearsal.
    console
        Where to write; a terminal gets a view that is redrawn and removed at the end, anything else one line when an
        action starts and one when it has ended.
    """
    view = LiveView(record, console) if console.is_terminal else PlainView(record, console)
    view.start()
    try:
        yield view
    finally:
        view.stop()


class LiveView:
    """The stages with their actions, redrawn several times a second."""

    def __init__(self, record: RehearsalRecord, console: Console) -> None:
        self._record = record
        self._spinner = Spinner("dots", style=STYLES[State.RUNNING])
        self._live = Live(
            console=console,
            get_renderable=self.render,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            vertical_overflow="crop",
        )

    def start(self) -> None:
        """Show the view."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Remove the view."""
        self._live.stop()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Remove the view during a `with` block, so that a question can be asked."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def render(self) -> RenderableType:
        """Return the view as of now."""
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        # As wide as all stages and actions need, so that nothing moves when a stage opens.
        widths = [len(name) for each in self._record.actions for name in (each.stage, f"  . {each.name}")]
        table.add_column(no_wrap=True, overflow="ellipsis", min_width=min(max(widths, default=0), 40))
        table.add_column(no_wrap=True, justify="right", min_width=11)
        # What is left of the line.
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for name, actions in stages(self._record):
            self._add_stage(table, name, actions)
        return Group(self._title(), table)

    def _title(self) -> Table:
        title = Table.grid(expand=True)
        title.add_column(no_wrap=True, overflow="ellipsis")
        title.add_column(no_wrap=True, justify="right")
        elapsed = time.time() - self._record.started
        title.add_row(Text(f"Rehearsal {self._record.execution_id}", style="bold"), Text(duration(elapsed), "bold"))
        return title

    def _add_stage(self, table: Table, name: str, actions: Sequence[ActionRecord]) -> None:
        state = stage_state(actions)
        names = ", ".join(action.name for action in actions)
        is_open = state in (State.RUNNING, State.FAILED)
        # Only a stage at work is shown whole: a pipeline has more actions than a terminal has lines.
        table.add_row(
            self._mark(state),
            Text(name, style="bold" if is_open else STYLES[state]),
            Text(duration(stage_seconds(actions)), "bold" if is_open else STYLES[state]),
            Text("" if is_open else names, style="dim"),
        )
        for action in actions if is_open else ():
            line = action.cause if action.state is State.FAILED and action.cause else action.last_line
            table.add_row(
                "",
                Text.assemble("  ", (f"{MARKS[action.state]} ", STYLES[action.state]), action.name),
                Text(duration(action.seconds)),
                Text(plain(line.partition("\n")[0]), style="red" if action.state is State.FAILED else "dim"),
            )

    def _mark(self, state: State) -> RenderableType:
        return self._spinner if state is State.RUNNING else Text(MARKS[state], style=STYLES[state])


class PlainView:
    """A line when an action starts, and one when it has ended."""

    def __init__(self, record: RehearsalRecord, console: Console) -> None:
        self._record = record
        self._console = console
        self._shown: dict[int, State] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True, name="rehearsal-view")

    def start(self) -> None:
        """Begin to write what happens."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is not written yet, and end."""
        self._is_over.set()
        self._thread.join()
        self.print_changes()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Write nothing during a `with` block, so that a question stands by itself."""
        self.print_changes()
        with self._lock:
            yield

    def print_changes(self) -> None:
        """Write the lines of what has happened since they were written last."""
        with self._lock:
            begun = [action for action in self._record.actions if action.started is not None]
            for action in sorted(begun, key=lambda each: each.started or 0.0):
                self._print_changes_of(action)

    def _print_changes_of(self, action: ActionRecord) -> None:
        shown, state = self._shown.get(id(action)), action.state
        if shown is None:
            self._shown[id(action)] = State.RUNNING
            self._line(f"{MARKS[State.RUNNING]} {action.stage} / {action.name} starts")
        if state in (State.SUCCEEDED, State.FAILED) and shown not in (State.SUCCEEDED, State.FAILED):
            self._shown[id(action)] = state
            self._line(f"{MARKS[state]} {action.stage} / {action.name} {state.value} after {duration(action.seconds)}")
            for line in plain_lines(action.cause or "") if state is State.FAILED else ():
                self._line(f"  {line}")

    def _line(self, text: str) -> None:
        # A reader that has gone away is no reason to stop a rehearsal.
        with suppress(BrokenPipeError):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _poll(self) -> None:
        while not self._is_over.wait(_POLL_SECONDS):
            self.print_changes()
