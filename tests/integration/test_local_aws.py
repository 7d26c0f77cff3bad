"""The embedded AWS that stays: what it prints works in another shell, and nothing is left when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crosstrain.local.server import LocalAws

pytestmark = pytest.mark.slow

Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def serve(project: Path, tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts `scripts/local_aws.py` with a temporary folder of its own."""
    started = []
    (tmp_path / "tmp").mkdir()

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(project / "scripts/local_aws.py"), *arguments],
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines_of(process: subprocess.Popen[str]) -> str:
    """Return what it prints for a shell, as soon as it is there."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("export CROSSTRAIN_STACK="):
            return "".join(lines)
    raise AssertionError(process.communicate())


def processes_in(folder: Path) -> dict[int, str]:
    """Return the processes whose command line names a folder, by their ids."""
    command = ["ps", "-eww", "-o", "pid=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = (line.split(maxsplit=1) for line in listed.splitlines() if str(folder) in line)
    return {int(pid): arguments for pid, arguments in found}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_another_shell_works_with_it_until_it_is_stopped(
    serve: Serve, project: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = serve("--env-file", "settings")
    lines = lines_of(process)
    settings = tmp_path / "settings"
    assert settings.read_text() == lines
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert processes_in(tmp_path / "tmp")

    def in_a_shell(command: str) -> str:
        script = f'export AWS_PROFILE=work AWS_ENDPOINT_URL_S3=http://127.0.0.1:9\neval "$LINES_OF_IT"\n{command}'
        done = subprocess.run(
            ["/bin/sh", "-euc", script],
            env={"PATH": os.environ["PATH"], "LINES_OF_IT": lines},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python, scripts = sys.executable, project / "scripts"
    first, second = (
        json.loads(in_a_shell(f"{python} {scripts}/train.py --json --out out --search-trials 0")) for _ in range(2)
    )
    assert (first["decision"], second["decision"]) == ("promote", "reject")
    assert f"It predicts the same as the champion {first['run_id']}" in second["reason"]
    assert "Its data are the champion's, so the rule is significant" in second["reason"]
    assert "champion" in in_a_shell(f"{python} {scripts}/models.py list")

    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert err.endswith("Stopped; nothing is left running.\n")
    assert not settings.exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes_in(tmp_path / "tmp") == {}


def test_it_is_stopped_while_it_starts(serve: Serve, tmp_path: Path) -> None:
    process = serve("--env-file", "settings")
    deadline = time.monotonic() + 30
    while not processes_in(tmp_path / "tmp"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "settings").exists()


def test_its_end_is_told_if_the_server_ends_by_itself(serve: Serve, tmp_path: Path) -> None:
    process = serve()
    lines_of(process)
    (server,) = (pid for pid, arguments in processes_in(tmp_path / "tmp").items() if "hypercorn" in arguments)
    os.kill(server, signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "error: The embedded AWS has ended:" in err
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"), [("there", '"there" exists already'), ("nowhere/it", "in no folder that may be written to")]
)
def test_a_file_that_is_somebodys_is_left_alone(serve: Serve, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there").write_text("mine")
    out, err = (process := serve("--env-file", name)).communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert message in err
    assert (tmp_path / "there").read_text() == "mine"


def test_a_version_is_read_in_parts_as_aws_reads_it(local_aws: LocalAws) -> None:
    """Files of more than eight megabytes are downloaded so, by the version that the registry names."""
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="versions-in-parts")
    s3.put_bucket_versioning(Bucket="versions-in-parts", VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket="versions-in-parts", Key="k", Body=b"0123456789")["VersionId"]
    s3.put_object(Bucket="versions-in-parts", Key="k", Body=b"later")
    for asked, span, body in (("bytes=2-4", "bytes 2-4/10", b"234"), ("bytes=7-", "bytes 7-9/10", b"789")):
        answer = s3.get_object(Bucket="versions-in-parts", Key="k", VersionId=version, Range=asked)
        assert (answer["ContentRange"], answer["Body"].read()) == (span, body)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
