"""The paths of batch scoring, with mocked functions and the real registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crosstrain.training import execution

from .conftest import Machine, Registry

BEGIN = ["ClaimRun", "IsFolderMade", "FindChampion", "ReadVersion", "PlanScoring"]
COMPARE = ["ScorePieces", "FindEarlierBatches", "CompareWithProfile"]
END = ["RecordScores", "AnnounceScores", "Scored"]
FAILURE = ["ExplainFailure", "AnnounceFailure", "RunFailed"]
# The case of mock_config.json, the step that fails, the error's name, how the cause goes on after the step's name.
FAILURES = [
    ("InvalidRequestInPlanScoring", "PlanScoring", "InvalidRequestError", '"traget" is unknown.'),
    ("ThrottledForGoodInPlanScoring", "PlanScoring", "Lambda.TooManyRequestsException", "Rate Exceeded."),
    ("TimedOutInPlanScoring", "PlanScoring", "Timeout", "no cause was given."),
    ("InvalidDatasetInCompareWithProfile", "CompareWithProfile", "InvalidDatasetError", "The data set has no rows."),
    ("RefusedInFindChampion", "FindChampion", "DynamoDb.DynamoDbException", "User is not authorized"),
    ("RefusedInRecordScores", "RecordScores", "DynamoDb.DynamoDbException", "User is not authorized"),
]
REQUEST = {"dataset_uri": "s3://bucket/data/in/", "model_name": "mocked"}


def entered(events: list[execution.StateEvent]) -> list[str]:
    """Return the states that were gone through, those of pieces left out."""
    return [event.state for event in events if event.kind == "entered"]


def scores(registry: Registry, run_id: str) -> dict[str, Any]:
    """Return what the registry keeps of a run."""
    (item,) = (item for entry, item in registry.items("mocked").items() if entry.endswith(f"-{run_id}"))
    return item


def test_scores_are_recorded_in_the_end(scoring_batches: Machine, registry: Registry) -> None:
    events, result = scoring_batches(REQUEST, case="NothingMoved")
    assert entered(events) == [*BEGIN, *COMPARE, *END]
    output = result.output or {}
    assert output["rows"] == 90
    item = scores(registry, output["run_id"])
    assert item["entry"]["S"] == f"scores#{output['started_at']}-{output['run_id']}"
    assert (item["scored_version"], item["rows"], item["drifted"]) == ({"S": "v1"}, {"N": "90"}, {"S": "no"})
    assert float(item["psi"]["N"]) == 1.2e-6
    # What the index of versions would take for one.
    assert "version" not in item


def test_a_piece_that_fails_is_told_and_ends_nothing(scoring_batches: Machine, registry: Registry) -> None:
    events, result = scoring_batches(REQUEST, case="OnePieceFails")
    assert entered(events) == [*BEGIN, *COMPARE, *END]
    (handed_on,) = (e.output for e in events if (e.state, e.kind) == ("ScorePieces", "succeeded"))
    # Pieces run at once, so which of them gets the mocked error, and whether each does, is the engine's.
    failed = (handed_on or {})["failed"]
    assert {each["error"] for each in failed} == {"Runtime.OutOfMemory: The model needs "}
    assert {each["piece"] for each in failed} <= {0, 1, 2}
    assert scores(registry, (result.output or {})["run_id"])["failed"] == {"N": "1"}


def test_earlier_batches_of_this_version_are_found_the_newest_first(scoring_batches: Machine) -> None:
    scoring_batches(REQUEST, case="NothingMoved")
    scoring_batches(REQUEST, case="SomethingMoved")
    events, _ = scoring_batches(REQUEST, case="NothingMoved")
    (handed_on,) = (e.output for e in events if (e.state, e.kind) == ("FindEarlierBatches", "succeeded"))
    first, second, *_ = (handed_on or {})["earlier"]
    assert first == {"rows": 90, "drifted": True, "psi": 3.1, "name": "size", "threshold": 0.25}
    assert (second["drifted"], second["psi"]) == (False, 1.2e-6)


def test_a_service_that_is_away_is_tried_again(scoring_batches: Machine) -> None:
    events, result = scoring_batches(REQUEST, case="AwayForGoodInPlanScoring")
    assert [each.error for each in events if each.kind == "retried"] == ["ServiceUnavailableError"] * 5
    assert (result.error, result.cause) == ("ServiceUnavailableError", "PlanScoring: S3 is away.")


@pytest.mark.slow
@pytest.mark.parametrize(("case", "step", "error", "cause"), FAILURES)
def test_whatever_fails_is_told_with_the_step(
    scoring_batches: Machine, case: str, step: str, error: str, cause: str
) -> None:
    events, result = scoring_batches(REQUEST, case=case)
    assert entered(events)[-3:] == FAILURE
    assert (result.status, result.error) == ("FAILED", error)
    assert (result.cause or "").startswith(f"{step}: {cause}")


def test_scores_that_cannot_be_announced_are_there(scoring_batches: Machine) -> None:
    events, result = scoring_batches(REQUEST, case="NoBusInAnnounceScores")
    assert (result.status, entered(events)[-1]) == ("SUCCEEDED", "Scored")


@pytest.mark.parametrize("request_", [{}, {"model_name": 7}, {"model_name": ""}, [1], "text"])
def test_a_request_that_is_none_is_left_to_the_function_to_refuse(scoring_batches: Machine, request_: Any) -> None:
    started = scoring_batches.sfn.start_execution(
        stateMachineArn=f"{scoring_batches.arn}#InvalidRequestInPlanScoring",
        name=f"none-{next(scoring_batches.numbers)}",
        input=json.dumps(request_),
    )["executionArn"]
    result = execution.outcome(scoring_batches.sfn, started)
    assert (result.error, result.failed_state) == ("InvalidRequestError", "PlanScoring")


def test_a_new_object_is_put_into_the_request_and_a_folder_starts_nothing(scoring_batches: Machine) -> None:
    event = {"bucket": "b", "key": 'incoming/a "b".csv'}
    request = {"object": event, "request": {"model_name": "mocked"}}
    events, _ = scoring_batches(request, case="NothingMoved")
    (claimed,) = (e.output for e in events if (e.state, e.kind) == ("ClaimRun", "succeeded"))
    assert (claimed or {})["request"] == {"model_name": "mocked", "dataset_uri": 's3://b/incoming/a "b".csv'}
    events, result = scoring_batches({**request, "object": {**event, "key": "incoming/"}}, case="NothingMoved")
    assert result.status == "SUCCEEDED", (result.error, result.cause)
    assert entered(events) == ["ClaimRun", "IsFolderMade", "NothingToScore"]


def test_a_pinned_version_is_read_instead_of_the_champion(scoring_batches: Machine, registry: Registry) -> None:
    registry.promote("pinned", "a", 1, moves=1)
    registry.promote("pinned", "b", 2, moves=2)
    for request, version in (({}, "b"), ({"version": "a"}, "a"), ({"version": "c"}, "c")):
        events, _ = scoring_batches({**REQUEST, "model_name": "pinned", **request}, case="NothingMoved")
        (found,) = (e.output for e in events if (e.state, e.kind) == ("ReadVersion", "succeeded"))
        assert (found or {})["version"] == version
        item = (found or {})["item"]
        assert item is None if version == "c" else item["version"] == {"S": version}


def test_every_mocked_case_is_run(project: Path) -> None:
    mocks = json.loads((project / "tests/statemachine/mock_config.json").read_text(encoding="utf-8"))
    others = {"NothingMoved", "OnePieceFails", "SomethingMoved", "AwayForGoodInPlanScoring", "NoBusInAnnounceScores"}
    assert set(mocks["StateMachines"]["scoring"]["TestCases"]) == {row[0] for row in FAILURES} | others


def test_every_state_is_on_a_path_that_is_run(project: Path) -> None:
    definition = json.loads((project / "statemachine/scoring.asl.json").read_text(encoding="utf-8"))
    assert {*BEGIN, *COMPARE, *END, *FAILURE, "NothingToScore"} == set(definition["States"])
