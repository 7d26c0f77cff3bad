"""The commands that take a stage back to an earlier release, template and images together."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.ledger import Release
from crosstrain.delivery.repositories import project_of
from crosstrain.delivery.stages import read_base
from crosstrain.files import PROJECT, SCRIPTS

BUCKET_VARIABLE = "ARTIFACT_BUCKET"


def stack_name(release: Release, stage: str) -> str:
    """Return the name of a stage's stack, `<project>-<stage>`; the images' repositories begin with the project.

    Raises
    ------
    BadInputError
        If they do not.
    """
    repository = _repository(release)
    found = project_of(repository)
    if found is None:
        raise BadInputError(
            f"The repository {repository} names no project: say which stack is the stage's with --stack."
        )
    return f"{found[0]}-{stage}"


@dataclass(frozen=True)
class Deployed:
    """What runs in a stage.

    Attributes
    ----------
    release
        What its stack was last deployed with, whether or not that passed its system test.
    bucket
        The stack's own, through which `sam` hands CloudFormation a template of more than 51,200 bytes.
    """

    release: str
    bucket: str


def deployed(name: str, profile: str | None) -> Deployed:
    """Return what a stage's stack runs.

    A stack has to be there: `sam deploy` would make one, with the rights of whoever runs it.

    Raises
    ------
    BadInputError
        If there is no such profile, or no such stack in its account, or none that was ever deployed.
    """
    stack = None
    try:
        [stack] = boto3.Session(profile_name=profile).client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except BotoCoreError as error:
        raise BadInputError(
            f"The stage's account cannot be called: {str(error).rstrip('.')}: see --profile."
        ) from error
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
    if stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        account = f"the account of the profile {profile}" if profile else "this account"
        raise BadInputError(
            f'There is no stack "{name}" in {account}, and a rollback makes none: see --profile and --stack.'
        )
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
    if "ArtifactBucketName" not in outputs:
        raise BadInputError(f'The stack "{name}" has no ArtifactBucketName among its outputs: see --stack.')
    return Deployed(parameters.get("Release", ""), outputs["ArtifactBucketName"])


def commands(table: str, release: Release, bucket: str, options: argparse.Namespace) -> list[list[str]]:
    """Return the commands that deploy a release to a stage and record it, in order.

    Raises
    ------
    BadInputError
        If the stage's file cannot be read, or nothing says where the package goes.
    """
    stage, template = options.stage, (options.template or PROJECT / "template.yaml").resolve()
    folder = template.parent
    base = options.base or folder / "config" / f"{stage}.json"
    parameters = Path(f"parameters-{stage}.yaml").resolve()
    ledger = ["--ledger", table]
    resolve = ["--stage", stage, "--template", str(template), "--base", str(base), "--format", "sam"]
    resolve += ["--without-way-back"] if options.without_way_back else []
    return [
        *_switch(folder, release),
        _script("resolve_images.py", release.id, *ledger, *resolve, "--out", str(parameters)),
        *([] if options.template else [_package(release, options.artifact_bucket)]),
        _deploy(release, bucket, options, {**read_base(base).get("Tags", {}), "stage": stage}, parameters),
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
            "ArtifactBucketName of tools-account.yaml."
        )
    variables = [
        f"{BUCKET_VARIABLE}={bucket or os.environ[BUCKET_VARIABLE]}",
        f"REPOSITORY_DATA_PREPARATION={_repository(release)}",
    ]
    return ["make", "-C", str(PROJECT), "package", *variables]


def _deploy(
    release: Release, bucket: str, options: argparse.Namespace, tags: Mapping[str, str], parameters: Path
) -> list[str]:
    template = options.template.resolve() if options.template else PROJECT / "build" / "packaged.yaml"
    return [
        *(_sam(), "deploy", "--config-file", str(options.sam_config.resolve()), "--config-env", "packaged"),
        *("--template-file", str(template), "--stack-name", options.stack),
        *("--s3-bucket", bucket, "--s3-prefix", "packaged"),
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
    return [sys.executable, str(SCRIPTS / name), *arguments]


def _sam() -> str:
    return shutil.which("sam", path=str(Path(sys.executable).parent)) or "sam"


def _checked_out(folder: Path) -> str | None:
    """Return the commit that a folder is checked out from, or None where it is no checkout."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
