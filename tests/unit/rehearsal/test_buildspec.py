"""A buildspec does what it does in CodeBuild: one shell, its phases in order; what is not supported is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from crosstrain.command import BadInputError
from crosstrain.rehearsal.codebuild import buildspec


def run(tmp_path: Path, phases: dict[str, list[str]], *exported: str, shell: str = "bash") -> tuple[int, str, str, str]:
    """Run a buildspec of these phases, and return its status, its output, its progress and its exported variables."""
    document = {
        "version": 0.2,
        "env": {"shell": shell, "exported-variables": list(exported)},
        "phases": {name: {"commands": commands} for name, commands in phases.items()},
    }
    specification = buildspec.read(yaml.safe_dump(document), "buildspec.yml")
    progress, exports = tmp_path / "it's progress", tmp_path / "exports"
    done = subprocess.run(
        [shell, "-c", specification.script(progress, exports)], check=False, capture_output=True, text=True
    )
    return done.returncode, done.stdout, progress.read_text(), exports.read_text()


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_commands_share_a_shell_and_hand_on_variables(tmp_path: Path, shell: str) -> None:
    phases = {"pre_build": ["NAME=it\\'s", "cd /"], "build": ['echo "$NAME in $PWD"']}
    status, output, progress, exported = run(tmp_path, phases, "NAME", "UNSET", shell=shell)

    assert status == 0
    assert "it's in /" in output
    assert progress == "phase pre_build\nphase build\n"
    assert exported == "NAME=it's\0UNSET=\0"


def test_a_command_that_fails_ends_its_phase_and_is_told(tmp_path: Path) -> None:
    status, output, progress, _ = run(tmp_path, {"pre_build": ["(exit 3)", "echo never"], "build": ["echo never"]})

    assert status == 3
    assert "never" not in output.replace("+ echo never", "")
    assert "failed pre_build 3 (exit 3)" in progress
    assert "phase build" not in progress


def test_after_a_build_that_failed_there_is_post_build_and_the_build_stays_failed(tmp_path: Path) -> None:
    status, output, _, _ = run(tmp_path, {"build": ["false"], "post_build": ["echo cleaned"]})

    assert status == 1
    assert "\ncleaned\n" in output


def test_what_is_said_last_runs_whatever_became_of_the_phase(tmp_path: Path) -> None:
    text = "version: 0.2\nphases: {build: {commands: ['false'], finally: ['echo swept']}}"
    script = buildspec.read(text, "buildspec.yml").script(tmp_path / "progress", tmp_path / "exports")
    done = subprocess.run(["/bin/sh", "-c", script], check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert "\nswept\n" in done.stdout


def test_every_buildspec_of_the_project_can_be_rehearsed(project: Path) -> None:
    for path in sorted((project / "buildspec").glob("*.yml")):
        assert buildspec.read(path.read_text(), path.name).phases


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 0.1", "version is 0.1"),
        ("version: 0.2\nbatch: {}", "the buildspec has batch"),
        ("version: 0.2\nenv: {secrets-manager: {A: b}}", "env has secrets-manager"),
        ("version: 0.2\nphases: {build: {on-failure: CONTINUE}}", "the phase build has on-failure"),
        ("version: 0.2\nphases: {deploy: {commands: [ls]}}", "phases has deploy"),
        ("version: 0.2\nartifacts: {secondary-artifacts: {}}", "artifacts has secondary-artifacts"),
        ("version: 0.2\nreports: {a: {files: [x], file-format: TESTNGXML}}", "the format TESTNGXML"),
        ("version: 0.2\nenv: {shell: powershell.exe}", "the shell is powershell.exe"),
        ("[", "is no YAML"),
        ("hello", "is no buildspec"),
        ("version: 0.2\nenv:", "env has to be a mapping"),
        ("version: 0.2\nreports:", "reports has to be a mapping"),
        ("version: 0.2\nartifacts:", "artifacts has to be a mapping"),
        ("version: 0.2\nenv: {variables: [A]}", "variables has to be a mapping"),
        ("version: 0.2\nphases: {build: }", "build has to be a mapping"),
        ("version: 0.2\nreports: {a: }", "a has to be a mapping"),
        ("version: 0.2\nphases: {build: {commands: }}", "commands of the phase build has to be a list of texts"),
        ("version: 0.2\nphases: {build: {commands: make lint}}", "commands of the phase build has to be a list"),
        ("version: 0.2\nphases: {build: {commands: [echo lint: now]}}", 'holds {"echo lint": "now"}, which has to be'),
        ("version: 0.2\nphases: {build: {finally: [1]}}", "finally of the phase build holds 1"),
        ("version: 0.2\nartifacts: {files: packaged.yaml}", "files of artifacts has to be a list of texts"),
        ("version: 0.2\nreports: {a: {files: x}}", "files of the report group a has to be a list of texts"),
        ("version: 0.2\nenv: {exported-variables: A}", "exported-variables of env has to be a list of texts"),
    ],
)
def test_what_of_a_buildspec_is_not_supported_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        buildspec.read(text, "buildspec.yml")
