"""A champion is scored in a process of its own, which its file may crash, fill or stall, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.frames import load_part
from common.metrics import predict
from common.model_file import save_model
from data_preparation.preparation import PreparedData
from model_evaluation import apart
from model_evaluation.apart import predicted_apart
from model_evaluation.evaluation import UnscoredChampionError, UnusableChampionError
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]


def job(prepared: PreparedData, folder: Path) -> Any:
    """Put a champion and the test part into a folder, and return the champion."""
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    save_model(model.pipeline, folder / "champion.skops")
    shutil.copy(prepared.test, folder / "test.parquet")
    return model.pipeline


def refused(reason: str, kind: type[UnusableChampionError] = UnusableChampionError) -> Any:
    """Expect a champion that has no predictions for this reason."""
    return pytest.raises(kind, match=f"^{re.escape(reason)}")


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_the_predictions_are_those_of_this_process(prepared_data: Make, problem: str, tmp_path: Path) -> None:
    prepared = prepared_data(problem)
    pipeline = job(prepared, tmp_path)
    with predicted_apart(tmp_path, prepared.profile, problem, 60) as under_way:
        found = under_way.result()
    expected = predict(pipeline, load_part(prepared.test, prepared.profile)[0], problem)
    assert np.array_equal(found.outputs, expected.outputs)
    assert np.array_equal(found.classes, expected.classes)  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_keeps_it_from_predicting_is_said(prepared_data: Make, tmp_path: Path) -> None:
    prepared = prepared_data("regression")
    job(prepared, tmp_path)
    with predicted_apart(tmp_path, prepared.profile, "classification", 60) as under_way, refused("it does not solve a"):
        under_way.result()
    (tmp_path / "answer.json").unlink()
    (tmp_path / "champion.skops").write_bytes(b"something else")
    with (
        predicted_apart(tmp_path, prepared.profile, "regression", 60) as under_way,
        refused("its file may not be load"),
    ):
        under_way.result()


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Any]:
    """Return a function that lets the process run other code in place of a bad file, and returns it under way."""

    def run(code: str, seconds: float = 60) -> Any:
        (tmp_path / "champion_of_evil.py").write_text(code)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        monkeypatch.setattr(apart, "__spec__", type("Spec", (), {"name": "champion_of_evil"}))
        return predicted_apart(tmp_path, {}, "regression", seconds)

    return run


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
    ],
)
def test_a_crash_is_an_unusable_champion(evil: Any, code: str, told: str) -> None:
    with evil(code) as under_way, refused(f"the process that scored it ended with {told}") as caught:
        under_way.result()
    assert caught.value.status == "unusable"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with SIGKILL"),
        ("import nonesuch", "gave no answer (exit code 1)"),
        ("import sys; open(sys.argv[1] + '/answer.json', 'w').write('[]')", "gave no answer (exit code 0)"),
    ],
)
def test_what_need_not_be_the_champions_fault_is_none(evil: Any, code: str, told: str) -> None:
    """A promotion without a comparison would follow from it, where the request allows that."""
    with evil(code) as under_way, refused(f"the process that scored it {told}", UnscoredChampionError) as caught:
        under_way.result()
    assert caught.value.status == "unscored"


@pytest.mark.slow
def test_the_process_ends_in_time_though_nobody_watches_it(prepared_data: Make, tmp_path: Path) -> None:
    job(prepared_data("regression"), tmp_path)
    (tmp_path / "job.json").write_text(json.dumps({"profile": {}, "problem": "regression", "seconds": 0.5}))
    # What reads the model never ends.
    code = (
        "import pathlib, sys, time\nfrom model_evaluation import apart\n"
        "apart.load_model = lambda path: time.sleep(600)\napart.main(pathlib.Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, timeout=120, check=False)
    assert done.returncode == -signal.SIGALRM


def test_a_process_that_never_ends_is_ended(evil: Any) -> None:
    begin = time.monotonic()
    with (
        evil("while True: pass", seconds=0.3) as under_way,
        refused("scoring it took longer", UnscoredChampionError),
    ):
        under_way.result()
    assert time.monotonic() - begin < 30


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
def test_memory_has_a_bound(evil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str((apart._memory("self") >> 20) + 300))
    code = "kept = []\nwhile True: kept.append(bytearray(b'1') * (10 << 20))"
    with evil(code) as under_way, refused("scoring it needs more memory", UnscoredChampionError):
        under_way.result()


def test_the_process_has_no_keys_of_aws_and_does_not_outlive_its_use(
    evil: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    code = (
        "import json, os, sys, time\n"
        "json.dump([*os.environ, os.getpid()], open(sys.argv[1] + '/seen', 'w'))\n"
        "time.sleep(60)"
    )
    with evil(code):
        deadline = time.monotonic() + 30
        while not (tmp_path / "seen").exists() or not (tmp_path / "seen").read_text().endswith("]"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    *names, process = json.loads((tmp_path / "seen").read_text())
    assert not [name for name in names if name.startswith("AWS_")]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
