"""What a deployed role may do, by the evaluator of the embedded AWS, whose simulator ignores context entries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ministack.core.iam_evaluator import evaluate, parse_policy_document

from crosstrain.local.server import ACCOUNT
from crosstrain.rehearsal.authorization import evaluation_request


def policies_of(iam: Any, role: str) -> list[Any]:
    """Return the policies that a deployed role has, as the evaluator of the embedded AWS takes them."""
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [parse_policy_document(json.dumps(document)) for document in documents]


def is_allowed_with(
    context: Mapping[str, str | list[str]], policies: list[Any], action: str, arn: str, *, account: str = ACCOUNT
) -> bool:
    """Return whether the policies allow an action on a resource, with the entries of the request's context.

    A resource whose ARN names no account is in the caller's, `account`, for `aws:ResourceAccount`.
    """
    request = evaluation_request(f"arn:aws:iam::{account}:role/asked", action, arn, dict(context))
    return bool(evaluate(request, policies).decision == "Allow")
