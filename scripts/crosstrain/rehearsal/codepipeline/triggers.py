"""What event rules do: start the pipeline on a push, and tell people of an action that has failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from crosstrain.command import OperationFailedError
from crosstrain.local.server import REGION, LocalAws, root_of
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.authorization import Authorizer


def check_trigger(aws: LocalAws, authorizer: Authorizer, account: str, pipeline: str, source: Mapping[str, str]) -> str:
    """Ask whether a push to a repository starts the pipeline, and return the name of the rule that does it.

    Parameters
    ----------
    aws, authorizer
        Where the rules are, and who may what.
    account, pipeline : str
        The tools account, and the pipeline's name.
    source : mapping
        The configuration of the source action.

    Raises
    ------
    OperationFailedError
        If no rule does.
    DeniedError
        If the rule's role may not.
    """
    repository, branch = source["RepositoryName"], source["BranchName"]
    arn = f"arn:aws:codepipeline:{REGION}:{account}:{pipeline}"
    for rule, target in _targets(aws, account, _push(account, repository, branch)):
        if target["Arn"] == arn and "RoleArn" not in target:
            raise OperationFailedError(f"The rule {rule['Name']} has no role (RoleArn) to start {pipeline} with.")
        if target["Arn"] == arn:
            _check_role(authorizer, rule, target, service_calls.START_PIPELINE)
            return str(rule["Name"])
    raise OperationFailedError(
        f"No event rule starts the pipeline {pipeline} on a push to {branch} of {repository}, and it does not poll."
    )


def check_notifications(
    aws: LocalAws, authorizer: Authorizer, account: str, pipeline: str, *, stage: str, action: str
) -> None:
    """Ask whether the rules that the failure of an action matches may publish it, where they do that with a role.

    Raises
    ------
    DeniedError
        If a rule's role may not.
    """
    for rule, target in _targets(aws, account, _failure(account, pipeline, stage, action)):
        if target["Arn"].startswith("arn:aws:sns:") and "RoleArn" in target:
            _check_role(authorizer, rule, target, service_calls.PUBLISH)


def _targets(aws: LocalAws, account: str, event: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each rule that an event matches, with each of its targets."""
    events = aws.client("events", root_of(account))
    for rule in [rule for page in events.get_paginator("list_rules").paginate() for rule in page["Rules"]]:
        pattern = rule.get("EventPattern")
        if pattern is None or rule["State"] == "DISABLED":
            continue
        if events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"]:
            for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                yield rule, target


def _check_role(authorizer: Authorizer, rule: Any, target: Any, action: str) -> None:
    authorizer.check_trust(service_calls.EVENTBRIDGE, target["RoleArn"], rule["Arn"])
    authorizer.check(target["RoleArn"], action, target["Arn"])


def _push(account: str, repository: str, branch: str) -> dict[str, Any]:
    """Return the event of a push to a branch that is there already.

    https://docs.aws.amazon.com/codecommit/latest/userguide/monitoring-events.html
    """
    return _event(
        account,
        "aws.codecommit",
        "CodeCommit Repository State Change",
        f"arn:aws:codecommit:{REGION}:{account}:{repository}",
        {
            "event": "referenceUpdated",
            "repositoryName": repository,
            "repositoryId": str(uuid4()),
            "referenceType": "branch",
            "referenceName": branch,
            "referenceFullName": f"refs/heads/{branch}",
            "oldCommitId": "0" * 40,
            "commitId": "1" * 40,
        },
    )


def _failure(account: str, pipeline: str, stage: str, action: str) -> dict[str, Any]:
    """Return the event of an action that has failed.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
    """
    return _event(
        account,
        "aws.codepipeline",
        "CodePipeline Action Execution State Change",
        f"arn:aws:codepipeline:{REGION}:{account}:{pipeline}",
        {"pipeline": pipeline, "execution-id": str(uuid4()), "stage": stage, "action": action, "state": "FAILED"},
    )


def _event(account: str, source: str, kind: str, resource: str, detail: Mapping[str, str]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": kind,
        "source": source,
        "account": account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [resource],
        "detail": detail,
    }
