"""The command: what it writes, how it exits, and that nothing of it is left when it is stopped."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rehearse
from crosstrain.rehearsal.environment import Folders
from deliveries import Team
from waiting import wait_for

SCRIPT = Path(__file__).parents[2] / "scripts" / "rehearse.py"
SECONDS = 240


def arguments(team: Team, out: Path, *options: str) -> list[str]:
    return ["--project", str(team.infrastructure), "--model", str(team.model), "--out", str(out), *options]


def command(team: Team, out: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), *arguments(team, out, *options)]


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
    options = ["--no-images", "--approve", "yes", "--accounts", "000000000001,000000000002", "--since", "HEAD~1"]
    done = subprocess.run(
        command(fork, out, *options),
        check=False, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip

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


def test_it_asks_on_a_terminal_and_delivers_where_all_three_accounts_are_one(team: Team, folders: Folders) -> None:
    account, out = "000000000007", folders.work.parent
    ours, theirs = pty.openpty()
    asking = command(team, out, "--no-images", "--accounts", account)
    with subprocess.Popen(asking, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
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
    assert "The change set crosstrain-approval of the stack crosstrain-prod shows" in message
    assert "approved" in output
    document = json.loads((out / "rehearsal.json").read_text())
    assert document["outcome"] == "succeeded"
    assert document["accounts"] == {"tools": account, "test": account, "prod": account}
    # Each stage has its own stack, from the images of this one account, and its own place in the ledger.
    release = "-".join(document["commits"][name][:12] for name in ("model", "infrastructure"))
    for stage, name, test in (("test", "Test", "SystemTest"), ("prod", "Production", "SmokeRun")):
        deployed = (out / "logs" / f"{name}-ExecuteChangeSet.log").read_text()
        assert f"The stack crosstrain-{stage} is in CREATE_COMPLETE." in deployed
        assert f'"release": "{release}"' in (out / "logs" / f"{name}-{test}.log").read_text()
        (path,) = folders.work.glob(f"crosstrain-release/input/*/build/parameters-{stage}.json")
        parameters = json.loads(path.read_text())["Parameters"]
        assert parameters["Release"] == release
        assert parameters["ModelTrainingImageUri"].startswith(f"{account}.dkr.ecr.")


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("Colour=blue", "No template has the parameter Colour"),
        (
            "ConnectionArn=arn:aws:codeconnections:us-east-1:000000000001:connection/0-0",
            "CodeStarSourceConnection",
        ),
    ],
)
def test_a_parameter_that_cannot_be_rehearsed_is_one_sentence_before_anything_runs(
    team: Team, tmp_path: Path, capsys: pytest.CaptureFixture[str], parameter: str, message: str
) -> None:
    options = arguments(team, tmp_path, "--no-images", "--approve", "yes", "--parameter", parameter)

    assert rehearse.main(options) == 2
    written = capsys.readouterr()
    assert message in written.err
    assert len(written.err.strip().splitlines()) == 1
    assert written.out == ""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)])
def test_nothing_is_left_running_when_it_is_stopped(team: Team, tmp_path: Path, sent: int, status: int) -> None:
    out = tmp_path / "out"
    rehearsing = command(team, out, "--no-images", "--approve", "yes", "--fresh")
    with subprocess.Popen(rehearsing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("Verify / Verify starts" in line for line in process.stderr)
            wait_for((out / "work" / "crosstrain-verify" / "progress").exists)
            assert running_below(out)
            process.send_signal(sent)
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()

    assert process.returncode == status, output
    wait_for(lambda: not running_below(out))
    assert "The rehearsal was stopped." in (out / "logs" / "Verify-Verify.log").read_text()
    assert json.loads((out / "rehearsal.json").read_text())["outcome"] in ("failed", "stopped")


def running_below(folder: Path) -> list[str]:
    """Return the commands of all processes that work in a folder or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text().replace("\0", " ")
            where = os.readlink(process / "cwd")  # noqa: PTH115 - it may be gone
        except OSError:
            continue
        if (str(folder) in line or where.startswith(str(folder))) and int(process.name) != os.getpid():
            found.append(line)
    return found
