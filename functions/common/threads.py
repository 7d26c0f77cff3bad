"""How many threads libraries may have."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

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
