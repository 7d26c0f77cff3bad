"""The columns of which no value is ever kept, as people name them, and a log without values."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class Private:
    """Names of columns; who spells one otherwise by case or the spaces around it means the same column.

    Attributes
    ----------
    names
        Without case and spaces around.
    """

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: str) -> Private:
        """Return the columns of a list with commas.

        Examples
        --------
        >>> "email" in Private.of("Name, EMail")
        True
        """
        return cls(frozenset(filter(None, map(_folded, names.split(",")))))

    def __contains__(self, name: str) -> bool:
        """Return whether a column is one of them."""
        return _folded(name) in self.names

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.names)


def log_without_text(logger: logging.Logger, message: str, error: Exception, **more: object) -> None:
    """Tell the log where something failed, and not the error's text, which may hold values of the rows."""
    trace = traceback.format_tb(error.__traceback__)
    logger.error(message, extra={"kind": type(error).__name__, "trace": trace, **more})


def _folded(name: str) -> str:
    return name.strip().casefold()
