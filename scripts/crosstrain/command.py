"""How every command reports errors and ends."""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, Future, wait
from typing import TYPE_CHECKING, Any, NoReturn

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from rich.console import Console

# Where no terminal says how wide it is: nothing that reads a file or a pipe needs lines to be folded at 80.
_WIDTH_OF_NO_TERMINAL = 160
# Escape sequences begin with one of the first; the last turn the direction of writing around.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

# A command that was told to stop is to do so at once, as people see it.
_LOOK_SECONDS = 0.1

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class BadInputError(Exception):
    """Something that the user has to change."""


class OperationFailedError(Exception):
    """What was asked for can be done, but it failed."""


def run_command(work: Callable[[Console], None]) -> int:
    """Do a command's work as `run_silent_command` does, with a console for messages besides the result.

    Parameters
    ----------
    work
        Takes the console of stderr.
    """
    errors = error_console()
    return run_silent_command(lambda: work(errors))


def run_silent_command(work: Callable[[], None]) -> int:
    """Do a command's work, report its errors on stderr in one sentence, and return its exit code.

    Returns
    -------
    int
        0 for success, 1 for a failed operation, 2 for input that cannot be used, 130 for Ctrl-C.
    """
    signal.signal(signal.SIGTERM, terminate)
    try:
        work()
        sys.stdout.flush()
    except BadInputError as error:
        error_console().print(f"error: {error}", markup=False, style="red")
        return 2
    except (OperationFailedError, ClientError, BotoCoreError, Boto3Error) as error:
        error_console().print(f"error: {error}", markup=False, style="red")
        return 1
    except BrokenPipeError:
        # Whoever reads the output (`| head`) has enough of it.
        _write_no_more()
        return 1
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _write_no_more()
        error_console().print(f"error: The output cannot be written: {reason_of(error)}.", markup=False, style="red")
        return 1
    except KeyboardInterrupt as stop:
        error_console().print(str(stop) or "Stopped; nothing is left running.", markup=False)
        return 130
    return 0


def _write_no_more() -> None:
    """Let stdout lead nowhere: at exit Python would write what is left of it once more, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reason_of(error: OSError) -> str:
    """Return in few words why something could not be read or written."""
    return os.strerror(error.errno) if error.errno else " ".join(str(error).split())


def check_name(name: str | os.PathLike[str], what: str) -> None:
    """Check the name of a file, which becomes a key on S3 and part of messages and documents.

    Raises
    ------
    BadInputError
        If it is no UTF-8.
    """
    text = os.fspath(name)
    if printable(text) != text:
        raise BadInputError(f'The name of {what}, "{printable(text)}", is not UTF-8: give it another name.')


def printable(text: str) -> str:
    """Return a text with escapes for what is no UTF-8 in it, which the name of a file may hold."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def result_console() -> Console:
    """Return the console for a command's result, which takes every text as it is."""
    from rich.console import Console  # noqa: PLC0415 - as in error_console

    width = None if sys.stdout.isatty() else _WIDTH_OF_NO_TERMINAL
    return _harmless(Console)(highlight=False, markup=False, emoji=False, width=width)


def terminate(_signal: int, _frame: object) -> NoReturn:
    """End the process on a signal as on Ctrl-C: everything that is open is closed."""
    raise SystemExit(128 + signal.SIGTERM)


def wait_for(futures: Collection[Future[Any]], return_when: str = ALL_COMPLETED) -> set[Future[Any]]:
    """Wait as `concurrent.futures.wait` does, but hear signals, and return the futures that are done.

    A signal may reach the process in a thread that starts another process. Python handles it in the main thread, and
    there not before a lock that it waits for is free: the main thread has to look by itself.
    https://docs.python.org/3/library/signal.html#execution-of-python-signal-handlers
    """
    while True:
        done, pending = wait(futures, _LOOK_SECONDS, return_when)
        if not pending or (return_when == FIRST_EXCEPTION and any(each.exception() for each in done)):
            return done


def parse_pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """Return the values of an option that is given as NAME=VALUE, any number of times.

    Raises
    ------
    BadInputError
        With every value that is none.
    """
    pairs = [each.partition("=") for each in values]
    if wrong := [each for each, (name, separator, _) in zip(values, pairs, strict=True) if not (name and separator)]:
        raise BadInputError(f"{option} takes NAME=VALUE, not {', '.join(wrong)}.")
    return {name: value for name, _, value in pairs}


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean "…"?` with the nearest of the known names or, where none is near, what is known."""
    names = list(known)
    if near := difflib.get_close_matches(name, names, n=3, cutoff=0.6):
        return f" Did you mean {' or '.join(map(_quoted, near))}?"
    return f" Known: {', '.join(map(_quoted, names[:12]))}{', …' if len(names) > 12 else ''}."


def _quoted(name: str) -> str:
    return f'"{name}"'


def error_console() -> Console:
    """Return the console for all that is no result."""
    # The import is a tenth of the time of a command that has no message.
    from rich.console import Console  # noqa: PLC0415

    return _harmless(Console)(stderr=True, soft_wrap=True, highlight=False, emoji=False)


def harmless(text: str) -> str:
    """Return a text without what a terminal obeys: names and values come from data, and may hold such characters."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text)


def _harmless(console: type[Console]) -> type[Console]:
    """Return a console that prints no character of a text which a terminal would obey."""

    # An argument, because rich is imported where it is used; mypy takes no such thing for a class.
    class HarmlessConsole(console):  # type: ignore[misc, valid-type]
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(harmless(text), **options)

    return HarmlessConsole
