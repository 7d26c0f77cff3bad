"""What a rehearsal shows as it goes on, and how things are formatted."""

from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console

from crosstrain.rehearsal.report.formatting import (
    duration,
    outcome,
    plain,
    plain_lines,
    stage_seconds,
    stage_state,
    verdict,
)
from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State
from crosstrain.rehearsal.report.view import LiveView, PlainView, live

HOSTILE = "\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m [bold]tag[/bold] \u202egnp.exe"


def record() -> RehearsalRecord:
    """Return a rehearsal of two stages that has not begun."""
    actions = [
        ActionRecord("Source", "Model", "CodeCommit", 1),
        ActionRecord("Build", "Build", "CodeBuild", 1),
        ActionRecord("Build", "Record", "CodeBuild", 2),
    ]
    return RehearsalRecord("execution-1", time.time() - 100, actions=actions)


def begin(action: ActionRecord, seconds: float = 0.0) -> None:
    action.state, action.started = State.RUNNING, time.time() - seconds


def end(action: ActionRecord, state: State = State.SUCCEEDED, cause: str | None = None) -> None:
    action.state, action.ended, action.cause = state, time.time(), cause


def shown(of: RehearsalRecord, width: int = 100) -> list[str]:
    """Return the lines of the live view."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(LiveView(of, console).render())
    return [line.rstrip() for line in capture.get().splitlines()]


def message(of: RehearsalRecord) -> list[str]:
    """Return what the plain view tells at once."""
    console = Console(file=(written := io.StringIO()), width=60)
    PlainView(of, console).print_changes()
    return written.getvalue().splitlines()


def test_a_stage_at_work_is_shown_with_its_actions_and_their_last_lines() -> None:
    rehearsal = record()
    source, build, _ = rehearsal.actions
    begin(source, 5)
    end(source)
    begin(build, 72)
    build.last_line = "model_training: built in 17 s, pushing"

    lines = shown(rehearsal)

    assert lines[0].split() == ["Rehearsal", "execution-1", "1", "min", "40", "s"]
    assert lines[1].split() == ["✓", "Source", "5.0", "s", "Model"]
    assert lines[2].split()[1:] == ["Build", "1", "min", "12", "s"]
    assert lines[3].split(maxsplit=5) == ["▸", "Build", "1", "min", "12", "s model_training: built in 17 s, pushing"]
    assert lines[4].split() == ["·", "Record"]
    assert len(lines) == 5


def test_the_first_line_of_a_cause_takes_the_place_of_the_last_line() -> None:
    rehearsal = record()
    build = rehearsal.actions[1]
    begin(build, 1)
    build.last_line = "the last line"
    end(build, State.FAILED, "It is broken.\nMend it.")

    assert any(line.endswith("It is broken.") for line in shown(rehearsal))
    assert not any("the last line" in line for line in shown(rehearsal))


def test_no_line_is_wider_than_the_terminal_and_none_does_anything_to_it() -> None:
    rehearsal = record()
    build = rehearsal.actions[1]
    begin(build)
    build.last_line = HOSTILE + "x" * 300

    lines = shown(rehearsal, width=60)

    assert max(map(len, lines)) <= 60
    assert not any("\x1b" in line or "\u202e" in line for line in lines)
    assert any("red [bold]tag[/bold] gnp.exe" in line for line in lines)
    assert len(lines) == 5


def test_nothing_moves_when_a_stage_opens() -> None:
    rehearsal = record()
    source, build, _ = rehearsal.actions
    begin(source)
    end(source)
    before = shown(rehearsal)[1].index("Model")
    begin(build)

    assert shown(rehearsal)[1].index("Model") == before


def test_elsewhere_there_is_a_line_at_each_start_and_one_at_each_end() -> None:
    rehearsal = record()
    source, build, _ = rehearsal.actions
    begin(source, 5)
    end(source)
    begin(build, 2)

    assert message(rehearsal) == [
        "▸ Source / Model starts",
        "✓ Source / Model succeeded after 5.0 s",
        "▸ Build / Build starts",
    ]


def test_a_failure_is_told_with_its_whole_cause_and_nothing_of_it_is_obeyed() -> None:
    rehearsal = record()
    build = rehearsal.actions[1]
    begin(build)
    end(build, State.FAILED, f"It is broken:\n  {HOSTILE}\n\nMend it.")

    assert message(rehearsal)[1:] == [
        "✗ Build / Build failed after 0.0 s",
        "  It is broken:",
        "    red [bold]tag[/bold] gnp.exe",
        "  Mend it.",
    ]


def test_each_line_is_written_as_it_happens_and_once() -> None:
    rehearsal = record()
    console = Console(file=(written := io.StringIO()), width=60)

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 10
        while text not in written.getvalue():
            assert time.monotonic() < deadline, written.getvalue()
            time.sleep(0.01)

    with live(rehearsal, console) as view:
        for action in rehearsal.actions[:2]:
            begin(action)
            wait_for(f"{action.name} starts")
            end(action)
        wait_for("Build / Build succeeded")
        with view.pause():
            begin(rehearsal.actions[2])
            before = written.getvalue()
            time.sleep(0.3)
            # Whoever is asked is left in peace.
            assert written.getvalue() == before
        # It begins and ends between two looks.
        end(rehearsal.actions[2])

    lines = written.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith("✓ Build / Record succeeded")
    assert not [each for each in threading.enumerate() if each.name == "rehearsal-view"]


def test_the_view_of_a_terminal_is_gone_at_the_end() -> None:
    rehearsal = record()
    console = Console(file=(written := io.StringIO()), width=60, height=20, force_terminal=True)

    with live(rehearsal, console) as view, view.pause():
        console.print("approve?")

    assert "Rehearsal" in written.getvalue()
    # The cursor is shown again, and every line of the view erased.
    assert "\x1b[?25h" in written.getvalue()
    assert written.getvalue().count("\x1b[2K") >= 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "0.0 s"), (4.26, "4.3 s"), (59.96, "1 min 0 s"), (72.4, "1 min 12 s"), (3599.7, "1 h 0 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\x00c", "a b c"),
        ("10%\r20%\r", "20%"),
        ("\x1b[38;5;196mred\x1b(B\x1b[m", "red"),
        ("a\u2028b\x85c", "a b c"),
        ("日本語 größe", "日本語 größe"),
    ],
)
def test_texts_of_others_become_one_plain_line(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_lines_of_others_keep_their_order_and_indentation() -> None:
    assert plain_lines("one\n\n    two\r\n  \x1b[1mthree") == ["one", "    two", "  three"]


def test_what_becomes_of_a_stage_follows_from_its_actions() -> None:
    rehearsal = record()
    _, build, publish = rehearsal.actions
    both = [build, publish]
    assert stage_state(both) is State.WAITING
    assert stage_seconds(both) is None
    begin(build, 7)
    assert stage_state(both) is State.RUNNING
    end(build)
    assert stage_state(both) is State.RUNNING
    publish.state = State.NOT_RUN
    assert stage_state(both) is State.NOT_RUN
    begin(publish, 3)
    end(publish)
    assert stage_state(both) is State.SUCCEEDED
    publish.state = State.FAILED
    assert stage_state(both) is State.FAILED
    assert stage_seconds(both) == pytest.approx(7, abs=0.5)


def test_a_rehearsal_that_ends_early_with_no_failure_was_stopped() -> None:
    rehearsal = record()
    for action in rehearsal.actions[:2]:
        begin(action)
        end(action)
    rehearsal.ended = rehearsal.started + 12
    assert outcome(rehearsal) == "stopped"
    assert verdict(rehearsal) == "The rehearsal was stopped after 12.0 s: 2 of 3 actions had succeeded."
