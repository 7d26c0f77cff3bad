"""Say the commands that bring a stage back to its previous release, or carry them out.

The template goes back with the images: it is that of the release's infrastructure commit, packaged as the pipeline does
it, into the bucket of the tools account, which the stage's roles can read. The ledger and the bucket are in the tools
account; `--profile` is for `sam deploy` alone, which needs the stage's account. `--mark-deployed RELEASE` only records
what a stage runs now, as the pipeline does after each deployment. It exits with 0 for success, 1 for a failed
operation, 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from files import read_base
from ledger import STAGES, Ledger, Release, open_ledger
from stack import BadInputError, OperationFailedError, run_command

if TYPE_CHECKING:
    from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
BUCKET_VARIABLE = "ARTIFACT_BUCKET"


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
    """Return the commands that deploy a release to a stage and record it, in order.

    Raises
    ------
    BadInputError
        If the stage's file cannot be read, or nothing says where the package goes.
    """
    stage, template = options.stage, (options.template or ROOT / "template.yaml").resolve()
    folder = template.parent
    base = options.base or folder / "config" / f"{stage}.json"
    parameters = Path(f"parameters-{stage}.yaml").resolve()
    ledger = ["--ledger", table]
    resolve = ["--stage", stage, "--template", str(template), "--base", str(base), "--format", "sam"]
    return [
        *_switch(folder, release),
        _script("resolve_images.py", release.id, *ledger, *resolve, "--out", str(parameters)),
        *([] if options.template else [_package(release, options.artifact_bucket)]),
        _deploy(release, options, {**read_base(base).get("Tags", {}), "stage": stage}, parameters),
        _script("rollback.py", stage, *ledger, "--mark-deployed", release.id),
    ]


def _switch(folder: Path, release: Release) -> list[list[str]]:
    """Return the command that checks the release's template out, where another one is."""
    if _checked_out(folder) in (None, release.infrastructure_commit):
        return []
    return [["git", "-C", str(folder), "switch", "--detach", release.infrastructure_commit]]


def _package(release: Release, bucket: str | None) -> list[str]:
    if not (bucket or os.environ.get(BUCKET_VARIABLE)):
        raise BadInputError(
            f"The bucket of packages is not named: say --artifact-bucket NAME or set {BUCKET_VARIABLE} to the output "
            "ArtifactBucketName of the delivery stack."
        )
    variables = [
        f"{BUCKET_VARIABLE}={bucket or os.environ[BUCKET_VARIABLE]}",
        f"REPOSITORY_DATA_PREPARATION={_repository(release)}",
    ]
    return ["make", "-C", str(ROOT), "package", *variables]


def _deploy(release: Release, options: argparse.Namespace, tags: Mapping[str, str], parameters: Path) -> list[str]:
    template = options.template.resolve() if options.template else ROOT / "build" / "packaged.yaml"
    return [
        *(_sam(), "deploy", "--config-file", str(options.sam_config.resolve()), "--config-env", "packaged"),
        *("--template-file", str(template), "--stack-name", options.stack or f"crosstrain-{options.stage}"),
        *("--image-repository", _repository(release), "--parameter-overrides", parameters.as_uri()),
        *("--tags", *(f"{name}={value}" for name, value in tags.items())),
        *(("--profile", options.profile) if options.profile else ()),
    ]


def _repository(release: Release) -> str:
    """Return a repository for `sam`, which wants one named, although the images are parameters and none is pushed."""
    return release.images["DataPreparation"].partition("@")[0]


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
    parser.add_argument("--artifact-bucket", help=f"the bucket of the delivery stack; {BUCKET_VARIABLE} if left out")
    parser.add_argument("--template", type=Path, help="a template that is packaged already; made if left out")
    parser.add_argument("--sam-config", type=Path, default=ROOT / "samconfig.toml", help="what `sam deploy` reads")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--execute", action="store_true", help="carry the commands out")
    mode.add_argument("--mark-deployed", metavar="RELEASE", help="only record that the stage runs this release")
    return parser


if __name__ == "__main__":
    sys.exit(main())
