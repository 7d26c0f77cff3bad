"""What work a function has room and time for, and the one place that decides what becomes of the rest.

A step that sees that its work does not fit raises what `too_large` returns: where there is another way, the error that
the state machine goes that way by, and else a refusal in a sentence that names the way out.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from common import MB_PER_VCPU
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
_CALL_SECONDS = 900.0
FEWER_ROWS = "train on a share of the rows (training_fraction)"
"""What helps who has more rows than anything has room or time for."""
SHARE_OF_TIME = 0.6
"""The share of a call's time that work may be planned to take: a busy machine takes longer, and so does the network."""
GAIN_OF_VCPU = 0.5
"""What a vCPU beyond the first adds to work that is shared: measured are 0.5 of a forest and 0.6 to 0.9 of boosting."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What a step has to compute, in processor seconds.

    Attributes
    ----------
    alone
        In one thread.
    shared
        In as many as there are vCPUs.
    """

    alone: float = 0.0
    shared: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Return both, one after the other."""
        return Work(self.alone + other.alone, self.shared + other.shared)

    def __mul__(self, times: float) -> Work:
        """Return it, so many times."""
        return Work(self.alone * times, self.shared * times)

    @property
    def processor_seconds(self) -> float:
        """How long it takes one processor."""
        return self.alone + self.shared

    def seconds(self, vcpus: float) -> float:
        """Return how long it takes with so many vCPUs.

        Examples
        --------
        >>> Work(alone=10, shared=10).seconds(0.5), Work(alone=10, shared=15).seconds(2)
        (40.0, 20.0)
        """
        whole = max(vcpus, 1.0)
        return (self.alone + self.shared / (1 + GAIN_OF_VCPU * (whole - 1))) / min(vcpus, 1.0)


@dataclass(frozen=True)
class Need:
    """What a step needs, as far as it is known before it reads the data.

    Attributes
    ----------
    memory_mb, disk_mb
        In MB; 0 where that is not what lacks.
    work
        What it has to compute.
    """

    memory_mb: int = 0
    disk_mb: int = 0
    work: Work = Work()


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
    def of(cls, needed_mb: int, work: Work = Work(), most_mb: int = LARGEST_TASK_MB) -> TaskSize | None:
        """Return the smallest size that has so much memory for the work alone, and the time for it.

        Parameters
        ----------
        needed_mb, most_mb
            The memory of the work, and the most that a task may have, in MB.
        work
            What is to be computed.

        Returns
        -------
        TaskSize or None
            Where none has the time, the one with the most vCPUs; None where none has the memory.

        Examples
        --------
        >>> TaskSize.of(12_000), TaskSize.of(12_000, Work(shared=100_000))
        (TaskSize(cpu=4096, memory_mb=12288), TaskSize(cpu=8192, memory_mb=16384))
        """
        found = None
        for vcpus, step, largest in _SIZES:
            # A vCPU comes with two GiB at least.
            gib = max(2 * vcpus, -(-(needed_mb + RESERVE_MB) // (1024 * step)) * step)
            if gib > largest or gib * 1024 > most_mb:
                continue
            found = cls(vcpus * 1024, gib * 1024)
            if work.seconds(vcpus) <= SHARE_OF_TIME * TASK_SECONDS:
                return found
        return found

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


def vcpus() -> float:
    """Return how many vCPUs there are: a function has one for each 1,769 MB.

    References
    ----------
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
    """
    if is_task():
        return int(os.environ[_TASK_VARIABLE]) / 1024
    return int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) / MB_PER_VCPU


def seconds_left(context: Any) -> float:
    """Return how long a call may still take; without a context, elsewhere than on Lambda, as long as there at most."""
    return _CALL_SECONDS if context is None else float(context.get_remaining_time_in_millis()) / 1000


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
    told: str, way_out: str, *, where: str = "auto", need: Need = Need()
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
    need : Need
        What the work needs.

    Returns
    -------
    TooLargeForFunctionError
        Where there is another way. Its message ends in the size of the task, as the state machine reads it:
        `[cpu=4096 memory=12288]`.
    InvalidDatasetError
        Where there is none.
    """
    if is_task():
        return InvalidDatasetError(f"{told}: {_without_functions(need)}, or {way_out}.")
    if where == "lambda":
        return InvalidDatasetError(f'{told}, and the request\'s compute is lambda: take "auto", or {way_out}.')
    if not largest_task_mb():
        return InvalidDatasetError(
            f"{told}: {way_out}, or set the parameter JobSubnetIds: what does not fit a function then runs as a task "
            f"of up to {LARGEST_TASK_MB:,} MB."
        )
    size = TaskSize.of(need.memory_mb, need.work, largest_task_mb())
    if size is None or need.disk_mb > TASK_DISK_MB:
        return InvalidDatasetError(f"{told}, and the largest task has {_largest()}: {way_out}.")
    if (seconds := need.work.seconds(size.cpu / 1024)) > TASK_SECONDS:
        told = f"{told}, and a task of {size} {_of_hours(seconds, TASK_SECONDS)}"
        return InvalidDatasetError(f"{told}: {way_out}.")
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
    return too_large(told, _with_storage(way_out), where=where, need=Need(memory_mb(), disk_mb))


