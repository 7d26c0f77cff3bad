"""Each role of the training stack reaches what its work needs, and nothing else.

The rows are real calls to the embedded AWS, made with the session that a function with that role is given. What the
embedded AWS does not enforce, the state machine's own rights, is asked of IAM's policy simulator.
"""

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ministack.core.iam_evaluator import parse_policy_document

from crosstrain.local.server import TASKS, Credentials, LocalAws, LocalTrainingStack
from policy_evaluation import is_allowed_with, policies_of
from template_policies import policies as deployed_policies
from training_stacks import SERVED, physical_id

ROLES = {
    "preparation": "DataPreparationRole",
    "training": "ModelTrainingRole",
    "evaluation": "ModelEvaluationRole",
    "scoring": "ScoringRole",
    "batch scoring": "BatchScoringFunctionRole",
    "tree worker": "TreeWorkerRole",
}
KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
CONTEXT = "kms:EncryptionContext:aws:s3:arn"
RUN, CALL = "runs/run-1", "20261128T153012-22f89fbf"
PIECE = f"pieces/run-1/{CALL}/scan-0-0000"
CERTIFICATE = f"large/run-1/{CALL}/credentials.json"
OBJECTS = (
    "data/houses.csv",
    f"{RUN}/prepared/{CALL}/train.parquet",
    f"{RUN}/prepared/{CALL}/test.parquet",
    f"{RUN}/prepared/{CALL}/profile.json",
    f"{RUN}/trials/000/{CALL}/trial.json",
    f"{RUN}/trials/000/{CALL}/out_of_fold.npy",
    f"{RUN}/model/{CALL}/model.skops",
    f"{RUN}/model/{CALL}/model.json",
    f"{RUN}/evaluation/{CALL}/evaluation.json",
    f"{RUN}/evaluation/{CALL}/report.html",
    "scoring/run-1/manifest.json",
    "large/run-1/TrainModel.json",
    "large/run-1/PlanSearch.json",
    "large/run-1/TrainTrial-7.json",
    "large/run-1/EvaluateModel.json",
    "large/run-1/FinishPreparation.json",
    CERTIFICATE,
    PIECE,
    "other/notes.txt",
)
TRAINING_EVENTS = {f"large/run-1/{each}.json" for each in ("TrainModel", "PlanSearch", "TrainTrial-7")}
# Read in the newest version alone: data sets are taken as they are, tasks' events and pieces are there once.
UNVERSIONED = {key for key in OBJECTS if key.startswith(("data/", "large/", "pieces/"))}
# For each kind of call, what a role's work needs; every other key of OBJECTS is denied to it.
READS = {
    "preparation": {"data/houses.csv", PIECE, "large/run-1/FinishPreparation.json"},
    "training": {
        f"{RUN}/prepared/{CALL}/train.parquet",
        f"{RUN}/prepared/{CALL}/profile.json",
        f"{RUN}/trials/000/{CALL}/out_of_fold.npy",
        *TRAINING_EVENTS,
    },
    "evaluation": {
        "large/run-1/EvaluateModel.json",
        f"{RUN}/prepared/{CALL}/test.parquet",
        f"{RUN}/prepared/{CALL}/profile.json",
        f"{RUN}/model/{CALL}/model.skops",
        f"{RUN}/model/{CALL}/model.json",
    },
    "scoring": {
        f"{RUN}/prepared/{CALL}/profile.json",
        f"{RUN}/model/{CALL}/model.skops",
        f"{RUN}/model/{CALL}/model.json",
    },
    "batch scoring": {
        "data/houses.csv",
        f"{RUN}/prepared/{CALL}/profile.json",
        f"{RUN}/model/{CALL}/model.skops",
        f"{RUN}/model/{CALL}/model.json",
        f"{RUN}/evaluation/{CALL}/evaluation.json",
        "scoring/run-1/manifest.json",
    },
    "tree worker": {f"{RUN}/prepared/{CALL}/train.parquet", CERTIFICATE},
    # Rows that are nobody's result, and gone after days, and what tasks are called with.
    "data scientist": {key for key in OBJECTS if not key.startswith(("other/", "large/")) and key != PIECE},
}
WRITES = {
    "preparation": {
        f"{RUN}/prepared/{CALL}/train.parquet",
        f"{RUN}/prepared/{CALL}/test.parquet",
        f"{RUN}/prepared/{CALL}/profile.json",
        PIECE,
    },
    "training": {
        f"{RUN}/trials/000/{CALL}/trial.json",
        f"{RUN}/trials/000/{CALL}/out_of_fold.npy",
        f"{RUN}/model/{CALL}/model.skops",
        f"{RUN}/model/{CALL}/model.json",
        CERTIFICATE,
    },
    "evaluation": {f"{RUN}/evaluation/{CALL}/evaluation.json", f"{RUN}/evaluation/{CALL}/report.html"},
    "scoring": set(),
    "batch scoring": {"scoring/run-1/manifest.json"},
    "tree worker": set(),
    "data scientist": {"data/houses.csv"},
}
LISTS = {
    "preparation": {"data/"},
    "training": set(),
    "evaluation": set(),
    "scoring": set(),
    "batch scoring": {"data/", "scoring/"},
    "tree worker": set(),
    "data scientist": {"data/", "runs/"},
}
WHO = tuple(READS)

