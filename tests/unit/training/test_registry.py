"""The registry: what is read where, and the history of champions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.local.policies import data_scientist_policy
from crosstrain.training.registry import Registry, champion_history, previous_champion

TABLE = "models"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def version(name: str, second: int, **fields: Any) -> dict[str, Any]:
    """Return a promoted version, as the registry gives it back."""
    return {
        "model_name": "default",
        "entry": f"version#{name}",
        "version": name,
        "recorded_at": (BEGIN + timedelta(seconds=second)).isoformat(),
        "decision": "promote",
        "metric": "rmse",
        "value": 1.5,
        "model_uri": f"s3://bucket/runs/{name}/model/model.skops",
        **fields,
    }


def pointer(name: str, **fields: Any) -> dict[str, Any]:
    item = version(name, 0)
    kept = {key: item[key] for key in ("model_name", "metric", "value", "model_uri")}
    return {**kept, "entry": "champion", "champion_version": name, "promoted_at": item["recorded_at"], **fields}


def rollback(origin: str, to: str, second: int, **fields: Any) -> dict[str, Any]:
    at = (BEGIN + timedelta(seconds=second)).isoformat()
    return {"entry": f"rollback#{at}", "from_version": origin, "to_version": to, "recorded_at": at, **fields}


@pytest.fixture
def dynamodb(create_table: Callable[..., None]) -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("dynamodb", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
        create_table(client, "ModelRegistry", TABLE)
        yield client


def put(dynamodb: Any, *items: dict[str, Any]) -> None:
    def attribute(value: Any) -> dict[str, Any]:
        return {"N": repr(value)} if isinstance(value, int | float) else {"S": value}

    for item in items:
        dynamodb.put_item(TableName=TABLE, Item={name: attribute(value) for name, value in item.items()})


@pytest.fixture
def registry(dynamodb: Any) -> Registry:
    return Registry(dynamodb, TABLE)


@pytest.fixture
def stub() -> Iterator[Stubber]:
    client = boto3.client("dynamodb", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_every_page_of_a_models_versions_is_read_consistently(stub: Stubber) -> None:
    request = {
        "TableName": TABLE,
        "KeyConditionExpression": "model_name = :model_name AND begins_with(entry, :prefix)",
        "ExpressionAttributeValues": {":model_name": {"S": "default"}, ":prefix": {"S": "version#"}},
        "ConsistentRead": True,
    }
    key = {"model_name": {"S": "default"}, "entry": {"S": "version#a"}}
    older = {**key, "recorded_at": {"S": "2026-01-01T00:00:00Z"}, "value": {"N": "1.50"}}
    newer = {**key, "recorded_at": {"S": "2026-01-01T00:00:01.5Z"}, "rows": {"M": {"train": {"N": "80"}}}}
    stub.add_response("query", {"Items": [older], "LastEvaluatedKey": key}, request)
    stub.add_response("query", {"Items": [newer]}, {**request, "ExclusiveStartKey": key})
    found = Registry(stub.client, TABLE).versions("default")
    assert [item.get("value") for item in found] == [None, 1.5]
    assert found[0]["rows"] == {"train": 80}


def test_every_page_is_looked_at_before_a_version_is_called_unknown(stub: Stubber) -> None:
    by_version = {
        "TableName": TABLE,
        "IndexName": "by-version",
        "KeyConditionExpression": "version = :version",
        "ExpressionAttributeValues": {":version": {"S": "new"}},
    }
    scan = {"TableName": TABLE, "ProjectionExpression": "model_name, version", "ConsistentRead": True}
    key = {"model_name": {"S": "default"}, "entry": {"S": "champion"}}
    item = {"model_name": {"S": "default"}, "version": {"S": "new"}}
    stub.add_response("query", {"Items": []}, by_version)
    # The pointer to the champion has no version.
    stub.add_response("scan", {"Items": [{"model_name": {"S": "default"}}], "LastEvaluatedKey": key}, scan)
    stub.add_response("scan", {"Items": [item]}, {**scan, "ExclusiveStartKey": key})
    get = {
        "TableName": TABLE,
        "Key": {"model_name": {"S": "default"}, "entry": {"S": "version#new"}},
        "ConsistentRead": True,
    }
    stub.add_response("get_item", {"Item": item}, get)
    assert Registry(stub.client, TABLE).find_version("new")["model_name"] == "default"


def test_a_version_is_found_by_its_id_alone(registry: Registry, dynamodb: Any) -> None:
    put(dynamodb, version("a", 0), version("b", 1, model_name="other"), pointer("a"))
    assert registry.find_version("b")["model_name"] == "other"
    assert registry.champion_version("default")[1]["version"] == "a"


@pytest.mark.parametrize(
    ("wanted", "model_name", "message"),
    [
        ("run-12", None, r'no version "run-12"\. Did you mean "run-1"\?'),
        ("zzz", None, r'Known: "run-1", "both"\.'),
        ("run-1", "other", r'no version "run-1" of "other"\. Known: "both"\.'),
        ("run-1", "othr", r'no model "othr"\. Did you mean "other"\?'),
        ("both", None, r'"both" is a version of "(default|other)" and "(default|other)": say which with --model-name'),
    ],
)
def test_a_version_that_cannot_be_meant_is_told_with_the_nearest(
    registry: Registry, dynamodb: Any, wanted: str, model_name: str | None, message: str
) -> None:
    put(dynamodb, version("run-1", 0), version("both", 1), version("both", 1, model_name="other"))
    with pytest.raises(BadInputError, match=message):
        registry.find_version(wanted, model_name)


def test_why_a_model_has_no_champion_is_told(registry: Registry, dynamodb: Any) -> None:
    with pytest.raises(BadInputError, match="holds no model yet"):
        registry.champion_version("default")
    with pytest.raises(BadInputError, match="holds no model yet"):
        registry.find_version("a")
    put(dynamodb, version("a", 0, decision="reject"))
    with pytest.raises(BadInputError, match='No version of "default" was ever promoted'):
        registry.champion_version("default")
    with pytest.raises(BadInputError, match=r'no model "defualt"\. Did you mean "default"'):
        registry.champion_version("defualt")
    put(dynamodb, pointer("lost"))
    with pytest.raises(OperationFailedError, match="is lost, which the registry does not hold"):
        registry.champion_version("default")


def test_moves_order_history_whatever_clocks_say() -> None:
    """Thirty seconds between two clocks once made a history of what never was."""
    versions = [
        version("a", 9, move=1),
        version("b", 3, compared_with="a", move=2),
        version("c", 1, compared_with="a", move=4),
    ]
    rollbacks = [rollback("b", "a", 0, move=3), rollback("c", "a", 5, move=5)]
    history = champion_history("a", versions, rollbacks)
    assert [(change.origin, change.version, change.move) for change in history] == [
        (None, "a", 1), ("a", "b", 2), ("b", "a", 3), ("a", "c", 4), ("c", "a", 5),
    ]  # fmt: skip


def test_a_second_rollback_goes_further_back() -> None:
    versions = [version("a", 0), version("b", 1, compared_with="a"), version("c", 2, compared_with="b")]
    assert previous_champion(champion_history("c", versions, [])) == "b"
    first = rollback("c", "b", 3)
    assert previous_champion(champion_history("b", versions, [first])) == "a"
    assert previous_champion(champion_history("a", versions, [first, rollback("b", "a", 4)])) is None
    # After it a new version is promoted, and c is made the champion by name.
    later = [*versions, version("d", 5, compared_with="b")]
    assert previous_champion(champion_history("d", later, [first])) == "b"
    assert previous_champion(champion_history("c", later, [first, rollback("d", "c", 6)])) == "d"


def test_rejected_versions_and_clocks_that_differ_do_not_mislead() -> None:
    versions = [
        version("a", 10),
        version("b", 5, compared_with="a"),
        version("bad", 11, compared_with="b", decision="reject"),
        version("c", 1, compared_with="b"),
    ]
    history = champion_history("c", versions, [])
    assert [change.version for change in history] == ["a", "b", "c"]


def test_a_history_whose_begin_is_gone_is_used_as_far_as_it_goes() -> None:
    history = champion_history("c", [version("c", 2, compared_with="b")], [])
    assert previous_champion(history) == "b"
    assert previous_champion(champion_history("x", [], [])) is None


@given(st.lists(st.integers(-3, 3), max_size=30), st.randoms(use_true_random=False))
def test_the_history_is_what_happened(steps: list[int], shuffled: random.Random) -> None:
    """Promote (0) or roll back (to the n-th version in either direction) at random, and follow the chain back."""
    versions, rollbacks = [version("v0", 0)], list[dict[str, Any]]()
    happened = ["v0"]
    for second, step in enumerate(steps, start=1):
        target = f"v{step % len(versions)}"
        if step and target != happened[-1]:
            rollbacks.append(rollback(happened[-1], target, second))
        else:
            target = f"v{len(versions)}"
            versions.append(version(target, second, compared_with=happened[-1]))
        happened.append(target)
    shuffled.shuffle(versions)
    shuffled.shuffle(rollbacks)
    history = champion_history(happened[-1], versions, rollbacks)
    assert [change.version for change in history] == happened
    assert previous_champion(history) != happened[-1]


def test_a_data_scientist_reads_models_and_writes_nothing() -> None:
    arns = ["arn:aws:cloudformation:eu-west-1:1:stack/local/1", "arn:aws:states:eu-west-1:1:stateMachine:training"]
    without = data_scientist_policy(*arns, "artifacts")["Statement"]
    added = [each for each in data_scientist_policy(*arns, "artifacts", TABLE)["Statement"] if each not in without]
    table = f"arn:aws:dynamodb:eu-west-1:1:table/{TABLE}"
    assert {action: each["Resource"] for each in added for action in each["Action"]} == {
        "dynamodb:GetItem": [table],
        "dynamodb:Scan": [table],
        "dynamodb:Query": [table, f"{table}/index/by-version"],
    }


def canary(champion: str, challenger: str, second: int, **fields: Any) -> dict[str, Any]:
    at = (BEGIN + timedelta(seconds=second)).isoformat()
    names = {"action": "promote", "champion_version": champion, "challenger_version": challenger}
    return {"entry": f"canary#{at}", **names, "recorded_at": at, **fields}


def test_a_challenger_that_was_promoted_is_a_change_of_the_champion_and_no_other_move_of_it_is() -> None:
    versions = [version("a", 0, move=1), version("b", 1, compared_with="a", move=2)]
    back = rollback("b", "a", 2, move=3)
    canaries = [canary("a", "b", 3, action="begin"), canary("a", "b", 4, move=4)]
    history = champion_history("b", versions, [back], canaries)
    assert [(each.origin, each.version, each.kind) for each in history] == [
        (None, "a", "promotion"),
        ("a", "b", "promotion"),
        ("b", "a", "rollback"),
        ("a", "b", "promotion"),
    ]
    assert previous_champion(history) == "a"
