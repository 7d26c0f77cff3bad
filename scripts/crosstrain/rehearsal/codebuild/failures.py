"""Why a build failed: its command, what the tools wrote of it, and the right that was missing if it was one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crosstrain.command import OperationFailedError
from crosstrain.rehearsal.authorization import DeniedError

# How pytest, ruff, mypy, cfn-lint and this project's own commands begin the lines that say what is wrong.
_ERROR = re.compile(r"^(FAILED|ERROR|E   |error:|Error:|\S+:\d+: error|[A-Z]{1,4}\d{2,4} |\s+--> \S+:\d+)")
_MOST_ERRORS = 6
_LAST_LINES = 4
# The message of any AWS service that denies a call.
_NOT_AUTHORIZED = re.compile(
    r"assumed-role/(?P<role>[\w+=,.@-]+)/\S+ is not authorized to perform: (?P<action>[\w-]+:\w+)"
    r"(?: on resource: (?P<resource>[^\s\"')]+))?"
)


def explain_failure(status: int, progress: Sequence[str], log: str) -> OperationFailedError:
    """Return the error of a build.

    Parameters
    ----------
    status : int
        The exit status of its shell.
    progress : sequence of str
        What the script of a buildspec wrote of its phases and commands.
    log : str
        All that the build wrote.
    """
    failed = next((line for line in progress if line.startswith("failed ")), None)
    phase, command = "", "the shell"
    if failed is not None:
        _, phase, _, command = failed.split(" ", 3)
    lines = [line for line in log.splitlines() if line.strip()]
    shown = [line for line in lines if _ERROR.match(line)][-_MOST_ERRORS:] or lines[-_LAST_LINES:]
    where = f" in phase {phase}" if phase else ""
    sentence = f"`{command}` ended with status {status}{where}: {' | '.join(line.strip() for line in shown)}"
    if denied := _NOT_AUTHORIZED.search(log):
        sentence += f" — {DeniedError(denied['role'], denied['action'], denied['resource'] or '')}"
    return OperationFailedError(sentence)
