"""What work a function has room for, and the one place that decides what becomes of the rest.

A step that sees that its work does not fit raises what `too_large` returns: where there is another way, the error that
the state machine goes that way by, and else a refusal in a sentence that names the way out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from common.errors import InvalidDatasetError, InvalidRequestError, TooLargeForFunctionError

# Fargate's sizes for these numbers of vCPUs: the step of their memory and the most of it, in GiB.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
_SIZES = ((4, 1, 30), (8, 4, 60), (16, 8, 120))
LARGEST_TASK_MB = 120 * 1024
TASK_DISK_MB = 200 * 1024
"""The disk of a task, which the template gives each: as much as Fargate has."""
TASK_SECONDS = 43_200
"""How long a task may take, which is what its state in training.asl.json waits."""
RESERVE_MB = 256
"""What a task holds beside the work: the process that answers the state machine, and the system's own."""
_TASK_VARIABLE = "CROSSTRAIN_TASK_CPU"


@dataclass(frozen=True)
class TaskSize:
    """A size of a task that Fargate has.

    Attributes
    ----------
    cpu : int
        In units of 1/1,024 vCPU, as ECS counts it.
    memory_mb : int
        In MB.
    """

    cpu: int
    memory_mb: int

    @classmethod
    def of(cls, needed_mb: int) -> TaskSize | None:
        """Return the smallest size that has so much memory for the work alone; None where there is none.

        Examples
        --------
        >>> TaskSize.of(12_000)
        TaskSize(cpu=4096, memory_mb=12288)
        """
        for vcpus, step, largest in _SIZES:
            # A vCPU comes with two GiB at least.
            gib = max(2 * vcpus, -(-(needed_mb + RESERVE_MB) // (1024 * step)) * step)
            if gib <= largest:
                return cls(vcpus * 1024, gib * 1024)
        return None

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.cpu // 1024} vCPU and {self.memory_mb:,} MB"


def is_task() -> bool:
    """Return whether this is a task, and no function."""
    return _TASK_VARIABLE in os.environ


def kind() -> str:
    """Return what this process is, in a word."""
    return "task" if is_task() else "function"


def compute() -> dict[str, int | str]:
    """Return what this process runs on: its `kind`, `function` or `task`, and its `memory_mb`.

    Examples
    --------
    >>> compute()                                                                     # doctest: +SKIP
    {'kind': 'function', 'memory_mb': 3008}
    """
    return {"kind": kind(), "memory_mb": int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])}


def memory_mb() -> int:
    """Return how much memory the work may take, in MB."""
    had = int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])
    return had - RESERVE_MB if is_task() else had


def largest_task_mb() -> int:
    """Return the memory that a task may have at most, in MB; 0 where the stack has no tasks."""
    return int(os.environ.get("LARGEST_TASK_MEMORY", "0"))


def in_pieces(told: str) -> TooLargeForFunctionError:
    """Return the error of preparation that goes on in pieces, each a call of a function, which any `compute` allows.

    Parameters
    ----------
    told : str
        As `too_large` takes it.
    """
    return TooLargeForFunctionError(f"{told}: the data are prepared in pieces.")


def too_large(
    told: str, way_out: str, *, where: str = "auto", needed_mb: int = 0, disk_mb: int = 0, seconds: float = 0
) -> TooLargeForFunctionError | InvalidDatasetError:
    """Return the error of work that this function, or task, has no room or time for.

    Parameters
    ----------
    told : str
        What does not fit, with its figures, as the beginning of a sentence without its end.
    way_out : str
        What helps besides another way: a parameter to raise, less data.
    where : str
        The request's `compute`.
    needed_mb : int
        The memory that the work needs, in MB; 0 where what lacks is something else.
    disk_mb : int
        The disk that it needs, in MB.
    seconds : float
        The time that it needs.

    Returns
    -------
    TooLargeForFunctionError
        Where there is another way. Its message ends in the size of the task, as the state machine reads it:
        `[cpu=4096 memory=12288]`.
    InvalidDatasetError
        Where there is none.
    """
    size = TaskSize.of(needed_mb)
    if is_task():
        return InvalidDatasetError(f"{told}: {_without_functions(needed_mb)}, or {way_out}.")
    if where == "lambda":
        return InvalidDatasetError(f'{told}, and the request\'s compute is lambda: take "auto", or {way_out}.')
    if not largest_task_mb():
        return InvalidDatasetError(
            f"{told}: {way_out}, or set the parameter JobSubnetIds: what does not fit a function then runs as a task "
            f"of up to {LARGEST_TASK_MB:,} MB."
        )
    if size is None or size.memory_mb > largest_task_mb() or disk_mb > TASK_DISK_MB or seconds > TASK_SECONDS:
        return InvalidDatasetError(f"{told}, and the largest task has {_largest()}: {way_out}.")
    return TooLargeForFunctionError(f"{told}: it runs as a task of {size}. [cpu={size.cpu} memory={size.memory_mb}]")


def takes_task(where: str = "auto") -> bool:
    """Return whether what does not fit here goes on as a task: this is a function, and stack and request have tasks.

    Parameters
    ----------
    where : str
        The request's `compute`.
    """
    return not is_task() and where != "lambda" and largest_task_mb() > 0


def disk_too_small(
    told: str, way_out: str, *, where: str = "auto", disk_mb: int = 0
) -> TooLargeForFunctionError | InvalidDatasetError:
    """Return the error of work that the disk has no room for: a task has a larger one, and as much memory as this.

    Parameters
    ----------
    told : str
        What does not fit, as the beginning of a sentence without its end.
    way_out : str
        What helps in a task, too: less data.
    where : str
        The request's `compute`.
    disk_mb : int
        How much disk it needs at least, in MB; 0 where nobody knows.
    """
    if is_task():
        return InvalidDatasetError(f"{told}, and no task has a larger one than {TASK_DISK_MB:,} MB: {way_out}.")
    raised = f"raise the parameter FunctionStorage (10,240 MB at most), {way_out}"
    return too_large(told, raised, where=where, needed_mb=memory_mb(), disk_mb=disk_mb)


def require_task(where: str, needed_mb: int) -> None:
    """Send the work of a request that asks for a task to one, whatever its size.

    Raises
    ------
    TooLargeForFunctionError
        If this is a function.
    InvalidRequestError
        If the stack has no tasks.
    """
    if where != "task" or is_task():
        return
    if not largest_task_mb():
        raise InvalidRequestError(
            'The request\'s compute is task, and this stack has none: set the parameter JobSubnetIds, or take "auto".'
        )
    raise too_large("The request's compute is task", "take another compute", where=where, needed_mb=needed_mb)


def _without_functions(needed_mb: int) -> str:
    """Return what helps a task that is too small."""
    if needed_mb + RESERVE_MB > LARGEST_TASK_MB:
        return f"no task has more than {LARGEST_TASK_MB:,} MB"
    return "start the run again, for a task of the size that this needs"


def _largest() -> str:
    memory = f"{largest_task_mb():,} MB"
    if largest_task_mb() < LARGEST_TASK_MB:
        memory += f" (the parameter LargestTaskMemory, {LARGEST_TASK_MB:,} MB at most)"
    return f"{memory}, a disk of {TASK_DISK_MB:,} MB and {TASK_SECONDS // 3600} hours"
