"""Runs taskcat, which passes over much in silence: looks before at what is asked for, and afterwards at what it did."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import boto3
import yaml

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.repositories import BY_DIGEST
from crosstrain.delivery.stages import read_base
from crosstrain.files import PROJECT

_TASKCAT = PROJECT / "tools/taskcat/.venv/bin/taskcat"
TRAINING = "template.yaml"
# What stands for the region in .taskcat.yml; taskcat itself knows it in parameters alone.
_CURRENT_REGION = "$[taskcat_current_region]"
# What a release says of itself; the rest of a stage's parameters is for .taskcat.yml to say.
_OF_THE_RELEASE = (*(f"{name}ImageUri" for name in FUNCTIONS.values()), "Release", "Commit")


@dataclass(frozen=True)
class Deployment:
    """A test of .taskcat.yml: what it deploys, and with which profile."""

    test: str
    template: str
    profile: str


@dataclass(frozen=True)
class Reported:
    """A row of taskcat's report."""

    test: str
    region: str
    stack: str
    status: str


def read_configuration(path: Path) -> dict[str, Any]:
    """Return the content of .taskcat.yml.

    Raises
    ------
    BadInputError
        If it cannot be read, or has no tests or no name for the project.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInputError(f"{path} cannot be read: {error}.") from error
    sections = content if isinstance(content, dict) else {}
    if not isinstance(sections.get("tests"), dict) or not (sections.get("project") or {}).get("name"):
        raise BadInputError(f"{path} is no configuration of taskcat with tests and the name of a project.")
    return sections


def write_configuration(path: Path, region: str, folder: Path) -> Path:
    """Write .taskcat.yml for one region to the staged folder, and return where."""
    written = folder / "configuration.yml"
    written.write_text(path.read_text(encoding="utf-8").replace(_CURRENT_REGION, region), encoding="utf-8")
    return written


def plan(configuration: Mapping[str, Any], region: str, names: str | None = None) -> list[Deployment]:
    """Return the tests to run.

    Parameters
    ----------
    configuration : mapping
        The content of .taskcat.yml.
    region : str
        The region to test in.
    names : str, optional
        The tests to run, with commas between them; all if left out.

    Raises
    ------
    BadInputError
        If there is no test of a name, or a test is not for this region: taskcat would pass over it in silence. Or if a
        profile is missing or a role is not given by its name.
    """
    tests = configuration["tests"]
    chosen = [name.strip() for name in names.split(",")] if names is not None else list(tests)
    if unknown := [name for name in chosen if name not in tests]:
        raise BadInputError(
            f".taskcat.yml has no test {', '.join(map(repr, unknown))}; its tests are {', '.join(tests)}."
        )
    return [_deployment(name, {**configuration.get("project", {}), **(tests[name] or {})}, region) for name in chosen]


def stage_files(planned: Sequence[Deployment], package: Path, parameters: Mapping[str, str], folder: Path) -> None:
    """Lay out the folder that taskcat works in, all of which it uploads, and the parameters that it takes from there.

    Raises
    ------
    BadInputError
        If the packaged template is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for template in {each.template for each in planned}:
        source = package if template == TRAINING else PROJECT / template
        if not source.is_file():
            raise BadInputError(f"There is no {source}: run `make package` first.")
        shutil.copyfile(source, folder / template)
    # taskcat reads the file of this name in the folder that it runs in, and leaves out what a template does not have.
    (folder / ".taskcat_overrides.yml").write_text(yaml.safe_dump(dict(parameters)), encoding="utf-8")


@contextmanager
def without_new_buckets(project: str, profiles: Iterable[str], region: str) -> Iterator[None]:
    """Delete the buckets that taskcat makes meanwhile, and names after the project of .taskcat.yml.

    It deletes only the last one of each account, and it makes one when it begins and another when it cleans up.
    """
    prefix = f"tcat-{project}-"
    before = {profile: _buckets(prefix, profile, region) for profile in profiles}
    try:
        yield
    finally:
        for profile, known in before.items():
            for name in _buckets(prefix, profile, region) - known:
                _delete_bucket(name, profile, region)


def run(planned: Sequence[Deployment], region: str, configuration: Path, folder: Path) -> int:
    """Run taskcat in the staged folder and return its exit code.

    Raises
    ------
    OperationFailedError
        If it is not installed or was interrupted.
    """
    options = {
        "input-file": configuration.resolve(),
        "project-root": folder.resolve(),
        "output-directory": (folder / "taskcat_outputs").resolve(),
        "regions": region,
        "test-names": ",".join(each.test for each in planned),
    }
    arguments = [each for name, value in options.items() for each in (f"--{name}", str(value))]
    # Its own dependency warns of a deprecation at each start.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore::UserWarning"}
    try:
        process = subprocess.Popen(
            [_TASKCAT, "test", "run", *arguments, "--minimal-output"], cwd=folder, env=environment
        )
    except OSError as error:
        raise OperationFailedError(f"{_TASKCAT} cannot be run: {error}. `make taskcat` installs it.") from error
    with process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has interrupted it too, and it deletes what it has created.
            process.wait()
            raise OperationFailedError(
                "taskcat was interrupted; see that its stacks are gone: their tags have the key taskcat-id."
            ) from None


