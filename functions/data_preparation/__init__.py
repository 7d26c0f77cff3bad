"""Data preparation: from files to a training part, a test part and a profile."""

import os

if "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" in os.environ:
    # Batches go from thread to thread, which leaves gaps in glibc's heap that grow with the rows: at 10^7 of them it
    # takes a third more memory than jemalloc does. Where models are fitted, `common` says otherwise.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
