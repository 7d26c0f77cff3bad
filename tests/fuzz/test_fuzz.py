"""Eleven thousand bad files, requests and models: each succeeds or ends in an error of the project's own.

A case follows from the seed and its number. `CROSSTRAIN_FUZZ_SEED=7` tries others, and
`PYTHONPATH=functions:scripts:tests/support .venv/bin/python tests/support/fuzzing.py KIND SEED NUMBER` runs one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzzing import CASE_SECONDS, MEMORY_MB

SEED = int(os.environ.get("CROSSTRAIN_FUZZ_SEED", "20261128"))
# What a case takes differs: files 6 ms, requests one, models 8, workbooks 60.
CASES = {"csv": 3000, "parquet": 3000, "format": 1000, "request": 3000, "model": 1000}
MOST_SECONDS = 300
"""How long all cases of a kind may take on a busy machine; a case that hangs ends its process long before."""
MOST_FAULTS = 5


def environment(project: Path) -> dict[str, str]:
    folders = (project / "functions", project / "scripts", project / "tests" / "support")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_bad_input_ends_in_an_error_of_the_projects_own(project: Path, tmp_path: Path, kind: str) -> None:
    print(f"seed {SEED}")
    first, faults, peak_mb = 0, list[str](), 0
    while first < CASES[kind] and len(faults) < MOST_FAULTS:
        done = subprocess.run(
            [sys.executable, str(project / "tests/support/fuzzing.py"), kind, str(SEED), str(first), str(CASES[kind])],
            env={**environment(project), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
        said = [json.loads(line) for line in done.stdout.splitlines()]
        faults += [f"{kind} {SEED} {each['case']}: {each['wrong']}" for each in said if "wrong" in each]
        peak_mb = max(peak_mb, *(each.get("peak_kb", 0) >> 10 for each in said), 0)
        if done.returncode == 0:
            break
        assert said, done.stderr
        # A signal: SIGALRM after so many seconds, SIGABRT or SIGSEGV.
        last = said[-1]["case"]
        faults.append(
            f"{kind} {SEED} {last}: ended with {done.returncode} (within {CASE_SECONDS} s): {done.stderr[:2000]}"
        )
        first = last + 1
    assert not faults, "\n\n".join(faults)
    assert peak_mb < MEMORY_MB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "ending"),
    [("os.abort()", -6), ("time.sleep(60)", -14), ("1 / 0", 0), ("bytearray(1 << 40)", 0), ("[0] * (1 << 31)", 0)],
)
def test_what_the_fuzz_looks_for_it_finds(project: Path, case: str, ending: int) -> None:
    program = (
        "import fuzzing, os, time; fuzzing.CASE_SECONDS = 1\n"
        f"fuzzing.CASES = {{'csv': lambda *_: {case}}}; fuzzing.main()"
    )
    command = [sys.executable, "-c", program, "csv", str(SEED), "7"]
    done = subprocess.run(command, env=environment(project), capture_output=True, text=True, check=False)
    assert done.returncode == ending
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[0] == {"case": 7}
    assert ending or "Error" in said[1]["wrong"]
