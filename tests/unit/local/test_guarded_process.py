"""Processes that cannot outlive the one that started them."""

import os
import subprocess
import sys
from pathlib import Path

from crosstrain.local import guarded_process

GRANDCHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(3600)'])"


def test_it_ends_with_its_parent_and_takes_its_folder_along(tmp_path: Path) -> None:
    folder = tmp_path / "owned"
    folder.mkdir()
    parent = (
        "import guarded_process, os, pathlib\n"
        f"guarded_process.start(pathlib.Path({str(folder)!r}), 'timeit', ['import time; time.sleep(3600)'])\n"
        # No handler runs: as if it had been killed.
        "os._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(guarded_process.__file__).parent)}

    # The child holds the parent's standard output open: this returns when both are gone.
    message = subprocess.run(
        [sys.executable, "-c", parent], env=environment, capture_output=True, timeout=30, check=True
    )

    assert message.stderr == b""
    assert not folder.exists()


def test_its_descendants_are_killed_with_it(tmp_path: Path) -> None:
    process = guarded_process.start(tmp_path, "timeit", ["-n1", "-r1", GRANDCHILD], stdout=subprocess.PIPE)

    guarded_process.kill(process)

    # The grandchild would hold the pipe open for an hour.
    assert process.stdout is not None
    with process.stdout as message:
        assert message.read() == b""
    assert process.returncode < 0


def test_it_ends_by_itself_with_its_own_status(tmp_path: Path) -> None:
    process = guarded_process.start(
        tmp_path, "json.tool", ["missing.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    assert process.wait(30) != 0
    guarded_process.kill(process)
    assert tmp_path.exists()
