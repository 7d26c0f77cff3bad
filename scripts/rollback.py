"""Print the commands that take a stage back to its previous release, or execute them.

The template goes back with the images: it is that of the release's infrastructure commit, packaged as the pipeline does
it, into the bucket of the tools account, which the stage's roles can read. The ledger and the bucket are in the tools
account; `--profile` is of the stage's account, which is asked what it runs and deployed to, through the bucket of its
own stack. `--mark-deployed RELEASE` only records
what a stage runs now, as the pipeline does after each deployment. It exits with 0 for success, 1 for a failed
operation, 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosstrain.command import BadInputError, run_command
from crosstrain.delivery.ledger import open_ledger
from crosstrain.delivery.rollback import (
    BUCKET_VARIABLE,
    commands,
    deployed,
    execute,
    stack_name,
)
from crosstrain.delivery.stages import STAGES
from crosstrain.files import PROJECT

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        ledger = open_ledger(options.ledger)
        if options.mark_deployed:
            release = ledger.resolve(options.mark_deployed).id
            marked = ledger.mark_deployed(options.stage, release)
            print(json.dumps({name: marked.get(name) for name in ("release", "previous", "deployed_at")}, indent=2))
            return
        passed = ledger.stage(options.stage)["release"]
        target = ledger.resolve(options.to or f"previous:{options.stage}")
        errors.print(f"The last release that passed in {options.stage} is {passed}; to {target.id}:", markup=False)
        options.stack = options.stack or stack_name(target, options.stage)
        now = deployed(options.stack, options.profile)
        steps = commands(ledger.table, target, now.bucket, options)
        if not options.execute:
            print("\n".join(map(shlex.join, steps)))
            return
        if steps[0][0] == "git":
            raise BadInputError(
                f"Release {target.id} was built with another template than the one that is checked out: "
                f"git switch --detach {target.infrastructure_commit}"
            )
        # A release that failed its system test is deployed all the same, and not in the ledger: the stack is asked.
        if target.id == now.release == passed:
            errors.print(f"{options.stack} runs it already: there is nothing to do.", markup=False)
            return
        for step in steps:
            errors.print(f"$ {shlex.join(step)}", markup=False)
            execute(step)
        print(target.id)

    return run_command(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--ledger", help="the ledger's table; LEDGER_TABLE if left out")
    parser.add_argument(
        "--to",
        metavar="RELEASE",
        help="the release to go to, stage:STAGE for the last that passed there; the one before that if left out",
    )
    parser.add_argument("--stack", help="the stage's stack (default: <project>-<stage>)")
    parser.add_argument("--profile", help="the AWS profile of the stage's account")
    parser.add_argument("--base", type=Path, help="the stage's own Parameters and Tags (default: config/<stage>.json)")
    parser.add_argument("--artifact-bucket", help=f"the bucket of the tools account; {BUCKET_VARIABLE} if left out")
    parser.add_argument("--template", type=Path, help="a template that is packaged already; made if left out")
    parser.add_argument("--sam-config", type=Path, default=PROJECT / "samconfig.toml", help="what `sam deploy` reads")
    parser.add_argument(
        "--without-way-back",
        action="store_true",
        help="go although the registry lacks an image of what the stage runs, to which nothing can then go back",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--execute", action="store_true", help="execute the commands")
    mode.add_argument("--mark-deployed", metavar="RELEASE", help="only record that the stage runs this release")
    return parser


if __name__ == "__main__":
    sys.exit(main())