# A function that hands out the session that it runs with.
BORROW = """\
import os

def handler(event, context):
    return {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
"""


def is_allowed(call: Callable[..., Any], **arguments: Any) -> bool:
    """Return whether a call is allowed; an error other than a denial is an error of the test."""
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"AccessDenied", "AccessDeniedException"}:
            raise
        return False
    return True


def borrow(aws: LocalAws, role_arn: str) -> Credentials:
    """Return the session that Lambda gives to a function with this role, for nobody else may assume it."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("bootstrap", f'#!/bin/sh\nexec "{sys.executable}" -m awslambdaric borrow.handler\n')
        archive.writestr("borrow.py", BORROW)
    functions = aws.client("lambda")
    name = functions.create_function(
        FunctionName=f"borrow-{role_arn.rpartition('/')[2]}"[:64],
        Runtime="provided.al2023",
        Handler="borrow.handler",
        Role=role_arn,
        Code={"ZipFile": code.getvalue()},
    )["FunctionName"]
    session = json.load(functions.invoke(FunctionName=name)["Payload"])
    functions.delete_function(FunctionName=name)
    return Credentials(session["AWS_ACCESS_KEY_ID"], session["AWS_SECRET_ACCESS_KEY"], session["AWS_SESSION_TOKEN"])


def role_arn(stack: LocalTrainingStack, logical_id: str) -> str:
    """Return the ARN of a role of the stack."""
    role = stack.aws.client("iam").get_role(RoleName=physical_id(stack, logical_id))["Role"]
    return str(role["Arn"])


@pytest.fixture(scope="module")
def sessions(training_stack: LocalTrainingStack) -> dict[str, Credentials]:
    """Return the credentials of each role and of the data scientist."""
    borrowed = {who: borrow(training_stack.aws, role_arn(training_stack, role)) for who, role in ROLES.items()}
    return {**borrowed, "data scientist": training_stack.data_scientist}


@pytest.fixture(scope="module")
def bucket(training_stack: LocalTrainingStack) -> str:
    """Return the stack's bucket, with an object under each key."""
    name = training_stack.outputs["ArtifactBucketName"]
    fill(training_stack.aws, name)
    return name


@pytest.fixture(scope="module")
def other_bucket(training_stack: LocalTrainingStack) -> str:
    """Return a bucket of somebody else in the same account, with the same keys."""
    training_stack.aws.client("s3").create_bucket(Bucket="somebody-elses")
    fill(training_stack.aws, "somebody-elses")
    return "somebody-elses"


@pytest.fixture(scope="module")
def other_stack(training_stack: LocalTrainingStack, other_bucket: str, project: Path) -> LocalTrainingStack:
    """Deploy a stack that reads somebody else's bucket and has no tasks: one for both, as it takes seconds."""
    parameters = {
        "RetentionPolicy": "Delete",
        "DatasetBucketName": other_bucket,
        "DatasetPrefix": "data/",
        "DatasetKeyArn": KEY,
        **dict.fromkeys(TASKS, ""),
    }
    return training_stack.aws.deploy_training_stack(project / "template.yaml", "crosstrain-other", parameters)


def fill(aws: LocalAws, bucket: str) -> None:
    """Put an object under each key."""
    for key in OBJECTS:
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"content")


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("key", OBJECTS)
def test_who_reads_what(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], bucket: str, who: str, key: str
) -> None:
    s3 = training_stack.aws.client("s3", sessions[who])
    (version,) = training_stack.aws.client("s3").list_object_versions(Bucket=bucket, Prefix=key)["Versions"][-1:]

    assert is_allowed(s3.get_object, Bucket=bucket, Key=key) == (key in READS[who])
    by_version = READS[who] - UNVERSIONED
    assert is_allowed(s3.get_object, Bucket=bucket, Key=key, VersionId=version["VersionId"]) == (key in by_version)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("key", OBJECTS)
def test_who_writes_what(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], bucket: str, who: str, key: str
) -> None:
    s3 = training_stack.aws.client("s3", sessions[who])

    assert is_allowed(s3.put_object, Bucket=bucket, Key=key, Body=b"new") == (key in WRITES[who])


