"""The threads in which a forest's trees are fitted."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from joblib import ParallelBackendBase


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
