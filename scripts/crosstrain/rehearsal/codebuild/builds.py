"""Builds: the commands of a real buildspec, with the credentials and the environment that CodeBuild gives them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.repositories import ECR
from crosstrain.local import guarded_process
from crosstrain.local.server import REGION, LocalAws, root_of
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.authorization import Authorizer, Session
from crosstrain.rehearsal.codebuild import buildspec
from crosstrain.rehearsal.codebuild.buildspec import Buildspec
from crosstrain.rehearsal.codebuild.environments import kept_environments, search_path
from crosstrain.rehearsal.codebuild.failures import explain_failure
from crosstrain.rehearsal.codebuild.reports import find_files, read_report, read_results
from crosstrain.rehearsal.codebuild.verdicts import Verdicts, verdict_key
from crosstrain.rehearsal.codepipeline.artifacts import Artifact, ArtifactStore, pack, unpack
from crosstrain.rehearsal.codepipeline.declaration import Action, project_parameter, read_project
from crosstrain.rehearsal.images.backends import Images
from crosstrain.rehearsal.report.log import ActionLog
from crosstrain.rehearsal.report.records import STOPPED

# What a build sees of this machine: where programs are, and how packages are fetched.
_KEPT = re.compile(
    r"(PATH|HOME|USER|LANG|LC_\w+|TZ|TERM|XDG_CACHE_HOME|(UV|PIP)_\w+|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE"
    r"|CURL_CA_BUNDLE|(?i:https?_proxy))"
)
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Build:
    """What came out of a build."""

    artifacts: Mapping[str, Artifact]
    variables: Mapping[str, str]
    details: tuple[str, ...]


@dataclass(frozen=True)
class Inputs:
    """What a pipeline gives a build.

    Attributes
    ----------
    pipeline : Session
        The pipeline's role.
    artifacts : mapping
        The input artifacts by name, in the order of the declaration.
    configuration : mapping
        The action's configuration, with the execution's variables put in.
    name : str
        The pipeline's name.
    store : ArtifactStore
        Where its artifacts are.
    """

    pipeline: Session
    artifacts: Mapping[str, Artifact]
    configuration: Mapping[str, str]
    name: str
    store: ArtifactStore


class CodeBuild:
    """Runs builds of the tools account.

    Parameters
    ----------
    aws, authorizer, images
        Where, with whose rights, and what builds build images with.
    work : Path
        Holds a folder for each project: its sources, which have the same path each time, and its environments.
    cache : Path
        Holds the verdicts of builds that depend on nothing but their sources.
    fresh : bool
        Whether earlier verdicts do not count.

    Attributes
    ----------
    endpoints : dict
        Variables that lead builds to services which the embedded AWS does not have.
    stopped : bool
        Whether builds have been ended.
    """

    def __init__(
        self, aws: LocalAws, authorizer: Authorizer, images: Images, *, work: Path, cache: Path, fresh: bool
    ) -> None:
        self.aws, self.authorizer, self.images = aws, authorizer, images
        self.work, self.verdicts, self.fresh = work.resolve(), Verdicts(cache), fresh
        self._running: set[subprocess.Popen[bytes]] = set()
        self._locks: dict[str, threading.Lock] = {}
        self._starting = threading.Lock()
        self.stopped = False
        self.endpoints: dict[str, str] = {}

    def run(self, action: Action, inputs: Inputs, log: ActionLog) -> Build:
        """Run an action's build.

        Raises
        ------
        OperationFailedError
            If a command fails, a role may not what it must, or an artifact or report is missing.
        """
        name = inputs.configuration["ProjectName"]
        account = inputs.pipeline.account
        arn = f"arn:aws:codebuild:{REGION}:{account}:project/{name}"
        started = self.authorizer.call(inputs.pipeline, "codebuild", "start_build", on=arn, projectName=name)
        self.authorizer.check(inputs.pipeline.role_arn, service_calls.WATCH_BUILD, arn)
        # A project has one folder: two of its builds would meet there.
        with self._locks.setdefault(name, threading.Lock()):
            return _Run(self, action, inputs, log, project_of(self.aws, account, name), started["build"]["id"]).run()

    def stop(self) -> None:
        """End all builds, and let none begin."""
        with self._starting:
            self.stopped = True
        for process in list(self._running):
            guarded_process.kill(process)

    @contextmanager
    def start(self, command: list[str], directory: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Yield a process that ends with the `with` block, or when all builds are ended."""
        with self._starting:
            if self.stopped:
                raise OperationFailedError(STOPPED)
            process = guarded_process.start_command(directory, command, **options)
            self._running.add(process)
        try:
            yield process
        finally:
            guarded_process.kill(process)
            self._running.discard(process)


