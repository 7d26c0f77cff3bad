"""Predictions of a champion by a process of its own, with bounds: whatever its file does, the run goes on.

The file is one that the registry vouches for and is checked before anything is predicted. Should it be bad all the
same, it crashes, fills or stalls that process alone. It is no cage: code in it would have this function's rights.

    python -m model_evaluation.apart FOLDER

reads `champion.skops`, `test.parquet` and `job.json` in the folder, and writes `predictions.npy` and `answer.json`.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UntrustedModelError
from common.frames import load_blocks
from common.metrics import Predictions
from common.model_file import load_model
from model_evaluation.evaluation import UnscoredChampionError, UnusableChampionError, predict_as_champion

if TYPE_CHECKING:
    from common.conversion import Profile

_POLL_SECONDS = 0.01
# Of the function's memory: what is left is for what grows between two looks.
_SHARE_OF_MEMORY = 0.9
# What a model's own code ends in; anything else is the machine's doing, or a broken image.
_CRASHES = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV"})
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Linux's; elsewhere memory has no bound, and functions run on Linux.
_PROCESSES = Path("/proc")


class ApartPredictions:
    """A champion's predictions of the test part, under way in another process.

    Parameters
    ----------
    folder
        Holds `champion.skops` and `test.parquet`.
    profile
        Of the test part.
    problem
        Of this run, `regression` or `classification`.
    seconds
        How long it may take.
    """

    def __init__(self, folder: Path, profile: Profile, problem: str, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._killed = ""
        job = {"profile": profile, "problem": problem, "seconds": seconds}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._process = subprocess.Popen(  # noqa: S603, every word of it is this project's
            [sys.executable, "-P", "-m", __spec__.name, str(folder)],
            env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # What libraries say may quote data.
            stderr=subprocess.DEVNULL,
        )
        self._watch = threading.Thread(target=self._watch_over, daemon=True)
        self._watch.start()

    def result(self) -> Predictions:
        """Wait for the predictions.

        Raises
        ------
        UnscoredChampionError
            If the process had to be ended, or could not do its work.
        UnusableChampionError
            If there are no predictions for a reason that is the champion's own.
        """
        self._watch.join()
        if self._killed:
            raise UnscoredChampionError(self._killed)
        status = self._process.wait()
        if status < 0:
            name = signal.Signals(-status).name
            kind = UnusableChampionError if name in _CRASHES else UnscoredChampionError
            raise kind(f"the process that scored it ended with {name}")
        try:
            answer = json.loads((self._folder / "answer.json").read_bytes())
            if answer["refused"]:
                raise UnusableChampionError(answer["refused"])
            values = np.load(self._folder / "predictions.npy", allow_pickle=False)
            classes, multipliers = (
                None if answer[name] is None else np.array(answer[name]) for name in ("classes", "multipliers")
            )
            return Predictions(values, classes, multipliers)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnscoredChampionError(f"the process that scored it gave no answer (exit code {status})") from error

    def stop(self) -> None:
        """End the process, wherever it is."""
        self._process.kill()
        self._process.wait()
        self._watch.join()

    def _watch_over(self) -> None:
        """Kill the process at the end of its time, or before both processes fill the function's memory."""
        deadline = time.monotonic() + self._seconds
        megabytes = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")) if (_PROCESSES / "self").exists() else 0
        limit = _SHARE_OF_MEMORY * (megabytes << 20)
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self._kill(f"scoring it took longer than {self._seconds:.0f} s: raise the parameter FunctionTimeout")
            elif megabytes and _memory("self") + _memory(str(self._process.pid)) > limit:
                self._kill(
                    f"scoring it needs more memory than the function's {megabytes:,} MB: raise the parameter "
                    "ModelEvaluationMemory"
                )
            time.sleep(_POLL_SECONDS)

    def _kill(self, why: str) -> None:
        self._killed = why
        self._process.kill()


@contextmanager
def predicted_apart(folder: Path, profile: Profile, problem: str, seconds: float) -> Iterator[ApartPredictions]:
    """Yield the predictions under way (`ApartPredictions`), whose process does not outlive the `with` block."""
    under_way = ApartPredictions(folder, profile, problem, seconds)
    try:
        yield under_way
    finally:
        under_way.stop()


def _memory(process: str) -> int:
    """Return the bytes of memory that are a process's own; 0 for one that has ended."""
    try:
        _, resident, shared, *_ = (_PROCESSES / process / "statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


def main(folder: Path) -> None:
    """Write the predictions of the test part, or why there are none."""
    job = json.loads((folder / "job.json").read_bytes())
    # Whatever becomes of the function's own process, and where memory ends, this one goes first.
    signal.alarm(math.ceil(job["seconds"]) + 1)
    with suppress(OSError):
        (_PROCESSES / "self" / "oom_score_adj").write_text("1000")
    answer: dict[str, Any] = {"classes": None, "multipliers": None, "refused": None}
    try:
        predictions = _predict(folder, job)
    except UntrustedModelError as error:
        answer["refused"] = f"its file may not be loaded ({error})"
    except UnusableChampionError as error:
        answer["refused"] = str(error)
    else:
        np.save(folder / "predictions.npy", predictions.outputs, allow_pickle=False)
        if predictions.classes is not None:
            answer["classes"] = predictions.classes.tolist()
        if predictions.multipliers is not None:
            answer["multipliers"] = predictions.multipliers.tolist()
    # Written last, and at once: where it is, the predictions are whole.
    (folder / "answer.json.new").write_text(json.dumps(answer), encoding="utf-8")
    (folder / "answer.json.new").rename(folder / "answer.json")


def _predict(folder: Path, job: dict[str, Any]) -> Predictions:
    model = load_model(folder / "champion.skops")
    pieces = list[Predictions]()
    for features, _ in load_blocks(folder / "test.parquet", job["profile"]):
        pieces.append(predict_as_champion(model, features, job["problem"]))
        # Before the next block is read.
        del features
    return Predictions.joined(pieces)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
