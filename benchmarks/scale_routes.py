"""Where training goes as rows grow, by the checks that decide it, and whether what they choose would then take it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from unittest import mock

from common import capacity, job
from common.capacity import LARGEST_TASK_MB, TASK_DISK_MB
from common.errors import InvalidDatasetError, TooLargeForFunctionError
from common.request import TrainingRequest, parse_request
from model_training.cluster_tasks import SPARE
from model_training.memory import workers_of
from model_training.room import check_room

FUNCTIONS_MB = (3_008, 10_240)
FUNCTION_DISK_MB, LARGEST_CLUSTER = 10_240, 64
ROWS = [round(10 ** (exponent / 20)) for exponent in range(80, 221)]
"""From 10^4 to 10^11, twenty for each power of ten."""
_SIZE = re.compile(r"\[cpu=(\d+) memory=(\d+)\]$")


@dataclass(frozen=True)
class Way:
    """Where a training goes.

    Attributes
    ----------
    words
        For people.
    vcpus, memory_mb
        Of the function or the task; 0 where it is refused.
    workers
        How many more tasks of the largest size grow the trees.
    """

    words: str
    vcpus: float = 0.0
    memory_mb: int = 0
    workers: int = 0


@dataclass(frozen=True)
class Route:
    """From how many training rows on a function of so much memory has training go which way."""

    estimator: str
    function_mb: int
    rows: int
    way: Way


class Routes:
    """Where training goes, for any number of rows.

    Parameters
    ----------
    requests
        By the names of their estimators, as data preparation has returned them.
    profile
        Of the prepared data, taken as if the training part had any number of rows.

    Attributes
    ----------
    sent, refused
        How many trainings were sent to a task, and how many of them a task of that size would refuse.
    """

    def __init__(self, requests: Mapping[str, Mapping[str, Any]], profile: Mapping[str, Any]) -> None:
        self._requests = {
            name: parse_request(document).with_positive_class(profile) for name, document in requests.items()
        }
        self._profile = profile
        self._row_bytes = sum(8 if column.get("dtype") == "float64" else 4 for column in profile["columns"])
        self.sent = self.refused = 0

    def begins(self) -> list[Route]:
        """Return from how many rows on each way is taken."""
        found = []
        for name in self._requests:
            for function_mb in FUNCTIONS_MB:
                ways = [self.way(name, rows, function_mb) for rows in ROWS]
                places = [0, *(place for place, pair in enumerate(pairwise(ways), 1) if _differ(*pair))]
                found += [Route(name, function_mb, ROWS[place], ways[place]) for place in places]
        return found

    def way(self, estimator: str, rows: int, function_mb: int = max(FUNCTIONS_MB)) -> Way:
        """Return where a training on so many rows goes from a function."""
        request, profile = (
            self._requests[estimator],
            {**self._profile, "rows": {**self._profile["rows"], "train": rows}},
        )
        part_bytes = rows * self._row_bytes
        with _process(function_mb):
            try:
                _check(request, profile, part_bytes, FUNCTION_DISK_MB, None)
            except TooLargeForFunctionError as error:
                (cpu, memory) = _SIZE.findall(str(error))[0]
                workers = workers_of(request, profile)
            except InvalidDatasetError:
                return Way("refused: more than the largest task has")
            else:
                return Way("the function", capacity.vcpus(), function_mb)
        self.sent += 1
        self.refused += not _is_taken(request, profile, part_bytes, cpu, memory)
        others = ", and others that grow the trees" if workers else ""
        words = f"a task of {int(cpu) // 1024} vCPU{others}"
        return Way(words, int(cpu) / 1024, int(memory), workers + SPARE if workers else 0)


def _differ(one: Way, other: Way) -> bool:
    return one.words != other.words


def _is_taken(request: TrainingRequest, profile: dict[str, Any], part_bytes: int, cpu: str, memory: str) -> bool:
    with _process(int(memory), CROSSTRAIN_TASK_CPU=cpu):
        try:
            _check(request, profile, part_bytes, TASK_DISK_MB, job.Context())
        except InvalidDatasetError:
            return False
        return True


def _check(request: TrainingRequest, profile: dict[str, Any], part_bytes: int, disk_mb: int, context: Any) -> None:
    # What does not fit the disk stays on S3 for the fits that are compared here.
    held = part_bytes if part_bytes <= disk_mb << 20 else 0
    check_room(request, profile, None, held, disk_mb << 20, context)


def _process(memory_mb: int, **more: str) -> Any:
    """Return a context in which this process has what a function or a task has."""
    own = {
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "LARGEST_TASK_MEMORY": str(LARGEST_TASK_MB),
        "LARGEST_CLUSTER": str(LARGEST_CLUSTER),
    }
    return mock.patch.dict(os.environ, {**own, **more})


def table(found: Sequence[Route]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the routes as a table of a section."""
    lines: list[tuple[str, ...]] = [
        (each.estimator, f"{each.function_mb:,} MB", _power(each.rows), each.way.words) for each in found
    ]
    return ("estimator", "function", "from so many rows on", "training goes to"), lines


def note() -> str:
    """Return what the routes rest on."""
    return (
        f"Where training goes is what its own checks say, asked for {len(ROWS)} numbers of rows with the profile of "
        f"the data set: functions of {FUNCTIONS_MB[0]:,} and {FUNCTIONS_MB[1]:,} MB, {FUNCTION_DISK_MB:,} MB of disk, "
        f"tasks of up to {LARGEST_TASK_MB:,} MB, and up to {LARGEST_CLUSTER} that grow trees together; ten trees."
    )


def _power(number: int) -> str:
    """Return a number as two digits and a power of ten.

    Examples
    --------
    >>> _power(45_000_000)
    '4.5·10⁷'
    """
    digits, exponent = f"{number:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
