"""Free memory that is there at once, for measurements on a virtual machine."""

from __future__ import annotations

import mmap

import numpy as np


def back_memory(size: int) -> None:
    """Touch so many bytes of memory and free them.

    A guest's free memory goes back to its host after two seconds (free page reporting), and the host is slow to give it
    again: here 2 s a GB, where the guest's kernel needs 0.05 s. Whoever runs first after a pause would pay for that.

    References
    ----------
    https://docs.kernel.org/mm/free_page_reporting.html
    """
    np.empty(size, np.uint8)[:: mmap.PAGESIZE] = 1
