"""Trees are fitted in as many threads as there are vCPUs, also where there are no semaphores, and are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest
from scipy import linalg  # noqa: F401 - whose BLAS is not NumPy's
from sklearn.ensemble import RandomForestRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from common.threads import VALUES_FOR_THREADS, few_threads
from model_training.threads import ThreadBackend
from thread_meeting import MEETING


def test_two_tasks_run_at_once_where_there_are_no_semaphores() -> None:
    # As in Lambda, which has no /dev/shm.
    environment = {**os.environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3538", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "error", "-c", MEETING, "-1"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["multiprocessing"], found["met"]) == (False, [0, 1])


@pytest.mark.parametrize(("n_jobs", "threads"), [(None, 1), (1, 1), (3, 3), (-1, 4), (-2, 3), (-9, 1)])
def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, n_jobs: int | None, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert ThreadBackend().effective_n_jobs(n_jobs) == threads


def test_the_trees_are_the_same_whatever_the_number_of_threads() -> None:
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(500, 4)), generator.normal(size=500)

    def fitted(n_jobs: int | None) -> list[bytes]:
        model = RandomForestRegressor(20, random_state=3, n_jobs=n_jobs).fit(features, target)
        return [tree.tree_.value.tobytes() + tree.tree_.threshold.tobytes() for tree in model.estimators_]

    expected = fitted(None)
    with joblib.parallel_config(backend=ThreadBackend()):
        assert fitted(4) == expected


def test_a_task_that_fails_is_raised_and_the_threads_end() -> None:
    def task(number: int) -> None:
        if number == 3:
            raise ValueError("the third")

    before = threading.active_count()
    with joblib.parallel_config(backend=ThreadBackend()), pytest.raises(ValueError, match="the third"):
        joblib.Parallel(n_jobs=2)(joblib.delayed(task)(number) for number in range(50))
    assert threading.active_count() == before


@pytest.mark.parametrize(("values", "openmp"), [(VALUES_FOR_THREADS, {1}), (VALUES_FOR_THREADS + 1, {2})])
def test_few_values_have_one_thread_of_openmp(values: int, openmp: set[int]) -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "openmp"}

    with threadpool_limits(2):
        with few_threads(values):
            assert threads() == openmp
        assert threads() == {2}


def test_blas_has_one_thread_and_then_as_many_as_before() -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        with few_threads(), few_threads():
            assert threads() == {1}
        assert threads() == {2}