class _Run:
    """One build."""

    def __init__(
        self,
        codebuild: CodeBuild,
        action: Action,
        inputs: Inputs,
        log: ActionLog,
        project: Mapping[str, Any],
        build_id: str,
    ) -> None:
        self._codebuild, self._action, self._inputs = codebuild, action, inputs
        self._log, self._project, self._id = log, project, build_id
        self._name = project["Name"]
        self._folder = codebuild.work / self._name
        self._arn = f"arn:aws:codebuild:{REGION}:{inputs.pipeline.account}:project/{self._name}"
        self._role: Session

    def run(self) -> Build:
        """Do what CodeBuild does: fetch the sources, run the phases, keep reports and artifacts."""
        authorizer = self._codebuild.authorizer
        self._role = authorizer.service_session(service_calls.CODEBUILD, self._project["ServiceRole"], self._arn)
        self._check_logging()
        sources = self._fetch()
        primary = self._inputs.configuration.get("PrimarySource", next(iter(sources)))
        specification = self._specification(sources[primary])
        self._check_pushes()
        key = self._verdict_key(specification)
        if key is not None and (found := self._codebuild.verdicts.find(key)) is not None:
            self._check_reporting(specification)
            self._log.write(f"Verified before, unchanged: {', '.join(found)}")
            return Build({}, {}, (f"verified before, unchanged ({', '.join(found)})",))
        variables = self._run_commands(specification, sources, primary)
        self._check_reporting(specification)
        details = [read_report(sources[primary], *report) for report in specification.reports.items()]
        details += read_results(sources[primary])
        artifacts = self._upload(specification, sources[primary])
        if key is not None:
            self._codebuild.verdicts.save(key, details)
        return Build(artifacts, variables, tuple(details))

    def _check_logging(self) -> None:
        """Ask whether the build may write its log; the embedded AWS takes the log group for what is written to."""
        group = self._project["LogsConfig"]["CloudWatchLogs"]["GroupName"]
        stream = self._id.partition(":")[2]
        arn = f"arn:aws:logs:{REGION}:{self._role.account}:log-group:{group}:log-stream:{stream}"
        self._codebuild.authorizer.check(self._role.role_arn, service_calls.WRITE_BUILD_LOG, arn)

    def _fetch(self) -> dict[str, Path]:
        """Fetch the input artifacts with the build's own role, each into its folder."""
        shutil.rmtree(self._folder / "input", ignore_errors=True)
        folders = {}
        for number, artifact in enumerate(self._inputs.artifacts.values()):
            directory = self._folder / "input" / f"src{number}"
            archive = self._folder / f"{artifact.name}.zip"
            archive.parent.mkdir(parents=True, exist_ok=True)
            self._inputs.store.get(self._role, artifact, archive)
            unpack(archive, directory)
            archive.unlink()
            folders[artifact.name] = directory
        return folders

    def _specification(self, source: Path) -> Buildspec:
        path = source / self._project["Source"]["BuildSpec"]
        if not path.is_file():
            raise OperationFailedError(f"The sources have no {self._project['Source']['BuildSpec']}.")
        return buildspec.read(path.read_text(encoding="utf-8"), str(path.relative_to(source)))

    def _check_pushes(self) -> None:
        """Ask whether the build may push to each repository that it is given; a registry takes pushes unsigned here."""
        if not _is_privileged(self._project):
            return
        for value in self._variables().values():
            if match := ECR.fullmatch(value):
                arn = f"arn:aws:ecr:{match['region']}:{match['account']}:repository/{match['name']}"
                self._codebuild.authorizer.check(self._role.role_arn, service_calls.PUSH_IMAGE, arn)

    def _verdict_key(self, specification: Buildspec) -> str | None:
        """Return by what the build's verdict is known, or None if it depends on more than its sources."""
        depends_on_more = self._variables() or self._action.outputs or specification.artifacts
        if depends_on_more or self._codebuild.fresh:
            return None
        digests = [artifact.digest for artifact in self._inputs.artifacts.values()]
        return verdict_key(digests, self._project["Source"]["BuildSpec"])

    def _variables(self) -> dict[str, str]:
        """Return the variables of the project and, over them, those of the action."""
        own = self._project["Environment"].get("EnvironmentVariables", [])
        given = json.loads(self._inputs.configuration.get("EnvironmentVariables", "[]"))
        # CloudFormation and CodePipeline write the names of the fields differently.
        both = [(each["Name"], each["Value"]) for each in own] + [(each["name"], each["value"]) for each in given]
        return {name: str(value) for name, value in both}

    def _environment(self, specification: Buildspec, sources: Mapping[str, Path], primary: str) -> dict[str, str]:
        machine = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
        environment = {
            **machine,
            "PATH": search_path(self._folder / "tools"),
            **self._codebuild.aws.settings(self._role.credentials),
            **specification.variables,
            **self._variables(),
            **{f"CODEBUILD_SRC_DIR_{name}": str(folder) for name, folder in sources.items() if name != primary},
            "CODEBUILD_SRC_DIR": str(sources[primary]),
            "CODEBUILD_BUILD_ID": self._id,
            "CODEBUILD_BUILD_ARN": self._arn.replace(":project/", ":build/").rpartition("/")[0] + f"/{self._id}",
            "CODEBUILD_INITIATOR": f"codepipeline/{self._inputs.name}",
            "CODEBUILD_CI": "true",
            **self._codebuild.endpoints,
        }
        if _is_privileged(self._project):
            environment |= self._codebuild.images.build_environment(environment)
        return environment

    def _run_commands(self, specification: Buildspec, sources: Mapping[str, Path], primary: str) -> dict[str, str]:
        """Run the phases, and return the exported variables."""
        progress, exports = self._folder / "progress", self._folder / "exports"
        for path in (progress, exports):
            path.write_bytes(b"")
        command = [specification.shell, "-c", specification.script(progress, exports)]
        with kept_environments(sources[primary], self._folder / "environments"):
            status = self._execute(command, sources[primary], self._environment(specification, sources, primary))
        if status != 0:
            raise explain_failure(status, progress.read_text(encoding="utf-8").splitlines(), self._log.text())
        pairs = [each.partition("=") for each in exports.read_text(encoding="utf-8").split("\0") if each]
        return {name: value for name, _, value in pairs}

    def _execute(self, command: list[str], directory: Path, environment: Mapping[str, str]) -> int:
        """Run the build's shell, and pass on what it writes as it writes it."""
        limit = time.monotonic() + 60 * float(self._project.get("TimeoutInMinutes", 60))
        options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with self._codebuild.start(command, directory, **options) as process:
            reader = threading.Thread(target=self._follow, args=[process], daemon=True)
            reader.start()
            while process.poll() is None and time.monotonic() < limit:
                time.sleep(_POLL_SECONDS)
            timed_out = process.poll() is None
            if timed_out:
                guarded_process.kill(process)
            reader.join(5)
            if self._codebuild.stopped:
                raise OperationFailedError(STOPPED)
            if timed_out:
                raise OperationFailedError(f"{self._name} was stopped after its time limit.")
            return process.returncode

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        with process.stdout:
            for line in process.stdout:
                self._log.write(line.decode("utf-8", "replace"))

    def _check_reporting(self, specification: Buildspec) -> None:
        """Ask whether the build may store its reports."""
        for group, files in specification.reports.items():
            arn = f"arn:aws:codebuild:{REGION}:{self._role.account}:report-group/{self._name}-{group}"
            actions = service_calls.STORE_REPORT[files.file_format]
            self._codebuild.authorizer.check(self._role.role_arn, actions, arn)

    def _upload(self, specification: Buildspec, source: Path) -> dict[str, Artifact]:
        if not self._action.outputs:
            return {}
        files = specification.artifacts
        if files is None or len(self._action.outputs) > 1:
            raise OperationFailedError(
                f"{self._action.name} has the output artifacts {', '.join(self._action.outputs)}, and the buildspec "
                f"{'has none' if files is None else 'can have one'}."
            )
        found = find_files(source, files)
        for pattern in files.patterns:
            if not [each for each in (source / files.base).glob(pattern) if each.is_file()]:
                raise OperationFailedError(f"The build has left no {pattern} in {files.base} for its artifact.")
        path = self._folder / f"{uuid4().hex}.zip"
        pack(found, path)
        artifact = self._inputs.store.put(self._role, self._action.outputs[0], path)
        path.unlink()
        return {artifact.name: artifact}


def project_of(aws: LocalAws, account: str, name: str) -> Mapping[str, Any]:
    """Return the properties of a build project, as they are deployed.

    Raises
    ------
    BadInputError
        If there is no such project, or it cannot be rehearsed.
    """
    ssm = aws.client("ssm", root_of(account))
    try:
        text = ssm.get_parameter(Name=project_parameter(name))["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound as error:
        raise BadInputError(f"The delivery stack has no build project {name}.") from error
    return read_project(text)


def _is_privileged(project: Mapping[str, Any]) -> bool:
    return str(project["Environment"].get("PrivilegedMode", "false")).lower() == "true"
