"""Each path of the state machine, run on the embedded AWS with the definition as it is deployed."""

import json
from pathlib import Path

import pytest

from .cases import EXPLAINED, FAILURES, MAX_ATTEMPTS, ODD, PENDING_ERRORS, SERVICE_ERRORS, STEPS, UNEXPECTED
from .conftest import Ended, Machine


@pytest.mark.parametrize("end", ["Promote", "Reject"])
def test_a_run_that_comes_through_ends_with_the_decision(run_scripted: Machine, end: str) -> None:
    script = {"model_name": f"path-{end}", "decision": end.lower()}
    events, result = run_scripted(script)

    entered = [event.state for event in events if event.kind == "entered"]
    first, second, third = STEPS
    before, after = ["ClaimRun", "FindSplit", first, "IsSearched"], ["CountComparison", "FindChampion", "HasChampion"]
    to_evaluation = [*before, second, *after, third]
    assert entered == [*to_evaluation, "Decide", end, "AnnounceDecision", "Decided"]
    assert result.status == "SUCCEEDED"
    assert result.failed_state is None
    assert result.output is not None
    assert {"run_id", "request", "prepared", "model", "champion", "evaluation"} <= set(result.output)
    assert result.output["run_id"].startswith("scripted")
    # What data preparation made of the request counts from there on, not the input.
    assert result.output["request"] == {**script, "seed": 42}
    assert result.output["evaluation"]["decision"] == end.lower()
    assert result.output["comparisons"] >= 1


@pytest.fixture(scope="module")
def ended_cases(run_mocked: Machine) -> dict[str, Ended]:
    """Run all mocked cases at once."""
    cases = [row[0] for rows in (FAILURES, UNEXPECTED, ODD) for row in rows]
    return dict(zip(cases, run_mocked.run_all(({}, case) for case in cases), strict=True))


@pytest.mark.parametrize(("case", "step", "error", "cause"), FAILURES)
def test_a_domain_error_ends_the_run_at_once_under_its_name(
    ended_cases: dict[str, Ended], case: str, step: str, error: str, cause: str
) -> None:
    events, result = ended_cases[case]

    assert (result.status, result.error, result.cause) == ("FAILED", error, f"{step}: {cause}")
    assert result.failed_state == step
    assert not [event for event in events if event.kind == "retried"]
    assert events[-1].state == "RunFailed"


@pytest.mark.parametrize(("case", "step", "error", "cause"), UNEXPECTED)
def test_any_other_error_ends_the_run_under_its_name(
    ended_cases: dict[str, Ended], case: str, step: str, error: str, cause: str
) -> None:
    events, result = ended_cases[case]

    assert (result.status, result.error, result.failed_state) == ("FAILED", error, step)
    assert result.cause is not None
    assert result.cause.startswith(f"{step}: ")
    assert cause in result.cause
    retried = [event for event in events if event.kind == "retried"]
    assert len(retried) == MAX_ATTEMPTS.get(error, 0)


@pytest.mark.parametrize(("case", "step", "error", "cause"), ODD)
def test_a_cause_of_any_form_is_told_in_words(
    ended_cases: dict[str, Ended], case: str, step: str, error: str, cause: str
) -> None:
    _, result = ended_cases[case]

    assert (result.status, result.error, result.cause) == ("FAILED", error, f"{step}: {cause}")


def test_a_registry_that_never_answers_a_promotion_ends_the_run(run_mocked: Machine) -> None:
    events, result = run_mocked(case="NoAnswerInPromote")

    assert (result.status, result.error) == ("FAILED", "DecisionNotRecordedError")
    assert result.cause is not None
    assert result.cause.startswith("IsRecorded: The registry has recorded no decision of seven evaluations")
    assert [event.state for event in events if event.kind == "entered"].count("Promote") == 7


@pytest.fixture(scope="module")
def ended_explanations(run_explaining: Machine) -> list[Ended]:
    """Explain all failures at once."""
    return run_explaining.run_all(({"step": "TrainModel", **caught}, None) for caught, _, _ in EXPLAINED)


@pytest.mark.parametrize("number", range(len(EXPLAINED)))
def test_whatever_is_caught_can_be_explained(ended_explanations: list[Ended], number: int) -> None:
    (events, result), (_, error, cause) = ended_explanations[number], EXPLAINED[number]

    assert (result.status, result.error, result.cause) == ("FAILED", error, f"TrainModel: {cause}")
    assert not [event for event in events if event.kind == "failed"]


@pytest.mark.slow
def test_a_service_error_is_retried_until_it_is_over(run_scripted: Machine) -> None:
    # Each kind has as many attempts as there are errors of it.
    errors = [*SERVICE_ERRORS, *PENDING_ERRORS]
    events, result = run_scripted({"model_name": "retried", "errors": dict.fromkeys(STEPS, errors)})

    assert result.status == "SUCCEEDED"
    assert result.output is not None
    assert result.output["model"]["attempts"] == len(errors) + 1
    retried = [(event.state, event.attempt, event.error) for event in events if event.kind == "retried"]
    assert retried == [(step, *each) for step in STEPS for each in enumerate(errors, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ["InvalidRequestError", "InvalidDatasetError", "UntrustedModelError", "MemoryError"])
def test_a_functions_own_error_is_never_retried(run_scripted: Machine, step: str, error: str) -> None:
    # The second attempt would succeed.
    events, result = run_scripted({"model_name": "never-retried", "errors": {step: [error]}})

    assert (result.status, result.error, result.failed_state) == ("FAILED", error, step)
    assert result.cause is not None
    assert result.cause.startswith(f"{step}: ")
    assert not [event for event in events if event.kind == "retried"]


def test_every_mocked_case_is_run() -> None:
    mocks = json.loads(Path(__file__).with_name("mock_config.json").read_text(encoding="utf-8"))
    cases = {"NoAnswerInPromote", *(row[0] for rows in (FAILURES, UNEXPECTED, ODD) for row in rows)}

    assert set(mocks["StateMachines"]["training"]["TestCases"]) == cases
