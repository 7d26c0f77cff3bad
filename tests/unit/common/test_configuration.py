"""The limits that the numeric libraries are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from common import configure_libraries

THREADS = """
import common, json, pyarrow, sklearn.ensemble, threadpoolctl
pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
print(json.dumps([pools["openblas"], pools["openmp"], pyarrow.cpu_count()]))
"""


@pytest.mark.parametrize(("memory", "vcpus"), [("512", 1), ("1769", 1), ("1770", 2), ("3538", 2), ("10240", 6)])
def test_there_are_as_many_threads_as_vcpus(monkeypatch: pytest.MonkeyPatch, memory: str, vcpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory}
    configure_libraries(environment)
    assert environment["OMP_NUM_THREADS"] == str(vcpus)


def test_no_more_than_there_are_processors_and_as_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2), raising=False)
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240"}
    configure_libraries(environment)
    assert environment["OMP_NUM_THREADS"] == "2"
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240", "OMP_NUM_THREADS": "1"}
    configure_libraries(environment)
    assert environment["OMP_NUM_THREADS"] == "1"


def test_outside_of_lambda_nothing_is_changed() -> None:
    environment: dict[str, str] = {}
    configure_libraries(environment)
    assert environment == {}


def said_by(script: str, variable: str) -> str:
    """Return what Python prints in a function of 1,024 MB, whose environment says nothing of a variable."""
    kept = {name: value for name, value in os.environ.items() if name != variable}
    environment = {**kept, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024"}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_the_libraries_obey() -> None:
    assert json.loads(said_by(THREADS, "OMP_NUM_THREADS")) == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "allocator"), [("data_preparation", "jemalloc"), ("model_training", "system"), ("scoring", "system")]
)
def test_pyarrow_allocates_as_suits_the_function(function: str, allocator: str) -> None:
    script = f"import {function}.app, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    assert said_by(script, "ARROW_DEFAULT_MEMORY_POOL").split() == [allocator]
