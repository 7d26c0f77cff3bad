"""The training command with an embedded AWS of its own: several at once, and nothing left behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return the folder that holds all temporary files of the commands; nothing of theirs may outlive the test."""
    yield tmp_path
    for process in _processes_of(tmp_path):
        os.kill(process, signal.SIGKILL)


def start(project: Path, folder: Path, out: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(folder)}
    # A user's own settings must not matter.
    environment |= {
        "AWS_PROFILE": "nobody",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    return subprocess.Popen(
        [sys.executable, str(project / "scripts/train.py"), "--search-trials", "0", "--out", str(folder.parent / out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _processes_of(folder: Path) -> list[int]:
    """Return the processes that were given the folder for their temporary files."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={folder}\0".encode() in entry.read_bytes() + b"\0":
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def assert_nothing_is_left(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while (_processes_of(folder) or list(folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _processes_of(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to look for processes")
def test_two_at_once_do_not_meet(project: Path, folder: Path) -> None:
    runs = [start(project, folder, f"out-{index}") for index in range(2)]
    results = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], results
    assert all("promote" in out for out, _ in results)
    assert_nothing_is_left(folder)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to look for processes")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(project: Path, folder: Path, sent: signal.Signals, code: int) -> None:
    run = start(project, folder, "out")
    assert run.stderr is not None
    for line in run.stderr:
        if "Upload the data" in line:
            break
    time.sleep(0.5)
    run.send_signal(sent)
    run.communicate(timeout=60)
    assert run.returncode == code
    assert_nothing_is_left(folder)
