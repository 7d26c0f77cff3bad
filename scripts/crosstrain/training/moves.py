"""Moves of a champion and its challenger, made by the stack's state machines: nobody else may write to the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.execution import ExecutionResult, execution_arn, new_run_id, outcome
from crosstrain.training.registry import Item, moves_of

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

# What the state machines themselves end with where they have changed nothing (rollback.asl.json, canary.asl.json).
_REFUSALS = frozenset({"RollbackRefusedError", "RollbackFailedError", "CanaryRefusedError", "CanaryFailedError"})


class ChampionMovedError(OperationFailedError):
    """Somebody else has moved the champion or its challenger meanwhile; nothing was changed."""


def move_champion(sfn: SFNClient, state_machine_arn: str, pointer: Item, version: str, *, reason: str) -> Item:
    """Make `version` the champion in place of the one that was read, and wait until that is done.

    Parameters
    ----------
    sfn
        A Step Functions client.
    state_machine_arn : str
        The rollback state machine of the stack.
    pointer
        The champion as it was read.
    version : str
        A version of the same model.
    reason : str
        Why.

    Returns
    -------
    mapping
        The rollback as it was recorded.

    Raises
    ------
    BadInputError
        If the state machine does not take the request, a reason that is too long say.
    ChampionMovedError
        If the champion is no longer the one that was read.
    OperationFailedError
        If the version cannot be the champion, or it is not known whether it is.
    """
    expected = {"champion_version": pointer["champion_version"], "moves": moves_of(pointer)}
    request = {"model_name": pointer["model_name"], "version": version, "reason": reason, "expected": expected}
    return _move(sfn, state_machine_arn, request)


def move_challenger(
    sfn: SFNClient, state_machine_arn: str, pointer: Item, action: str, version: str, **fields: Any
) -> Item:
    """Let a version challenge the champion, change that, promote or end it, and wait until that is done.

    Parameters
    ----------
    sfn
        A Step Functions client.
    state_machine_arn : str
        The canary state machine of the stack.
    pointer
        The champion and its challenger as they were read.
    action : str
        `begin`, `change`, `promote` or `end`.
    version : str
        The challenger.
    **fields
        `reason` and, to begin or change, `share` or `shadow`.

    Returns
    -------
    mapping
        The move as it was recorded.

    Raises
    ------
    BadInputError
        If the state machine does not take the request.
    ChampionMovedError
        If the pointer is no longer the one that was read.
    OperationFailedError
        If the version cannot be the challenger, or it is not known whether it is.
    """
    expected = {
        "champion_version": pointer["champion_version"],
        "moves": moves_of(pointer),
        "challenger": pointer.get("challenger_entry", ""),
    }
    name = pointer["model_name"]
    request = {"action": action, "model_name": name, "version": version, "expected": expected, **fields}
    return _move(sfn, state_machine_arn, request)


def _move(sfn: SFNClient, state_machine_arn: str, request: Mapping[str, Any]) -> Item:
    name, run = request["model_name"], new_run_id()
    arn = execution_arn(state_machine_arn, run)
    try:
        _start(sfn, state_machine_arn, run, json.dumps(request))
        result = _follow(sfn, arn)
    except (BotoCoreError, _NotFollowedError, KeyboardInterrupt) as error:
        raise _unknown(name, arn, str(error).rstrip(".") or "interrupted") from error
    if result.output is not None:
        return result.output
    cause = result.cause or "no cause is given"
    if result.error == "ChampionMovedError":
        raise ChampionMovedError(cause)
    if result.error == "InvalidRequestError":
        raise BadInputError(cause)
    if result.error in _REFUSALS:
        raise OperationFailedError(cause)
    raise _unknown(name, arn, f"{result.error or result.status}: {cause}".rstrip("."))


class _NotFollowedError(Exception):
    """An execution that has begun cannot be looked at."""


def _start(sfn: SFNClient, state_machine_arn: str, run: str, request: str) -> None:
    try:
        sfn.start_execution(stateMachineArn=state_machine_arn, name=run, input=request)
    except ClientError as error:
        # Nobody else has this name: it is a first attempt of this call whose answer was lost.
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise


def _follow(sfn: SFNClient, arn: str) -> ExecutionResult:
    try:
        return outcome(sfn, arn)
    except ClientError as error:
        raise _NotFollowedError(str(error)) from error


def _unknown(name: str, arn: str, why: str) -> OperationFailedError:
    return OperationFailedError(
        f'Whether the champion of "{name}" has moved is not known ({why}): look with '
        f"`models.py champion --model-name {name}`, and at the execution {arn}."
    )
