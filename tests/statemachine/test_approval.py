"""Promotions that wait for a person: an answer decides, no answer rejects, and nobody is asked in vain."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from crosstrain.training import execution

from .conftest import Ended, Machine, Registry

# ApprovalDays, where nothing else is said.
DAYS = timedelta(days=7)
OK = {"model_name": "default", "version": "a", "approved": True, "reason": ""}
MALFORMED: list[tuple[Any, str]] = [
    *((each, "The input has to be a JSON object") for each in ([OK], None, "a", {**OK, "token": "t"})),
    *(({**OK, "model_name": each}, "model_name has to be") for each in ("", "#runs", "a\n", 5, ["a"])),
    *(({**OK, "version": each}, "version has to be") for each in ("", "v" * 81, 5, None)),
    *(({**OK, "approved": each}, "approved has to be") for each in ("true", 1, None)),
    *(({**OK, "reason": each}, "reason has to be") for each in ("r" * 1001, None)),
]


def ask(machine: Machine, registry: Registry, name: str, run_id: str, *, case: str | None = None) -> str:
    """Start a run, and return its execution once it waits for an answer."""
    started = machine.start({"model_name": name, "score": 5}, run_id, case=case)
    question(registry, name, run_id)
    return started


def question(registry: Registry, name: str, run_id: str, *, other_than: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the question that a run waits with, once it is asked."""
    for _ in range(1200):
        asked = registry.items(name).get(f"approval#{run_id}")
        if asked is not None and asked != other_than:
            return asked
        time.sleep(0.05)
    raise AssertionError(f"{run_id} asks nothing.")


def answer(machine: Machine, name: str, version: str, *, approved: bool, reason: str = "") -> execution.ExecutionResult:
    """Answer a question by the state machine."""
    _, result = machine({"model_name": name, "version": version, "approved": approved, "reason": reason})
    return result


def test_an_approval_promotes_and_is_recorded(run_approving: Machine, answering: Machine, registry: Registry) -> None:
    started = ask(run_approving, registry, "approved", "approved-1")
    assert registry.champion("approved") is None
    asked = question(registry, "approved", "approved-1")
    assert (asked["metric"]["S"], asked["value"]["N"], asked["rule"]["S"]) == ("score", "5", "better")
    assert (asked["reason"]["S"], asked["report_uri"]["S"]) == ("compared with None", "s3://scripted/report.html")
    assert datetime.fromisoformat(asked["until"]["S"]) - datetime.fromisoformat(asked["recorded_at"]["S"]) == DAYS

    given = answer(answering, "approved", "approved-1", approved=True, reason="looked at it")

    assert given.output is not None
    result = execution.outcome(run_approving.sfn, started)
    assert result.output is not None
    assert result.output["evaluation"]["decision"] == "promote"
    assert registry.champion("approved") == "approved-1"
    recorded = registry.items("approved")["version#approved-1"]["approval"]["M"]
    assert recorded == {"execution": {"S": given.output["execution"]}, "reason": {"S": "looked at it"}}
    # An answer counts once.
    again = answer(answering, "approved", "approved-1", approved=False)
    assert (again.status, again.error) == ("FAILED", "NotWaitingError")
    assert (again.cause or "").startswith('The version "approved-1" of "approved" waits no longer')


def test_a_refusal_rejects_with_its_reason(run_approving: Machine, answering: Machine, registry: Registry) -> None:
    started = ask(run_approving, registry, "declined", "declined-1")
    given = answer(answering, "declined", "declined-1", approved=False, reason="unfair")

    result = execution.outcome(run_approving.sfn, started)
    assert given.output is not None
    assert result.output is not None
    assert (result.output["evaluation"]["decision"], result.output["evaluation"]["rule"]) == ("reject", "refused")
    item = registry.items("declined")["version#declined-1"]
    assert (item["decision"]["S"], item["rule"]["S"]) == ("reject", "refused")
    assert item["reason"]["S"].startswith("A person has refused it (unfair). Evaluation would have promoted it: ")
    assert item["approval"]["M"]["execution"]["S"] == given.output["execution"]
    assert registry.champion("declined") is None


