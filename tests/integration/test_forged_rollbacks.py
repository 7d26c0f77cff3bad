"""Attacks with a data scientist's credentials: no champion, no rollback and no author of one can be forged."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from botocore.exceptions import ClientError

from crosstrain.aws import from_dynamodb, to_dynamodb
from crosstrain.local.server import LocalTrainingStack
from crosstrain.training import execution

MOVED = {"champion_version": "rejected", "moves": 3}
FORGED = {
    "from_version": "second",
    "to_version": "first",
    "move": 3,
    "by": "arn:aws:iam::123456789012:user/somebody-else",
}


@pytest.fixture
def model(training_stack: LocalTrainingStack) -> str:
    """Return the name of a model of which two versions were promoted and one was rejected; the second is in use."""
    name, table = uuid.uuid4().hex, training_stack.outputs["ModelRegistryTableName"]
    dynamodb = training_stack.aws.client("dynamodb")
    for version, decision in (("first", "promote"), ("second", "promote"), ("rejected", "reject")):
        fields = {"decision": decision, "reason": "It is worse.", "metric": "rmse", "value": 1, "model_uri": "s3://b/k"}
        item = {"model_name": name, "entry": f"version#{version}", "version": version, **fields}
        dynamodb.put_item(TableName=table, Item=to_dynamodb(item))
    pointer = {"model_name": name, "entry": "champion", "champion_version": "second", "moves": 2}
    dynamodb.put_item(TableName=table, Item=to_dynamodb(pointer))
    return name


@pytest.fixture
def items(training_stack: LocalTrainingStack) -> Callable[[str], dict[str, Any]]:
    """Return a function that returns what the registry holds of a model, by the entries."""

    def read(name: str) -> dict[str, Any]:
        found = training_stack.aws.client("dynamodb").query(
            TableName=training_stack.outputs["ModelRegistryTableName"],
            ConsistentRead=True,
            KeyConditionExpression="model_name = :name",
            ExpressionAttributeValues={":name": {"S": name}},
        )
        return {item["entry"]: item for item in map(from_dynamodb, found["Items"])}

    return read


Items = Callable[[str], dict[str, Any]]


def writes(table: str, model: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return each way to write to the registry: the method of a client, and its arguments."""
    key = to_dynamodb({"model_name": model, "entry": "champion"})
    pointer = {"TableName": table, "Item": {**key, **to_dynamodb(MOVED)}}
    update = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": "SET champion_version = :version",
        "ExpressionAttributeValues": {":version": {"S": "rejected"}},
    }
    entry = f"rollback#2026-01-01T00:00:00.000Z-{execution.new_run_id()}"
    rollback = {"TableName": table, "Item": to_dynamodb({"model_name": model, "entry": entry, **FORGED})}
    version = {"TableName": table, "Key": to_dynamodb({"model_name": model, "entry": "version#rejected"})}
    promoted = {
        **version,
        "UpdateExpression": "SET decision = :promote",
        "ExpressionAttributeValues": {":promote": {"S": "promote"}},
    }
    check = {
        **version,
        "ConditionExpression": "decision = :reject",
        "ExpressionAttributeValues": {":reject": {"S": "reject"}},
    }
    where = "model_name = ? AND entry = 'champion'"
    statement = f"UPDATE \"{table}\" SET champion_version = 'rejected' WHERE {where}"  # noqa: S608 - the attack itself
    return {
        "put": ("put_item", pointer),
        "put a rollback": ("put_item", rollback),
        "update": ("update_item", update),
        "update a version": ("update_item", promoted),
        "delete": ("delete_item", {"TableName": table, "Key": key}),
        "batch": ("batch_write_item", {"RequestItems": {table: [{"PutRequest": {"Item": pointer["Item"]}}]}}),
        "statement": ("execute_statement", {"Statement": statement, "Parameters": [{"S": model}]}),
        # What was allowed once.
        "transaction of all": (
            "transact_write_items",
            {"TransactItems": [{"Update": update}, {"ConditionCheck": check}, {"Put": rollback}]},
        ),
        "transaction of a put": ("transact_write_items", {"TransactItems": [{"Put": pointer}]}),
        "transaction of an update": ("transact_write_items", {"TransactItems": [{"Update": update}]}),
        "transaction of a check": ("transact_write_items", {"TransactItems": [{"ConditionCheck": check}]}),
        "transaction of a deletion": (
            "transact_write_items",
            {"TransactItems": [{"Delete": {"TableName": table, "Key": key}}]},
        ),
    }


@pytest.mark.parametrize("way", list(writes("table", "model")))
def test_nothing_is_written_to_the_registry_by_hand(
    training_stack: LocalTrainingStack, model: str, items: Items, way: str
) -> None:
    before = items(model)
    method, arguments = writes(training_stack.outputs["ModelRegistryTableName"], model)[way]

    with pytest.raises(ClientError, match="AccessDenied"):
        getattr(training_stack.client("dynamodb"), method)(**arguments)

    assert items(model) == before
    # The call is sound: whoever may make it changes something, or checks it.
    getattr(training_stack.aws.client("dynamodb"), method)(**arguments)
    assert (items(model) == before) == (way == "transaction of a check")


