"""A push has to start the pipeline: by a rule that is on and met by that push, with roles that let each other in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from crosstrain.command import OperationFailedError
from crosstrain.rehearsal.codepipeline.triggers import check_trigger
from deliveries import Delivery, Team

RULE = "crosstrain-pipeline-model-trigger"
SOURCE = {"RepositoryName": "crosstrain-model", "BranchName": "main"}


@pytest.fixture
def check(set_up: Delivery) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that changes the rule of the model's repository, and asks what starts the pipeline then."""
    events = set_up.client("events", "tools")
    deployed = events.describe_rule(Name=RULE)

    def change_and_check(change: Mapping[str, Any]) -> str:
        put(events, {**deployed, **change})
        try:
            environment = set_up.environment
            return check_trigger(
                environment.aws, environment.authorizer, environment.accounts.tools, "crosstrain", SOURCE
            )
        finally:
            put(events, deployed)

    return change_and_check


def put(events: Any, rule: Mapping[str, Any]) -> None:
    events.put_rule(**{name: rule[name] for name in ("Name", "EventPattern", "State", "Description") if name in rule})


def pattern(**detail: Any) -> dict[str, str]:
    """Return the pattern of a rule with its detail changed, or with another detail type."""
    kind = detail.pop("kind", "CodeCommit Repository State Change")
    there = {"event": ["referenceCreated", "referenceUpdated"], "referenceType": ["branch"], "referenceName": ["main"]}
    document = {
        "source": ["aws.codecommit"],
        "detail-type": [kind],
        "resources": ["arn:aws:codecommit:us-east-1:000000000001:crosstrain-model"],
        "detail": {**there, **detail},
    }
    return {"EventPattern": json.dumps(document)}


@pytest.mark.parametrize(
    "change",
    [{}, pattern(), pattern(referenceName=[{"prefix": "ma"}]), pattern(event=[{"anything-but": "referenceDeleted"}])],
)
def test_a_rule_that_a_push_meets_starts_the_pipeline(
    check: Callable[[Mapping[str, Any]], str], change: Mapping[str, Any]
) -> None:
    assert check(change) == RULE


@pytest.mark.parametrize(
    "change",
    [
        {"State": "DISABLED"},
        pattern(kind="CodeCommit Repository Change"),
        pattern(event=["referenceDeleted"]),
        pattern(referenceType=["tag"]),
        pattern(referenceName=["release"]),
    ],
)
def test_a_rule_that_is_off_or_that_a_push_does_not_meet_starts_nothing(
    check: Callable[[Mapping[str, Any]], str], change: Mapping[str, Any]
) -> None:
    with pytest.raises(OperationFailedError, match="No event rule starts the pipeline crosstrain on a push to main"):
        check(change)


def test_a_target_without_a_role_is_told(set_up: Delivery, check: Callable[[Mapping[str, Any]], str]) -> None:
    events = set_up.client("events", "tools")
    (target,) = events.list_targets_by_rule(Rule=RULE)["Targets"]
    events.put_targets(Rule=RULE, Targets=[{"Id": target["Id"], "Arn": target["Arn"]}])
    try:
        with pytest.raises(OperationFailedError, match=f"The rule {RULE} has no role"):
            check({})
    finally:
        events.put_targets(Rule=RULE, Targets=[target])


def test_a_pipeline_role_that_trusts_this_pipeline_alone_is_assumed(set_up: Delivery, team: Team) -> None:
    cause = cause_of_sources(set_up, team, "arn:aws:codepipeline:us-east-1:000000000001:crosstrain")
    assert cause is None


def test_a_pipeline_role_that_trusts_another_pipeline_is_not_assumed(set_up: Delivery, team: Team) -> None:
    cause = cause_of_sources(set_up, team, "arn:aws:codepipeline:us-east-1:000000000001:other")
    assert "add to the trust policy of crosstrain-us-east-1-pipeline" in str(cause)


def cause_of_sources(delivery: Delivery, team: Team, source_arn: str) -> str | None:
    """Run a pipeline of its sources alone, whose role trusts one pipeline, and return why it failed."""
    iam = delivery.client("iam", "tools")
    role = iam.get_role(RoleName="crosstrain-us-east-1-pipeline")["Role"]
    trust = role["AssumeRolePolicyDocument"]
    condition = {"StringEquals": {"aws:SourceAccount": "000000000001"}, "ArnEquals": {"aws:SourceArn": source_arn}}
    narrow = {**trust, "Statement": [{**trust["Statement"][0], "Condition": condition}]}
    iam.update_assume_role_policy(RoleName="crosstrain-us-east-1-pipeline", PolicyDocument=json.dumps(narrow))
    try:
        with delivery.ends_after("Source"):
            record = delivery.release(team)
    finally:
        iam.update_assume_role_policy(RoleName="crosstrain-us-east-1-pipeline", PolicyDocument=json.dumps(trust))
    return record.failed and record.failed.cause
