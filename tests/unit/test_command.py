"""What commands print: names and values come from data, and a terminal obeys none of them."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from crosstrain.command import BadInputError, result_console, run_command

NAMES = "\x1b]0;title\x07\x1b[2Jprice\u202egnp.exe [red]:smile:[/red]"


def test_no_name_reaches_a_terminal_as_more_than_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(NAMES, title=NAMES)
    table.add_row(NAMES)
    result_console().print(table, NAMES)
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    # Markup and emoji codes stay what they are.
    assert shown.count("[red]:smile:[/red]") == 4


def test_an_error_that_quotes_a_name_is_as_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_errors: object) -> None:
        raise BadInputError(f'"{NAMES}" is unknown.')

    assert run_command(work) == 2
    shown = capsys.readouterr().err
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert "[red]:smile:[/red]" in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_result_that_finds_no_room_is_told_in_one_sentence() -> None:
    program = "import sys; from crosstrain.command import run_command; sys.exit(run_command(lambda _: print('result')))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": str(Path(__file__).parents[2] / "scripts")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: The output cannot be written: No space left on device.\n")


def test_other_errors_of_the_system_are_not_hidden() -> None:
    def work(_errors: object) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        run_command(work)
