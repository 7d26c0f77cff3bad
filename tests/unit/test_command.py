"""What commands print: names and values come from data, and a terminal obeys none of them."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.table import Table

from crosstrain.command import BadInputError, result_console, run_command, wait_for

NAMES = "\x1b]0;title\x07\x1b[2Jprice\u202egnp.exe [red]:smile:[/red]"


def test_no_name_reaches_a_terminal_as_more_than_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(NAMES, title=NAMES)
    table.add_row(NAMES)
    result_console().print(table, NAMES)
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    # Markup and emoji codes stay what they are.
    assert shown.count("[red]:smile:[/red]") == 4


def test_an_error_that_quotes_a_name_is_as_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_errors: object) -> None:
        raise BadInputError(f'"{NAMES}" is unknown.')

    assert run_command(work) == 2
    shown = capsys.readouterr().err
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert "[red]:smile:[/red]" in shown


# The kernel gives a signal to any thread that it finds; this one gives it to the thread that works.
TAKES_THE_SIGNAL = """
import signal, sys, threading, time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from crosstrain.command import run_command, wait_for
from crosstrain.delivery.engine import Jobs

ended = threading.Event()

def take():
    # Until the main thread waits; a signal before that is heard in any case.
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

def wait(_errors):
    with ThreadPoolExecutor() as pool:
        try:
            wait_for([pool.submit(lambda: (take(), ended.wait()))], *sys.argv[2:])
        finally:
            ended.set()

def build(_errors):
    with Jobs() as jobs:
        jobs.run({"one": lambda: (take(), jobs.execute(["sleep", "600"], sys.stderr)), "other": lambda: ""})

sys.exit(run_command({"wait": wait, "build": build}[sys.argv[1]]))
"""


@pytest.mark.parametrize("arguments", [["wait"], ["wait", "FIRST_EXCEPTION"], ["build"]], ids=" ".join)
def test_a_signal_that_another_thread_has_taken_ends_a_command_that_waits(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", TAKES_THE_SIGNAL, *arguments], check=False, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM


def test_waiting_for_the_first_exception_waits_for_no_more() -> None:
    held = threading.Event()
    with ThreadPoolExecutor() as pool:
        failed, other = pool.submit(lambda: 1 // 0), pool.submit(held.wait)
        try:
            assert wait_for([failed, other], FIRST_EXCEPTION) == {failed}
        finally:
            held.set()
        assert wait_for([failed, other]) == {failed, other}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_result_that_finds_no_room_is_told_in_one_sentence() -> None:
    program = "import sys; from crosstrain.command import run_command; sys.exit(run_command(lambda _: print('result')))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": str(Path(__file__).parents[2] / "scripts")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: The output cannot be written: No space left on device.\n")


def test_other_errors_of_the_system_are_not_hidden() -> None:
    def work(_errors: object) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        run_command(work)