def judge(planned: Sequence[Deployment], region: str, status: int, report: Path) -> None:
    """See in taskcat's report, and in the accounts, that each test has created a stack, and that none is left.

    Raises
    ------
    OperationFailedError
        With everything that went wrong.
    """
    rows = read_report(report.read_text(encoding="utf-8")) if report.is_file() else []
    problems = [] if status == 0 else [f"taskcat ended with status {status}"]
    for each in planned:
        mine = [row for row in rows if (row.test, row.region) == (each.test, region)]
        if not mine:
            problems.append(f"its report has no stack of {each.test} in {region}")
        for row in mine:
            print(f"{row.test}\t{row.region}\t{row.stack}\t{row.status}")
            if row.status != "CREATE_COMPLETE":
                problems.append(f"the stack {row.stack} of {row.test} ended as {row.status}")
            found = _status_of(row.stack, each.profile, region)
            if found is None:
                problems.append(f"the account of the profile {each.profile} never had the stack {row.stack}")
            elif found != "DELETE_COMPLETE":
                problems.append(f"the stack {row.stack} is left with the profile {each.profile}: {found}")
    if problems:
        raise OperationFailedError(f"The templates have not passed: {'; '.join(problems)}. See {report.parent}.")


def read_report(text: str) -> list[Reported]:
    """Return the rows of taskcat's HTML report that are about a stack."""
    parser = _ReportParser()
    parser.feed(text)
    return [Reported(*row[:4]) for row in parser.rows if len(row) == 5]


class _ReportParser(HTMLParser):
    """Collects the text of every table cell, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._is_in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._is_in_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_in_cell:
            self.rows[-1][-1] += data.strip()


def _deployment(name: str, test: Mapping[str, Any], region: str) -> Deployment:
    regions = test.get("regions", [])
    if region not in regions:
        raise BadInputError(
            f"The test {name} of .taskcat.yml is not for {region}, but for {', '.join(regions) or 'no region'}: "
            "set AWS_REGION, or add the region there."
        )
    profile = test.get("auth", {}).get(region)
    if profile is None:
        raise BadInputError(
            f"The test {name} of .taskcat.yml names no profile for {region} in auth; a default would not do, because "
            "taskcat replaces it."
        )
    if profile not in boto3.Session().available_profiles:
        raise BadInputError(
            f'There is no AWS profile "{profile}", which the test {name} needs: make it with `aws configure`, or name '
            "another one in .taskcat.yml."
        )
    if ":" in test.get("role_name", ""):
        raise BadInputError(f"The test {name} of .taskcat.yml has an ARN as role_name; it takes the role's name alone.")
    if "template" not in test:
        raise BadInputError(f"The test {name} of .taskcat.yml names no template.")
    return Deployment(name, test["template"], profile)


def release_parameters(path: Path, region: str) -> dict[str, str]:
    """Return what a stage's parameter file says of the release.

    Raises
    ------
    BadInputError
        If it lacks something, or has images of another region than this one or without a digest.
    """
    found = read_base(path).get("Parameters", {})
    if missing := [name for name in _OF_THE_RELEASE if not found.get(name)]:
        raise BadInputError(f"{path} does not say {', '.join(missing)}: write it with scripts/resolve_images.py.")
    for name in _OF_THE_RELEASE[: len(FUNCTIONS)]:
        uri = str(found[name])
        if not BY_DIGEST.fullmatch(uri):
            raise BadInputError(f"{name} in {path} is no image by digest (repository@sha256:…): {uri}.")
        if f".ecr.{region}." not in uri:
            raise BadInputError(
                f"Lambda runs no image of another region, and this run is for {region}: {uri}. Set AWS_REGION to the "
                "region of the tools account's stacks."
            )
    return {name: str(found[name]) for name in _OF_THE_RELEASE}


def tools_parameters(stack: str, outputs: Mapping[str, str]) -> dict[str, str]:
    """Return what target-account.yaml asks for, from the outputs of tools-account.yaml.

    Raises
    ------
    BadInputError
        If the stack has other outputs.
    """
    wanted = ("ProjectName", "ArtifactBucketName", "ArtifactKeyArn")
    if missing := [output for output in wanted if output not in outputs]:
        raise BadInputError(f'The stack "{stack}" has no output {", ".join(missing)}: it is not of tools-account.yaml.')
    found = {name: outputs[name] for name in wanted}
    return {**found, "ToolsAccountId": found["ArtifactKeyArn"].split(":")[4]}


def _status_of(stack: str, profile: str, region: str) -> str | None:
    """Return the status of a stack that an account has, or has had in the last 90 days."""
    pages = _client("cloudformation", profile, region).get_paginator("list_stacks").paginate()
    statuses = (each["StackStatus"] for page in pages for each in page["StackSummaries"] if each["StackName"] == stack)
    return next(statuses, None)


def _buckets(prefix: str, profile: str, region: str) -> set[str]:
    """Return the buckets of an account whose names begin so."""
    found = _client("s3", profile, region).list_buckets(Prefix=prefix)["Buckets"]
    return {each["Name"] for each in found if each["Name"].startswith(prefix)}


def _delete_bucket(name: str, profile: str, region: str) -> None:
    resource = boto3.Session(profile_name=profile, region_name=region).resource("s3").Bucket(name)
    resource.objects.all().delete()
    resource.delete()


def _client(service: Any, profile: str, region: str) -> Any:
    return boto3.Session(profile_name=profile, region_name=region).client(service)
