"""Rehearse the whole delivery on this machine: the pipeline that pipeline.yaml declares, in three emulated accounts.

Sources, builds, change sets, system tests and the approval go by the declaration, each with the rights that AWS would
give it. What failed comes first, with its cause; rehearsal.json, timeline.html and a log of each action are below
`--out`. It exits with 0 if all went well, 1 if an action failed, 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosstrain.command import result_console, run_command
from crosstrain.files import PROJECT
from crosstrain.rehearsal import accounts
from crosstrain.rehearsal.rehearse import rehearse
from crosstrain.rehearsal.report import summary
from crosstrain.rehearsal.report.records import RehearsalRecord

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    failed: list[RehearsalRecord] = []

    def work(console: Console) -> None:
        record = rehearse(options, console)
        summary.print_summary(record, result_console())
        failed.extend([record] if record.failed else [])

    return run_command(work) or len(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--project", type=Path, default=PROJECT, help="the infrastructure repository (default: this one)"
    )
    parser.add_argument("--model", type=Path, help="the model repository (default: functions/ and notebooks/ of it)")
    parser.add_argument("--worktree", action="store_true", help="take the files as they are, not those of HEAD")
    parser.add_argument(
        "--since", metavar="COMMIT", help="the commit that the stacks and the roles are deployed from at first"
    )
    parser.add_argument(
        "--accounts",
        default=accounts.DEFAULT,
        metavar="TOOLS,TEST,PROD",
        help="the accounts; fewer than three ids, and the last one stands for the others (default: %(default)s)",
    )
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the templates"
    )
    parser.add_argument("--approve", choices=("yes", "no", "ask"), default="ask", help="default: %(default)s")
    parser.add_argument("--no-images", action="store_true", help="run functions as processes, not as containers")
    parser.add_argument("--fresh", action="store_true", help="verify again what has been verified before")
    parser.add_argument("--out", type=Path, default=PROJECT / "out" / "rehearsal", help="default: out/rehearsal")
    return parser


if __name__ == "__main__":
    sys.exit(main())
