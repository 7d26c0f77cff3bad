"""What starts the pipeline on a push: an event rule, whose role may start it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local_aws import REGION, LocalAws, root_of
from rehearsal.authorization import Authorizer
from stack import OperationFailedError


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
    for rule in events.list_rules()["Rules"]:
        if not _matches(json.loads(rule.get("EventPattern", "{}")), account, repository, branch):
            continue
        for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
            if target["Arn"] == arn:
                authorizer.check_trust("events.amazonaws.com", target["RoleArn"], rule["Arn"])
                authorizer.check(target["RoleArn"], "codepipeline:StartPipelineExecution", arn)
                return str(rule["Name"])
    raise OperationFailedError(
        f"No event rule starts the pipeline {pipeline} on a push to {branch} of {repository}, and it does not poll."
    )


def _matches(pattern: Mapping[str, Any], account: str, repository: str, branch: str) -> bool:
    arn = f"arn:aws:codecommit:{REGION}:{account}:{repository}"
    branches = pattern.get("detail", {}).get("referenceName", [branch])
    return "aws.codecommit" in pattern.get("source", []) and arn in pattern.get("resources", []) and branch in branches
