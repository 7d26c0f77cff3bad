"""Each role of the delivery without one permission that it needs: it fails at the action that needs it, with a hint.

The stage that needs it is run again with what it went by when it succeeded, so that nothing before it costs time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from deliveries import Delivery, FirstRelease, Team, cause, failed

# Role, permission, and the action that fails without it.
TOOLS = (
    ("crosstrain-us-east-1-pipeline", "s3:PutObject", "Source/Infrastructure"),
    ("crosstrain-us-east-1-pipeline", "codecommit:UploadArchive", "Source/Infrastructure"),
    ("crosstrain-us-east-1-pipeline", "iam:PassRole", "UpdatePipeline/CreateChangeSet"),
    ("crosstrain-us-east-1-pipeline", "codebuild:StartBuild", "Verify/Verify"),
    ("crosstrain-us-east-1-pipeline", "sts:AssumeRole", "Test/CreateChangeSet"),
    ("crosstrain-us-east-1-pipeline", "kms:GenerateDataKey", "Source/Infrastructure"),
    ("crosstrain-us-east-1-pipeline-trigger", "codepipeline:StartPipelineExecution", "Source/Infrastructure"),
    ("crosstrain-us-east-1-pipeline-verify", "s3:GetObject", "Verify/Verify"),
    ("crosstrain-us-east-1-pipeline-verify", "codebuild:BatchPutTestCases", "Verify/Verify"),
    ("crosstrain-us-east-1-pipeline-images", "s3:PutObject", "Build/Images"),
    ("crosstrain-us-east-1-pipeline-release", "dynamodb:PutItem", "Build/Release"),
    ("crosstrain-us-east-1-pipeline-release", "codepipeline:ListPipelineExecutions", "Build/Release"),
    ("crosstrain-us-east-1-pipeline-test-system-test", "sts:AssumeRole", "Test/SystemTest"),
    ("crosstrain-us-east-1-pipeline-prod-system-test", "sts:AssumeRole", "Production/SmokeRun"),
)
STAGES = (
    ("action", "iam:PassRole", "CreateChangeSet"),
    ("action", "cloudformation:DescribeChangeSet", "CreateChangeSet"),
    ("action", "kms:Decrypt", "CreateChangeSet"),
    ("cloudformation", "s3:GetObject", "CreateChangeSet"),
    ("system-test", "states:StartExecution", "SystemTest"),
)
CASES = [
    *(("tools", *case) for case in TOOLS),
    *(
        ("test", f"crosstrain-us-east-1-test-{role}", permission, f"Test/{action}")
        for role, permission, action in STAGES
    ),
    *(
        (
            "prod",
            f"crosstrain-us-east-1-prod-{role}",
            permission,
            f"Production/{action.replace('SystemTest', 'SmokeRun')}",
        )
        for role, permission, action in STAGES
    ),
]
# What CloudFormation's role needs to change the pipeline, which a test of its own changes.
UPDATE_ROLE, TO_CHANGE_THE_PIPELINE = (
    "crosstrain-us-east-1-pipeline-update",
    ("codepipeline:UpdatePipeline", "iam:PassRole"),
)
# What tells people of a failure, which a test of its own keeps from it.
NOTIFICATION_ROLE = "crosstrain-us-east-1-pipeline-notification"
# What CloudFormation's role needs to make the training stack, and the emulator would make without it.
TO_MAKE_A_STACK = (
    "dynamodb:CreateTable",
    "ecr:BatchGetImage",
    "iam:PassRole",
    "lambda:CreateFunction",
    "logs:CreateLogGroup",
    "s3:CreateBucket",
    "states:CreateStateMachine",
)


def test_every_role_of_the_templates_has_a_case(project: Path) -> None:
    names = set()
    for template, stages in (
        ("tools-account.yaml", ()),
        ("pipeline.yaml", ("",)),
        ("target-account.yaml", ("test", "prod")),
    ):
        resources = yaml_parse((project / template).read_text())["Resources"].values()
        declared = [each["Properties"]["RoleName"]["Fn::Sub"] for each in resources if each["Type"] == "AWS::IAM::Role"]
        for stage in stages:
            names |= {
                each.replace("${ProjectName}-${AWS::Region}", "crosstrain-us-east-1").replace("${Stage}", stage)
                for each in declared
            }

    assert {role for _, role, _, _ in CASES} | {UPDATE_ROLE, NOTIFICATION_ROLE} == names


@pytest.mark.parametrize(("account", "role", "permission", "action"), CASES)
def test_a_role_without_a_permission_fails_where_it_needs_it_with_a_hint(
    delivery: Delivery, team: Team, account: str, role: str, permission: str, action: str
) -> None:
    with without(delivery, account, role, permission):
        record = delivery.repeat(team, action.partition("/")[0])

    assert failed(record) == action
    assert f"{role} may not {permission}" in cause(record)
    assert '"Effect": "Allow"' in cause(record)
    assert f'"Action": "{permission}"' in cause(record)


def test_a_failure_that_nobody_is_told_of_says_so(delivery: Delivery, team: Team) -> None:
    with (
        without(delivery, "tools", NOTIFICATION_ROLE, "sns:Publish"),
        without(delivery, "tools", "crosstrain-us-east-1-pipeline-verify", "s3:GetObject"),
    ):
        record = delivery.repeat(team, "Verify")

    assert failed(record) == "Verify/Verify"
    assert "crosstrain-us-east-1-pipeline-verify may not s3:GetObject" in cause(record)
    assert f"nobody is told: {NOTIFICATION_ROLE} may not sns:Publish" in cause(record)


@pytest.mark.parametrize("permission", TO_CHANGE_THE_PIPELINE)
def test_a_pipeline_that_changes_needs_the_update_role(
    delivery: Delivery, team: Team, tmp_path: Path, permission: str
) -> None:
    fork = team.fork(tmp_path)
    fork.commit(fork.infrastructure, {"pipeline.yaml": lambda text: text.replace("have passed", "have both passed")})
    with without(delivery, "tools", UPDATE_ROLE, permission):
        record = delivery.release(fork)

    assert failed(record) == "UpdatePipeline/ExecuteChangeSet"
    assert f"{UPDATE_ROLE} may not {permission}" in str(record.failed and record.failed.cause)


def test_an_import_that_nothing_exports_changes_nothing(delivery: Delivery, team: Team, tmp_path: Path) -> None:
    fork = team.fork(tmp_path)
    other = "${ProjectName}-LedgerTableName", "${ProjectName}-NewTableName"
    fork.commit(fork.infrastructure, {"pipeline.yaml": lambda text: text.replace(*other)})

    record = delivery.release(fork)

    assert failed(record).startswith("UpdatePipeline/")
    assert "crosstrain-NewTableName" in str(record.failed and record.failed.cause)
    (stack,) = delivery.client("cloudformation", "tools").describe_stacks(StackName="crosstrain-pipeline")["Stacks"]
    assert stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


@pytest.mark.parametrize(
    ("policy", "statement", "hint"),
    [
        ("key", "TestStage", "the policy of the artifact key"),
        ("bucket", "TestStage", "the policy of the artifact bucket"),
    ],
)
def test_a_policy_across_accounts_that_forgets_a_stage_fails_there(
    delivery: Delivery, team: Team, policy: str, statement: str, hint: str
) -> None:
    with without_statement(delivery, policy, statement):
        record = delivery.repeat(team, "Test")

    assert failed(record) == "Test/CreateChangeSet"
    assert hint in cause(record)


def test_a_role_that_does_not_trust_the_pipeline_fails_where_it_is_borrowed(delivery: Delivery, team: Team) -> None:
    iam = delivery.client("iam", "prod")
    trust = iam.get_role(RoleName="crosstrain-us-east-1-prod-action")["Role"]["AssumeRolePolicyDocument"]
    other = json.dumps(trust).replace("role/crosstrain-us-east-1-pipeline", "role/crosstrain-us-east-1-pipeline-images")
    iam.update_assume_role_policy(RoleName="crosstrain-us-east-1-prod-action", PolicyDocument=other)
    try:
        record = delivery.repeat(team, "Production")
    finally:
        iam.update_assume_role_policy(RoleName="crosstrain-us-east-1-prod-action", PolicyDocument=json.dumps(trust))

    assert failed(record) == "Production/CreateChangeSet"
    assert "the trust policy of crosstrain-us-east-1-prod-action" in cause(record)


def test_a_repository_whose_rule_starts_nothing_fails_at_its_source(delivery: Delivery, team: Team) -> None:
    events, rule = delivery.client("events", "tools"), "crosstrain-pipeline-model-trigger"
    targets = events.list_targets_by_rule(Rule=rule)["Targets"]
    events.remove_targets(Rule=rule, Ids=[each["Id"] for each in targets])
    try:
        record = delivery.repeat(team, "Source")
    finally:
        events.put_targets(Rule=rule, Targets=targets)

    assert failed(record) == "Source/Model"
    assert "No event rule starts the pipeline crosstrain on a push to main of crosstrain-model" in cause(record)


@pytest.mark.parametrize(
    ("granted", "permission"),
    [
        ({"Fn::GetAtt": ["ModelTrainingFunction", "Arn"]}, "lambda:InvokeFunction"),
        ("logs:CreateLogDelivery", "logs:CreateLogDelivery"),
    ],
)
def test_a_state_machine_without_a_right_fails_when_it_is_deployed(
    delivery: Delivery, team: Team, granted: Any, permission: str
) -> None:
    def take_away(template: Any) -> None:
        (policy,) = template["Resources"]["TrainingStateMachineRole"]["Properties"]["Policies"]
        statements = policy["PolicyDocument"]["Statement"]
        # What holds under a condition alone is an Fn::If here.
        lists = (each.get(key) for each in statements for key in ("Action", "Resource"))
        holders = [each for each in lists if isinstance(each, list)]
        (holder,) = (each for each in holders if granted in each)
        holder.remove(granted)

    artifacts = delivery.changed_artifact("Test", "Release", {"packaged.yaml": take_away})
    record = delivery.repeat(team, "Test", artifacts=artifacts)
    delivery.redeploy(team, "Test")

    assert failed(record) == "Test/ExecuteChangeSet"
    assert "TrainingStateMachineRole" in cause(record)
    assert f"may not {permission}" in cause(record)


def test_a_parameter_that_the_template_does_not_have_fails_as_on_aws(delivery: Delivery, team: Team) -> None:
    with overrides_of_test(delivery, {"NotThere": "1"}):
        record = delivery.repeat(team, "Test")

    assert failed(record) == "Test/CreateChangeSet"
    assert "Parameters: [NotThere] do not exist in the template of crosstrain-test" in cause(record)


@contextmanager
def overrides_of_test(delivery: Delivery, overrides: dict[str, str]) -> Iterator[None]:
    """Let the pipeline as it is deployed override parameters of the test stage's stack."""

    def override(document: Any) -> None:
        (stage,) = (each for each in document["Stages"] if each["Name"] == "Test")
        (action,) = (each for each in stage["Actions"] if each["Name"] == "CreateChangeSet")
        action["Configuration"]["ParameterOverrides"] = json.dumps(overrides)

    with delivery.declared(override):
        yield


