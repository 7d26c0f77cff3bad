"""What the functions share. Importing it comes before any numeric library, and tells them how many threads to use."""

import math
import os
from collections.abc import MutableMapping

MB_PER_VCPU = 1769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""


def use_own_vcpus(environment: MutableMapping[str, str]) -> None:
    """Set the number of threads to that of the function's vCPUs, which follow from its memory.

    A function sees at least two processors, whatever its share of them is: threads that wait for each other on less
    than one each lose more than they win.
    """
    memory = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is not None:
        vcpus = min(math.ceil(int(memory) / MB_PER_VCPU), len(os.sched_getaffinity(0)))
        # OpenMP, OpenBLAS and pyarrow obey the first, joblib the second.
        for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
            environment.setdefault(name, str(vcpus))


use_own_vcpus(os.environ)