def roll_back(training_stack: LocalTrainingStack, document: dict[str, Any]) -> execution.ExecutionResult:
    sfn, run = training_stack.client("stepfunctions"), execution.new_run_id()
    return execution.outcome(
        sfn, execution.start(sfn, training_stack.outputs["RollbackStateMachineArn"], document, run)
    )


def request(model: str, **changes: Any) -> dict[str, Any]:
    expected = {"champion_version": "second", "moves": 2}
    return {"model_name": model, "version": "first", "reason": "", "expected": expected, **changes}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *product(("by", "execution", "author"), ["arn:aws:iam::123456789012:user/somebody-else"]),
        *product(("entry", "champion", "own", "target", "pointer", "rollback"), [{"entry": {"S": "rollback#forged"}}]),
        ("from_version", "first"),
        ("move", 9),
        ("recorded_at", "2025-01-01T00:00:00.000Z"),
        ("attempts", -100),
        ("request", {"model_name": "another"}),
    ],
)
def test_no_field_of_the_input_says_who_when_or_what_is_recorded(
    training_stack: LocalTrainingStack, model: str, items: Items, field: str, value: Any
) -> None:
    before = items(model)

    result = roll_back(training_stack, request(model, **{field: value}))

    assert (result.status, result.error) == ("FAILED", "InvalidRequestError")
    assert f"unknown fields: {field}." in str(result.cause)
    assert items(model) == before


@pytest.mark.parametrize(
    "reason",
    [
        'x", "by": {"S": "somebody-else"}, "y": "',
        "{% $states.context.Execution.Id %}",
        "'}, 'by': {'S': 'somebody-else'}, 'x': {'S': '",
        "${ModelRegistryTableName}",
    ],
)
def test_a_reason_is_only_ever_a_text(
    training_stack: LocalTrainingStack, model: str, items: Items, reason: str
) -> None:
    result = roll_back(training_stack, request(model, reason=reason))

    assert result.output is not None, result.cause
    recorded = items(model)[result.output["entry"]]
    assert recorded["reason"] == reason
    run = f"{training_stack.outputs['RollbackStateMachineArn'].replace(':stateMachine:', ':execution:')}:"
    assert recorded["execution"].startswith(run)
    assert set(recorded) == {
        "model_name", "entry", "from_version", "to_version", "move", "recorded_at", "execution", "reason",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": "rejected"}, "RollbackRefusedError"),
        ({"version": "unheard-of"}, "RollbackRefusedError"),
        ({"version": "second"}, "RollbackRefusedError"),
        # Another kind of entry, by a version's name.
        ({"version": "first#champion"}, "RollbackRefusedError"),
        ({"version": {"S": "first"}}, "InvalidRequestError"),
        ({"model_name": "#runs"}, "InvalidRequestError"),
        ({"model_name": {"S": "another"}}, "InvalidRequestError"),
        ({"expected": {"champion_version": "first", "moves": 2}}, "ChampionMovedError"),
        ({"expected": {"champion_version": "second", "moves": 0}}, "ChampionMovedError"),
    ],
)
def test_no_version_becomes_the_champion_that_was_not_promoted_or_whose_pointer_was_not_read(
    training_stack: LocalTrainingStack, model: str, items: Items, changes: dict[str, Any], error: str
) -> None:
    before = items(model)

    result = roll_back(training_stack, request(model, **changes))

    assert (result.status, result.error) == ("FAILED", error)
    assert items(model) == before


def test_a_version_of_another_model_does_not_become_the_champion(
    training_stack: LocalTrainingStack, model: str, items: Items
) -> None:
    table = training_stack.outputs["ModelRegistryTableName"]
    theirs = {"model_name": uuid.uuid4().hex, "entry": "version#theirs", "version": "theirs", "decision": "promote"}
    training_stack.aws.client("dynamodb").put_item(TableName=table, Item=to_dynamodb(theirs))
    before = items(model)

    result = roll_back(training_stack, request(model, version="theirs"))

    assert result.cause == f'There is no version "theirs" of "{model}".'
    assert items(model) == before


def test_a_rollback_that_has_begun_cannot_be_stopped_or_changed(training_stack: LocalTrainingStack) -> None:
    sfn, arn = training_stack.client("stepfunctions"), training_stack.outputs["RollbackStateMachineArn"]
    role = training_stack.aws.client("stepfunctions").describe_state_machine(stateMachineArn=arn)["roleArn"]
    started = execution.start(sfn, arn, {}, execution.new_run_id())
    definition = '{"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}'
    for call in (
        lambda: sfn.stop_execution(executionArn=started),
        lambda: sfn.redrive_execution(executionArn=started),
        lambda: sfn.update_state_machine(stateMachineArn=arn, definition=definition),
        lambda: sfn.create_state_machine(name="mine", definition=definition, roleArn=role),
        lambda: training_stack.client("sts").assume_role(RoleArn=role, RoleSessionName="mine"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    # Whoever may start one may look at it.
    assert sfn.describe_execution(executionArn=started)["executionArn"] == started
