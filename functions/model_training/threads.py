"""The threads in which a forest's trees are fitted, and how many its libraries may have."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from joblib import ParallelBackendBase
from threadpoolctl import ThreadpoolController

VALUES_FOR_THREADS = 1_000_000
"""From so many values on boosting has as many threads as there are processors."""


def few_threads(values: int = VALUES_FOR_THREADS + 1) -> AbstractContextManager[Any]:
    """Return what leaves one thread to BLAS, in all of the process, and with few values to OpenMP, in this thread.

    On a busy machine several wait for each other longer than one takes: ridge gets no faster by them, and boosting on
    3,000 rows of 10 columns takes 0.3 s with one and 0.7 s with two.
    """
    limits = {"blas": 1} if values > VALUES_FOR_THREADS else {"blas": 1, "openmp": 1}
    limit: AbstractContextManager[Any] = _libraries().limit(limits=limits)
    return limit


@functools.cache
def _libraries() -> ThreadpoolController:
    """Look once which libraries are loaded, which takes 5 ms; whoever asks has imported NumPy's and SciPy's."""
    return ThreadpoolController()


class ThreadBackend(ParallelBackendBase):  # type: ignore[misc] # joblib has no types
    """Run the tasks that a library gives to joblib in threads, also where there are no semaphores.

    Lambda has no /dev/shm, so Python cannot make one, and joblib then runs a single task at a time, in its own threads
    too: https://github.com/joblib/joblib/issues/391. For `joblib.parallel_config(backend=ThreadBackend())`. A forest
    draws the seed of each tree beforehand, so the trees are the same whatever the number of threads.
    """

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks run at once: -1 is as many as OpenMP may have threads."""
        if n_jobs is None or n_jobs > 0:
            return n_jobs or 1
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        return max(threads + 1 + n_jobs, 1)

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_options: Any) -> int:
        """Start the threads and return their number."""
        self.parallel, threads = parallel, self.effective_n_jobs(n_jobs)
        self._pool = ThreadPoolExecutor(threads)
        return threads

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], None] | None = None) -> Future[Any]:
        """Run a task in one of the threads."""
        future = self._pool.submit(func)
        if callback:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return what a task has returned, or raise what it has raised."""
        return out.result()

    def terminate(self) -> None:
        """Drop the tasks that have not begun, and end the threads."""
        self._pool.shutdown(cancel_futures=True)
