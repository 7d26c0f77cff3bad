"""The state machine that rolls back: what it refuses, what it records, and that a lost answer ends in the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crosstrain.training import execution
from state_events import follow

from .conftest import Ended, Machine, Registry

READ = ["CheckRequest", "BeginRollback", "FindChampion", "FindVersion", "FindOwnRollback", "CheckMove"]
AGAIN = ["LetOthersFinish", "FindChampion", "FindVersion", "FindOwnRollback", "CheckMove"]
MOVE = ["DescribeMove", "MoveChampion"]
DONE = ["ReadRollback", "AnnounceRollback", "RolledBack"]
OK = {"model_name": "default", "version": "a", "reason": "", "expected": {"champion_version": "b", "moves": 2}}
REFUSED = "RollbackRefusedError"
MOVED = (
    'Somebody else moves or has moved the champion of "refused" since it was read as {}, and nothing was changed: '
    "look at it, and roll back again if need be."
)
# Inputs that are none, and how the cause begins.
MALFORMED: list[tuple[Any, str]] = [
    *((each, "The input has to be a JSON object") for each in ([OK], None, "a", 5, [])),
    ({}, "model_name has to be"),
    ({**OK, "by": "arn:aws:iam::123456789012:root"}, "The input has unknown fields: by. It takes model_name,"),
    ({**OK, "execution": "e", "entry": "e"}, "The input has unknown fields: execution, entry. It takes model_name,"),
    *(({**OK, "model_name": each}, "model_name has to be") for each in ("", "#runs", "-a", "a\n", "a" * 65, 5, ["a"])),
    *(({**OK, "version": each}, "version has to be") for each in ("", "v" * 81, 5, None, ["a"])),
    *(({**OK, "reason": each}, "reason has to be") for each in ("r" * 1001, None, {"S": "r"})),
    *(({**OK, "expected": each}, "expected has to be") for each in (None, "b", [OK["expected"]])),
    ({**OK, "expected": {"champion_version": "b", "moves": 2, "by": "me"}}, "expected has to be"),
    ({**OK, "expected": {"moves": 2}}, "expected.champion_version has to be"),
    ({**OK, "expected": {"champion_version": 5, "moves": 2}}, "expected.champion_version has to be"),
    *(
        ({**OK, "expected": {"champion_version": "b", **each}}, "expected.moves has to be")
        for each in ({}, {"moves": -1}, {"moves": 2.5}, {"moves": "2"}, {"moves": True}, {"moves": None})
    ),
]  # fmt: skip
# A case of mock_config.json, the error and the cause that it ends with.
BROKEN = [
    *(
        (f"RefusedIn{state}", "DynamoDb.DynamoDbException", f"{state}: User is not authorized to perform this.")
        for state in ("FindChampion", "FindVersion", "FindOwnRollback", "MoveChampion")
    ),
    *(
        (f"ThrottledForGoodIn{state}", "DynamoDb.ThrottlingException", f"{state}: Rate Exceeded.")
        for state in ("FindChampion", "MoveChampion")
    ),
    ("NamelessInFindVersion", "Timeout", "FindVersion: no cause was given."),
]
LOST = [
    ("NoAnswerInMoveChampion", "States.Timeout"),
    ("ConflictInMoveChampion", "DynamoDb.TransactionCanceledException: Transaction is ongoing for the item"),
]


def trained(registry: Registry, name: str, *, pointer: str = "b", moves: int | None = 2) -> dict[str, Any]:
    """Record that a was promoted, then b, that c was rejected, and return what goes back to a."""
    for version, decision in (("a", "promote"), ("b", "promote"), ("c", "reject")):
        registry.promote(name, version, ord(version), moves=1, decision=decision)
    for version in "ab":
        registry.client.update_item(
            TableName=registry.table,
            Key={"model_name": {"S": name}, "entry": {"S": f"version#{version}"}},
            UpdateExpression="SET metric = :rmse, model_uri = :uri, target = :target, #split = :split",
            ExpressionAttributeNames={"#split": "split"},
            ExpressionAttributeValues={
                ":rmse": {"S": "rmse"}, ":uri": {"S": f"s3://{version}"}, ":target": {"S": "y"}, ":split": {"S": "{}"},
            },
        )  # fmt: skip
    point(registry, name, pointer, moves=moves)
    expected = {"champion_version": pointer, "moves": moves or 0}
    return {"model_name": name, "version": "a", "reason": "it drifts", "expected": expected}


def point(registry: Registry, name: str, version: str, *, moves: int | None, **texts: str) -> None:
    """Let the pointer point to a version; one of an earlier version of this project does not count its moves."""
    counted = {} if moves is None else {"moves": {"N": str(moves)}}
    item = {"model_name": {"S": name}, "entry": {"S": "champion"}, "champion_version": {"S": version}, **counted}
    item |= {attribute: {"S": text} for attribute, text in texts.items()}
    registry.client.put_item(TableName=registry.table, Item=item)


def entered(events: list[execution.StateEvent]) -> list[str]:
    return [event.state for event in events if event.kind == "entered"]


def test_an_earlier_version_is_the_champion_again_and_the_execution_is_recorded(
    rolling_back: Machine,
    registry: Registry,
) -> None:
    events, result = rolling_back(trained(registry, "back-to-a"))

    assert entered(events) == [*READ, *MOVE, *DONE]
    assert result.status == "SUCCEEDED", result
    assert result.output is not None
    items = registry.items("back-to-a")
    recorded = items[result.output["entry"]]
    at = recorded["recorded_at"]
    assert items["champion"] == {
        "model_name": {"S": "back-to-a"},
        "entry": {"S": "champion"},
        "champion_version": {"S": "a"},
        "promoted_at": at,
        "moves": {"N": "3"},
        "metric": {"S": "rmse"},
        "value": {"N": "97"},
        "model_uri": {"S": "s3://a"},
        "target": {"S": "y"},
        "split": {"S": "{}"},
    }
    run = recorded["execution"]["S"].rpartition(":")[2]
    assert recorded == {
        "model_name": {"S": "back-to-a"},
        "entry": {"S": f"rollback#{at['S']}-{run}"},
        "from_version": {"S": "b"},
        "to_version": {"S": "a"},
        "move": {"N": "3"},
        "recorded_at": at,
        "execution": {"S": f"{rolling_back.arn.replace(':stateMachine:', ':execution:')}:{run}"},
        "reason": {"S": "it drifts"},
    }
    assert result.output == {name: value.get("S", 3) for name, value in recorded.items()}


def test_a_champion_whose_moves_nobody_counted_is_moved_once(rolling_back: Machine, registry: Registry) -> None:
    request = trained(registry, "uncounted", moves=None)
    _, result = rolling_back(request)
    assert result.status == "SUCCEEDED", result
    assert registry.items("uncounted")["champion"]["moves"]["N"] == "1"
    _, result = rolling_back({**request, "version": "b", "expected": {"champion_version": "a", "moves": 0}})
    assert result.error == "ChampionMovedError"


def test_a_version_from_before_splits_were_recorded_says_nothing_of_one(
    rolling_back: Machine,
    registry: Registry,
) -> None:
    request = trained(registry, "old")
    registry.promote("old", "a", 1, moves=1)
    # What the champion before said of itself does not stay.
    point(registry, "old", "b", moves=2, split="{}", model_uri="s3://b", metric="rmse", target="y")
    _, result = rolling_back(request)
    assert result.status == "SUCCEEDED", result
    assert set(registry.items("old")["champion"]) == {
        "model_name", "entry", "champion_version", "promoted_at", "moves", "value",
    }  # fmt: skip


@pytest.fixture(scope="module")
def ended_rollbacks(rolling_back: Machine) -> list[Ended]:
    """Run all inputs that are none at once."""
    return rolling_back.run_all((document, None) for document, _ in MALFORMED)


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_an_input_that_is_none_is_refused_with_what_is_wrong(ended_rollbacks: list[Ended], number: int) -> None:
    events, result = ended_rollbacks[number]
    assert entered(events) == ["CheckRequest", "RollbackFailed"]
    assert (result.status, result.error) == ("FAILED", "InvalidRequestError")
    assert result.cause is not None
    assert result.cause.startswith(MALFORMED[number][1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "error", "cause"),
    [
        ({"model_name": "nobody"}, REFUSED, 'No version of "nobody" was ever promoted, so it has no champion.'),
        ({"version": "x"}, REFUSED, 'There is no version "x" of "refused".'),
        ({"version": "b"}, REFUSED, 'b is the champion of "refused" already.'),
        ({"version": "c"}, REFUSED, "c was never promoted, so it cannot be the champion: recorded"),
        ({"expected": {"champion_version": "a", "moves": 2}}, "ChampionMovedError", MOVED.format("a")),
        # There and back.
        ({"expected": {"champion_version": "b", "moves": 0}}, "ChampionMovedError", MOVED.format("b")),
    ],
)
def test_a_move_that_may_not_be_is_refused(
    rolling_back: Machine,
    registry: Registry,
    changes: dict[str, Any],
    error: str,
    cause: str,
) -> None:
    request = trained(registry, "refused")
    before = registry.items("refused")

    events, result = rolling_back({**request, **changes})

    assert entered(events) == [*READ, "RollbackFailed"]
    assert (result.status, result.error, result.cause) == ("FAILED", error, cause)
    assert registry.items("refused") == before


def test_a_version_of_another_model_is_unknown(rolling_back: Machine, registry: Registry) -> None:
    request = trained(registry, "mine")
    registry.promote("others", "theirs", 1, moves=1)
    _, result = rolling_back({**request, "version": "theirs"})
    assert result.cause == 'There is no version "theirs" of "mine".'


@pytest.mark.slow
@pytest.mark.parametrize(("case", "error", "cause"), BROKEN)
def test_a_registry_that_does_not_answer_ends_it_with_the_step(
    rolling_back: Machine,
    registry: Registry,
    case: str,
    error: str,
    cause: str,
) -> None:
    request = trained(registry, case)
    before = registry.items(case)

    events, result = rolling_back(request, case=case)

    assert (result.status, result.error, result.cause) == ("FAILED", error, cause)
    assert entered(events)[-1] == "RollbackFailed"
    assert len([event for event in events if event.kind == "retried"]) == (5 if "Throttled" in case else 0)
    assert registry.items(case) == before


@pytest.mark.parametrize(("case", "failure"), LOST)
def test_what_never_comes_through_is_tried_three_times(
    rolling_back: Machine,
    registry: Registry,
    case: str,
    failure: str,
) -> None:
    request = trained(registry, case)
    before = registry.items(case)

    events, result = rolling_back(request, case=case)

    assert entered(events) == [*READ, *(MOVE + AGAIN) * 3, "RollbackFailed"]
    assert (result.error, result.cause) == (
        "RollbackFailedError",
        f'The champion of "{case}" could not be moved in three attempts, and no move is recorded so far: {failure}',
    )
    assert registry.items(case) == before


def test_a_rollback_that_cannot_be_announced_is_made(rolling_back: Machine, registry: Registry) -> None:
    events, result = rolling_back(trained(registry, "untold"), case="NoBusInAnnounceRollback")
    assert entered(events)[-3:] == DONE
    assert result.output is not None
    assert registry.champion("untold") == "a"
    assert result.output["to_version"] == "a"


def test_every_mocked_case_is_run(project: Path) -> None:
    mocks = json.loads((project / "tests/statemachine/mock_config.json").read_text(encoding="utf-8"))
    cases = {*(row[0] for row in BROKEN), *(row[0] for row in LOST), "NoBusInAnnounceRollback"}
    assert set(mocks["StateMachines"]["rollback"]["TestCases"]) == cases


def test_every_state_is_on_a_path_that_is_run(project: Path) -> None:
    definition = json.loads((project / "statemachine/rollback.asl.json").read_text(encoding="utf-8"))
    assert {*READ, *MOVE, *AGAIN, *DONE, "RollbackFailed"} == set(definition["States"])


def meanwhile(machine: Machine, request: dict[str, Any], name: str, act: Callable[[dict[str, Any]], None]) -> list[str]:
    """Start a rollback, act once it has read the registry on what it is about to do, and return its other states."""
    started = machine.start(request, name)
    seen: list[str] = []
    for event in follow(machine.sfn, started):
        if event.kind == "entered":
            seen.append(event.state)
            if event.state == "Pause" and seen.count("Pause") == 1:
                history = machine.sfn.get_execution_history(executionArn=started, reverseOrder=True, maxResults=100)
                act(next(_input(each) for each in history["events"] if _is_pause(each)))
    return [state for state in seen if state != "Pause"]


def _is_pause(event: dict[str, Any]) -> bool:
    return bool(event.get("stateEnteredEventDetails", {}).get("name") == "Pause")


def _input(event: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(event["stateEnteredEventDetails"]["input"])
    return document


def result_of(machine: Machine, name: str) -> execution.ExecutionResult:
    return execution.outcome(machine.sfn, f"{machine.arn.replace(':stateMachine:', ':execution:')}:{name}")


@pytest.mark.slow
@pytest.mark.parametrize(("version", "moves"), [("c", 3), ("b", 4), ("b", None)])
def test_a_champion_that_moves_after_it_was_read_stays(
    rolling_back_slowly: Machine,
    registry: Registry,
    version: str,
    moves: int | None,
) -> None:
    name = f"overtaken-{version}-{moves}"
    request = trained(registry, name)

    seen = meanwhile(rolling_back_slowly, request, name, lambda _: point(registry, name, version, moves=moves))

    assert seen == [*READ, *MOVE, *AGAIN, "RollbackFailed"]
    assert result_of(rolling_back_slowly, name).error == "ChampionMovedError"
    assert registry.champion(name) == version
    assert not [entry for entry in registry.items(name) if entry.startswith("rollback#")]


@pytest.mark.slow
def test_a_champion_that_is_counted_for_the_first_time_after_it_was_read_stays(
    rolling_back_slowly: Machine,
    registry: Registry,
) -> None:
    request = trained(registry, "first-count", moves=None)
    meanwhile(rolling_back_slowly, request, "first-count", lambda _: point(registry, "first-count", "b", moves=2))
    assert result_of(rolling_back_slowly, "first-count").error == "ChampionMovedError"
    assert registry.champion("first-count") == "b"


@pytest.mark.slow
def test_a_version_that_is_no_longer_promoted_is_not_moved_to(
    rolling_back_slowly: Machine,
    registry: Registry,
) -> None:
    request = trained(registry, "withdrawn")
    meanwhile(
        rolling_back_slowly,
        request,
        "withdrawn",
        lambda _: registry.promote("withdrawn", "a", 1, moves=1, decision="reject"),
    )
    result = result_of(rolling_back_slowly, "withdrawn")
    assert (result.error, result.cause) == (
        "RollbackRefusedError",
        "a was never promoted, so it cannot be the champion: recorded",
    )
    assert registry.champion("withdrawn") == "b"


@pytest.mark.slow
@pytest.mark.parametrize("successor", [None, "c"])
def test_a_move_whose_answer_was_lost_is_told_as_made_whoever_came_after_it(
    rolling_back_slowly: Machine,
    registry: Registry,
    successor: str | None,
) -> None:
    """The attempt is cancelled, for the one before it has gone through."""
    name = f"answered-{successor}"
    request = trained(registry, name)

    def carry_out(move: dict[str, Any]) -> None:
        point(registry, name, successor or "a", moves=4 if successor else 3)
        registry.client.put_item(TableName=registry.table, Item=move["rollback"])

    seen = meanwhile(rolling_back_slowly, request, name, carry_out)

    assert seen == [*READ, *MOVE, *AGAIN, *DONE]
    output = result_of(rolling_back_slowly, name).output
    assert output is not None
    assert (output["from_version"], output["to_version"], output["move"]) == ("b", "a", 3)
    assert registry.champion(name) == (successor or "a")


def test_of_many_rollbacks_at_once_each_move_is_recorded(rolling_back: Machine, registry: Registry) -> None:
    request = trained(registry, "at-once-back")
    started = [rolling_back.start(request, f"at-once-back-{number}") for number in range(10)]
    results = [execution.outcome(rolling_back.sfn, arn) for arn in started]
    assert sorted(result.status for result in results) == [*["FAILED"] * 9, "SUCCEEDED"]
    assert {result.error for result in results} == {None, "ChampionMovedError"}
    rollbacks = [entry for entry in registry.items("at-once-back") if entry.startswith("rollback#")]
    assert len(rollbacks) == 1
