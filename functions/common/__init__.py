"""What the functions share. It is imported before any numeric library, and tells them their limits."""

import ctypes
import math
import os
from collections.abc import MutableMapping

MB_PER_VCPU = 1769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
M_ARENA_MAX = -8
"""mallopt(3)"""


def configure_libraries(environment: MutableMapping[str, str]) -> None:
    """Fit threads and memory to the function, whose vCPUs follow from its memory; elsewhere nothing is changed.

    A function sees at least two processors, whatever its share of them is: threads that wait for each other on less
    than one each lose more than they win. And what one library or thread frees is to be free for all others: pyarrow's
    own allocators would keep it, and so would an arena of glibc for each thread.
    """
    memory = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is None:
        return
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    vcpus = min(math.ceil(int(memory) / MB_PER_VCPU), processors)
    # OpenMP, OpenBLAS, pyarrow and a forest's threads obey it.
    environment.setdefault("OMP_NUM_THREADS", str(vcpus))
    # There are no semaphores without /dev/shm: joblib need not try, and does the same wherever a function runs.
    environment.setdefault("JOBLIB_MULTIPROCESSING", "0")
    environment.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_ARENA_MAX, 2)


configure_libraries(os.environ)
