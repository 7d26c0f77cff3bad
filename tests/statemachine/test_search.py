"""The search for a model, run on the embedded AWS with the definition as it is deployed."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Machine

SEARCH = ("IsSearched", "PlanSearch", "GoesSearchOn", "MakeTrials", "SelectBest")


def states(events: Any) -> list[str]:
    return [event.state for event in events if event.kind == "entered" and event.state in (*SEARCH, "TrainModel")]


def test_rounds_of_trials_are_made_until_nothing_is_left_and_the_best_is_trained(run_scripted: Machine) -> None:
    events, result = run_scripted({"search_trials": 4, "rounds": [3, 1], "model_name": "searched"})

    a_round = ["PlanSearch", "GoesSearchOn", "MakeTrials"]
    assert states(events) == [
        "IsSearched", *a_round, *a_round, "PlanSearch", "GoesSearchOn", "SelectBest", "TrainModel",
    ]  # fmt: skip
    assert result.status == "SUCCEEDED"
    assert result.output is not None
    # A state hands on 256 KiB at most, so each trial is there once: in the end the record has it.
    planned = [event.output for event in events if event.state == "PlanSearch" and event.kind == "succeeded"]
    assert [len(each["done"]) for each in planned] == [0, 3, 0]
    assert all("plan" not in event.output for event in events if event.state == "MakeTrials" and event.output)
    # What was chosen is what all later steps are told.
    assert result.output["request"]["estimator"] == "e"
    assert result.output["request"]["hyperparameters"] == {"number": 3}
    assert [each["score"] for each in result.output["model"]["search"]["trials"]] == [0.0, 0.1, 0.2, 0.3]
    assert set(result.output) == {
        "run_id", "request", "prepared", "model", "evaluations", "comparisons", "champion", "challenger",
        "evaluation",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [[1], [1, 1], [1, 2]])
def test_a_round_of_one_trial_is_a_round(run_scripted: Machine, rounds: list[int]) -> None:
    _, result = run_scripted({"search_trials": 9, "rounds": rounds, "model_name": "one"})
    assert result.output is not None
    assert len(result.output["model"]["search"]["trials"]) == sum(rounds)


@pytest.mark.parametrize("trials", [{}, {"search_trials": 0}])
def test_without_a_search_training_comes_at_once(run_scripted: Machine, trials: dict[str, int]) -> None:
    events, result = run_scripted({**trials, "model_name": "unsearched"})
    assert states(events) == ["IsSearched", "TrainModel"]
    assert result.output is not None
    assert "search" not in result.output["model"]


@pytest.mark.parametrize("error", ["InvalidDatasetError", "Runtime.ExitError"])
def test_a_trial_that_fails_is_told_and_ends_nothing(run_scripted: Machine, error: str) -> None:
    script = {"search_trials": 3, "rounds": [2, 1], "fails": {"1": error}, "model_name": "failing"}
    _, result = run_scripted(script)
    assert result.status == "SUCCEEDED"
    assert result.output is not None
    first, failed, last = result.output["model"]["search"]["trials"]
    assert (first["score"], last["score"]) == (0.0, 0.2)
    assert "score" not in failed
    assert (failed["number"], failed["estimator"], failed["seconds"]) == (1, "e", 1.5)
    assert failed["error"] == f"{error}: trial 1"


def test_a_search_in_which_all_fail_ends_the_run_with_its_reason(run_scripted: Machine) -> None:
    script = {"search_trials": 2, "rounds": [2], "fails": {"0": "KeyError", "1": "KeyError"}, "model_name": "none"}
    _, result = run_scripted(script)
    assert (result.status, result.error) == ("FAILED", "InvalidDatasetError")
    assert result.cause == "PlanSearch: None of the trials could be fitted."
    assert result.failed_state == "PlanSearch"
