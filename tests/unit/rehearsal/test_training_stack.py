"""What is read of a state machine: the calls of its tasks, wherever they are."""

from __future__ import annotations

from typing import Any

import pytest

from crosstrain.rehearsal.cloudformation.training_stack import calls_of

FUNCTION = "arn:aws:lambda:eu-west-1:000000000002:function:inner"
INNER = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": FUNCTION, "End": True}}}


@pytest.mark.parametrize(
    "outer",
    [
        {"Type": "Parallel", "Branches": [INNER]},
        {"Type": "Map", "ItemProcessor": INNER},
        {"Type": "Map", "Iterator": INNER},
        {"Type": "Map", "ItemProcessor": {"States": {"Twice": {"Type": "Parallel", "Branches": [INNER]}}}},
    ],
    ids=["branch", "item-processor", "iterator", "nested"],
)
def test_tasks_inside_other_states_are_found(outer: dict[str, Any]) -> None:
    assert list(calls_of({"States": {"Outer": outer}}, "000000000002")) == [("lambda:InvokeFunction", FUNCTION, {})]


def test_the_parts_of_a_transaction_are_asked_for_as_parts_of_one() -> None:
    parts = [{kind: {"TableName": "registry"}} for kind in ("Update", "ConditionCheck", "Put", "Update")]
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:dynamodb:transactWriteItems",
        "Arguments": {"TransactItems": parts},
    }
    found = list(calls_of({"States": {"Move": task}}, "000000000002"))
    assert [action for action, _, _ in found] == [
        "dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem",
    ]  # fmt: skip
    assert {arn for _, arn, _ in found} == {"arn:aws:dynamodb:us-east-1:000000000002:table/registry"}
    assert all(context == {"dynamodb:EnclosingOperation": "TransactWriteItems"} for _, _, context in found)


def test_what_a_state_machine_asks_of_step_functions_is_a_call() -> None:
    machine = "arn:aws:states:us-east-1:000000000002:stateMachine:crosstrain-test-training"
    item = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:dynamodb:putItem.waitForTaskToken"}
    states = {
        "Wait": {**item, "Arguments": {"TableName": "registry"}},
        "Answer": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:sendTaskSuccess"},
        "Look": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:describeExecution"},
        "Start": {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution",
            "Arguments": {"StateMachineArn": machine},
        },
    }
    assert list(calls_of({"States": states}, "000000000002")) == [
        ("dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:000000000002:table/registry", {}),
        ("states:SendTaskSuccess", "*", {}),
        ("states:DescribeExecution", f"{machine.replace('stateMachine', 'execution')}:any", {}),
        ("states:StartExecution", machine, {}),
    ]


def test_a_metric_is_asked_for_without_a_resource_and_an_alarm_of_all_that_there_are() -> None:
    sdk = "arn:aws:states:::aws-sdk:cloudwatch"
    states = {
        "FindErrors": {"Type": "Task", "Resource": f"{sdk}:getMetricStatistics"},
        "FindAlarm": {"Type": "Task", "Resource": f"{sdk}:describeAlarms"},
    }
    assert list(calls_of({"States": states}, "000000000002")) == [
        ("cloudwatch:GetMetricStatistics", "*", {}),
        ("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:000000000002:alarm:*", {}),
    ]


def large(cluster: str) -> dict[str, object]:
    """Return the definition of a state machine that runs a task, where it has a cluster."""
    run = {"Cluster": cluster, "TaskDefinition": "stack-model-training"}
    stored = {"Bucket": "artifacts", "Key": "large/one.json"}
    return {
        "States": {
            "Store": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:putObject", "Arguments": stored},
            "Run": {"Type": "Task", "Resource": "arn:aws:states:::ecs:runTask.waitForTaskToken", "Arguments": run},
        }
    }


def test_a_task_is_run_in_its_cluster_with_what_was_stored_for_it() -> None:
    cluster = "arn:aws:ecs:us-east-1:000000000002:cluster/stack-tasks"
    family = "arn:aws:ecs:us-east-1:000000000002:task-definition/stack-model-training:1"
    assert list(calls_of(large(cluster), "000000000002")) == [
        ("s3:PutObject", "arn:aws:s3:::artifacts/large/any", {}),
        ("ecs:RunTask", family, {"ecs:cluster": cluster}),
    ]


def test_a_stack_without_tasks_needs_no_right_to_them() -> None:
    assert list(calls_of(large("none"), "000000000002")) == []
