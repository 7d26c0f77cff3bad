"""What people ask of the stack's state machines about a model: to train it again, to promote it or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.execution import execution_arn, new_run_id, outcome

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

    from crosstrain.training.models import Models

# What the state machines end with where they have changed nothing, for what was asked cannot be.
_REFUSALS = frozenset({"NotAskedError", "NotWaitingError"})


def retrain(models: Models, model_name: str, data: str | None = None, reason: str = "") -> dict[str, Any]:
    """Have a model trained again by the request of its champion's run, and return which run was started.

    Parameters
    ----------
    models
        The models of a stack.
    model_name : str
        The model.
    data : str, optional
        The S3 URI of a file or a folder; by default that of the request.
    reason : str
        Why, for whoever looks later.

    Returns
    -------
    dict
        `run_id`, `execution`, and `retrained_from`, the champion.

    Raises
    ------
    BadInputError
        If the state machine does not take the request, or the stack is older than it.
    OperationFailedError
        If nothing was started, with the reason.
    """
    request = {"model_name": model_name, "trigger": "hand", "reason": reason}
    if data is not None:
        request["dataset_uri"] = data
    answer = _ask(_client(models), models.stack.output("RetrainingStateMachineArn"), request)
    if not answer["started"]:
        raise OperationFailedError(f'"{model_name}" is not trained again. {answer["reason"]}')
    return answer


def approve(models: Models, model_name: str, version: str, reason: str = "") -> dict[str, Any]:
    """Approve the promotion of a version that waits for it, and return the answer as it was given.

    The run promotes it if the champion is still the one that it was compared with, and evaluates it again if not.

    Raises
    ------
    BadInputError
        If the state machine does not take the request, or the stack is older than it.
    OperationFailedError
        If the version does not wait, or waits no longer.
    """
    return _answer(models, model_name, version, reason, approved=True)


def refuse(models: Models, model_name: str, version: str, reason: str = "") -> dict[str, Any]:
    """Refuse the promotion of a version that waits for approval, as `approve` approves it."""
    return _answer(models, model_name, version, reason, approved=False)


def _answer(models: Models, model_name: str, version: str, reason: str, *, approved: bool) -> dict[str, Any]:
    request = {"model_name": model_name, "version": version, "approved": approved, "reason": reason}
    return _ask(_client(models), models.stack.output("ApprovalStateMachineArn"), request)


def _client(models: Models) -> SFNClient:
    client: SFNClient = models.stack.session.client("stepfunctions")
    return client


def _ask(sfn: SFNClient, state_machine_arn: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a state machine answers."""
    run = new_run_id()
    sfn.start_execution(stateMachineArn=state_machine_arn, name=run, input=json.dumps(request))
    result = outcome(sfn, execution_arn(state_machine_arn, run))
    if result.output is not None:
        return dict(result.output)
    cause = result.cause or "no cause is given"
    if result.error == "InvalidRequestError":
        raise BadInputError(cause)
    if result.error in _REFUSALS:
        raise OperationFailedError(cause)
    raise OperationFailedError(
        f"{result.error or result.status}: {cause} (execution {execution_arn(state_machine_arn, run)})"
    )