@pytest.fixture(scope="module")
def stack_of_others(first: FirstRelease, team: Team) -> Iterator[None]:
    """Make the test stage's stack again for the other modules."""
    yield
    first.delivery.redeploy(team, "Test")


@pytest.fixture
def delivery_without_test_stack(delivery: Delivery, stack_of_others: None) -> Delivery:  # noqa: ARG001
    """Delete the test stage's stack, so that the next change set makes all of it."""
    cloudformation = delivery.client("cloudformation", "test")
    cloudformation.delete_stack(StackName="crosstrain-test")
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName="crosstrain-test", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return delivery


@pytest.mark.parametrize("permission", TO_MAKE_A_STACK)
def test_cloudformation_without_a_permission_makes_no_stack(
    delivery_without_test_stack: Delivery, team: Team, permission: str
) -> None:
    delivery, role = delivery_without_test_stack, "crosstrain-us-east-1-test-cloudformation"
    with without(delivery, "test", role, permission):
        record = delivery.repeat(team, "Test")

    assert failed(record) == "Test/ExecuteChangeSet"
    assert f"{role} may not {permission}" in cause(record)
    assert delivery.stack("test")["status"] == "REVIEW_IN_PROGRESS"


def test_lambda_itself_has_to_be_let_to_the_images(delivery_without_test_stack: Delivery, team: Team) -> None:
    delivery = delivery_without_test_stack
    ecr, name = delivery.client("ecr", "tools"), "crosstrain/model-training"
    before = json.loads(ecr.get_repository_policy(repositoryName=name)["policyText"])
    after = {**before, "Statement": [each for each in before["Statement"] if each["Sid"] != "TestFunctions"]}
    assert after != before
    ecr.set_repository_policy(repositoryName=name, policyText=json.dumps(after))
    try:
        record = delivery.repeat(team, "Test")
    finally:
        ecr.set_repository_policy(repositoryName=name, policyText=json.dumps(before))

    assert failed(record) == "Test/ExecuteChangeSet"
    assert "lambda.amazonaws.com may not ecr:BatchGetImage" in cause(record)
    assert f"the policy of the repository {name}" in cause(record)


