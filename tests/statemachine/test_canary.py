"""The state machine that moves challengers: what it refuses and records, and which canary an alarm ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crosstrain.training import execution

from .conftest import Ended, Machine, Metrics, Registry
from .test_rollback import entered, meanwhile, point, result_of, trained

READ = ["CheckRequest", "BeginMove", "FindChampion", "FindVersion", "FindOwnMove", "CheckMove"]
AGAIN = ["LetOthersFinish", "FindChampion", "FindVersion", "FindOwnMove", "CheckMove"]
MOVE = ["DescribeMove", "MoveChallenger"]
DONE = ["ReadMove", "AnnounceMove", "ChallengerMoved"]
LOOK = ["FindErrors", "HasFailed"]
LOOK_AT_ALARM = ["FindAlarm", "IsAlarmOff"]
LOOK_AGAIN = ["LetMetricArrive", "FindChampion", "FindVersion", "FindOwnMove", "CheckMove", *LOOK]
REFUSED, MOVED, MALFORMED = "CanaryRefusedError", "ChampionMovedError", "InvalidRequestError"
EXPECTED = {"champion_version": "b", "moves": 2, "challenger": ""}
OK = {"action": "begin", "model_name": "m", "version": "a", "share": 10, "reason": "", "expected": EXPECTED}
IN_SHADOW = {name: value for name, value in OK.items() if name != "share"} | {"shadow": True}
ALARM = {"action": "end", "model_name": "m", "reason": "", "alarm": {"at": "2026-11-28T15:10:12Z"}}
OF_CHALLENGER = ("challenger_version", "challenger_entry", "challenger_since", "challenger_share", "shadow")
# Inputs that are none, and how the cause begins.
INPUTS: list[tuple[Any, str]] = [
    *((each, "The input has to be a JSON object") for each in ([OK], None, "a", 5, [])),
    ({**OK, "by": "me"}, "The input has unknown fields: by. It takes action,"),
    *(({**OK, "action": each}, "action has to be") for each in ("", "start", None, 5, ["begin"])),
    *(({**OK, "model_name": each}, "model_name has to be") for each in ("", "#runs", "a\n", "a" * 65, 5)),
    *(({**OK, "reason": each}, "reason has to be") for each in ("r" * 1001, None)),
    ({**OK, "shadow": True}, "A challenger has a share of the rows or"),
    ({name: value for name, value in OK.items() if name != "share"}, "begin and change take share or shadow"),
    *(({**OK, "action": each}, "begin and change take share or shadow") for each in ("promote", "end")),
    *(({**OK, "share": each}, "share has to be") for each in (0, 100, -1, 10.5, "10", "NaN", True, None, [10])),
    *(({**OK, "share": each}, "share has to be") for each in (1e300, 0.99, 99.01)),
    *(({**IN_SHADOW, "shadow": each}, "shadow has to be") for each in (False, "true", 1, None)),
    *(({**OK, "version": each}, "version has to be") for each in ("", "v" * 81, 5, None)),
    *(({**OK, "expected": each}, "expected has to be") for each in (None, "b", {**EXPECTED, "by": "me"})),
    ({**OK, "expected": {**EXPECTED, "champion_version": 5}}, "expected.champion_version has to be"),
    *(({**OK, "expected": {**EXPECTED, "moves": each}}, "expected.moves has to be") for each in (-1, 2.5, "2", None)),
    *(({**OK, "expected": {**EXPECTED, "challenger": each}}, "expected.challenger has to be") for each in (None, 5)),
    ({**ALARM, "version": "a"}, "An alarm ends a canary, whatever"),
    ({**ALARM, "expected": EXPECTED}, "An alarm ends a canary, whatever"),
    ({**ALARM, "action": "promote"}, "An alarm ends a canary, whatever"),
    *(({**ALARM, "alarm": each}, "alarm has to be") for each in (None, "2026", {}, {"at": 5}, {"at": "yesterday"})),
    ({**ALARM, "alarm": {"at": "2026-11-28T15:10:12Z", "by": "me"}}, "alarm has to be"),
]  # fmt: skip
BROKEN = [
    *(
        (f"RefusedIn{state}", "DynamoDb.DynamoDbException", f"{state}: User is not authorized to perform this.")
        for state in ("FindChampion", "FindVersion", "FindOwnMove", "MoveChallenger")
    ),
    ("ThrottledForGoodInMoveChallenger", "DynamoDb.ThrottlingException", "MoveChallenger: Rate Exceeded."),
]
LOST = [
    ("NoAnswerInMoveChallenger", "States.Timeout"),
    ("ConflictInMoveChallenger", "DynamoDb.TransactionCanceledException: Transaction is ongoing for the item"),
]


def begun(registry: Registry, name: str, version: str = "a", **fields: Any) -> dict[str, Any]:
    """Record what `trained` does, with a as the challenger of b since now, and return what promotes it."""
    trained(registry, name)
    entry = f"canary#{datetime.now(UTC).isoformat()}-begun"
    texts = {"challenger_version": version, "challenger_entry": entry, "challenger_since": fields.get("since", "2026")}
    point(registry, name, "b", moves=2, **texts)
    return {
        "action": "promote",
        "model_name": name,
        "version": version,
        "reason": "it is better",
        "expected": {**EXPECTED, "challenger": entry},
    }


def beginning(registry: Registry, name: str, **changes: Any) -> dict[str, Any]:
    """Record what `trained` does, and return what lets a challenge b."""
    trained(registry, name)
    request = {**OK, "model_name": name, "reason": "to see", **changes}
    return {field: value for field, value in request.items() if value is not None}


def of_challenger(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in OF_CHALLENGER if name in item}


def test_a_version_challenges_the_champion_and_the_execution_is_recorded(
    challenging: Machine, registry: Registry
) -> None:
    events, result = challenging(beginning(registry, "begun"))

    assert result.status == "SUCCEEDED", result
    assert entered(events) == [*READ, *MOVE, *DONE]
    assert result.output is not None
    items = registry.items("begun")
    recorded = items[result.output["entry"]]
    at = recorded["recorded_at"]
    assert of_challenger(items["champion"]) == {
        "challenger_version": {"S": "a"},
        "challenger_entry": recorded["entry"],
        "challenger_since": at,
        "challenger_share": {"N": "10"},
    }
    assert (items["champion"]["champion_version"], items["champion"]["moves"]) == ({"S": "b"}, {"N": "2"})
    run = recorded["execution"]["S"].rpartition(":")[2]
    assert recorded == {
        "model_name": {"S": "begun"},
        "entry": {"S": f"canary#{at['S']}-{run}"},
        "action": {"S": "begin"},
        "champion_version": {"S": "b"},
        "challenger_version": {"S": "a"},
        "challenger_share": {"N": "10"},
        "recorded_at": at,
        "execution": {"S": f"{challenging.arn.replace(':stateMachine:', ':execution:')}:{run}"},
        "reason": {"S": "to see"},
    }
    assert result.output == {name: value.get("S", 10) for name, value in recorded.items()}


def test_a_share_becomes_another_and_a_shadow_and_the_time_of_its_begin_stays(
    challenging: Machine, registry: Registry
) -> None:
    request = {**begun(registry, "changed", since="2026-11-28T15:10:12.000Z"), "action": "change"}
    _, result = challenging({**request, "share": 25})
    assert result.output is not None, result
    first = of_challenger(registry.items("changed")["champion"])
    assert first["challenger_share"] == {"N": "25"}
    assert first["challenger_since"] == {"S": "2026-11-28T15:10:12.000Z"}

    # Who has read the one before is refused.
    _, result = challenging({**request, "shadow": True})
    assert result.error == MOVED

    expected = {**EXPECTED, "challenger": first["challenger_entry"]["S"]}
    _, result = challenging({**request, "shadow": True, "expected": expected})
    assert result.output is not None, result
    assert result.output["shadow"] is True
    second = of_challenger(registry.items("changed")["champion"])
    assert second["shadow"] == {"BOOL": True}
    assert "challenger_share" not in second


def test_a_challenger_becomes_the_champion_and_the_canary_is_over(challenging: Machine, registry: Registry) -> None:
    events, result = challenging(begun(registry, "promoted"))

    assert entered(events) == [*READ, *MOVE, *DONE]
    assert result.output is not None, result
    items = registry.items("promoted")
    recorded = items[result.output["entry"]]
    assert items["champion"] == {
        "model_name": {"S": "promoted"},
        "entry": {"S": "champion"},
        "champion_version": {"S": "a"},
        "promoted_at": recorded["recorded_at"],
        "moves": {"N": "3"},
        "metric": {"S": "rmse"},
        "value": {"N": "97"},
        "model_uri": {"S": "s3://a"},
        "target": {"S": "y"},
        "split": {"S": "{}"},
    }
    assert (recorded["action"], recorded["champion_version"], recorded["move"]) == (
        {"S": "promote"},
        {"S": "b"},
        {"N": "3"},
    )


def test_a_canary_ends_whatever_became_of_its_version(challenging: Machine, registry: Registry) -> None:
    for version in ("a", "nobody-knows"):
        request = begun(registry, f"ended-{version}", version)
        _, result = challenging({**request, "action": "end"})
        assert result.output is not None, result
        pointer = registry.items(f"ended-{version}")["champion"]
        assert (of_challenger(pointer), pointer["champion_version"], pointer["moves"]) == ({}, {"S": "b"}, {"N": "2"})


def test_a_rejected_version_is_tried_in_the_shadow_alone(challenging: Machine, registry: Registry) -> None:
    request = beginning(registry, "rejected", version="c")
    _, result = challenging(request)
    assert result.error == REFUSED
    assert result.cause == "c was rejected, so it can be a challenger in the shadow alone: recorded"

    in_shadow = {**request, "share": None, "shadow": True}
    _, result = challenging({name: value for name, value in in_shadow.items() if value is not None})
    assert result.output is not None, result
    expected = {**EXPECTED, "challenger": result.output["entry"]}

    for changes in ({"action": "change", "share": 5}, {"action": "promote"}):
        bare = {name: value for name, value in request.items() if name != "share"}
        _, result = challenging({**bare, "expected": expected, **changes})
        assert result.error == REFUSED
    assert registry.champion("rejected") == "b"


@pytest.fixture(scope="module")
def ended_inputs(challenging: Machine) -> list[Ended]:
    """Run all inputs that are none at once."""
    return challenging.run_all((document, None) for document, _ in INPUTS)


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_a_request_for_a_canary_that_is_none_is_refused(ended_inputs: list[Ended], number: int) -> None:
    events, result = ended_inputs[number]
    assert entered(events) == ["CheckRequest", "CanaryFailed"]
    assert (result.status, result.error) == ("FAILED", MALFORMED)
    assert result.cause is not None
    assert result.cause.startswith(INPUTS[number][1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "error", "cause"),
    [
        ({"model_name": "nobody"}, REFUSED, 'No version of "nobody" was ever promoted, so it has no champion'),
        ({"version": "x"}, REFUSED, 'There is no version "x" of "refused-begin".'),
        ({"version": "b"}, REFUSED, 'b is the champion of "refused-begin" already.'),
        ({"action": "promote", "share": None}, REFUSED, '"refused-begin" has no challenger.'),
        ({"action": "end", "share": None}, REFUSED, '"refused-begin" has no challenger.'),
        ({"expected": {**EXPECTED, "champion_version": "a"}}, MOVED, "Somebody else moves or has moved"),
        ({"expected": {**EXPECTED, "moves": 0}}, MOVED, "Somebody else moves or has moved"),
        ({"expected": {**EXPECTED, "challenger": "canary#1"}}, MOVED, "Somebody else moves or has moved"),
    ],
)
def test_a_canary_that_may_not_be_is_refused(
    challenging: Machine, registry: Registry, changes: dict[str, Any], error: str, cause: str
) -> None:
    request = beginning(registry, "refused-begin", **changes)
    before = registry.items("refused-begin")
    events, result = challenging(request)
    assert entered(events) == [*READ, "CanaryFailed"]
    assert (result.status, result.error) == ("FAILED", error)
    assert result.cause is not None
    assert result.cause.startswith(cause)
    assert registry.items("refused-begin") == before


def test_another_challenger_is_neither_replaced_nor_promoted(challenging: Machine, registry: Registry) -> None:
    request = begun(registry, "taken")
    registry.promote("others", "theirs", 1, moves=1)
    before = registry.items("taken")
    for changes, cause in (
        ({"action": "begin", "version": "c", "shadow": True}, 'a is the challenger of "taken" already'),
        ({"action": "promote", "version": "c"}, 'c is not the challenger of "taken", which is a.'),
        ({"action": "end", "version": "theirs"}, 'theirs is not the challenger of "taken", which is a.'),
    ):
        _, result = challenging({**request, **changes})
        assert result.error == REFUSED
        assert result.cause is not None
        assert result.cause.startswith(cause)
    assert registry.items("taken") == before


def test_a_version_of_another_model_challenges_nobody(challenging: Machine, registry: Registry) -> None:
    registry.promote("others", "theirs", 1, moves=1)
    _, result = challenging(beginning(registry, "own", version="theirs"))
    assert (result.error, result.cause) == (REFUSED, 'There is no version "theirs" of "own".')


@pytest.mark.parametrize(("case", "error", "cause"), BROKEN)
def test_a_registry_that_does_not_answer_moves_no_challenger(
    challenging: Machine, registry: Registry, case: str, error: str, cause: str
) -> None:
    request = beginning(registry, f"canary-{case}")
    before = registry.items(f"canary-{case}")
    events, result = challenging(request, case=case)
    assert (result.status, result.error, result.cause) == ("FAILED", error, cause)
    assert entered(events)[-1] == "CanaryFailed"
    assert registry.items(f"canary-{case}") == before


@pytest.mark.parametrize(("case", "failure"), LOST)
def test_a_canary_that_never_comes_through_is_tried_three_times(
    challenging: Machine, registry: Registry, case: str, failure: str
) -> None:
    name = f"canary-{case}"
    request = beginning(registry, name)
    before = registry.items(name)
    events, result = challenging(request, case=case)
    assert entered(events) == [*READ, *(MOVE + AGAIN) * 3, "CanaryFailed"]
    assert (result.error, result.cause) == (
        "CanaryFailedError",
        f'The challenger of "{name}" could not be moved in three attempts, and no move is recorded so far: {failure}',
    )
    assert registry.items(name) == before


def test_a_move_that_cannot_be_announced_is_made(challenging: Machine, registry: Registry) -> None:
    _, result = challenging(beginning(registry, "canary-untold"), case="NoBusInAnnounceMove")
    assert result.output is not None
    assert result.output["action"] == "begin"
    assert registry.items("canary-untold")["champion"]["challenger_version"] == {"S": "a"}


@pytest.mark.slow
@pytest.mark.parametrize("action", ["promote", "end"])
def test_a_move_whose_answer_was_lost_is_told_as_made(
    challenging_slowly: Machine, registry: Registry, action: str
) -> None:
    name = f"canary-answered-{action}"
    request = {**begun(registry, name), "action": action}

    def carry_out(move: dict[str, Any]) -> None:
        point(registry, name, "c", moves=4)
        registry.client.put_item(TableName=registry.table, Item=move["record"])

    seen = meanwhile(challenging_slowly, request, name, carry_out)

    assert seen == [*READ, *MOVE, *AGAIN, *DONE]
    output = result_of(challenging_slowly, name).output
    assert output is not None
    assert (output["action"], output["challenger_version"]) == (action, "a")
    assert registry.champion(name) == "c"


def test_a_rollback_in_the_middle_wins(challenging_slowly: Machine, rolling_back: Machine, registry: Registry) -> None:
    request = begun(registry, "middle")
    back = {"model_name": "middle", "version": "a", "reason": "", "expected": {"champion_version": "b", "moves": 2}}
    results = []
    seen = meanwhile(challenging_slowly, request, "middle", lambda _: results.append(rolling_back(back)[1]))
    assert seen == [*READ, *MOVE, *AGAIN, "CanaryFailed"]
    assert result_of(challenging_slowly, "middle").error == MOVED
    (rolled_back,) = results
    assert rolled_back.output is not None, rolled_back
    assert rolled_back.output["ended_challenger"] == "a"
    pointer = registry.items("middle")["champion"]
    assert (pointer["champion_version"], pointer["moves"], of_challenger(pointer)) == ({"S": "a"}, {"N": "3"}, {})


@pytest.mark.slow
def test_a_version_that_is_no_longer_promoted_is_not_given_rows(
    challenging_slowly: Machine, registry: Registry
) -> None:
    request = beginning(registry, "canary-withdrawn")

    def reject(_: dict[str, Any]) -> None:
        registry.promote("canary-withdrawn", "a", 1, moves=1, decision="reject")
        point(registry, "canary-withdrawn", "b", moves=2)

    meanwhile(challenging_slowly, request, "canary-withdrawn", reject)
    assert result_of(challenging_slowly, "canary-withdrawn").error == REFUSED
    assert of_challenger(registry.items("canary-withdrawn")["champion"]) == {}


def test_of_many_canaries_at_once_one_begins(challenging: Machine, registry: Registry) -> None:
    request = beginning(registry, "canaries-at-once")
    started = [challenging.start(request, f"canaries-at-once-{number}") for number in range(8)]
    results = [execution.outcome(challenging.sfn, arn) for arn in started]
    assert sorted(result.status for result in results) == [*["FAILED"] * 7, "SUCCEEDED"]
    assert {result.error for result in results} == {None, MOVED}
    assert len([entry for entry in registry.items("canaries-at-once") if entry.startswith("canary#")]) == 1


def alarm(name: str, at: datetime) -> dict[str, Any]:
    return {**ALARM, "model_name": name, "reason": "The alarm went off.", "alarm": {"at": f"{at:%Y-%m-%dT%H:%M:%S}Z"}}


def since(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


def test_an_alarm_ends_the_canary_of_the_version_that_failed_and_only_once(
    challenging: Machine, registry: Registry, metrics: Metrics
) -> None:
    now = datetime.now(UTC)
    begun(registry, "alarmed", since=since(now - timedelta(minutes=5)))
    metrics.fail("alarmed", "a", now - timedelta(minutes=1))
    events, result = challenging(alarm("alarmed", now))
    assert result.output is not None, result
    assert entered(events) == [*READ, *LOOK, *MOVE, *DONE]
    assert (result.output["action"], result.output["challenger_version"]) == ("end", "a")
    assert of_challenger(registry.items("alarmed")["champion"]) == {}
    # Events may come twice.
    events, result = challenging(alarm("alarmed", now))
    assert entered(events) == [*READ, "NothingToEnd"]
    assert result.status == "SUCCEEDED"


def test_an_alarm_from_before_a_canary_does_not_end_it(
    challenging: Machine, registry: Registry, metrics: Metrics
) -> None:
    now = datetime.now(UTC)
    begun(registry, "alarmed-before", since=since(now))
    metrics.fail("alarmed-before", "a", now - timedelta(minutes=1))
    events, _ = challenging(alarm("alarmed-before", now - timedelta(seconds=30)))
    assert entered(events) == [*READ, "NothingToEnd"]
    assert registry.items("alarmed-before")["champion"]["challenger_version"] == {"S": "a"}


def test_an_alarm_that_was_about_the_challenger_before_does_not_end_the_next_ones_canary(
    challenging: Machine, registry: Registry, metrics: Metrics
) -> None:
    """Workers that have not looked at the pointer again still use the one before."""
    now = datetime.now(UTC)
    begun(registry, "alarmed-late", since=since(now - timedelta(minutes=2)))
    metrics.fail("alarmed-late", "c", now)
    events, result = challenging(alarm("alarmed-late", now))
    assert result.status == "SUCCEEDED"
    assert entered(events) == [*READ, *LOOK, *LOOK_AGAIN, *LOOK_AGAIN, "NothingToEnd"]
    assert registry.items("alarmed-late")["champion"]["challenger_version"] == {"S": "a"}


def test_metrics_that_cannot_be_read_leave_the_canary_and_fail(challenging: Machine, registry: Registry) -> None:
    now = datetime.now(UTC)
    begun(registry, "alarmed-blind", since=since(now - timedelta(minutes=2)))
    events, result = challenging(alarm("alarmed-blind", now), case="RefusedInFindErrors")
    assert entered(events) == [*READ, "FindErrors", "CanaryFailed"]
    assert result.cause == "FindErrors: User is not authorized to perform this."
    assert registry.items("alarmed-blind")["champion"]["challenger_version"] == {"S": "a"}


def test_while_the_alarm_is_on_no_canary_of_its_model_begins(
    challenging_served: Machine, challenging: Machine, registry: Registry, metrics: Metrics
) -> None:
    """It would not go off again, and nobody would end the canary of another challenger that fails."""
    request, other = beginning(registry, "alarmed-served"), beginning(registry, "alarmed-other")
    before = registry.items("alarmed-served")
    metrics.set_alarm("ALARM")
    events, result = challenging_served(request)
    _, of_other = challenging(other)
    metrics.set_alarm("OK")
    assert entered(events) == [*READ, *LOOK_AT_ALARM, "CanaryFailed"]
    assert (result.status, result.error) == ("FAILED", REFUSED)
    assert (result.cause or "").startswith(f"The alarm {metrics.stack}-challenger-errors is still on")
    assert registry.items("alarmed-served") == before
    # It is about the model that is served alone.
    assert of_other.status == "SUCCEEDED", of_other

    events, result = challenging_served(request)
    assert entered(events) == [*READ, *LOOK_AT_ALARM, *MOVE, *DONE]
    begun_at = (result.output or {})["entry"]
    # What has begun is moved on whatever the alarm says: it is to end it.
    metrics.set_alarm("ALARM")
    expected = {**EXPECTED, "challenger": begun_at}
    _, result = challenging_served({**request, "action": "change", "share": 20, "expected": expected})
    metrics.set_alarm("OK")
    assert result.status == "SUCCEEDED", result


def test_an_alarm_that_cannot_be_looked_at_begins_no_canary(challenging_served: Machine, registry: Registry) -> None:
    request = beginning(registry, "alarmed-served")
    _, result = challenging_served(request, case="RefusedInFindAlarm")
    assert (result.status, result.cause) == ("FAILED", "FindAlarm: User is not authorized to perform this.")
    assert of_challenger(registry.items("alarmed-served")["champion"]) == {}


def test_every_mocked_case_is_run(project: Path) -> None:
    mocks = json.loads((project / "tests/statemachine/mock_config.json").read_text(encoding="utf-8"))
    cases = {*(row[0] for row in BROKEN), *(row[0] for row in LOST), "NoBusInAnnounceMove", "RefusedInFindErrors"}
    assert set(mocks["StateMachines"]["served-canary"]["TestCases"]) == {"RefusedInFindAlarm"}
    assert set(mocks["StateMachines"]["canary"]["TestCases"]) == cases


def test_every_state_is_on_a_path_that_is_run(project: Path) -> None:
    definition = json.loads((project / "statemachine/canary.asl.json").read_text(encoding="utf-8"))
    paths = {*READ, *MOVE, *AGAIN, *DONE, *LOOK, *LOOK_AGAIN, *LOOK_AT_ALARM, "NothingToEnd", "CanaryFailed"}
    assert paths == set(definition["States"])
