"""What commands print: names and values come from data, and a terminal obeys none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from crosstrain.command import BadInputError, result_console, run_command

if TYPE_CHECKING:
    import pytest

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
