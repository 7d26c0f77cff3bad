"""What is left of a rehearsal at its end: the summary on the terminal, and rehearsal.json.

rehearsal.json is one object; times are ISO 8601 in UTC, durations seconds. Fields are added, never renamed or removed,
unless `schema` changes:

| field | value |
|---|---|
| `schema` | 1 |
| `execution_id` | the id of the pipeline execution |
| `outcome` | `succeeded`, `failed`, or `stopped`: nothing failed, but it ended early |
| `failed` | null, or `stage`, `name`, `cause` and `log` of the first action that failed |
| `started`, `ended`, `seconds` | when, and how long; `ended` is null for one that was killed |
| `commits` | `model` and `infrastructure` |
| `accounts` | the account ids of `tools`, `test` and `prod` |
| `calls`, `simulations` | how many calls were made as the pipeline's roles, and checked with the policy simulator |
| `not_rehearsed` | sentences: what it did not prove |
| `actions` | in the order of the declaration, each with the following fields |

| field of an action | value |
|---|---|
| `stage`, `name`, `provider`, `run_order` | as pipeline.yaml declares them; a rollback has the name `Rollback` |
| `state` | `waiting`, `running`, `succeeded`, `failed` or `not run` |
| `started`, `ended`, `seconds` | as above; null for one that did not begin |
| `cause` | null, or why it failed, with the way out |
| `details` | what is worth knowing of it |
| `last_line` | the last line of its log |
| `log` | null, or its log file, relative to the folder of rehearsal.json where it lies in it |
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from crosstrain.files import write_whole
from crosstrain.rehearsal.report.formatting import (
    MARKS,
    counted,
    duration,
    moment,
    outcome,
    plain,
    plain_lines,
    stages,
    total_seconds,
    verdict,
)
from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State
from crosstrain.rehearsal.report.view import STYLES

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
_VERDICTS = {"succeeded": ("✓", "bold green"), "failed": ("✗", "bold red"), "stopped": ("■", "bold yellow")}


def print_summary(record: RehearsalRecord, console: Console) -> None:
    """Write how a rehearsal ended: what failed and why comes first, then each action, then what was not rehearsed."""

    def show(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    mark, style = _VERDICTS[outcome(record)]
    show(f"{mark} {verdict(record)}", style)
    if (failed := record.failed) is not None:
        _print_cause(failed, console)
    console.print(_table(record))
    show(
        f"{counted(record.calls, 'call')} made as the pipeline's roles, {record.simulations:,} checked with the policy "
        f"simulator. Model {_short(record.model_commit)}, infrastructure {_short(record.infrastructure_commit)}."
    )
    if record.accounts:
        show("Accounts: " + ", ".join(f"{name} {account}" for name, account in record.accounts.items()))
    if record.not_rehearsed:
        show("Not rehearsed:", "bold")
        for sentence in record.not_rehearsed:
            # Folded by rich, so that it stays beside its dash.
            line = Table.grid(padding=(0, 1))
            line.add_row("-", Text(plain(sentence)))
            console.print(line)


def document(record: RehearsalRecord, folder: Path) -> dict[str, Any]:
    """Return the contents of rehearsal.json.

    Parameters
    ----------
    record
        The rehearsal.
    folder
        Where the file will lie.
    """
    failed = record.failed
    return {
        "schema": SCHEMA,
        "execution_id": record.execution_id,
        "outcome": outcome(record),
        "failed": failed
        and {"stage": failed.stage, "name": failed.name, "cause": failed.cause, "log": relative_log(failed, folder)},
        "started": moment(record.started),
        "ended": moment(record.ended),
        "seconds": round(total_seconds(record), 3),
        "commits": {"model": record.model_commit, "infrastructure": record.infrastructure_commit},
        "accounts": dict(record.accounts),
        "calls": record.calls,
        "simulations": record.simulations,
        "not_rehearsed": list(record.not_rehearsed),
        "actions": [_action(action, folder) for action in record.actions],
    }


def write_json(record: RehearsalRecord, path: Path) -> None:
    """Write rehearsal.json, whole or not at all.

    Raises
    ------
    OperationFailedError
        If it cannot be written.
    """
    text = json.dumps(document(record, path.parent), indent=2, ensure_ascii=False) + "\n"
    # What was no text in a log or a file's name is none here either.
    write_whole(path, text.encode("utf-8", "replace").decode())


def relative_log(action: ActionRecord, folder: Path) -> str | None:
    """Return an action's log file, relative to a folder where it lies in it."""
    if action.log is None:
        return None
    log, root = action.log.absolute(), folder.absolute()
    return str(log.relative_to(root)) if log.is_relative_to(root) else str(log)


def _action(action: ActionRecord, folder: Path) -> dict[str, Any]:
    seconds = action.seconds
    return {
        "stage": action.stage,
        "name": action.name,
        "provider": action.provider,
        "run_order": action.run_order,
        "state": action.state.value,
        "started": moment(action.started),
        "ended": moment(action.ended),
        "seconds": None if seconds is None else round(seconds, 3),
        "cause": action.cause,
        "details": list(action.details),
        "last_line": plain(action.last_line),
        "log": relative_log(action, folder),
    }


def _print_cause(action: ActionRecord, console: Console) -> None:
    lines = plain_lines(action.cause or "") or [plain(action.last_line) or "It says nothing."]
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)
    if action.log is not None:
        console.print(Text(f"  Log: {action.log}", "dim"), soft_wrap=True)


def _table(record: RehearsalRecord) -> Table:
    table = Table(header_style="bold", highlight=False, box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("what it did")
    for stage, actions in stages(record):
        for number, action in enumerate(actions):
            style = STYLES[action.state]
            is_over = action.state in (State.SUCCEEDED, State.FAILED)
            table.add_row(
                Text("" if number else stage),
                Text.assemble((f"{MARKS[action.state]} ", style), action.name),
                Text(duration(action.seconds)) if is_over else Text(action.state.value, style),
                _details(action),
            )
    return table


def _details(action: ActionRecord) -> Text:
    details = Text("\n".join(plain(each) for each in action.details))
    if action.state is State.FAILED:
        # The cause stands above the table, whole.
        details = Text("failed", "red") if not details.plain else Text.assemble(("failed", "red"), "\n", details)
    return details


def _short(commit: str) -> str:
    return commit[:12] or "unknown"