@contextmanager
def without(delivery: Delivery, account: str, role: str, permission: str) -> Iterator[None]:
    """Take a permission out of all of a role's policies, and put it back."""
    iam = delivery.client("iam", account)
    before = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    after = {name: reduced(document, permission) for name, document in before.items()}
    assert after != before
    try:
        put(iam, role, after)
        yield
    finally:
        put(iam, role, before)


def put(iam: Any, role: str, policies: dict[str, Any]) -> None:
    for name, document in policies.items():
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def reduced(document: dict[str, Any], permission: str) -> dict[str, Any]:
    statements = []
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        # A statement has to allow something: what nobody calls takes the place of a permission that stood alone.
        left = [each for each in actions if each != permission] or ["sts:GetServiceBearerToken"]
        statements.append({**statement, "Action": left})
    return {**document, "Statement": statements}


@contextmanager
def without_statement(delivery: Delivery, policy: str, sid: str) -> Iterator[None]:
    """Take a statement out of the policy of the artifact key or bucket, and put it back."""
    outputs = delivery.environment.outputs
    kms, s3 = delivery.client("kms", "tools"), delivery.client("s3", "tools")
    key = {"KeyId": outputs["ArtifactKeyArn"], "PolicyName": "default"}
    bucket = {"Bucket": outputs["ArtifactBucketName"]}
    before = json.loads((kms.get_key_policy(**key) if policy == "key" else s3.get_bucket_policy(**bucket))["Policy"])
    after = {**before, "Statement": [each for each in before["Statement"] if each["Sid"] != sid]}
    assert len(after["Statement"]) == len(before["Statement"]) - 1

    def put_policy(document: dict[str, Any]) -> None:
        text = json.dumps(document)
        kms.put_key_policy(**key, Policy=text) if policy == "key" else s3.put_bucket_policy(**bucket, Policy=text)

    try:
        put_policy(after)
        yield
    finally:
        put_policy(before)
