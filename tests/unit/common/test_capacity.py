"""What becomes of work that a function has no room for."""

from __future__ import annotations

import re

import pytest

from common.capacity import (
    LARGEST_TASK_MB,
    RESERVE_MB,
    TASK_SECONDS,
    TaskSize,
    compute,
    disk_too_small,
    in_pieces,
    memory_mb,
    require_task,
    takes_task,
    too_large,
)
from common.errors import InvalidDatasetError, InvalidRequestError, TooLargeForFunctionError

TOLD, WAY_OUT = "It needs much", "bring less"


@pytest.fixture(autouse=True)
def with_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "10240")
    monkeypatch.setenv("LARGEST_TASK_MEMORY", str(LARGEST_TASK_MB))
    monkeypatch.delenv("CROSSTRAIN_TASK_CPU", raising=False)


def in_task(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setenv("CROSSTRAIN_TASK_CPU", "4096")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(memory))


@pytest.mark.parametrize(
    ("needed", "cpu", "gib"),
    [
        (1, 4096, 8),
        (8 * 1024 - RESERVE_MB, 4096, 8),
        (8 * 1024 - RESERVE_MB + 1, 4096, 9),
        (30 * 1024 - RESERVE_MB, 4096, 30),
        (30 * 1024 - RESERVE_MB + 1, 8192, 32),
        (60 * 1024 - RESERVE_MB + 1, 16384, 64),
        (LARGEST_TASK_MB - RESERVE_MB, 16384, 120),
    ],
)
def test_the_size_is_the_smallest_that_fargate_has(needed: int, cpu: int, gib: int) -> None:
    assert TaskSize.of(needed) == TaskSize(cpu, gib * 1024)


def test_nothing_is_larger_than_the_largest_task() -> None:
    assert TaskSize.of(LARGEST_TASK_MB - RESERVE_MB + 1) is None


def test_what_a_task_has_room_for_goes_on_as_one_and_says_the_size_as_the_state_machine_reads_it() -> None:
    error = too_large(TOLD, WAY_OUT, needed_mb=40_000)
    assert isinstance(error, TooLargeForFunctionError)
    found = re.search(r"\[cpu=(\d+) memory=(\d+)\]$", str(error))
    assert found
    assert found.groups() == ("8192", "40960")
    assert str(error).startswith("It needs much: it runs as a task of 8 vCPU and 40,960 MB. ")


def test_without_tasks_it_is_refused_and_told_how_to_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    error = too_large(TOLD, WAY_OUT, needed_mb=40_000)
    assert isinstance(error, InvalidDatasetError)
    assert str(error).startswith("It needs much: bring less, or set the parameter JobSubnetIds: ")


@pytest.mark.parametrize(
    ("needed", "disk", "seconds", "largest"),
    [
        (130_000, 0, 0, LARGEST_TASK_MB),
        (40_000, 0, 0, 30_720),
        (1_000, 300_000, 0, LARGEST_TASK_MB),
        (1_000, 0, TASK_SECONDS + 1, LARGEST_TASK_MB),
    ],
)
def test_more_than_the_largest_task_is_refused_with_the_limit(
    needed: int, disk: int, seconds: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", str(largest))
    error = too_large(TOLD, WAY_OUT, needed_mb=needed, disk_mb=disk, seconds=seconds)
    assert isinstance(error, InvalidDatasetError)
    assert "204,800 MB and 12 hours" in str(error)
    assert f"{largest:,} MB" in str(error)


def test_a_request_for_functions_takes_no_task() -> None:
    error = too_large(TOLD, WAY_OUT, where="lambda", needed_mb=40_000)
    assert isinstance(error, InvalidDatasetError)
    assert "compute is lambda" in str(error)


def test_a_task_that_is_too_small_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    in_task(monkeypatch, 8192)
    error = too_large(TOLD, WAY_OUT, needed_mb=40_000)
    assert isinstance(error, InvalidDatasetError)
    assert "start the run again" in str(error)
    assert "no task has more than" in str(too_large(TOLD, WAY_OUT, needed_mb=LARGEST_TASK_MB))


def test_what_does_not_fit_the_disk_runs_as_a_task_of_as_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    error = disk_too_small("It is large", WAY_OUT, disk_mb=11_000)
    assert isinstance(error, TooLargeForFunctionError)
    assert str(error) == "It is large: it runs as a task of 4 vCPU and 11,264 MB. [cpu=4096 memory=11264]"
    assert isinstance(disk_too_small("It is large", WAY_OUT, disk_mb=300_000), InvalidDatasetError)
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    refused = disk_too_small("It is large", WAY_OUT)
    assert str(refused).startswith(
        "It is large: raise the parameter FunctionStorage (10,240 MB at most), bring less, or "
    )
    in_task(monkeypatch, 11_264)
    assert str(disk_too_small("It is large", WAY_OUT)) == (
        "It is large, and no task has a larger one than 204,800 MB: bring less."
    )


def test_a_task_is_taken_by_a_function_of_a_stack_that_has_tasks_if_the_request_lets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [takes_task(where) for where in ("auto", "task", "lambda")] == [True, True, False]
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    assert not takes_task()
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "8192")
    in_task(monkeypatch, 8192)
    assert not takes_task()


def test_pieces_need_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    assert str(in_pieces(TOLD)) == "It needs much: the data are prepared in pieces."


def test_what_asks_for_a_task_gets_one_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("auto", "lambda"):
        require_task(where, 1)
    with pytest.raises(TooLargeForFunctionError, match=r"\[cpu=4096 memory=8192\]$"):
        require_task("task", 1)
    in_task(monkeypatch, 8192)
    require_task("task", 1)


def test_what_asks_for_a_task_where_there_are_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    with pytest.raises(InvalidRequestError, match="JobSubnetIds"):
        require_task("task", 1)


def test_a_task_keeps_some_of_its_memory_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compute() == {"kind": "function", "memory_mb": 10240}
    in_task(monkeypatch, 8192)
    assert memory_mb() == 8192 - RESERVE_MB
    # What it was announced as.
    assert compute() == {"kind": "task", "memory_mb": 8192}
