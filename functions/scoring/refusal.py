"""What a caller is told whose request cannot be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MAX_PROBLEMS = 20
"""How many things that are wrong with rows are told at a time."""
_NAME_CHARACTERS = 100


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value.

    Attributes
    ----------
    row
        Its number, from 1.
    column
        Its column; None where it is the row itself.
    reason
        What is wrong, and what would not be. It never holds the value.
    """

    row: int
    column: str | None
    reason: str


class RefusedError(Exception):
    """A request that is answered with why it is refused.

    Parameters
    ----------
    status
        Of HTTP.
    reason
        A sentence that names what is wrong, and the way out.
    problems
        What is wrong with which rows, in their order.
    """

    def __init__(self, status: int, reason: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.problems = problems

    def document(self) -> dict[str, Any]:
        """Return the answer, without the model's name and version."""
        problems = [asdict(each) for each in self.problems[:MAX_PROBLEMS]]
        return {"error": str(self), **({"problems": problems} if problems else {})}


def wrong_rows(problems: Sequence[Problem]) -> RefusedError:
    """Return the refusal of rows with these problems, of which there is one at least."""
    first = problems[0]
    of_column = "" if first.column is None else f', column "{short(first.column)}"'
    begin = "Of several, row" if len(problems) > 1 else "Row"
    reason = f"{begin} {first.row:,}{of_column} cannot be scored: {first.reason}."
    return RefusedError(422, reason, problems)


def short(name: str) -> str:
    """Return a name that a caller has chosen in so many characters as an answer has room for."""
    return name if len(name) <= _NAME_CHARACTERS else name[:_NAME_CHARACTERS] + "…"
