"""The end of a rehearsal: what the terminal says, and what rehearsal.json holds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from crosstrain.command import OperationFailedError
from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State
from crosstrain.rehearsal.report.summary import print_summary, write_json

BEGIN = 1795400000.0
NOT_REHEARSED = "Functions ran as processes of this machine, not as containers: no image was built, pushed or run."


def action(stage: str, name: str, at: float, seconds: float, state: State = State.SUCCEEDED) -> ActionRecord:
    return ActionRecord(stage, name, "CodeBuild", 1, state, BEGIN + at, BEGIN + at + seconds)


@pytest.fixture
def rehearsal() -> RehearsalRecord:
    """Return a rehearsal that went through."""
    build = action("Build", "Build", 1, 71.5)
    build.details = ["images built: model_training; used again: 2", "release 3f2a-9d10"]
    return RehearsalRecord(
        "execution-1",
        BEGIN,
        BEGIN + 75,
        "3f2a91c04b7e1f0c2d3e4f5a6b7c8d9e0f1a2b3c",
        "9d10a2b3c4d51f0c2d3e4f5a6b7c8d9e0f1a2b3c",
        {"tools": "111111111111", "test": "222222222222", "prod": "222222222222"},
        [action("Source", "Model", 0, 0.5), build, action("Test", "SystemTest", 73, 1.25)],
        [NOT_REHEARSED],
        1234,
        87,
    )


@pytest.fixture
def failed(rehearsal: RehearsalRecord, tmp_path: Path) -> RehearsalRecord:
    """Return a rehearsal that failed at its build."""
    _, build, test = rehearsal.actions
    build.state, build.cause = State.FAILED, "The image could not be built.\n  exit status 3 \x1b[2J\nSee the log."
    build.last_line, build.log = "[red]exit status 3[/red]\x07", tmp_path / "logs/build.log"
    test.state, test.started, test.ended = State.NOT_RUN, None, None
    return rehearsal


def printed(record: RehearsalRecord, width: int = 100) -> list[str]:
    console = Console(file=(written := io.StringIO()), width=width)
    print_summary(record, console)
    return [line.rstrip() for line in written.getvalue().splitlines()]


def test_a_rehearsal_that_went_through_says_so_first(rehearsal: RehearsalRecord) -> None:
    lines = printed(rehearsal)
    assert lines[0] == "✓ The delivery went through: 3 actions in 2 accounts, in 1 min 15 s."
    text = "\n".join(lines)
    assert "✓ Build        1 min 12 s   images built: model_training; used again: 2" in text
    assert "Accounts: tools 111111111111, test 222222222222, prod 222222222222" in text
    assert "1,234 calls made as the pipeline's roles, 87 checked with the policy simulator." in text
    assert lines[lines.index("Not rehearsed:") + 1] == f"- {NOT_REHEARSED}"


def test_what_failed_and_why_comes_first(failed: RehearsalRecord) -> None:
    lines = printed(failed)
    assert lines[:5] == [
        "✗ Build / Build failed after 1 min 12 s.",
        "  The image could not be built.",
        "    exit status 3",
        "  See the log.",
        f"  Log: {failed.actions[1].log}",
    ]
    assert any(line.split() == ["Test", "○", "SystemTest", "not", "run"] for line in lines)
    assert not any("\x1b" in line or "\x07" in line for line in lines)


def test_without_a_cause_the_last_line_of_the_log_stands_for_it(failed: RehearsalRecord) -> None:
    failed.actions[1].cause = None
    assert printed(failed)[1] == "  [red]exit status 3[/red]"


def test_a_narrow_terminal_cuts_no_name(failed: RehearsalRecord) -> None:
    failed.actions[1].log = None
    lines = printed(failed, width=60)
    assert any("SystemTest" in line for line in lines)
    table = [line for line in lines if line.startswith(" ") and "could not" not in line]
    assert max(map(len, table)) <= 60


def test_the_document_holds_everything(failed: RehearsalRecord, tmp_path: Path) -> None:
    write_json(failed, tmp_path / "rehearsal.json")
    document = json.loads((tmp_path / "rehearsal.json").read_text())
    actions = document.pop("actions")
    assert document == {
        "schema": 1,
        "execution_id": "execution-1",
        "outcome": "failed",
        "failed": {"stage": "Build", "name": "Build", "cause": failed.actions[1].cause, "log": "logs/build.log"},
        "started": "2026-11-23T02:13:20.000+00:00",
        "ended": "2026-11-23T02:14:35.000+00:00",
        "seconds": 75.0,
        "commits": {"model": failed.model_commit, "infrastructure": failed.infrastructure_commit},
        "accounts": {"tools": "111111111111", "test": "222222222222", "prod": "222222222222"},
        "calls": 1234,
        "simulations": 87,
        "not_rehearsed": [NOT_REHEARSED],
    }
    assert [each["state"] for each in actions] == ["succeeded", "failed", "not run"]
    assert actions[1] == {
        "stage": "Build",
        "name": "Build",
        "provider": "CodeBuild",
        "run_order": 1,
        "state": "failed",
        "started": "2026-11-23T02:13:21.000+00:00",
        "ended": "2026-11-23T02:14:32.500+00:00",
        "seconds": 71.5,
        "cause": failed.actions[1].cause,
        "details": ["images built: model_training; used again: 2", "release 3f2a-9d10"],
        "last_line": "[red]exit status 3[/red]",
        "log": "logs/build.log",
    }
    assert actions[2] | {"started": None, "ended": None, "seconds": None, "log": None} == actions[2]


def test_a_log_elsewhere_is_named_in_full(failed: RehearsalRecord, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_json(failed, tmp_path / "other/rehearsal.json")
    assert json.loads((tmp_path / "other/rehearsal.json").read_text())["failed"]["log"] == str(failed.actions[1].log)


def test_what_cannot_be_encoded_is_replaced(rehearsal: RehearsalRecord, tmp_path: Path) -> None:
    rehearsal.not_rehearsed = ["größe \udcff"]
    write_json(rehearsal, tmp_path / "rehearsal.json")
    assert json.loads((tmp_path / "rehearsal.json").read_text("utf-8"))["not_rehearsed"] == ["größe ?"]


def test_a_document_that_cannot_be_written_leaves_nothing_behind(rehearsal: RehearsalRecord, tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.json"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(OperationFailedError, match=r"rehearsal\.json cannot be written"):
        write_json(rehearsal, path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_named(rehearsal: RehearsalRecord, tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError, match=r"none/rehearsal\.json cannot be written"):
        write_json(rehearsal, tmp_path / "none/rehearsal.json")
