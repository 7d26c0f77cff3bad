"""What starts the pipeline on a push: an event rule, whose role may start it."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    events = aws.client("events", root_of(account))
    push = json.dumps(_push(account, repository, branch))
    rules = [rule for page in events.get_paginator("list_rules").paginate() for rule in page["Rules"]]
    for rule in rules:
        pattern = rule.get("EventPattern")
        if pattern is None or rule["State"] == "DISABLED":
            continue
        if not events.test_event_pattern(EventPattern=pattern, Event=push)["Result"]:
            continue
        for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
            if target["Arn"] == arn and "RoleArn" not in target:
                raise OperationFailedError(f"The rule {rule['Name']} has no role (RoleArn) to start {pipeline} with.")
            if target["Arn"] == arn:
                authorizer.check_trust(service_calls.EVENTBRIDGE, target["RoleArn"], rule["Arn"])
                authorizer.check(target["RoleArn"], service_calls.START_PIPELINE, arn)
                return str(rule["Name"])
    raise OperationFailedError(
        f"No event rule starts the pipeline {pipeline} on a push to {branch} of {repository}, and it does not poll."
    )


def _push(account: str, repository: str, branch: str) -> dict[str, Any]:
    """Return the event of a push to a branch that is there already.

    https://docs.aws.amazon.com/codecommit/latest/userguide/monitoring-events.html
    """
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "CodeCommit Repository State Change",
        "source": "aws.codecommit",
        "account": account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:codecommit:{REGION}:{account}:{repository}"],
        "detail": {
            "event": "referenceUpdated",
            "repositoryName": repository,
            "repositoryId": str(uuid4()),
            "referenceType": "branch",
            "referenceName": branch,
            "referenceFullName": f"refs/heads/{branch}",
            "oldCommitId": "0" * 40,
            "commitId": "1" * 40,
        },
    }