def test_what_nobody_approves_in_time_is_rejected(run_approving: Machine, registry: Registry) -> None:
    _, result = run_approving({"model_name": "unanswered", "score": 5}, case="NobodyAnswers")

    assert result.output is not None
    item = registry.items("unanswered")[f"version#{result.output['run_id']}"]
    assert (item["decision"]["S"], item["rule"]["S"]) == ("reject", "not_approved")
    assert item["reason"]["S"].startswith("It was not approved within 7 days. Evaluation would have promoted it: ")
    assert "approval" not in item
    assert registry.champion("unanswered") is None


def test_a_champion_that_moves_meanwhile_is_compared_and_asked_about_again(
    run_approving: Machine, answering: Machine, registry: Registry
) -> None:
    started = ask(run_approving, registry, "moved", "moved-1")
    first = question(registry, "moved", "moved-1")
    registry.promote("moved", "other", 3, moves=1)
    assert answer(answering, "moved", "moved-1", approved=True).status == "SUCCEEDED"

    second = question(registry, "moved", "moved-1", other_than=first)
    # It waits no longer than it was to wait.
    assert second["until"] == first["until"]
    assert second["reason"]["S"] == "compared with other"
    assert registry.champion("moved") == "other"
    assert answer(answering, "moved", "moved-1", approved=True).status == "SUCCEEDED"
    assert execution.outcome(run_approving.sfn, started).status == "SUCCEEDED"
    assert registry.champion("moved") == "moved-1"


def test_a_canary_that_begins_meanwhile_ends_with_the_promotion_and_asks_nobody_again(
    run_approving: Machine, answering: Machine, registry: Registry
) -> None:
    registry.promote("tried", "first", 1, moves=1)
    started = ask(run_approving, registry, "tried", "tried-1")
    first = question(registry, "tried", "tried-1")
    registry.challenge("tried", "second")
    assert answer(answering, "tried", "tried-1", approved=True).status == "SUCCEEDED"

    assert execution.outcome(run_approving.sfn, started).status == "SUCCEEDED"
    items = registry.items("tried")
    assert items["approval#tried-1"] == first
    assert items["champion"]["champion_version"]["S"] == "tried-1"
    assert "challenger_version" not in items["champion"]
    assert items["version#tried-1"]["ended_challenger"]["S"] == "second"


def test_a_better_champion_meanwhile_ends_it_without_another_question(
    run_approving: Machine, answering: Machine, registry: Registry
) -> None:
    started = ask(run_approving, registry, "beaten", "beaten-1")
    registry.promote("beaten", "other", 9, moves=1)
    assert answer(answering, "beaten", "beaten-1", approved=True).status == "SUCCEEDED"

    assert execution.outcome(run_approving.sfn, started).status == "SUCCEEDED"
    item = registry.items("beaten")["version#beaten-1"]
    assert (item["decision"]["S"], item["reason"]["S"]) == ("reject", "compared with other")
    # The approval was one of another comparison.
    assert "approval" not in item
    assert registry.champion("beaten") == "other"


@pytest.mark.parametrize("request_document", [{"model_name": "system-test", "score": 5}, {"decision": "reject"}])
def test_nobody_is_asked_about_the_system_tests_model_or_what_is_rejected(
    run_approving: Machine, request_document: dict[str, Any]
) -> None:
    events, result = run_approving({"model_name": "unasked", **request_document})
    assert result.status == "SUCCEEDED"
    assert "WaitForApproval" not in {event.state for event in events}


def test_a_question_that_cannot_be_announced_is_asked(
    run_approving: Machine, answering: Machine, registry: Registry
) -> None:
    started = ask(run_approving, registry, "unheard", "unheard-1", case="NoBusForTheQuestion")
    assert answer(answering, "unheard", "unheard-1", approved=True).status == "SUCCEEDED"
    assert execution.outcome(run_approving.sfn, started).status == "SUCCEEDED"


def test_what_was_never_asked_is_told(answering: Machine) -> None:
    result = answer(answering, "unknown", "v", approved=True)
    assert (result.error, result.cause) == (
        "NotAskedError",
        'The promotion of the version "v" of "unknown" waits for nobody.',
    )


@pytest.fixture(scope="module")
def ended_answers(answering: Machine) -> list[Ended]:
    """Run all inputs that are none at once."""
    return answering.run_all((document, None) for document, _ in MALFORMED)


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_an_answer_that_is_none_is_refused(ended_answers: list[Ended], number: int) -> None:
    _, result = ended_answers[number]
    assert (result.status, result.error) == ("FAILED", "InvalidRequestError")
    assert (result.cause or "").startswith(MALFORMED[number][1])
