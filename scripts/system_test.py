"""Train a model on a small data set with a deployed stack, and fail unless the run succeeds with a good metric.

The data set and the request are those of data/system-test.json; the metric must reach the request's `threshold`.
It prints what came out as JSON and exits with 0 if the stack has passed, 1 if it has not, 2 for input that cannot be
used. The model is registered under the request's own model name: the models of others are not touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3

from execution import ExecutionResult, outcome, start
from stack import BadInputError, DeployedStack, OperationFailedError, run_command

if TYPE_CHECKING:
    from rich.console import Console

PREFIX = "data/system-test"
_LARGER_IS_BETTER = frozenset({"r2", "accuracy", "f1_macro", "roc_auc"})
_DEFAULT = Path(__file__).parents[1] / "data" / "system-test.json"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True, help="the stack to test")
    parser.add_argument("--role", help="the ARN of the role to borrow for it; your own rights if left out")
    parser.add_argument("--test", type=Path, default=_DEFAULT, help="default: data/system-test.json")
    options = parser.parse_args(arguments)

    def work(errors: Console) -> None:
        test = SystemTest.read(options.test)
        session = borrow(boto3.Session(), options.role) if options.role else boto3.Session()
        result = run(find(session, options.stack), test, errors)
        print(json.dumps(result, indent=2))

    return run_command(work)


def borrow(session: boto3.Session, role_arn: str) -> boto3.Session:
    """Return a session with the rights of a role."""
    credentials = session.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="system-test")["Credentials"]
    return boto3.Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name=session.region_name,
    )


def find(session: boto3.Session, name: str) -> DeployedStack:
    """Return the stack of a name."""
    stack = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    return DeployedStack(name, {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}, session)


def run(stack: DeployedStack, test: SystemTest, errors: Console) -> dict[str, Any]:
    """Bring the data set, train, and return what came out.

    Raises
    ------
    OperationFailedError
        If the run fails or its metric does not reach the threshold.
    """
    bucket, key = stack.output("ArtifactBucketName"), f"{PREFIX}/{test.dataset.name}"
    stack.session.client("s3").upload_file(str(test.dataset), bucket, key)
    sfn = stack.session.client("stepfunctions")
    run_id = f"system-test-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
    request = {**test.request, "dataset_uri": f"s3://{bucket}/{key}"}
    execution = start(sfn, stack.output("StateMachineArn"), request, run_id)
    errors.print(f"Run {run_id} of the stack {stack.name} has begun.")
    return judge(run_id, outcome(sfn, execution), float(test.request["threshold"]))


def judge(run_id: str, result: ExecutionResult, threshold: float) -> dict[str, Any]:
    """Return what came out of a run that has passed.

    The decision does not count: a second run of the same data is no better than the champion of the first.

    Raises
    ------
    OperationFailedError
        If the run has failed or its metric does not reach the threshold.
    """
    if result.status != "SUCCEEDED" or result.output is None:
        raise OperationFailedError(
            f"The run {run_id} ended as {result.status} in {result.failed_state or 'the state machine'}: "
            f"{result.error or 'no error is named'}: {result.cause or 'no cause is given'}"
        )
    evaluation = result.output["evaluation"]
    metric, value = evaluation["metric"], evaluation["value"]
    reached = value is not None and (value >= threshold if metric in _LARGER_IS_BETTER else value <= threshold)
    if not reached:
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


if __name__ == "__main__":
    sys.exit(main())
