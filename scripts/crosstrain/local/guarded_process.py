"""Python modules and commands in processes that cannot outlive this one, whichever way it ends.

Each runs in a process group of its own, with all of its descendants. It watches its standard input, a pipe that only
this process holds open: when this process is gone, even by SIGKILL, the pipe ends, and so does the group.
"""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# No module has this name.
_COMMAND = "-"


def start(directory: Path, module: str, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start `python -m module` in a process group that ends with this process.

    Parameters
    ----------
    directory : Path
        Where it runs; the folder is removed if the process has to end by itself.
    module : str
        The module to run.
    arguments : sequence of str
        Its arguments.
    **options
        For `subprocess.Popen`; standard input is taken.
    """
    # -P keeps the folder of this file, and so modules with everyday names, off the import path.
    command = [sys.executable, "-P", __file__, str(directory), module, *arguments]
    # Not a shell, and every word of it is ours.
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=directory, start_new_session=True, **options)


def start_command(directory: Path, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start any command as `start` does a module; its own standard input is empty.

    Parameters
    ----------
    directory : Path
        Where it runs; the folder is removed if the process has to end by itself.
    command : sequence of str
        The command and its arguments.
    **options
        For `subprocess.Popen`; standard input is taken.
    """
    return start(directory, _COMMAND, command, **options)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a started process with all of its descendants, and wait for it."""
    # The id stays taken as long as any process of the group is there, so it cannot hit a stranger.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _watch(directory: str) -> None:
    # Nobody writes to the pipe: this returns when it is closed.
    os.read(0, 1)
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _run(directory: str, module: str, arguments: Sequence[str]) -> None:
    threading.Thread(target=_watch, args=[directory], daemon=True).start()
    if module == _COMMAND:
        # Not a shell, and every word of it is the caller's.
        sys.exit(subprocess.call(arguments, stdin=subprocess.DEVNULL))
    sys.argv = [module, *arguments]
    # Last: what the module needs of this package is found, and hides nothing.
    sys.path.append(str(Path(__file__).parents[2]))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2], sys.argv[3:])
