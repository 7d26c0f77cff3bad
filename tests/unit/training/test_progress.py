"""How a run is shown while it goes on."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from crosstrain.training.execution import Kind, StateEvent
from crosstrain.training.progress import Progress


def shown(*events: StateEvent) -> list[str]:
    console = Console(record=True, force_terminal=False, width=120)
    with Progress(console).states() as show:
        for event in events:
            show(event)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def event(state: str, kind: Kind, seconds: float = 0.0, output: dict[str, Any] | None = None) -> StateEvent:
    error = "E" if kind in ("failed", "retried") else None
    type_ = "Map" if state == "MakeTrials" else "Task"
    return StateEvent(state, type_, kind, seconds, 1, error, "c" if error else None, output)


def planned(tried: int, trials: int) -> dict[str, Any]:
    best = {"estimator": "ridge", "metric": "rmse", "score": 54.91912} if tried else None
    return {"plan": {"tried": tried, "trials": [{}] * trials, "best": best}}


def test_the_rounds_of_a_search_are_one_line() -> None:
    assert shown(
        event("PlanSearch", "entered"),
        event("PlanSearch", "succeeded", 0.1, planned(0, 4)),
        event("MakeTrials", "entered"),
        event("MakeTrials", "succeeded", 2.0, {}),
        event("PlanSearch", "entered"),
        event("PlanSearch", "succeeded", 0.2, planned(4, 0)),
        event("TrainModel", "entered"),
        event("TrainModel", "succeeded", 1.0),
    ) == ["✓ Search 2.3 s 4 trials, best ridge: rmse 54.92", "✓ TrainModel 1.0 s"]


def test_a_search_that_fails_or_is_tried_again_says_so() -> None:
    assert shown(
        event("PlanSearch", "entered"),
        event("PlanSearch", "retried", 0.1),
        event("PlanSearch", "failed", 0.5),
    ) == ["↻ PlanSearch is tried again after E", "✗ Search 0.5 s"]


def test_of_one_trial_there_is_one() -> None:
    last = event("PlanSearch", "succeeded", 0.1, planned(1, 0))
    assert shown(event("PlanSearch", "entered"), last) == ["✓ Search 0.1 s 1 trial, best ridge: rmse 54.92"]


def test_a_run_that_waits_for_a_person_says_what_to_do() -> None:
    lines = shown(event("WaitForApproval", "entered"), event("WaitForApproval", "succeeded", 3.0, {}))
    assert "models.py approve MODEL VERSION, or refuse" in lines[0]
    assert lines[1].endswith("WaitForApproval 3.0 s")


def test_what_is_too_large_for_a_function_is_told_and_is_no_failure() -> None:
    told = {"errorMessage": "9 rows need 9 MB: it runs as a task of 4 vCPU. [cpu=4096 memory=8192]", "errorType": "T"}
    error, cause = "TooLargeForFunctionError", json.dumps(told)
    assert shown(
        event("TrainModel", "entered"),
        StateEvent("TrainModel", "Task", "failed", 0.2, 1, error, cause),
        StateEvent("IsTaskOpen", "Choice", "entered", 0.0, 1),
        event("StoreEvent", "entered"),
        StateEvent("PlanSearch", "Task", "failed", 0.2, 1, error, "no JSON"),
        StateEvent("IsTaskOpen", "Choice", "entered", 0.0, 1),
        event("StoreEvent", "entered"),
        event("RunTask", "entered"),
        event("RunTask", "succeeded", 9.0),
    ) == [
        "→ TrainModel: 9 rows need 9 MB: it runs as a task of 4 vCPU.",
        "→ PlanSearch: no JSON",
        "✓ PlanSearch as a task 9.0 s",
    ]


def test_a_function_that_was_stopped_goes_on_in_pieces_or_as_a_task_and_has_not_failed() -> None:
    assert shown(
        event("PrepareData", "entered"),
        StateEvent("PrepareData", "Task", "failed", 900.0, 1, "Sandbox.Timedout", "c"),
        event("PlanPreparation", "entered"),
        event("PlanPreparation", "succeeded", 2.0),
        StateEvent("TrainModel", "Task", "failed", 9.0, 1, "Runtime.ExitError", "c"),
        StateEvent("IsTaskOpen", "Choice", "entered", 0.0, 1),
        event("StoreEvent", "entered"),
    ) == [
        "→ PrepareData: its function was stopped (Sandbox.Timedout), and it goes on in pieces.",
        "✓ PlanPreparation 2.0 s",
        "→ TrainModel: its function was stopped (Runtime.ExitError), and it goes on as a task.",
    ]


def test_what_goes_no_other_way_has_failed() -> None:
    too_large = StateEvent("TrainModel", "Task", "failed", 0.2, 1, "TooLargeForFunctionError", "c")
    closed = (
        StateEvent("IsTaskOpen", "Choice", "entered", 0.0, 1),
        StateEvent("ExplainFailure", "Pass", "entered", 0.0, 1),
    )
    assert shown(too_large, *closed) == ["✗ TrainModel 0.2 s"]
    assert shown(event("ScanPieces", "failed", 3.0)) == ["✗ ScanPieces 3.0 s"]
