"""What becomes of work that a function has no room for."""

from __future__ import annotations

import re

import pytest

from calls import Call
from common.capacity import (
    LARGEST_TASK_MB,
    RESERVE_MB,
    SHARE_OF_TIME,
    TASK_SECONDS,
    Need,
    TaskSize,
    Work,
    check_disk,
    check_time,
    compute,
    disk_too_small,
    in_pieces,
    memory_mb,
    require_task,
    takes_task,
    too_large,
    vcpus,
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
    error = too_large(TOLD, WAY_OUT, need=Need(40_000))
    assert isinstance(error, TooLargeForFunctionError)
    found = re.search(r"\[cpu=(\d+) memory=(\d+)\]$", str(error))
    assert found
    assert found.groups() == ("8192", "40960")
    assert str(error).startswith("It needs much: it runs as a task of 8 vCPU and 40,960 MB. ")


def test_without_tasks_it_is_refused_and_told_how_to_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    error = too_large(TOLD, WAY_OUT, need=Need(40_000))
    assert isinstance(error, InvalidDatasetError)
    assert str(error).startswith("It needs much: bring less, or set the parameter JobSubnetIds: ")


@pytest.mark.parametrize(
    ("needed", "disk", "largest"),
    [(130_000, 0, LARGEST_TASK_MB), (40_000, 0, 30_720), (1_000, 300_000, LARGEST_TASK_MB)],
)
def test_more_than_the_largest_task_is_refused_with_the_limit(
    needed: int, disk: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", str(largest))
    error = too_large(TOLD, WAY_OUT, need=Need(needed, disk))
    assert isinstance(error, InvalidDatasetError)
    assert "204,800 MB and 12 hours" in str(error)
    assert f"{largest:,} MB" in str(error)


def test_a_request_for_functions_takes_no_task() -> None:
    error = too_large(TOLD, WAY_OUT, where="lambda", need=Need(40_000))
    assert isinstance(error, InvalidDatasetError)
    assert "compute is lambda" in str(error)


def test_a_task_that_is_too_small_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    in_task(monkeypatch, 8192)
    error = too_large(TOLD, WAY_OUT, need=Need(40_000))
    assert isinstance(error, InvalidDatasetError)
    assert "start the run again" in str(error)
    assert "no task has more than" in str(too_large(TOLD, WAY_OUT, need=Need(LARGEST_TASK_MB)))


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
        require_task(where, Need(1))
    with pytest.raises(TooLargeForFunctionError, match=r"\[cpu=4096 memory=8192\]$"):
        require_task("task", Need(1))
    in_task(monkeypatch, 8192)
    require_task("task", Need(1))


def test_what_asks_for_a_task_where_there_are_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "0")
    with pytest.raises(InvalidRequestError, match="JobSubnetIds"):
        require_task("task", Need(1))


def test_a_thread_has_one_vcpu_at_most_and_all_share_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3538")
    assert vcpus() == 2
    alone, shared = Work(alone=100), Work(shared=100)
    assert [alone.seconds(each) for each in (0.5, 1, 2, 16)] == [200, 100, 100, 100]
    assert shared.seconds(0.5) == 200
    assert shared.seconds(1) == 100
    # More of them help, but not as many times.
    assert 50 < shared.seconds(2) < 100
    assert 5 < shared.seconds(16) < shared.seconds(8) < shared.seconds(4) < shared.seconds(2)
    assert (alone + shared * 2) == Work(100, 200)


def test_what_takes_longer_than_a_share_of_the_call_goes_on_as_a_task_with_both_figures() -> None:
    left, limit = Call(500), SHARE_OF_TIME * 500
    check_time(Need(work=Work(alone=limit)), left, "Much", WAY_OUT)
    with pytest.raises(TooLargeForFunctionError) as caught:
        check_time(Need(9_000, work=Work(alone=limit + 1)), left, "Much", WAY_OUT)
    assert str(caught.value).startswith("Much take about 301 s, and 300 s of the function's time are planned for that:")
    assert str(caught.value).endswith("[cpu=4096 memory=10240]")


@pytest.mark.parametrize(("where", "largest"), [("lambda", LARGEST_TASK_MB), ("auto", 0)])
def test_an_estimate_alone_refuses_nothing_that_has_no_other_place_to_go(
    where: str, largest: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", str(largest))
    check_time(Need(work=Work(alone=10**6)), Call(900), "Much", WAY_OUT, where=where)
    assert "Much take about 1,000,000 s, and 540 s" in caplog.text
    assert "it is tried all the same" in caplog.text


def test_the_task_has_the_time_too_where_one_has_it() -> None:
    hours = TASK_SECONDS / 3600
    days = Work(shared=48 * 3600)
    assert TaskSize.of(1, days) == TaskSize(16384, 32 * 1024)
    # One thread gains nothing by more of them: the most there are is no refusal yet, for some of the time is a reserve.
    assert TaskSize.of(1, Work(alone=0.9 * TASK_SECONDS)) == TaskSize(16384, 32 * 1024)
    assert TaskSize.of(1, days, most_mb=20_000) == TaskSize(8192, 16 * 1024)
    with pytest.raises(InvalidDatasetError, match=rf"would take about 240.0 hours, and has {hours:.1f}: bring less\.$"):
        check_time(Need(work=Work(alone=10 * 24 * 3600)), Call(900), "Much", WAY_OUT)


def test_a_task_refuses_what_it_has_no_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    in_task(monkeypatch, 8192)
    check_time(Need(work=Work(alone=TASK_SECONDS - 1)), Call(TASK_SECONDS), "Much", WAY_OUT)
    with pytest.raises(InvalidDatasetError, match=r"^Much: this task would take about 12\.5 hours, and has 12\.0: "):
        check_time(Need(work=Work(alone=45_000)), Call(TASK_SECONDS), "Much", WAY_OUT)


def test_files_that_the_disk_does_not_hold_go_on_as_a_task_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    need = Need(1_000, disk_mb=600)
    check_disk(need, 600 << 20, "The files", WAY_OUT)
    with pytest.raises(TooLargeForFunctionError, match=r"^The files take about 600 MB .* the function has 599 MB: it"):
        check_disk(need, 599 << 20, "The files", WAY_OUT)
    with pytest.raises(InvalidDatasetError, match="raise the parameter FunctionStorage"):
        check_disk(need, 599 << 20, "The files", WAY_OUT, where="lambda")
    in_task(monkeypatch, 8192)
    with pytest.raises(InvalidDatasetError, match="no task has a larger disk than 204,800 MB"):
        check_disk(Need(1_000, disk_mb=300_000), 200_000 << 20, "The files", WAY_OUT)


def test_a_task_keeps_some_of_its_memory_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compute() == {"kind": "function", "memory_mb": 10240}
    in_task(monkeypatch, 8192)
    assert memory_mb() == 8192 - RESERVE_MB
    # What it was announced as.
    assert compute() == {"kind": "task", "memory_mb": 8192}
