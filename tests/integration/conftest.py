"""What the integration tests share: the training command as a process, on the session's embedded AWS."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture
def train(training_stack: LocalTrainingStack, project: Path, tmp_path: Path) -> Train:
    """Return a function that runs `scripts/train.py --stack` as a process with the data scientist's rights."""
    model_name = uuid.uuid4().hex

    def run(*arguments: str) -> Finished:
        done = subprocess.run(
            [
                sys.executable,
                str(project / "scripts/train.py"),
                "--stack",
                training_stack.name,
                "--out",
                str(tmp_path / "out"),
                # No test meets the champion of another.
                "--model-name",
                model_name,
                # Nor searches for a minute, unless that is what it is about.
                "--search-trials",
                "0",
                *arguments,
            ],
            env=training_stack.aws.environment(training_stack.data_scientist),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def models(training_stack: LocalTrainingStack, project: Path) -> Command:
    """Return a function that runs `scripts/models.py` as it is run beside `make local-aws`."""
    environment = training_stack.aws.environment(training_stack.data_scientist) | {
        "CROSSTRAIN_STACK": training_stack.name
    }

    def run(*arguments: str) -> Finished:
        done = subprocess.run(
            [sys.executable, str(project / "scripts/models.py"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
