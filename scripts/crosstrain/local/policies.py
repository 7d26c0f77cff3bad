"""What a data scientist may do with a deployed training stack."""

from __future__ import annotations

from typing import Any

from crosstrain.training.registry import INDEX


def data_scientist_policy(
    stack_arn: str, state_machine_arn: str, bucket: str, table: str | None = None
) -> dict[str, Any]:
    """Return the IAM policy of somebody who trains models, looks at them, scores with them and rolls back.

    Without the name of a model registry's table there are no rights on one.
    """
    _, partition, _, region, account, *_ = state_machine_arn.split(":")
    bucket_arn = f"arn:{partition}:s3:::{bucket}"
    execution_arn = state_machine_arn.replace(":stateMachine:", ":execution:") + ":*"
    prefixes = {"StringLike": {"s3:prefix": ["data/*", "runs/*"]}}
    statements = [
        # Who asks by the stack's name is checked against every id that it may have.
        _allow("FindStack", ["cloudformation:DescribeStacks"], [stack_arn.rpartition("/")[0] + "/*"]),
        _allow("BringData", ["s3:PutObject"], [f"{bucket_arn}/data/*"]),
        _allow("ReadDataAndRuns", ["s3:GetObject"], [f"{bucket_arn}/data/*", f"{bucket_arn}/runs/*"]),
        # The versions that the registry names.
        _allow("ReadVersionsOfRuns", ["s3:GetObjectVersion"], [f"{bucket_arn}/runs/*"]),
        {**_allow("ListDataAndRuns", ["s3:ListBucket"], [bucket_arn]), "Condition": prefixes},
        _allow("StartRuns", ["states:StartExecution"], [state_machine_arn]),
        _allow(
            "FollowRuns",
            ["states:DescribeExecution", "states:GetExecutionHistory", "states:StopExecution"],
            [execution_arn],
        ),
    ]
    if table is not None:
        statements += _registry_statements(f"arn:{partition}:dynamodb:{region}:{account}:table/{table}")
    return {"Version": "2012-10-17", "Statement": statements}


def _registry_statements(table_arn: str) -> list[dict[str, Any]]:
    """Allow to read models and to roll back; IAM knows no rights on single items of a partition."""
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    in_transactions = {"ForAnyValue:StringEquals": {"dynamodb:EnclosingOperation": ["TransactWriteItems"]}}
    writes = ["dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    return [
        _allow("ReadModels", ["dynamodb:GetItem", "dynamodb:Scan"], [table_arn]),
        _allow("FindModels", ["dynamodb:Query"], [table_arn, f"{table_arn}/index/{INDEX}"]),
        {**_allow("RollBack", writes, [table_arn]), "Condition": in_transactions},
    ]


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
