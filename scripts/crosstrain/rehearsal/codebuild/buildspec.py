"""A buildspec, and the shell script that its phases are.

As in CodeBuild (version 0.2), all commands run in one shell one after another, so what one of them sets the next one
sees. A command that fails ends its phase; a build that fails still has its post_build phase.
https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crosstrain.command import BadInputError

PHASES = ("install", "pre_build", "build", "post_build")
SHELLS = ("bash", "sh")
_KNOWN = {"version", "env", "phases", "artifacts", "reports"}
_ENV = {"shell", "variables", "exported-variables"}
_PHASE = {"commands", "finally", "runtime-versions"}
_ARTIFACTS = {"files", "base-directory", "discard-paths"}
_REPORT = {"files", "base-directory", "file-format", "discard-paths"}
_FORMATS = {"JUNITXML": "JUnit", "COBERTURAXML": "Cobertura"}


@dataclass(frozen=True)
class Files:
    """Files of a build, as patterns below a folder."""

    patterns: tuple[str, ...]
    base: str
    discards_paths: bool
    file_format: str = ""


@dataclass(frozen=True)
class Phase:
    """The commands of a phase, and those that run whatever became of them."""

    name: str
    commands: tuple[str, ...]
    last: tuple[str, ...]


@dataclass(frozen=True)
class Buildspec:
    """What a buildspec says."""

    shell: str
    variables: Mapping[str, str]
    exported: tuple[str, ...]
    runtimes: Mapping[str, str]
    phases: tuple[Phase, ...]
    artifacts: Files | None
    reports: Mapping[str, Files]

    def script(self, progress: Path, exports: Path) -> str:
        """Return the script that runs the phases, in the shell that the buildspec names.

        Beside what the commands write, it records in the file `progress` which phase begins (`phase NAME`) and which
        command fails (`failed NAME STATUS COMMAND`), and writes the exported variables to `exports`, each ended by NUL.
        """
        files = f"exec 3>>{shlex.quote(str(progress))} 4>>{shlex.quote(str(exports))}"
        lines = [files, "__build_status=0; __stopped=0; __broken=0"]
        for phase in self.phases:
            body = "".join(_step(phase.name, command) for command in phase.commands)
            last = "".join(_step(phase.name, command) for command in phase.last)
            lines += [f"__phase_{phase.name}() {{\n:\n{body}}}", f"__finally_{phase.name}() {{\n:\n{last}}}"]
            # A build that failed has its post_build; after anything else that failed there is nothing more.
            condition = "[ $__stopped = 0 ]" if phase.name != "post_build" else "[ $__broken = 0 ]"
            lines.append(
                f"if {condition}; then\n"
                f"echo 'phase {phase.name}' >&3\n"
                f"__phase_{phase.name}; __status=$?; __finally_{phase.name} || __status=$?\n"
                f"if [ $__status != 0 ]; then __build_status=$__status; __stopped=1; "
                f"{'' if phase.name == 'build' else '__broken=1;'} fi\nfi"
            )
        lines += [f"printf '%s\\0' \"{name}=${{{name}-}}\" >&4" for name in self.exported]
        return "\n".join([*lines, "exit $__build_status"]) + "\n"


def read(text: str, name: str) -> Buildspec:
    """Read a buildspec.

    Raises
    ------
    BadInputError
        With everything that is wrong in it or not supported.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInputError(f"{name} is no YAML: {error}.") from error
    if not isinstance(document, dict):
        raise BadInputError(f"{name} is no buildspec.")
    problems = _wrong(document)
    if problems:
        raise BadInputError(f"{name} cannot be rehearsed: {'; '.join(problems)}.")
    env, phases = document.get("env", {}), document.get("phases", {})
    artifacts, reports = document.get("artifacts"), document.get("reports", {})
    return Buildspec(
        shell=env.get("shell", "sh"),
        variables={key: str(value) for key, value in env.get("variables", {}).items()},
        exported=tuple(env.get("exported-variables", ())),
        runtimes={key: str(value) for key, value in phases.get("install", {}).get("runtime-versions", {}).items()},
        phases=tuple(
            Phase(each, tuple(phases[each].get("commands", ())), tuple(phases[each].get("finally", ())))
            for each in PHASES
            if each in phases
        ),
        artifacts=_files(artifacts) if artifacts else None,
        reports={group: _files(content) for group, content in reports.items()},
    )


def _step(phase: str, command: str) -> str:
    """Return the lines that log a command, run it, and end the phase if it fails."""
    quoted = shlex.quote(command)
    record = f'printf "failed {phase} %s %s\\n" $__s {quoted} >&3'
    return f"printf '+ %s\\n' {quoted}\n{command}\n__s=$?; if [ $__s != 0 ]; then {record}; return $__s; fi\n"


def _files(content: Mapping[str, Any]) -> Files:
    return Files(
        patterns=tuple(content.get("files", ())),
        base=content.get("base-directory", "."),
        discards_paths=str(content.get("discard-paths", "no")).lower() in ("yes", "true"),
        file_format=content.get("file-format", "JUNITXML"),
    )


def _wrong(document: Mapping[str, Any]) -> list[str]:
    """Return what of a buildspec is not supported, or not of the type that it has to be."""
    problems = _unknown("the buildspec", document, _KNOWN)
    if str(document.get("version")) != "0.2":
        problems.append(f"version is {document.get('version')}, not 0.2")
    env, phases, reports = (_mapping(document, key, problems) for key in ("env", "phases", "reports"))
    problems += _unknown("env", env, _ENV) + _unknown("phases", phases, set(PHASES))
    if env.get("shell", "sh") not in SHELLS:
        problems.append(f"the shell is {env['shell']}")
    _mapping(env, "variables", problems)
    _check_texts("env", env, "exported-variables", problems)
    for phase in phases:
        content = _mapping(phases, phase, problems)
        problems += _unknown(f"the phase {phase}", content, _PHASE)
        _mapping(content, "runtime-versions", problems)
        for key in ("commands", "finally"):
            _check_texts(f"the phase {phase}", content, key, problems)
    artifacts = _mapping(document, "artifacts", problems)
    problems += _unknown("artifacts", artifacts, _ARTIFACTS)
    _check_texts("artifacts", artifacts, "files", problems)
    for group in reports:
        content = _mapping(reports, group, problems)
        problems += _unknown(f"the report group {group}", content, _REPORT)
        _check_texts(f"the report group {group}", content, "files", problems)
        if str(content.get("file-format", "JUNITXML")) not in _FORMATS:
            problems.append(f"the report group {group} has the format {content['file-format']}")
    return problems


def _mapping(content: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, Any]:
    """Return the mapping of a key, an empty one if it is not there; what is no mapping is a problem."""
    value = content.get(key, {})
    if isinstance(value, dict):
        return value
    problems.append(f"{key} has to be a mapping")
    return {}


def _check_texts(what: str, content: Mapping[str, Any], key: str, problems: list[str]) -> None:
    value = content.get(key, [])
    if not isinstance(value, list):
        problems.append(f"{key} of {what} has to be a list of texts")
    else:
        # `echo lint: now` is a mapping to YAML, not a command.
        odd = [each for each in value if not isinstance(each, str)]
        problems.extend(
            f"{key} of {what} holds {json.dumps(each, default=str)}, which has to be a text" for each in odd
        )


def _unknown(what: str, content: Mapping[str, Any], known: set[str]) -> list[str]:
    return [f"{what} has {each}" for each in content if each not in known]
