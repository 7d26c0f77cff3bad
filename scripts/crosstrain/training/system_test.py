"""The system test of a stage: a training run on a small data set, whose metric has to reach the request's threshold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.execution import ExecutionResult, new_run_id, outcome, start
from crosstrain.training.stack import DeployedStack

if TYPE_CHECKING:
    from rich.console import Console

PREFIX = "data/system-test"


@dataclass(frozen=True)
class SystemTest:
    """A data set and the request to train on it; the request names a metric and its threshold."""

    dataset: Path
    request: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> SystemTest:
        """Read a system test from its file, beside which the data set is.

        Raises
        ------
        BadInputError
            If the file is missing or not as it must be.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            dataset, request = path.parent / document["dataset"], dict(document["request"])
            _ = request["metric"], float(request["threshold"]), request["target"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f'The system test "{path}" cannot be read ({error!r}): it has to hold a dataset, and a request with '
                "target, metric and threshold."
            ) from error
        if not dataset.is_file():
            raise BadInputError(f'The data set "{dataset}" of the system test is missing.')
        return cls(dataset, request)


def borrow(session: boto3.Session, role_arn: str) -> boto3.Session:
    """Return a session with the rights of a role."""
    credentials = session.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="system-test")["Credentials"]
    return boto3.Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name=session.region_name,
    )


def run(stack: DeployedStack, test: SystemTest, errors: Console) -> dict[str, Any]:
    """Upload the data set, train, and return what came out.

    The run is started by the stack's own state machine for system tests, which gives it the model's name.

    Raises
    ------
    OperationFailedError
        If the run cannot be started, fails, or its metric does not reach the threshold.
    """
    bucket, key = stack.output("ArtifactBucketName"), f"{PREFIX}/{test.dataset.name}"
    stack.session.client("s3").upload_file(str(test.dataset), bucket, key)
    sfn = stack.session.client("stepfunctions")
    request = {**test.request, "dataset_uri": f"s3://{bucket}/{key}"}
    starter = outcome(sfn, start(sfn, stack.output("SystemTestStateMachineArn"), request, new_run_id()))
    if starter.output is None:
        raise OperationFailedError(
            f"No run was started: {starter.error or starter.status}: {starter.cause or 'no cause is given'}"
        )
    execution = starter.output["execution_arn"]
    run_id = execution.rpartition(":")[2]
    errors.print(f"Run {run_id} of the stack {stack.name} has begun.")
    return judge(run_id, outcome(sfn, execution), float(test.request["threshold"]))


def judge(run_id: str, result: ExecutionResult, threshold: float) -> dict[str, Any]:
    """Return what came out of a run that has passed.

    Whether the threshold is met the run says itself, for the functions know their metrics. The decision does not count:
    a second run of the same data is no better than the champion of the first.

    Raises
    ------
    OperationFailedError
        If the run has failed, does not say whether its threshold is met, or does not meet it.
    """
    if result.status != "SUCCEEDED" or result.output is None:
        raise OperationFailedError(
            f"The run {run_id} ended as {result.status} in {result.failed_state or 'the state machine'}: "
            f"{result.error or 'no error is named'}: {result.cause or 'no cause is given'}"
        )
    evaluation = result.output["evaluation"]
    metric, value = evaluation["metric"], evaluation["value"]
    if not isinstance(evaluation.get("threshold_met"), bool):
        raise OperationFailedError(
            f"The run {run_id} succeeded, but its evaluation does not say whether the threshold is met: let model "
            'evaluation return "threshold_met", true or false.'
        )
    if not evaluation["threshold_met"]:
        raise OperationFailedError(
            f"The run {run_id} succeeded, but its {metric} is {value}, and {threshold:g} is asked for."
        )
    return {
        "run_id": run_id,
        "seconds": round(result.seconds, 3),
        "metric": metric,
        "value": value,
        "threshold": threshold,
        "decision": evaluation["decision"],
    }
