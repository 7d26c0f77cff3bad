"""Say the commands that bring a stage back to its previous release, or carry them out.

The template goes back with the images: it is that of the release's infrastructure commit. The ledger is in the tools
account; `--profile` is for `sam deploy` alone, which needs the stage's account. `--mark-deployed RELEASE` only records
what a stage runs now, as the pipeline does after each deployment. It exits with 0 for success, 1 for a failed
operation, 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ledger import STAGES, Ledger, Release, open_ledger
from stack import BadInputError, OperationFailedError, run_command

if TYPE_CHECKING:
    from rich.console import Console

ROOT = Path(__file__).parents[1]


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
        target = find_target(ledger, options.stage, options.to)
        steps = commands(ledger.table, target, options)
        if not options.execute:
            print("\n".join(map(shlex.join, steps)))
            return
        if steps[0][0] == "git":
            raise BadInputError(
                f"Release {target.id} was built with another template than the one that is checked out: "
                f"git switch --detach {target.infrastructure_commit}"
            )
        for step in steps:
            errors.print(f"$ {shlex.join(step)}", markup=False)
            execute(step)
        print(target.id)

    return run_command(work)


def find_target(ledger: Ledger, stage: str, release: str | None) -> Release:
    """Return the release to go back to.

    Raises
    ------
    BadInputError
        If there is none, or the stage runs it already.
    """
    current = ledger.stage(stage)["release"]
    target = ledger.resolve(release or f"previous:{stage}")
    if target.id == current:
        raise BadInputError(f"Stage {stage} runs {current} already.")
    return target


def commands(table: str, release: Release, options: argparse.Namespace) -> list[list[str]]:
    """Return the commands that deploy a release to a stage and record it, in order."""
    stage, template = options.stage, options.template.resolve()
    file = Path(f"parameters-{stage}.yaml").resolve()
    ledger = ["--ledger", table]
    resolve = _script("resolve_images.py", release.id, *ledger, "--stage", stage, "--template", str(template))
    resolve += ["--base", str(options.base or template.parent / "config" / f"{stage}.json")]
    deploy = [_sam(), "deploy", "--template-file", str(template)]
    deploy += [
        "--config-file",
        str(options.sam_config.resolve()),
        "--stack-name",
        options.stack or f"crosstrain-{stage}",
    ]
    deploy += ["--parameter-overrides", file.as_uri(), "--no-confirm-changeset", "--no-fail-on-empty-changeset"]
    deploy += ["--profile", options.profile] if options.profile else []
    switch = [["git", "-C", str(template.parent), "switch", "--detach", release.infrastructure_commit]]
    return [
        *(switch if _checked_out(template.parent) not in (None, release.infrastructure_commit) else []),
        [*resolve, "--format", "sam", "--out", str(file)],
        deploy,
        _script("rollback.py", stage, *ledger, "--mark-deployed", release.id),
    ]


def execute(command: Sequence[str]) -> None:
    """Run a command, whose output goes to stderr.

    Raises
    ------
    OperationFailedError
        If it is not installed or fails; what follows is then not run.
    """
    try:
        status = subprocess.run(command, check=False, stdout=sys.stderr.fileno()).returncode
    except OSError as error:
        raise OperationFailedError(f"{command[0]} cannot be run: {error}.") from error
    if status:
        raise OperationFailedError(f"The rollback stopped with status {status} at: {shlex.join(command)}")


def _script(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name(name)), *arguments]


def _sam() -> str:
    return shutil.which("sam", path=str(Path(sys.executable).parent)) or "sam"


def _checked_out(folder: Path) -> str | None:
    """Return the commit that a folder is checked out from, or None where it is no checkout."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--ledger", help="the ledger's table; LEDGER_TABLE if left out")
    parser.add_argument("--to", metavar="RELEASE", help="the release to go to; the stage's previous one if left out")
    parser.add_argument("--stack", help="the stage's stack (default: crosstrain-<stage>)")
    parser.add_argument("--profile", help="the AWS profile of the stage's account, for `sam deploy`")
    parser.add_argument("--base", type=Path, help="the stage's own Parameters and Tags (default: config/<stage>.json)")
    parser.add_argument("--template", type=Path, default=ROOT / "template.yaml", help="the template to deploy")
    parser.add_argument("--sam-config", type=Path, default=ROOT / "samconfig.toml", help="what `sam deploy` reads")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--execute", action="store_true", help="carry the commands out")
    mode.add_argument("--mark-deployed", metavar="RELEASE", help="only record that the stage runs this release")
    return parser


if __name__ == "__main__":
    sys.exit(main())
