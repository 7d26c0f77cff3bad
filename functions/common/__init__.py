"""What the functions share. It is imported before any numeric library, and tells them their limits."""

import math
import os
from collections.abc import MutableMapping

MB_PER_VCPU = 1769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""


def configure_libraries(environment: MutableMapping[str, str]) -> None:
    """Fit threads and memory to the function, whose vCPUs follow from its memory.

    A function sees at least two processors, whatever its share of them is: threads that wait for each other on less
    than one each lose more than they win. And what pyarrow frees is to be free for NumPy: its own allocators keep it.
    """
    memory = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is not None:
        vcpus = min(math.ceil(int(memory) / MB_PER_VCPU), len(os.sched_getaffinity(0)))
        # OpenMP, OpenBLAS and pyarrow obey the first, joblib the second.
        for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
            environment.setdefault(name, str(vcpus))
        environment.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


configure_libraries(os.environ)