@pytest.mark.parametrize(
    ("key", "context", "allowed"),
    [
        # An object that is put, or that the parts of an upload are made into.
        (f"{RUN}/model/{CALL}/model.skops", {"s3:ObjectCreationOperation": "true"}, False),
        (f"{RUN}/model/{CALL}/model.skops", {"s3:ObjectCreationOperation": "true", "s3:if-none-match": "*"}, True),
        # An upload's beginning and its parts, which have no condition.
        (f"{RUN}/model/{CALL}/model.skops", {"s3:ObjectCreationOperation": "false"}, True),
        (f"{RUN}/anything", {"s3:ObjectCreationOperation": "true"}, False),
        ("scoring/run-1/manifest.json", {"s3:ObjectCreationOperation": "true"}, False),
        ("scoring/run-1/manifest.json", {"s3:ObjectCreationOperation": "true", "s3:if-none-match": "*"}, True),
        (CERTIFICATE, {"s3:ObjectCreationOperation": "true"}, False),
        (CERTIFICATE, {"s3:ObjectCreationOperation": "true", "s3:if-none-match": "*"}, True),
        ("large/run-1/TrainModel.json", {"s3:ObjectCreationOperation": "true"}, True),
        ("data/houses.csv", {"s3:ObjectCreationOperation": "true"}, True),
    ],
)
def test_nobody_replaces_what_a_run_has_written(
    training_stack: LocalTrainingStack, bucket: str, key: str, context: dict[str, str], allowed: bool
) -> None:
    """S3 tells policies the header that makes a write conditional; the embedded AWS does not tell its own.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    document = json.loads(training_stack.aws.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])
    anything = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
    policy = parse_policy_document(json.dumps({**document, "Statement": [*document["Statement"], anything]}))
    context = {"aws:SecureTransport": "true", **context}

    assert is_allowed_with(context, [policy], "s3:PutObject", f"arn:aws:s3:::{bucket}/{key}") == allowed


@pytest.mark.parametrize("who", ["preparation", "training", "evaluation"])
def test_a_function_that_writes_on_condition_replaces_nothing(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], bucket: str, who: str
) -> None:
    s3 = training_stack.aws.client("s3", sessions[who])
    for key in WRITES[who]:
        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"new", IfNoneMatch="*")


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("prefix", ["data/", "runs/", "other/", ""])
def test_who_lists_what(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], bucket: str, who: str, prefix: str
) -> None:
    s3 = training_stack.aws.client("s3", sessions[who])

    assert is_allowed(s3.list_objects_v2, Bucket=bucket, Prefix=prefix) == (prefix in LISTS[who])


@pytest.mark.parametrize("who", WHO)
def test_nobody_deletes(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], bucket: str, who: str
) -> None:
    s3 = training_stack.aws.client("s3", sessions[who])

    assert not any(is_allowed(s3.delete_object, Bucket=bucket, Key=key) for key in OBJECTS)


@pytest.mark.parametrize("who", WHO)
def test_nobody_reaches_another_bucket(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], other_bucket: str, who: str
) -> None:
    s3 = training_stack.aws.client("s3", sessions[who])

    assert not is_allowed(s3.list_objects_v2, Bucket=other_bucket, Prefix="data/")
    for key in OBJECTS:
        assert not is_allowed(s3.get_object, Bucket=other_bucket, Key=key)
        assert not is_allowed(s3.put_object, Bucket=other_bucket, Key=key, Body=b"new")


@pytest.mark.parametrize("who", WHO)
def test_nobody_changes_the_bucket_or_calls_what_is_not_theirs(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], bucket: str, who: str
) -> None:
    def client(service: str) -> Any:
        return training_stack.aws.client(service, sessions[who])

    function = training_stack.outputs["ModelTrainingFunctionName"]
    role = physical_id(training_stack, "ModelTrainingRole")
    assert not is_allowed(client("s3").delete_bucket_policy, Bucket=bucket)
    assert not is_allowed(client("lambda").invoke, FunctionName=function, Payload=b"{}")
    assert not is_allowed(client("iam").list_role_policies, RoleName=role)


@pytest.mark.parametrize("who", WHO)
def test_only_the_data_scientist_starts_runs(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], who: str
) -> None:
    sfn = training_stack.aws.client("stepfunctions", sessions[who])
    arn = training_stack.outputs["StateMachineArn"]

    # The request is refused by data preparation; it is the start that counts here.
    assert is_allowed(sfn.start_execution, stateMachineArn=arn, input="{}") == (who == "data scientist")


@pytest.mark.parametrize("who", WHO)
def test_only_the_data_scientist_looks_at_the_stack(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], who: str
) -> None:
    cloudformation = training_stack.aws.client("cloudformation", sessions[who])

    assert is_allowed(cloudformation.describe_stacks, StackName=training_stack.name) == (who == "data scientist")
    assert not is_allowed(cloudformation.describe_stacks, StackName="somebody-elses")
    assert not is_allowed(cloudformation.delete_stack, StackName=training_stack.name)


@pytest.mark.slow
def test_preparation_reads_a_bucket_that_it_is_given(
    training_stack: LocalTrainingStack, other_stack: LocalTrainingStack, other_bucket: str
) -> None:
    aws, stack = training_stack.aws, other_stack
    s3 = aws.client("s3", borrow(aws, role_arn(stack, ROLES["preparation"])))

    assert {key for key in OBJECTS if is_allowed(s3.get_object, Bucket=other_bucket, Key=key)} == {"data/houses.csv"}
    assert not any(is_allowed(s3.put_object, Bucket=other_bucket, Key=key, Body=b"new") for key in OBJECTS)
    assert is_allowed(s3.list_objects_v2, Bucket=other_bucket, Prefix="data/")
    assert not is_allowed(s3.list_objects_v2, Bucket=other_bucket, Prefix="other/")
    # The key of the bucket decrypts what is in it, for the embedded AWS encrypts nothing.
    policies = policies_of(aws.client("iam"), role_arn(stack, ROLES["preparation"]).rpartition("/")[2])
    assert {
        (key, of)
        for key in (KEY, KEY.replace("123456789012", "999999999999"))
        for of in ("", "/data/houses.csv", "/other/notes.txt", "-of-another/data/houses.csv")
        if is_allowed_with({CONTEXT: f"arn:aws:s3:::{other_bucket}{of}"}, policies, "kms:Decrypt", key)
    } == {(KEY, ""), (KEY, "/data/houses.csv")}
    assert not is_allowed_with({}, policies, "kms:Decrypt", KEY)
    # The first stack's roles have no part in it.
    first = aws.client("s3", borrow(aws, role_arn(training_stack, ROLES["preparation"])))
    assert not is_allowed(first.get_object, Bucket=other_bucket, Key="data/houses.csv")


@pytest.mark.parametrize(
    ("action", "keys", "allowed"),
    [
        ("dynamodb:GetItem", [SERVED], True),
        ("dynamodb:GetItem", ["another"], False),
        ("dynamodb:GetItem", [SERVED, "another"], False),
        ("dynamodb:BatchGetItem", [SERVED], False),
        ("dynamodb:Query", [SERVED], False),
        ("dynamodb:Scan", [], False),
        ("dynamodb:PutItem", [SERVED], False),
        ("dynamodb:UpdateItem", [SERVED], False),
        ("dynamodb:DeleteItem", [SERVED], False),
    ],
)
def test_scoring_reads_the_entries_of_its_own_model(
    training_stack: LocalTrainingStack, action: str, keys: list[str], allowed: bool
) -> None:
    iam, role = training_stack.aws.client("iam"), physical_id(training_stack, "ScoringRole")
    table = training_stack.outputs["ModelRegistryTableName"]
    arn = training_stack.aws.client("dynamodb").describe_table(TableName=table)["Table"]["TableArn"]
    policies = policies_of(iam, role)
    assert is_allowed_with({"dynamodb:LeadingKeys": keys}, policies, action, arn) == allowed
    assert not is_allowed_with({"dynamodb:LeadingKeys": keys}, policies, action, f"{arn}-of-another")


@pytest.mark.parametrize(
    ("action", "resource", "decision"),
    [
        ("lambda:InvokeFunction", "DataPreparationFunction", "allowed"),
        ("lambda:InvokeFunction", "ModelTrainingFunction", "allowed"),
        ("lambda:InvokeFunction", "ModelEvaluationFunction", "allowed"),
        ("lambda:InvokeFunction", "ScoringFunction", "implicitDeny"),
        ("lambda:InvokeFunction", "another-function", "implicitDeny"),
        ("lambda:UpdateFunctionCode", "ModelTrainingFunction", "implicitDeny"),
        ("s3:GetObject", "arn:aws:s3:::somebody-elses/data/houses.csv", "implicitDeny"),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/any", "implicitDeny"),
        ("dynamodb:GetItem", "ModelRegistry", "allowed"),
        ("dynamodb:PutItem", "ModelRegistry", "allowed"),
        ("dynamodb:DeleteItem", "ModelRegistry", "implicitDeny"),
        ("dynamodb:UpdateItem", "ModelRegistry", "allowed"),
        ("dynamodb:DeleteTable", "ModelRegistry", "implicitDeny"),
        ("dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:123456789012:table/another", "implicitDeny"),
        ("events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/default", "allowed"),
        ("events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/other", "implicitDeny"),
        ("sns:Publish", "arn:aws:sns:us-east-1:123456789012:any", "implicitDeny"),
    ],
)
def test_the_state_machine_reaches_its_functions_and_its_registry_only(
    training_stack: LocalTrainingStack, action: str, resource: str, decision: str
) -> None:
    arn = resource
    if action.startswith("lambda:"):
        name = physical_id(training_stack, resource) if resource.endswith("Function") else resource
        arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
    if resource == "ModelRegistry":
        arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{physical_id(training_stack, resource)}"
    simulated = training_stack.aws.client("iam").simulate_principal_policy(
        PolicySourceArn=role_arn(training_stack, "TrainingStateMachineRole"), ActionNames=[action], ResourceArns=[arn]
    )

    assert [each["EvalDecision"] for each in simulated["EvaluationResults"]] == [decision]


ECS, EC2 = "arn:aws:ecs:us-east-1:123456789012", "arn:aws:ec2:us-east-1:123456789012"
OWN_CLUSTER = {"ecs:cluster": f"{ECS}:cluster/crosstrain-local-tasks"}
TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}


@pytest.mark.parametrize(
    ("action", "resource", "context", "allowed"),
    [
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-model-training:3", OWN_CLUSTER, True),
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-model-evaluation:1", OWN_CLUSTER, True),
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-data-preparation:1", OWN_CLUSTER, True),
        ("ecs:RunTask", f"{ECS}:task-definition/another:1", OWN_CLUSTER, False),
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-tree-worker:1", OWN_CLUSTER, False),
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-model-training:3", {}, False),
        (
            "ecs:RunTask",
            f"{ECS}:task-definition/crosstrain-local-model-training:3",
            {"ecs:cluster": f"{ECS}:cluster/another"},
            False,
        ),
        ("ecs:StopTask", f"{ECS}:task/crosstrain-local-tasks/1", OWN_CLUSTER, False),
        ("ecs:RegisterTaskDefinition", f"{ECS}:task-definition/crosstrain-local-model-training:3", OWN_CLUSTER, False),
        ("iam:PassRole", "ModelTrainingRole", TO_TASKS, True),
        ("iam:PassRole", "ModelEvaluationRole", TO_TASKS, True),
        ("iam:PassRole", "TaskExecutionRole", TO_TASKS, True),
        ("iam:PassRole", "ModelTrainingRole", {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ("iam:PassRole", "TrainingStateMachineRole", TO_TASKS, False),
        ("iam:PassRole", "DataPreparationRole", TO_TASKS, True),
        ("iam:PassRole", "BatchScoringFunctionRole", TO_TASKS, False),
        ("iam:PassRole", "TreeWorkerRole", TO_TASKS, False),
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-batch-scoring:1", OWN_CLUSTER, False),
        ("s3:PutObject", "large/run-1/TrainModel.json", {}, True),
        ("s3:PutObject", "runs/run-1/model/1/model.skops", {}, False),
        ("s3:GetObject", "large/run-1/TrainModel.json", {}, False),
    ],
)
def test_the_state_machine_runs_the_tasks_of_its_own_cluster_with_the_roles_of_its_functions(
    training_stack: LocalTrainingStack, action: str, resource: str, context: dict[str, str], allowed: bool
) -> None:
    if resource.endswith("Role"):
        resource = role_arn(training_stack, resource)
    elif action.startswith("s3:"):
        resource = f"arn:aws:s3:::{training_stack.outputs['ArtifactBucketName']}/{resource}"
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, "TrainingStateMachineRole"))
    assert is_allowed_with(context, policies, action, resource) == allowed


WORKER = f"{ECS}:task-definition/crosstrain-local-tree-worker:2"
TASK = f"{ECS}:task/crosstrain-local-tasks/1"


@pytest.mark.parametrize(
    ("role", "action", "resource", "context", "allowed"),
    [
        ("ModelTrainingRole", "ecs:RunTask", WORKER, OWN_CLUSTER, True),
        ("ModelTrainingRole", "ecs:RunTask", WORKER, {}, False),
        ("ModelTrainingRole", "ecs:RunTask", WORKER, {"ecs:cluster": f"{ECS}:cluster/another"}, False),
        ("ModelTrainingRole", "ecs:RunTask", WORKER.replace("-local-", "-other-"), OWN_CLUSTER, False),
        ("ModelTrainingRole", "ecs:RunTask", WORKER.replace("tree-worker", "model-training"), OWN_CLUSTER, False),
        ("ModelTrainingRole", "ecs:RunTask", WORKER.replace("tree-worker", "model-evaluation"), OWN_CLUSTER, False),
        ("ModelTrainingRole", "ecs:StartTask", WORKER, OWN_CLUSTER, False),
        # The image of a task is that of its definition: a call that runs one cannot say another.
        ("ModelTrainingRole", "ecs:RegisterTaskDefinition", WORKER, OWN_CLUSTER, False),
        ("ModelTrainingRole", "ecs:StopTask", TASK, OWN_CLUSTER, False),
        ("ModelTrainingRole", "ecs:ExecuteCommand", TASK, OWN_CLUSTER, False),
        # A call that runs a task may say another role for it: one of those that may be passed.
        ("ModelTrainingRole", "iam:PassRole", "TreeWorkerRole", TO_TASKS, True),
        ("ModelTrainingRole", "iam:PassRole", "TaskExecutionRole", TO_TASKS, True),
        ("ModelTrainingRole", "iam:PassRole", "TreeWorkerRole", {"iam:PassedToService": "lambda.amazonaws.com"}, False),
        ("ModelTrainingRole", "iam:PassRole", "ModelTrainingRole", TO_TASKS, False),
        ("ModelTrainingRole", "iam:PassRole", "ModelEvaluationRole", TO_TASKS, False),
        ("ModelTrainingRole", "iam:PassRole", "TrainingStateMachineRole", TO_TASKS, False),
        ("ModelTrainingRole", "ec2:AuthorizeSecurityGroupIngress", f"{EC2}:security-group/sg-1", {}, False),
        ("ModelEvaluationRole", "ecs:RunTask", WORKER, OWN_CLUSTER, False),
        ("ModelEvaluationRole", "iam:PassRole", "TreeWorkerRole", TO_TASKS, False),
        ("TreeWorkerRole", "ecs:RunTask", WORKER, OWN_CLUSTER, False),
        ("TreeWorkerRole", "ecs:StopTask", TASK, OWN_CLUSTER, False),
        ("TreeWorkerRole", "iam:PassRole", "TreeWorkerRole", TO_TASKS, False),
        *(
            (role, action, "ModelRegistry", {}, False)
            for role in ("ModelTrainingRole", "ModelEvaluationRole", "TreeWorkerRole", "TaskExecutionRole")
            for action in ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")
        ),
        # Whoever is waited for answers; workers answer the task that has started them.
        ("ModelTrainingRole", "states:SendTaskSuccess", "*", {}, True),
        ("ModelEvaluationRole", "states:SendTaskHeartbeat", "*", {}, True),
        ("TreeWorkerRole", "states:SendTaskSuccess", "*", {}, False),
        ("TreeWorkerRole", "states:SendTaskFailure", "*", {}, False),
        ("TreeWorkerRole", "events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/default", {}, False),
    ],
)
def test_training_runs_workers_in_its_own_cluster_with_their_role_and_no_task_does_more(
    training_stack: LocalTrainingStack, role: str, action: str, resource: str, context: dict[str, str], allowed: bool
) -> None:
    if resource.endswith("Role"):
        resource = role_arn(training_stack, resource)
    elif resource == "ModelRegistry":
        resource = f"arn:aws:dynamodb:us-east-1:123456789012:table/{physical_id(training_stack, resource)}"
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, role))
    assert is_allowed_with(context, policies, action, resource) == allowed


@pytest.mark.parametrize("who", WHO)
def test_nobody_starts_stops_or_changes_tasks_of_others(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], who: str
) -> None:
    ecs, cluster = training_stack.aws.client("ecs", sessions[who]), f"{training_stack.name}-tasks"
    image = [{"name": "job", "image": "another"}]
    assert not is_allowed(ecs.run_task, cluster=cluster, taskDefinition=f"{training_stack.name}-model-evaluation")
    assert not is_allowed(ecs.stop_task, cluster=cluster, task="any")
    assert not is_allowed(ecs.list_tasks, cluster=cluster)
    assert not is_allowed(
        ecs.register_task_definition, family=f"{training_stack.name}-tree-worker", containerDefinitions=image
    )


@pytest.mark.parametrize(
    ("action", "resource", "context", "allowed"),
    [
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-batch-scoring:2", OWN_CLUSTER, True),
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-batch-scoring:2", {}, False),
        ("ecs:RunTask", f"{ECS}:task-definition/crosstrain-local-model-training:2", OWN_CLUSTER, False),
        ("iam:PassRole", "BatchScoringFunctionRole", TO_TASKS, True),
        ("iam:PassRole", "TaskExecutionRole", TO_TASKS, True),
        ("iam:PassRole", "BatchScoringFunctionRole", {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ("iam:PassRole", "ModelTrainingRole", TO_TASKS, False),
        ("iam:PassRole", "BatchScoringRole", TO_TASKS, False),
    ],
)
def test_the_state_machine_of_scoring_runs_its_own_task_alone(
    training_stack: LocalTrainingStack, action: str, resource: str, context: dict[str, str], allowed: bool
) -> None:
    arn = role_arn(training_stack, resource) if resource.endswith("Role") else resource
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, "BatchScoringRole"))
    assert is_allowed_with(context, policies, action, arn) == allowed


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("ecr:GetAuthorizationToken", "*", True),
        (
            "logs:PutLogEvents",
            "arn:aws:logs:us-east-1:123456789012:log-group:/aws/ecs/crosstrain-local-tasks:job",
            True,
        ),
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:123456789012:log-group:/aws/ecs/another:job", False),
        ("ecr:PutImage", "arn:aws:ecr:us-east-1:123456789012:repository/crosstrain/model-training", False),
        ("s3:GetObject", "arn:aws:s3:::any/runs/run-1/model", False),
        ("states:SendTaskSuccess", "*", False),
    ],
)
def test_what_starts_a_task_pulls_and_logs_and_does_nothing_else(
    training_stack: LocalTrainingStack, action: str, resource: str, allowed: bool
) -> None:
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, "TaskExecutionRole"))
    assert is_allowed_with({}, policies, action, resource) == allowed


def test_what_starts_a_task_pulls_the_images_of_the_release_alone(project: Path) -> None:
    """By a release's images, for those of this machine's stacks are in no registry."""
    document = deployed_policies(project, ["template.yaml"])["template.yaml TaskExecutionRole start-tasks 0"]
    policies, images = [parse_policy_document(json.dumps(document))], "arn:aws:ecr:us-east-1:123456789012:repository"
    found = {
        arn: is_allowed_with({}, policies, "ecr:BatchGetImage", arn)
        for arn in (f"{images}/crosstrain/model-training", f"{images}/crosstrain/model-evaluation", f"{images}/payroll")
    }
    assert list(found.values()) == [True, True, False]
    assert not is_allowed_with({}, policies, "ecr:BatchGetImage", f"{images}/crosstrain/a".replace("12345", "99999"))


def test_a_stack_without_tasks_has_nothing_of_them(other_stack: LocalTrainingStack) -> None:
    aws, stack = other_stack.aws, other_stack
    found = aws.client("cloudformation").describe_stack_resources(StackName=stack.name)["StackResources"]
    assert not [each for each in found if each["ResourceType"].startswith(("AWS::ECS::", "AWS::EC2::"))]
    iam = aws.client("iam")
    for role in (
        "DataPreparationRole", "ModelTrainingRole", "ModelEvaluationRole", "TrainingStateMachineRole",
        "BatchScoringFunctionRole", "BatchScoringRole",
    ):  # fmt: skip
        policies = policies_of(iam, physical_id(stack, role))
        assert not any(is_allowed_with({}, policies, f"states:SendTask{end}", "*") for end in ("Success", "Failure"))
        assert not is_allowed_with(
            OWN_CLUSTER, policies, "ecs:RunTask", f"{ECS}:task-definition/{stack.name}-batch-scoring:1"
        )
        trust = iam.get_role(RoleName=physical_id(stack, role))["Role"]["AssumeRolePolicyDocument"]
        assert "ecs-tasks" not in json.dumps(trust)
    function = aws.client("lambda").get_function(FunctionName=stack.outputs["ModelTrainingFunctionName"])
    assert function["Configuration"]["Environment"]["Variables"]["LARGEST_TASK_MEMORY"] == "0"


TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/"
STATES = "arn:aws:states:us-east-1:123456789012"
IN_TRANSACTION = {"dynamodb:EnclosingOperation": "TransactWriteItems"}
POINTER = [
    "model_name", "entry", "champion_version", "promoted_at", "moves",
    "metric", "value", "model_uri", "target", "split",
    "challenger_version", "challenger_entry", "challenger_since", "challenger_share", "shadow",
]  # fmt: skip
ROLLBACK = [
    "model_name", "entry", "from_version", "to_version", "move", "recorded_at", "execution", "reason",
    "ended_challenger",
]  # fmt: skip
CANARY = [
    "model_name", "entry", "action", "champion_version", "challenger_version", "challenger_share", "shadow", "move",
    "recorded_at", "execution", "reason",
]  # fmt: skip
RECORDS = {"RollbackRole": ROLLBACK, "CanaryRole": CANARY}
VERSION = ["model_name", "entry", "version", "decision"]


@pytest.mark.parametrize(
    ("action", "context", "attributes", "allowed"),
    [
        ("dynamodb:GetItem", {}, [], True),
        ("dynamodb:UpdateItem", IN_TRANSACTION, POINTER, True),
        ("dynamodb:UpdateItem", {}, POINTER, False),
        ("dynamodb:UpdateItem", IN_TRANSACTION, [*POINTER, "decision"], False),
        ("dynamodb:UpdateItem", IN_TRANSACTION, [*POINTER, "by"], False),
        ("dynamodb:ConditionCheckItem", IN_TRANSACTION, ["model_name", "entry", "decision"], True),
        ("dynamodb:ConditionCheckItem", IN_TRANSACTION, ["model_name", "entry", "reason"], False),
        ("dynamodb:PutItem", IN_TRANSACTION, VERSION, False),
        ("dynamodb:PutItem", IN_TRANSACTION, POINTER, False),
        *(
            (f"dynamodb:{name}", IN_TRANSACTION, [], False)
            for name in ("DeleteItem", "Query", "Scan", "BatchWriteItem")
        ),
        ("dynamodb:PartiQLUpdate", IN_TRANSACTION, [], False),
    ],
)
@pytest.mark.parametrize("logical_id", RECORDS)
def test_a_rollback_and_a_canary_move_pointers_and_no_more(
    training_stack: LocalTrainingStack,
    logical_id: str,
    action: str,
    context: dict[str, str],
    attributes: list[str],
    allowed: bool,
) -> None:
    role, table = (physical_id(training_stack, name) for name in (logical_id, "ModelRegistry"))
    policies = policies_of(training_stack.aws.client("iam"), role)
    asked: Any = {**context, **({"dynamodb:Attributes": attributes} if attributes else {})}

    assert is_allowed_with(asked, policies, action, TABLE + table) == allowed
    assert not is_allowed_with(asked, policies, action, f"{TABLE}another")


@pytest.mark.parametrize(("logical_id", "recorded"), RECORDS.items())
def test_a_rollback_and_a_canary_record_what_they_are_and_nothing_else(
    training_stack: LocalTrainingStack, logical_id: str, recorded: list[str]
) -> None:
    role, table = (physical_id(training_stack, name) for name in (logical_id, "ModelRegistry"))
    policies = policies_of(training_stack.aws.client("iam"), role)
    others = [each for name, each in RECORDS.items() if name != logical_id]
    for context, attributes, allowed in (
        (IN_TRANSACTION, recorded, True),
        ({}, recorded, False),
        (IN_TRANSACTION, [*recorded, "by"], False),
        *((IN_TRANSACTION, each, False) for each in others),
    ):
        asked: Any = {**context, "dynamodb:Attributes": attributes}
        assert is_allowed_with(asked, policies, "dynamodb:PutItem", TABLE + table) == allowed


@pytest.mark.parametrize(
    ("role", "resource", "allowed"),
    [
        ("ChallengerErrorsRole", "canary", True),
        ("ChallengerErrorsRole", "rollback", False),
        ("ChallengerErrorsRole", "training", False),
    ],
)
def test_an_alarm_starts_what_ends_canaries_alone(
    training_stack: LocalTrainingStack, role: str, resource: str, allowed: bool
) -> None:
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, role))
    arn = f"arn:aws:states:us-east-1:123456789012:stateMachine:{training_stack.name}-{resource}"
    assert is_allowed_with({}, policies, "states:StartExecution", arn) == allowed


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/default", True),
        ("events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/other", False),
        ("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:123456789012:function:any", False),
        (
            "states:StartExecution",
            "arn:aws:states:us-east-1:123456789012:stateMachine:crosstrain-local-training",
            False,
        ),
        ("s3:GetObject", "arn:aws:s3:::crosstrain-local/runs/1/model/model.skops", False),
        ("sns:Publish", "arn:aws:sns:us-east-1:123456789012:any", False),
    ],
)
@pytest.mark.parametrize("logical_id", RECORDS)
def test_a_rollback_and_a_canary_reach_the_registry_and_the_bus_only(
    training_stack: LocalTrainingStack, logical_id: str, action: str, resource: str, allowed: bool
) -> None:
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, logical_id))

    assert is_allowed_with({}, policies, action, resource) == allowed


CLAIM = ["model_name", "entry", "execution", "claimed_at", "claims", "counted_month", "noted", "retrainings"]


@pytest.mark.parametrize(
    ("action", "resource", "attributes", "allowed"),
    [
        ("dynamodb:GetItem", f"{TABLE}{{table}}", [], True),
        ("dynamodb:UpdateItem", f"{TABLE}{{table}}", CLAIM, True),
        ("dynamodb:UpdateItem", f"{TABLE}{{table}}", [*CLAIM, "champion_version"], False),
        ("dynamodb:UpdateItem", f"{TABLE}{{table}}", ["model_name", "entry", "decision"], False),
        ("dynamodb:UpdateItem", f"{TABLE}another", CLAIM, False),
        ("dynamodb:PutItem", f"{TABLE}{{table}}", CLAIM, False),
        ("states:StartExecution", f"{STATES}:stateMachine:{{stack}}-training", [], True),
        ("states:StartExecution", f"{STATES}:stateMachine:{{stack}}-rollback", [], False),
        ("states:DescribeExecution", f"{STATES}:execution:{{stack}}-training:any", [], True),
        ("states:DescribeExecution", f"{STATES}:execution:{{stack}}-rollback:any", [], False),
        ("states:StopExecution", f"{STATES}:execution:{{stack}}-training:any", [], False),
        ("states:SendTaskSuccess", "*", [], False),
        ("s3:GetObject", "arn:aws:s3:::crosstrain-local/data/a.csv", [], False),
    ],
)
def test_a_retraining_claims_and_starts_runs_and_no_more(
    training_stack: LocalTrainingStack, action: str, resource: str, attributes: list[str], allowed: bool
) -> None:
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, "RetrainingRole"))
    named = resource.format(table=physical_id(training_stack, "ModelRegistry"), stack=training_stack.name)
    asked: Any = {"dynamodb:Attributes": attributes} if attributes else {}

    assert is_allowed_with(asked, policies, action, named) == allowed


@pytest.mark.parametrize(
    ("role", "action", "resource", "allowed"),
    [
        ("ApprovalRole", "dynamodb:GetItem", f"{TABLE}{{table}}", True),
        ("ApprovalRole", "dynamodb:UpdateItem", f"{TABLE}{{table}}", False),
        ("ApprovalRole", "states:SendTaskSuccess", "*", True),
        ("ApprovalRole", "states:StartExecution", f"{STATES}:stateMachine:{{stack}}-training", False),
        ("RetrainingRuleRole", "states:StartExecution", f"{STATES}:stateMachine:{{stack}}-retraining", True),
        ("RetrainingRuleRole", "states:StartExecution", f"{STATES}:stateMachine:{{stack}}-training", False),
        ("RetrainingRuleRole", "states:StartExecution", f"{STATES}:stateMachine:{{stack}}-approval", False),
    ],
)
def test_answers_and_event_rules_reach_one_state_machine(
    training_stack: LocalTrainingStack, role: str, action: str, resource: str, allowed: bool
) -> None:
    policies = policies_of(training_stack.aws.client("iam"), physical_id(training_stack, role))
    named = resource.format(table=physical_id(training_stack, "ModelRegistry"), stack=training_stack.name)

    assert is_allowed_with({}, policies, action, named) == allowed


@pytest.mark.parametrize("machine", ["Rollback", "Canary", "Retraining", "Approval"])
@pytest.mark.parametrize("who", WHO)
def test_only_the_data_scientist_starts_what_moves_retrains_and_answers(
    training_stack: LocalTrainingStack, sessions: dict[str, Credentials], who: str, machine: str
) -> None:
    sfn = training_stack.aws.client("stepfunctions", sessions[who])
    arn = training_stack.outputs[f"{machine}StateMachineArn"]

    # The input is refused; it is the start that counts here.
    assert is_allowed(sfn.start_execution, stateMachineArn=arn, input="{}") == (who == "data scientist")


@pytest.mark.parametrize(
    "role",
    [
        *ROLES.values(),
        "TaskExecutionRole",
        "TrainingStateMachineRole",
        "RollbackRole",
        "CanaryRole",
        "ChallengerErrorsRole",
        "ApprovalRole",
        "RetrainingRole",
        "RetrainingRuleRole",
        "SystemTestRole",
        "NotificationRole",
    ],
)
def test_a_role_is_for_its_service_alone(training_stack: LocalTrainingStack, role: str) -> None:
    sts = training_stack.client("sts")

    assert not is_allowed(sts.assume_role, RoleArn=role_arn(training_stack, role), RoleSessionName="borrowed")
