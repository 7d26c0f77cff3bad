"""Tables for terminals."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table


def pairs_table(rows: Iterable[tuple[str, str]], title: str | None = None) -> Table:
    """Return a table of names with what is told of each."""
    table = Table(show_header=False, title=title, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    return table
