"""What the integration tests share: the commands, on the session's embedded AWS."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

import models as models_command
import train as train_command
from crosstrain.local.server import LocalTrainingStack


@dataclass(frozen=True)
class Finished:
    """A finished command."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The result document that `--json` prints."""
        return json.loads(self.stdout)


Train = Callable[..., Finished]
Command = Callable[..., Finished]


def as_process(script: Path, environment: Mapping[str, str], folder: Path, arguments: Sequence[str]) -> Finished:
    """Run a script as people do."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=dict(environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def in_process(
    main: Callable[[Sequence[str]], int], environment: Mapping[str, str], folder: Path, arguments: Sequence[str]
) -> Finished:
    """Run a command without the imports of a process of its own; each is run as one elsewhere, too."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    terminating = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        patch.chdir(folder)
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
        finally:
            signal.signal(signal.SIGTERM, terminating)
    return Finished(code, *(cast("io.BytesIO", each.buffer).getvalue().decode() for each in streams))


def training_options(training_stack: LocalTrainingStack, folder: Path) -> list[str]:
    """Return options of `train.py`, which those of a test follow."""
    # No test meets the champion of another, nor searches for a minute, unless that is what it is about.
    named = ["--stack", training_stack.name, "--out", str(folder / "out"), "--model-name", uuid.uuid4().hex]
    return [*named, "--search-trials", "0"]


@pytest.fixture
def train(training_stack: LocalTrainingStack, tmp_path: Path) -> Train:
    """Return a function that trains as `scripts/train.py --stack` does with the data scientist's rights."""
    options = training_options(training_stack, tmp_path)
    environment = training_stack.aws.environment(training_stack.data_scientist)
    return lambda *arguments: in_process(train_command.main, environment, tmp_path, [*options, *arguments])


@pytest.fixture
def in_shell(training_stack: LocalTrainingStack) -> dict[str, str]:
    """Return the environment of a shell that has been told of the stack, as beside `make local-aws`."""
    return training_stack.aws.environment(training_stack.data_scientist) | {"CROSSTRAIN_STACK": training_stack.name}


@pytest.fixture
def models(in_shell: dict[str, str], tmp_path: Path) -> Command:
    """Return a function that does what `scripts/models.py` does."""
    return lambda *arguments: in_process(models_command.main, in_shell, tmp_path, arguments)
