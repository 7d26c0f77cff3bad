"""What a rehearsal asks where a stage has subnets for tasks: the rights to make what tasks need, and to run them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from crosstrain.command import OperationFailedError
from crosstrain.local.server import ACCOUNT, REGION, TASKS, LocalAws, LocalTrainingStack, root_of
from crosstrain.rehearsal.authorization import Authorizer, DeniedError
from crosstrain.rehearsal.cloudformation.change_sets import CloudFormation, Prepared
from crosstrain.rehearsal.cloudformation.optional_rights import OptionalRights
from crosstrain.rehearsal.cloudformation.resource_permissions import StackResources
from crosstrain.rehearsal.cloudformation.resource_types import HANDLERS
from crosstrain.rehearsal.cloudformation.training_stack import TrainingStack
from delivery_templates import of_type, read
from embedded_cloudformation import create_stack
from training_stacks import physical_id

TARGET_ACCOUNT = "000000000056"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{{}}/model-training@sha256:{'0' * 64}"
CONDITIONS = ("HasTasks", "HasCluster")
LARGE = {**TASKS, "LargestCluster": "2"}


def deploy_roles(aws: LocalAws, project: Path, name: str, may_run_tasks: str) -> dict[str, str]:
    """Deploy target-account.yaml, and return its parameters."""
    given = {
        "ProjectName": name,
        "Stage": "test",
        "ToolsAccountId": ACCOUNT,
        "ArtifactBucketName": "artifacts",
        "ArtifactKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/artifacts",
        "MayRunTasks": may_run_tasks,
    }
    client = aws.client("cloudformation", root_of(TARGET_ACCOUNT))
    create_stack(client, (project / "target-account.yaml").read_text(), f"{name}-test-roles", given)
    return given


def check(aws: LocalAws, project: Path, given: Mapping[str, str], parameters: Mapping[str, str]) -> int:
    """Ask for all that CloudFormation does to make, change and delete what tasks need; return how often."""
    name, template = given["ProjectName"], read(project, "template.yaml")
    # The boundary that the roles' template makes.
    boundary = f"{name}-{REGION}-test-boundary"
    values = {**parameters, "ModelTrainingImageUri": IMAGE.format(name), "PermissionsBoundaryName": boundary}
    resources = StackResources(template, values, f"{name}-test", TARGET_ACCOUNT, {})
    conditional = {each: one for each, one in template["Resources"].items() if one.get("Condition") in CONDITIONS}
    changes: list[Mapping[str, Any]] = [
        {"LogicalResourceId": each, "ResourceType": one["Type"], "Action": action}
        for action in HANDLERS
        for each, one in conditional.items()
        if resources.is_wanted(each)
    ]
    optional = OptionalRights(read(project, "target-account.yaml"), given)
    asking = CloudFormation(aws, Authorizer(aws), cast("Any", None), lambda: False, optional)
    role = f"arn:aws:iam::{TARGET_ACCOUNT}:role/{name}-{REGION}-test-cloudformation"
    asking._check_changes(Prepared(resources, changes, role, None), cast("Any", None))
    return asking.authorizer.simulations


def test_tasks_are_refused_by_the_name_of_the_parameter_that_lets_a_stage_have_them(
    local_aws: LocalAws, project: Path
) -> None:
    given = deploy_roles(local_aws, project, "untasked", "false")
    with pytest.raises(OperationFailedError) as refused:
        check(local_aws, project, given, LARGE)
    assert "untasked-us-east-1-test-cloudformation may not ecs:CreateCluster" in str(refused.value)
    assert str(refused.value).endswith("target-account.yaml does that where its parameter MayRunTasks is true.")


@pytest.mark.slow
def test_a_role_that_may_run_tasks_makes_changes_and_deletes_all_that_they_need(
    local_aws: LocalAws, project: Path
) -> None:
    given = deploy_roles(local_aws, project, "tasked", "true")
    asked = [check(local_aws, project, given, each) for each in ({}, TASKS, LARGE)]
    assert asked[0] == 0
    assert 50 < asked[1] < asked[2]
    iam = local_aws.client("iam", root_of(TARGET_ACCOUNT))
    iam.delete_role_policy(RoleName=f"tasked-{REGION}-test-cloudformation", PolicyName="roles")
    with pytest.raises(DeniedError, match="may not iam:CreateRole") as denied:
        check(local_aws, project, given, TASKS)
    # No parameter gives that.
    assert "parameter" not in str(denied.value)


@contextmanager
def without_statement(stack: LocalTrainingStack, logical_id: str, sid: str) -> Iterator[None]:
    """Take a statement out of the policy of a role of the stack, and put it back."""
    iam, role = stack.aws.client("iam"), physical_id(stack, logical_id)
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    before = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    after = {**before, "Statement": [each for each in before["Statement"] if each["Sid"] != sid]}
    assert after != before
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(after))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(before))


@pytest.fixture(scope="module")
def deployed(project: Path) -> TrainingStack:
    """Return what a rehearsal knows of the session's stack."""
    template = read(project, "template.yaml")
    images = {each["Properties"]["ImageUri"]["Ref"] for each in of_type(template, "AWS::Serverless::Function").values()}
    return TrainingStack(template, dict.fromkeys(images, IMAGE.format("crosstrain")), ACCOUNT)


@pytest.mark.slow
def test_a_deployed_stack_has_the_rights_to_run_tasks_and_workers(
    training_stack: LocalTrainingStack, deployed: TrainingStack
) -> None:
    deployed.check_state_machine(training_stack.aws, Authorizer(training_stack.aws), training_stack.name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "sid", "denied"),
    [
        ("TrainingStateMachineRole", "RunTasks", "ecs:RunTask"),
        ("TrainingStateMachineRole", "PassRolesToTasks", "iam:PassRole"),
        ("TrainingStateMachineRole", "StoreWhatATaskIsCalledWith", "s3:PutObject"),
        ("ModelTrainingRole", "StartTreeWorkers", "ecs:RunTask"),
        ("ModelTrainingRole", "PassRolesToTreeWorkers", "iam:PassRole"),
        ("TaskExecutionRole", "SignIn", "ecr:GetAuthorizationToken"),
    ],
)
def test_a_deployed_stack_whose_roles_lack_a_right_to_run_tasks_is_told_which(
    training_stack: LocalTrainingStack, deployed: TrainingStack, role: str, sid: str, denied: str
) -> None:
    aws = training_stack.aws
    with without_statement(training_stack, role, sid), pytest.raises(DeniedError, match=f"{role}.* may not {denied}"):
        deployed.check_state_machine(aws, Authorizer(aws), training_stack.name)
