"""How the view, the summary and the timeline format a rehearsal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State

MARKS = {
    State.WAITING: "·",
    State.RUNNING: "▸",
    State.SUCCEEDED: "✓",
    State.FAILED: "✗",
    State.NOT_RUN: "○",
}
# What a terminal would obey: escape sequences (ECMA-48), and window titles, which end with a bell.
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
# Controls, marks that turn the direction of the text that follows (UAX #9), and what is no character.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]+")


def plain(text: str) -> str:
    """Return a text of somebody else's as one line that does nothing but stand there."""
    # A progress bar writes its line again and again: what was written last counts.
    last = _SEQUENCES.sub("", text).rstrip("\r\n").rpartition("\r")[2]
    return " ".join(_CONTROLS.sub(" ", last).split())


def plain_lines(text: str) -> list[str]:
    """Return a text of somebody else's as lines that do nothing, without empty ones."""
    return [line for each in text.split("\n") if (line := _indented(each))]


def duration(seconds: float | None) -> str:
    """Return a duration as people say it, `4.3 s`, `1 min 12 s` or `1 h 5 min`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 59.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 has it, in UTC with milliseconds."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s for all numbers but one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def stages(record: RehearsalRecord) -> Iterator[tuple[str, list[ActionRecord]]]:
    """Return the actions stage by stage, in the order of the declaration."""
    # A copy: an action may be added meanwhile.
    for name, actions in groupby(list(record.actions), key=lambda action: action.stage):
        yield name, list(actions)


def stage_state(actions: Sequence[ActionRecord]) -> State:
    """Return what has become of a stage."""
    states = {action.state for action in actions}
    for state in (State.FAILED, State.RUNNING):
        if state in states:
            return state
    if states == {State.SUCCEEDED}:
        return State.SUCCEEDED
    if State.NOT_RUN in states:
        return State.NOT_RUN
    # Between two of its actions a stage is at work too.
    return State.RUNNING if State.SUCCEEDED in states else State.WAITING


def stage_seconds(actions: Sequence[ActionRecord]) -> float | None:
    """Return how long a stage has taken, from the first that began to the last that ended."""
    begun = [(action.started, action.started + (action.seconds or 0.0)) for action in actions if action.started]
    return max(end for _, end in begun) - min(start for start, _ in begun) if begun else None


def outcome(record: RehearsalRecord) -> str:
    """Return `succeeded`, `failed` or, where it ended early and nothing failed, `stopped`."""
    if record.failed is not None:
        return "failed"
    is_whole = bool(record.actions) and all(action.state is State.SUCCEEDED for action in record.actions)
    return "succeeded" if is_whole else "stopped"


def verdict(record: RehearsalRecord) -> str:
    """Return how the rehearsal ended, in one sentence."""
    done = sum(action.state is State.SUCCEEDED for action in record.actions)
    took = duration(total_seconds(record))
    if (failed := record.failed) is not None:
        return f"{plain(failed.stage)} / {plain(failed.name)} failed after {duration(failed.seconds) or 'no time'}."
    if outcome(record) == "succeeded":
        accounts = counted(len(set(record.accounts.values())), "account")
        return f"The delivery went through: {counted(done, 'action')} in {accounts}, in {took}."
    return f"The rehearsal was stopped after {took}: {done} of {counted(len(record.actions), 'action')} had succeeded."


def total_seconds(record: RehearsalRecord) -> float:
    """Return how long the whole has taken so far, in seconds."""
    ends = [action.started + (action.seconds or 0.0) for action in record.actions if action.started is not None]
    end = record.ended if record.ended is not None else max([record.started, *ends])
    return max(0.0, end - record.started)


def _indented(line: str) -> str:
    # The indentation of an error message shows what belongs together.
    text = plain(line)
    depth = len(line) - len(line.lstrip(" "))
    return " " * min(depth, 8) + text if text else ""
