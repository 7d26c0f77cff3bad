"""The state machine that retrains: once at a time, cooled down, within the budget, and never silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crosstrain.training import execution

from .conftest import Ended, Machine, Registry

OK = {"model_name": "default", "trigger": "drift"}
# Inputs that are none, and how the cause begins.
MALFORMED: list[tuple[Any, str]] = [
    *((each, "The input has to be a JSON object") for each in ([OK], None, "a", {**OK, "request": {}})),
    *(({**OK, "model_name": each}, "model_name has to be") for each in ("", "#runs", "a\n", 5, ["a"])),
    *(({**OK, "trigger": each}, "trigger has to be") for each in ("", "else", None, ["drift"])),
    *(({**OK, "dataset_uri": each}, "dataset_uri has to be") for each in ("", "s3://", "data/", "xs3://b/k", 5, None)),
    *(({**OK, "of_version": each}, "of_version has to be") for each in ("v" * 81, None, 5)),
    *(({**OK, "reason": each}, "reason has to be") for each in ("r" * 1001, None, {"S": "r"})),
]
Retrain = Callable[..., dict[str, Any]]


@pytest.fixture
def retrain(retraining: Machine) -> Retrain:
    """Return what runs the state machine to its end and returns its output."""

    def run(name: str, trigger: str = "drift", **more: str) -> dict[str, Any]:
        _, result = retraining({"model_name": name, "trigger": trigger, **more})
        assert result.status == "SUCCEEDED", result.cause
        assert result.output is not None
        return result.output

    return run


@pytest.fixture
def champion(run_scripted: Machine) -> Callable[..., str]:
    """Return what trains a champion by a request, and returns its version."""

    def train(name: str, **request: Any) -> str:
        _, result = run_scripted({"model_name": name, "score": 5, **request})
        assert result.output is not None
        return str(result.output["run_id"])

    return train


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def claim(registry: Registry, name: str, claimed_at: str, execution_arn: str, **numbers: str) -> None:
    """Write a claim as an earlier retraining has left it."""
    item = {
        "model_name": {"S": name},
        "entry": {"S": "retraining"},
        "execution": {"S": execution_arn},
        "claimed_at": {"S": claimed_at},
        "claims": {"N": "1"},
        "counted_month": {"S": claimed_at[:7]},
        "retrainings": {"N": "1"},
        **{each: {"N": value} for each, value in numbers.items()},
    }
    registry.client.put_item(TableName=registry.table, Item=item)


def started_with(machine: Machine, answer: dict[str, Any]) -> dict[str, Any]:
    """Wait for the run that was started, and return its input."""
    execution.outcome(machine.sfn, answer["execution"])
    client = getattr(machine.sfn, "client", machine.sfn)
    document: dict[str, Any] = json.loads(client.describe_execution(executionArn=answer["execution"])["input"])
    return document


def test_what_is_retrained_is_the_request_of_the_champions_run(
    retrain: Retrain, champion: Callable[..., str], run_scripted: Machine, registry: Registry
) -> None:
    version = champion("again", dataset_uri="s3://b/data/old.csv", replace_unusable_champion=True, alpha=[1, "ü"])
    run_scripted({"model_name": "again", "score": 1, "alpha": "of a rejected run"})

    answer = retrain("again")

    assert answer["started"] is True
    assert answer["retrained_from"] == version
    # The consent was one for that run.
    assert started_with(run_scripted, answer) == {
        "model_name": "again", "score": 5, "dataset_uri": "s3://b/data/old.csv", "alpha": [1, "ü"],
    }  # fmt: skip
    item = registry.items("again")["retraining"]
    assert item["execution"]["S"] == answer["execution"]
    assert (item["retrainings"]["N"], item["triggered_by"]["S"]) == ("1", "drift")
    assert registry.items("again")[f"version#{answer['run_id']}"]["request"]


@pytest.mark.slow
def test_new_data_are_the_folder_and_the_last_object_of_an_upload_retrains(
    retraining: Machine, champion: Callable[..., str], run_scripted: Machine, registry: Registry
) -> None:
    champion("data", dataset_uri="s3://b/data/old.csv")
    request = {"model_name": "data", "trigger": "data", "dataset_uri": "s3://b/data/sales/"}
    started = [retraining.start(request, f"object-{number}-0000000{number}") for number in range(5)]
    outputs = [execution.outcome(retraining.sfn, arn).output or {} for arn in started]

    (answer,) = [each for each in outputs if each["started"]]
    assert {each["rule"] for each in outputs if not each["started"]} <= {"newer_data", "cooling_down"}
    assert registry.items("data")["retraining"]["noted"]["S"] == answer["run_id"]
    assert started_with(run_scripted, answer)["dataset_uri"] == "s3://b/data/sales/"


@pytest.mark.slow
def test_of_many_events_at_once_one_starts_a_run(
    retraining: Machine, champion: Callable[..., str], registry: Registry
) -> None:
    champion("storm")
    with ThreadPoolExecutor(20) as pool:
        names = [f"storm-{number:08}" for number in range(40)]
        request = {"model_name": "storm", "trigger": "drift"}
        arns = list(pool.map(lambda name: retraining.start(request, name), names))
    outputs = [execution.outcome(retraining.sfn, arn).output or {} for arn in arns]

    assert [each["started"] for each in outputs].count(True) == 1
    assert {each["rule"] for each in outputs if not each["started"]} <= {"cooling_down", "contended"}
    item = registry.items("storm")["retraining"]
    assert (item["claims"]["N"], item["retrainings"]["N"]) == ("1", "1")


def test_what_was_found_of_another_version_than_the_champion_retrains_nothing(
    retrain: Retrain, champion: Callable[..., str], registry: Registry
) -> None:
    version = champion("followed")
    answer = retrain("followed", "performance", of_version="earlier")
    assert (answer["started"], answer["rule"]) == (False, "other_version")
    assert answer["reason"] == f"It was found of earlier, and the champion is {version}."
    assert "retraining" not in registry.items("followed")
    assert retrain("followed", "drift", of_version=version)["started"] is True


@pytest.mark.slow
def test_within_the_cool_down_only_a_person_retrains(
    retrain: Retrain, champion: Callable[..., str], registry: Registry, run_scripted: Machine
) -> None:
    champion("warm")
    first = retrain("warm")
    started_with(run_scripted, first)

    for trigger in ("drift", "performance", "schedule"):
        answer = retrain("warm", trigger)
        assert (answer["started"], answer["rule"]) == (False, "cooling_down")
    claimed = registry.items("warm")["retraining"]["claimed_at"]["S"]
    assert answer["reason"].startswith(
        f"The last retraining was started at {claimed}, and the next one may be started "
    )
    assert retrain("warm", "hand")["started"] is True
    assert registry.items("warm")["retraining"]["retrainings"]["N"] == "2"


def test_a_run_that_goes_on_holds_the_claim_until_it_ends_whichever_way(
    retrain: Retrain, champion: Callable[..., str], registry: Registry, run_scripted: Machine
) -> None:
    champion("held")
    holder = run_scripted.start({"model_name": "held", "seconds": {"PrepareData": 10}}, "holder")
    claim(registry, "held", ago(days=2), holder)

    for trigger in ("drift", "hand"):
        answer = retrain("held", trigger)
        assert (answer["started"], answer["rule"]) == (False, "running")
        assert answer["reason"] == "The run holder has not ended, or waits for an approval."
    getattr(run_scripted.sfn, "client", run_scripted.sfn).stop_execution(executionArn=holder)
    assert execution.outcome(run_scripted.sfn, holder).status == "ABORTED"

    assert retrain("held")["started"] is True


def test_a_training_that_fails_leaves_nothing_behind(
    retrain: Retrain, champion: Callable[..., str], run_scripted: Machine, registry: Registry
) -> None:
    champion("failing")
    failing = run_scripted.start({"model_name": "failing", "errors": {"PrepareData": ["E"]}}, "failing-holder")
    assert execution.outcome(run_scripted.sfn, failing).status == "FAILED"
    claim(registry, "failing", ago(days=2), failing)

    assert retrain("failing")["started"] is True


@pytest.mark.parametrize(("age", "started"), [({"minutes": 1}, False), ({"days": 100}, True)])
def test_a_claim_whose_run_is_not_known_holds_for_a_moment(
    retrain: Retrain, champion: Callable[..., str], run_scripted: Machine, registry: Registry, age: Any, started: bool
) -> None:
    name = f"unknown-{started}"
    champion(name)
    unknown = execution.execution_arn(run_scripted.arn, "unknown")
    claim(registry, name, ago(**age), unknown)

    assert retrain(name, "hand")["started"] is started


def test_the_budget_of_a_month_is_not_exceeded_and_the_next_month_has_its_own(
    retrain: Retrain, champion: Callable[..., str], run_scripted: Machine, registry: Registry
) -> None:
    champion("budget")
    unknown = execution.execution_arn(run_scripted.arn, "unknown")
    claim(registry, "budget", ago(hours=0), unknown, retrainings="10")
    answer = retrain("budget", "hand")
    assert (answer["started"], answer["rule"]) == (False, "budget")
    assert answer["reason"] == f"All 10 retrainings of {ago(hours=0)[:7]} are spent."

    claim(registry, "budget", ago(days=40), unknown, retrainings="10")
    assert retrain("budget", "hand")["started"] is True
    assert registry.items("budget")["retraining"]["retrainings"]["N"] == "1"


def test_without_a_champion_or_its_request_it_says_what_to_do(retrain: Retrain, registry: Registry) -> None:
    assert retrain("nobody")["reason"] == "No version of nobody was ever promoted: train it first."
    registry.promote("before", "old", 1, moves=1)
    answer = retrain("before")
    assert (answer["started"], answer["rule"]) == (False, "no_request")
    assert "retraining" not in registry.items("before")


@pytest.fixture(scope="module")
def ended_retrainings(retraining: Machine) -> list[Ended]:
    """Run all inputs that are none at once."""
    return retraining.run_all((document, None) for document, _ in MALFORMED)


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_an_input_that_is_none_starts_nothing(ended_retrainings: list[Ended], number: int) -> None:
    _, result = ended_retrainings[number]
    assert (result.status, result.error) == ("FAILED", "InvalidRequestError")
    assert (result.cause or "").startswith(MALFORMED[number][1])


@pytest.mark.parametrize("case", ["NoAnswerInClaimRetraining", "ConflictInClaimRetraining"])
def test_a_claim_without_an_answer_is_looked_for(
    retraining: Machine, champion: Callable[..., str], registry: Registry, case: str
) -> None:
    champion(case)
    events, result = retraining({"model_name": case, "trigger": "drift"}, case=case)

    assert result.output is not None
    assert result.output["started"] is True
    assert [event.state for event in events if event.kind == "entered"].count("FindClaim") == 2
    assert registry.items(case)["retraining"]["retrainings"]["N"] == "1"


def test_a_run_that_cannot_be_started_fails_aloud(retraining: Machine, champion: Callable[..., str]) -> None:
    champion("unstartable")
    _, result = retraining({"model_name": "unstartable", "trigger": "drift"}, case="RefusedInStartTraining")
    assert (result.status, result.error) == ("FAILED", "StepFunctions.AWSStepFunctionsException")
    assert (result.cause or "").startswith("StartTraining: ")
