"""What a data scientist may do with a deployed training stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crosstrain.training.execution import execution_arn
from crosstrain.training.registry import INDEX


def data_scientist_policy(
    stack_arn: str,
    state_machine_arn: str,
    bucket: str,
    table: str | None = None,
    asked: Sequence[str] = (),
    scoring: str | None = None,
) -> dict[str, Any]:
    """Return the IAM policy of somebody who trains models, looks at them, scores with them and rolls back.

    Nobody writes to the model registry but state machines. Without the name of its table there are no rights on one,
    and without the name of the function that serves the champion none to ask it. `asked` are the ARNs of the state
    machines that people start besides training: those that roll back, move challengers, retrain, and answer what waits.
    """
    _, partition, _, region, account, *_ = state_machine_arn.split(":")
    bucket_arn = f"arn:{partition}:s3:::{bucket}"
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
            [_executions_of(state_machine_arn)],
        ),
    ]
    if table is not None:
        table_arn = f"arn:{partition}:dynamodb:{region}:{account}:table/{table}"
        statements += [
            _allow("ReadModels", ["dynamodb:GetItem", "dynamodb:Scan"], [table_arn]),
            _allow("FindModels", ["dynamodb:Query"], [table_arn, f"{table_arn}/index/{INDEX}"]),
        ]
    if asked:
        statements += [
            _allow("Ask", ["states:StartExecution"], [*asked]),
            _allow(
                "FollowAnswers",
                ["states:DescribeExecution", "states:GetExecutionHistory"],
                [*map(_executions_of, asked)],
            ),
        ]
    if scoring is not None:
        function = f"arn:{partition}:lambda:{region}:{account}:function:{scoring}"
        by_url = {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
        statements += [
            _allow("AskForPredictions", ["lambda:InvokeFunctionUrl"], [function]),
            # Both are needed: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
            {**_allow("AskByUrl", ["lambda:InvokeFunction"], [function]), "Condition": by_url},
        ]
    return {"Version": "2012-10-17", "Statement": statements}


def feedback_statements(state_machine_arn: str, bucket: str, function: str) -> list[dict[str, Any]]:
    """Return the rights of somebody who brings labels, too: the function writes, and they read what it finds out."""
    _, partition, _, region, account, *_ = state_machine_arn.split(":")
    found = [f"arn:{partition}:s3:::{bucket}/{folder}/*" for folder in ("feedback", "watch")]
    return [
        _allow(
            "BringLabels", ["lambda:InvokeFunction"], [f"arn:{partition}:lambda:{region}:{account}:function:{function}"]
        ),
        _allow("ReadWhatWasFoundOut", ["s3:GetObject"], found),
    ]


def batch_scoring_statements(state_machine_arn: str, bucket: str) -> list[dict[str, Any]]:
    """Return the statements of somebody who scores data sets, in a policy that lets them bring data."""
    bucket_arn = f"arn:{state_machine_arn.split(':')[1]}:s3:::{bucket}"
    followed = ["states:DescribeExecution", "states:GetExecutionHistory", "states:StopExecution"]
    return [
        _allow("ScoreBatches", ["states:StartExecution"], [state_machine_arn]),
        _allow("FollowBatches", followed, [_executions_of(state_machine_arn)]),
        _allow("ReadScores", ["s3:GetObject", "s3:GetObjectVersion"], [f"{bucket_arn}/scoring/*"]),
    ]


def _executions_of(state_machine_arn: str) -> str:
    return execution_arn(state_machine_arn, "*")


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
