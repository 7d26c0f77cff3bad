"""A rehearsal as a page: when each action ran, what it did, and why one failed. It loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from crosstrain.files import write_whole
from crosstrain.rehearsal.report.formatting import (
    MARKS,
    duration,
    outcome,
    plain,
    plain_lines,
    stage_seconds,
    stage_state,
    stages,
    total_seconds,
    verdict,
)
from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State
from crosstrain.rehearsal.report.summary import relative_log

TEMPLATE = "timeline.html.j2"
# Steps that people count in, in seconds.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_MOST_TICKS = 6
_CLASSES = {State.NOT_RUN: "not-run"}


@dataclass(frozen=True)
class Row:
    """An action, or a whole stage, in the picture and in the table.

    Attributes
    ----------
    label, provider, state, mark, css : str
        What it is, and what has become of it as text, as a sign and as a class.
    took : str
        How long it took, as text.
    begins : str
        When it began, counted from the start of the rehearsal, as text.
    left, width : float, optional
        Where its bar is, in percent of the axis; None for one that did not begin.
    details : list of str
        What is worth knowing of it.
    cause : list of str
        Why it failed.
    last_line, log, link : str, optional
        The last line of its log, its log file, and the link to it.
    """

    label: str
    state: str
    mark: str
    css: str
    took: str
    begins: str
    left: float | None
    width: float | None
    provider: str = ""
    details: Sequence[str] = ()
    cause: Sequence[str] = ()
    last_line: str = ""
    log: str | None = None
    link: str | None = None


def write_timeline(record: RehearsalRecord, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises
    ------
    OperationFailedError
        If it cannot be written.
    """
    write_whole(path, render(record, path.parent))


def render(record: RehearsalRecord, folder: Path) -> str:
    """Return the page.

    Parameters
    ----------
    record
        The rehearsal.
    folder
        Where the page will lie: it links to logs in this folder alone.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=plain)
    # An axis of no length has no places.
    total = max(total_seconds(record), 0.001)
    failed = record.failed
    return environment.get_template(TEMPLATE).render(
        record=record,
        outcome=outcome(record),
        verdict=verdict(record),
        took=duration(total_seconds(record)),
        failed=failed and _action_row(record, failed, total, folder),
        stages=[
            (_stage_row(record, name, actions, total), [_action_row(record, each, total, folder) for each in actions])
            for name, actions in stages(record)
        ],
        ticks=[(seconds * 100 / total, _tick(seconds)) for seconds in ticks(total)],
    )


def ticks(total: float) -> list[int]:
    """Return the seconds at which an axis of a length is marked: at most seven, none of them at its very end."""
    step = next((each for each in _STEPS if total / each <= _MOST_TICKS), None)
    if step is None:
        step = round(total / _MOST_TICKS / 3600) * 3600
    return [second for second in range(0, int(total) + 1, step) if second <= total * 0.96]


def _tick(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    unit, large, small = ("min", seconds // 60, seconds % 60)
    if seconds >= 3600:
        unit, large, small = ("h", seconds // 3600, seconds % 3600 // 60)
    return f"{large}:{small:02} {unit}" if small else f"{large} {unit}"


def _stage_row(record: RehearsalRecord, name: str, actions: Sequence[ActionRecord], total: float) -> Row:
    state = stage_state(actions)
    begun = [action.started for action in actions if action.started is not None]
    return _row(record, plain(name), state, min(begun, default=None), stage_seconds(actions), total)


def _action_row(record: RehearsalRecord, action: ActionRecord, total: float, folder: Path) -> Row:
    log = relative_log(action, folder)
    row = _row(record, plain(action.name), action.state, action.started, action.seconds, total)
    more = {
        "provider": plain(action.provider),
        "details": [plain(each) for each in action.details],
        "cause": plain_lines(action.cause or "") if action.state is State.FAILED else [],
        "last_line": plain(action.last_line),
        "log": log,
        "link": quote(log) if log is not None and not Path(log).is_absolute() else None,
    }
    return Row(**{**vars(row), **more})


def _row(
    record: RehearsalRecord, label: str, state: State, started: float | None, seconds: float | None, total: float
) -> Row:
    offset = None if started is None else max(0.0, started - record.started)
    left = None if offset is None else min(100.0, offset * 100 / total)
    width = None if left is None else min(100.0 - left, (seconds or 0.0) * 100 / total)
    css = _CLASSES.get(state, state.value)
    return Row(label, state.value, MARKS[state], css, duration(seconds), duration(offset), left, width)
