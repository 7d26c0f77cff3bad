"""The command: what it writes, how it exits, and that nothing of it is left when it is stopped."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crosstrain.rehearsal.environment import Folders
from deliveries import Team
from git_repositories import git

SCRIPT = Path(__file__).parents[2] / "scripts" / "rehearse.py"
SECONDS = 240


def command(team: Team, out: Path, *options: str) -> list[str]:
    repositories = ["--project", str(team.infrastructure), "--model", str(team.model)]
    return [sys.executable, str(SCRIPT), *repositories, "--out", str(out), *options]


def run(team: Team, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = command(team, out, "--approve", "yes", *options)
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)


def test_what_failed_is_told_first_and_written_down(team: Team, folders: Folders, tmp_path: Path) -> None:
    fork = team.fork(tmp_path)
    fork.commit(
        fork.infrastructure,
        {
            "scripts/new.py": lambda _: "import os\n",
            "pipeline.yaml": lambda text: text.replace("DisplayName: !Sub ${ProjectName} ", "DisplayName: !Sub Our "),
        },
    )
    # With the other scenarios' folder nothing is set up twice.
    out = folders.work.parent
    done = run(fork, out, "--no-images", "--accounts", "000000000001,000000000002", "--since", "HEAD~1")

    assert done.returncode == 1, done.stdout + done.stderr
    first = " ".join(done.stdout.splitlines()[:2])
    assert "Verify" in first
    assert "make lint" in first
    assert "Not rehearsed:" in done.stdout
    document = json.loads((out / "rehearsal.json").read_text())
    assert (document["outcome"], document["failed"]["name"]) == ("failed", "Verify")
    assert document["accounts"] == {"tools": "000000000001", "test": "000000000002", "prod": "000000000002"}
    assert "<html" in (out / "timeline.html").read_text()
    assert "F401" in document["failed"]["cause"]
    # The delivery stack was that of the commit before, and has updated itself.
    update = (out / "logs" / "UpdatePipeline-CreateChangeSet.log").read_text()
    assert "NotificationTopic" in update
    assert "imported but unused" in (out / "logs" / "Verify-Verify.log").read_text()


def test_it_asks_on_a_terminal_and_takes_yes_for_an_answer(team: Team, folders: Folders) -> None:
    ours, theirs = pty.openpty()
    words = command(team, folders.work.parent, "--no-images")
    with subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        assert process.stderr is not None
        message = ""
        while "Approve? [y/N]" not in message:
            character = process.stderr.read(1)
            assert character, message
            message += character
        os.write(ours, b"y\n")
        output, _ = process.communicate(timeout=SECONDS)
    os.close(ours)

    assert process.returncode == 0, output
    assert "The change set crosstrain-release of the stack crosstrain-prod waits" in message
    assert "approved" in output
    assert json.loads((folders.work.parent / "rehearsal.json").read_text())["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-images", "--approve", "ask"], "--approve yes or --approve no"),
        (["--no-images", "--accounts", "12"], "account ids of 12 digits"),
        (["--no-images", "--parameter", "Colour=blue"], "no parameter Colour"),
        (["--no-images", "--parameter", "Colour"], "NAME=VALUE"),
        (["--no-images", "--model", "/nonexistent"], "/nonexistent"),
        (
            [
                "--no-images",
                "--parameter",
                "ConnectionArn=arn:aws:codeconnections:us-east-1:000000000001:connection/0-0",
            ],
            "CodeStarSourceConnection",
        ),
    ],
)
def test_bad_input_is_one_sentence_before_anything_starts(
    team: Team, tmp_path: Path, options: list[str], message: str
) -> None:
    done = run(team, tmp_path / "out", *options)

    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_folder_without_commits_is_bad_input(team: Team, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "empty")
    done = run(Team(tmp_path / "empty", team.model), tmp_path / "out", "--no-images")

    assert done.returncode == 2
    assert f"The repository {tmp_path / 'empty'} has no commit HEAD" in done.stderr


def test_two_rehearsals_do_not_share_a_folder(team: Team, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(team, tmp_path, "--no-images")

    assert done.returncode == 2
    assert f"Another rehearsal works in {tmp_path}" in done.stderr


def test_without_an_engine_it_offers_to_go_on_without_images(team: Team, tmp_path: Path) -> None:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no-engine"}
    words = command(team, tmp_path / "out", "--approve", "yes")
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment, timeout=SECONDS)

    assert done.returncode == 2
    assert "--no-images" in done.stderr


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)])
def test_nothing_is_left_running_when_it_is_stopped(team: Team, tmp_path: Path, sent: int, status: int) -> None:
    out = tmp_path / "out"
    words = command(team, out, "--no-images", "--approve", "yes", "--fresh")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "Verify / Verify starts" in line:
            break
    wait_for((out / "work" / "crosstrain-verify" / "progress").exists)
    assert running_below(out)

    process.send_signal(sent)
    output, _ = process.communicate(timeout=30)

    assert process.returncode == status, output
    wait_for(lambda: not running_below(out))
    assert "The rehearsal was stopped." in (out / "logs" / "Verify-Verify.log").read_text()
    assert json.loads((out / "rehearsal.json").read_text())["outcome"] in ("failed", "stopped")


def running_below(folder: Path) -> list[str]:
    """Return the commands of all processes that work in a folder or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().replace("\0", " ")
            where = os.readlink(process / "cwd")  # noqa: PTH115 - it may be gone
        except OSError:
            continue
        if (str(folder) in words or where.startswith(str(folder))) and int(process.name) != os.getpid():
            found.append(words)
    return found


def wait_for(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