def check_disk(need: Need, free_bytes: int, told: str, way_out: str, *, where: str = "auto") -> None:
    """See whether the temporary disk holds a step's files, before they are fetched.

    Parameters
    ----------
    need
        What the step needs.
    free_bytes
        How much space there is.
    told, way_out, where
        As `too_large` takes them; the first is which files they are, to be followed by its figures.

    Raises
    ------
    TooLargeForFunctionError, InvalidDatasetError
        If it does not; the one where a task has the room, and else the other.
    """
    free_mb = free_bytes >> 20
    if need.disk_mb <= free_mb:
        return
    told = f"{told} take about {need.disk_mb:,} MB of the temporary disk, and the {kind()} has {free_mb:,} MB"
    raise too_large(told, _with_storage(way_out), where=where, need=need)


def check_time(need: Need, context: Any, told: str, way_out: str, *, where: str = "auto") -> None:
    """See whether there is time for a step's work, before it reads the data.

    That is an estimate: where there is no task to do it, it is tried all the same, and the log says so.

    Parameters
    ----------
    need
        What the step needs.
    context
        Of the call; None elsewhere than on Lambda.
    told, way_out, where
        As `too_large` takes them; the first is what the work is of, to be followed by its figures.

    Raises
    ------
    TooLargeForFunctionError
        If a task has the time.
    InvalidDatasetError
        If this is a task without the time, or none has it.
    """
    seconds, left = need.work.seconds(vcpus()), seconds_left(context)
    if is_task():
        if seconds > left:
            raise InvalidDatasetError(f"{told}: this task {_of_hours(seconds, left)}: {way_out}.")
        return
    limit = SHARE_OF_TIME * left
    if seconds <= limit:
        return
    told = f"{told} take about {seconds:,.0f} s, and {limit:,.0f} s of the function's time are planned for that"
    if where == "lambda" or not largest_task_mb():
        logger.warning("%s: it is tried all the same, for there is no task to do it", told)
        return
    raise too_large(told, way_out, where=where, need=need)


def require_task(where: str, need: Need) -> None:
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
    raise too_large("The request's compute is task", "take another compute", where=where, need=need)


def _without_functions(need: Need) -> str:
    """Return what helps a task that is too small."""
    if need.disk_mb > TASK_DISK_MB:
        return f"no task has a larger disk than {TASK_DISK_MB:,} MB"
    if need.memory_mb + RESERVE_MB > LARGEST_TASK_MB:
        return f"no task has more than {LARGEST_TASK_MB:,} MB"
    return "start the run again, for a task of the size that this needs"


def _with_storage(way_out: str) -> str:
    return f"raise the parameter FunctionStorage (10,240 MB at most), {way_out}"


def _of_hours(seconds: float, left: float) -> str:
    return f"would take about {seconds / 3600:,.1f} hours, and has {left / 3600:,.1f}"


def _largest() -> str:
    memory = f"{largest_task_mb():,} MB"
    if largest_task_mb() < LARGEST_TASK_MB:
        memory += f" (the parameter LargestTaskMemory, {LARGEST_TASK_MB:,} MB at most)"
    return f"{memory}, a disk of {TASK_DISK_MB:,} MB and {TASK_SECONDS // 3600} hours"
