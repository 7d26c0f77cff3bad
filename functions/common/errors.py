"""The errors that a training run can end with; the state machine catches them by class name and never retries them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The state machine tells the message of a function's error document, which is cut at 32,768 characters:
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_LambdaFunctionFailedEventDetails.html
_MAX_CHARACTERS = 2000
# All that anybody takes for the end of a line: https://docs.python.org/3/library/stdtypes.html#str.splitlines
_LINE_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


class _NamedError(Exception):
    """An error whose message fits an error document, whatever the data put into it."""

    def __init__(self, message: str) -> None:
        # In one line, and without half of a character, which a name in JSON may hold and no file or terminal takes.
        line = _LINE_BREAKS.sub(" ", message[: _MAX_CHARACTERS + 1]).encode(errors="backslashreplace").decode()
        super().__init__(line if len(line) <= _MAX_CHARACTERS else line[:_MAX_CHARACTERS] + "…")


class InvalidRequestError(_NamedError):
    """The input document of the execution cannot be acted on."""


class InvalidDatasetError(_NamedError):
    """The data cannot be trained on."""


class TooLargeForFunctionError(_NamedError):
    """The work needs more than a function has, and there is another way for it, which the state machine takes."""


class InvalidRowsError(_NamedError):
    """Rows cannot be scored.

    Parameters
    ----------
    message
        For whoever has the rows.
    plain
        The same without values of them, for logs, events and mails; the message, where it has none.
    """

    def __init__(self, message: str, plain: str | None = None) -> None:
        super().__init__(message)
        self.plain = str(self) if plain is None else str(_NamedError(plain))


class InvalidModelError(_NamedError):
    """The model of model_training/model.py cannot be used."""


class DamagedFileError(_NamedError):
    """A file of a run is not the one that was recorded: it was written again, or damaged."""


class UntrustedModelError(_NamedError):
    """A model file holds a type outside the allow-list, so it is not loaded."""


def without_values(message: str) -> str:
    """Return a library's message without what it quotes: that may be data, and messages go to logs and mails."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", " ".join(message.split()))[:500]


def first_few(items: Iterable[str], separator: str = ", ") -> str:
    """Return the first five items as text, and how many more there are."""
    each = list(items)
    more = f"{separator}and {len(each) - 5:,} more" if len(each) > 5 else ""
    return separator.join(each[:5]) + more
