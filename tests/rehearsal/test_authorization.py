"""What is asked about a role's policies, on the embedded AWS: condition keys, and policies that are attached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from crosstrain.local.server import LocalAws, root_of
from crosstrain.rehearsal.authorization import Authorizer, DeniedError

ACCOUNT = "000000000009"
NAME = "authorization"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/{NAME}"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
MADE = f"arn:aws:iam::{ACCOUNT}:role/made"


@pytest.fixture
def iam(local_aws: LocalAws) -> Iterator[Any]:
    """Make a role that may make roles with the boundary only, by a policy that is attached to it."""
    client = local_aws.client("iam", root_of(ACCOUNT))
    trust = {"Effect": "Allow", "Principal": {"Service": "cloudformation.amazonaws.com"}, "Action": "sts:AssumeRole"}
    condition = {"StringEquals": {"iam:PermissionsBoundary": BOUNDARY}}
    allow = {"Effect": "Allow", "Action": "iam:CreateRole", "Resource": MADE, "Condition": condition}
    client.create_role(RoleName=NAME, AssumeRolePolicyDocument=document(trust))
    arn = client.create_policy(PolicyName=NAME, PolicyDocument=document(allow))["Policy"]["Arn"]
    client.attach_role_policy(RoleName=NAME, PolicyArn=arn)
    yield client
    client.detach_role_policy(RoleName=NAME, PolicyArn=arn)
    client.delete_policy(PolicyArn=arn)
    client.delete_role(RoleName=NAME)


def document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.mark.usefixtures("iam")
def test_a_policy_that_is_attached_counts_where_a_condition_key_matters(local_aws: LocalAws) -> None:
    authorizer = Authorizer(local_aws)

    authorizer.check(ROLE, "iam:CreateRole", MADE, {"iam:PermissionsBoundary": BOUNDARY})

    with pytest.raises(DeniedError, match="authorization may not iam:CreateRole"):
        authorizer.check(ROLE, "iam:CreateRole", MADE, {"iam:PermissionsBoundary": f"{BOUNDARY}-of-others"})
