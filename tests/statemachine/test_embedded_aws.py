"""The embedded AWS itself: it leaves nothing behind, minds only its own business, and says why it failed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse

from crosstrain.files import SCRIPTS
from crosstrain.local.server import LocalAws, LocalAwsError, LocalTrainingStack
from crosstrain.training import execution

# Starts the embedded AWS with a function worker that is busy for an hour, says so, and waits.
HOLDER = """
import io, time, zipfile
from crosstrain.local.server import LocalAws
with LocalAws() as aws:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("bootstrap", f"#!/bin/sh\\necho $$ > {aws.directory}/worker\\nexec sleep 3600\\n")
    trust = '{"Version": "2012-10-17", "Statement": []}'
    role = aws.client("iam").create_role(RoleName="busy", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    aws.client("lambda").create_function(
        FunctionName="busy", Runtime="provided.al2023", Handler="none", Role=role,
        Code={"ZipFile": code.getvalue()}, Timeout=900,
    )
    aws.client("lambda").invoke(FunctionName="busy", InvocationType="Event")
    while not (aws.directory / "worker").exists():
        time.sleep(0.05)
    print(aws.directory, aws._server.pid, (aws.directory / "worker").read_text(), flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set what a user may have set for the AWS of everyday work, none of it of any use here."""
    settings = tmp_path / "config"
    settings.write_text("[profile work]\nregion = eu-north-1\nendpoint_url = http://127.0.0.1:9\n")
    for name, value in {
        "AWS_PROFILE": "work",
        "AWS_CONFIG_FILE": str(settings),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "missing"),
        "AWS_SESSION_TOKEN": "of work",
        "AWS_CA_BUNDLE": str(tmp_path / "missing.pem"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "SERVICES": "sqs",
        "EDGE_PORT": "4566",
        "AUTH": "false",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        process.kill()


def is_running(pid: int) -> bool:
    """Return whether a process is there and not just a zombie that nobody has asked after."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_its_process_ends_nothing_is_left(holder: subprocess.Popen[str], number: signal.Signals) -> None:
    assert holder.stdout is not None
    directory, server, worker = holder.stdout.readline().split()
    assert is_running(int(server))
    assert is_running(int(worker))

    holder.send_signal(number)
    holder.wait(10)

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (is_running(int(server)) or is_running(int(worker))):
        time.sleep(0.05)
    assert not is_running(int(server))
    assert not is_running(int(worker))
    assert not Path(directory).exists()


@pytest.mark.slow
def test_several_at_once_do_not_meet() -> None:
    def start_and_look(number: int) -> tuple[str, list[str]]:
        with LocalAws() as aws:
            aws.client("s3").create_bucket(Bucket=f"bucket-{number}")
            return aws.endpoint_url, [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(start_and_look, range(4)))

    assert len({endpoint for endpoint, _ in found}) == 4
    assert [buckets for _, buckets in found] == [[f"bucket-{number}", "sam-artifacts"] for number in range(4)]


@pytest.mark.slow
@pytest.mark.usefixtures("hostile")
def test_the_users_own_settings_do_not_reach_it(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: { Data: { Type: AWS::S3::Bucket } }\nOutputs: { Data: { Value: !Ref Data } }\n")
    with LocalAws() as aws:
        assert aws.deploy(template, "hostile")["Data"].startswith("hostile-")
        nothing = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}
        user = aws.create_user("user", {"Version": "2012-10-17", "Statement": [nothing]})
        with pytest.raises(ClientError, match="AccessDenied"):
            aws.client("s3", user).list_buckets()


@pytest.mark.slow
def test_a_deployment_that_fails_says_why(local_aws: LocalAws, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        "Resources:\n"
        "  Policy:\n"
        "    Type: AWS::IAM::Policy\n"
        "    Properties: { PolicyName: p, PolicyDocument: {}, Roles: [no-such-role] }\n"
    )

    with pytest.raises(LocalAwsError, match=r"^The stack broken .*: Policy: The role with name no-such-role cannot be"):
        local_aws.deploy(template, "broken")


def test_a_deployment_that_is_refused_says_why(local_aws: LocalAws, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: { Pipeline: { Type: AWS::CodePipeline::Pipeline } }\n")

    with pytest.raises(
        LocalAwsError, match=r"^The stack refused could .* AWS: Failed to create changeset.*Unrecognized"
    ):
        local_aws.deploy(template, "refused")


@pytest.mark.slow
def test_a_deployment_takes_any_value_of_a_parameter(local_aws: LocalAws, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        "Parameters: { Text: { Type: String }, Digits: { Type: String } }\n"
        "Conditions: { Never: !Equals [!Ref Text, never] }\n"
        "Resources:\n"
        "  Topic: { Type: AWS::SNS::Topic }\n"
        "Outputs: { Text: { Value: !Ref Text }, Digits: { Value: !Ref Digits } }\n"
    )
    parameters = {"Text": "a \"b\" c=d, 'e'", "Digits": "000123456789"}

    assert local_aws.deploy(template, "parameters", parameters) == parameters


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")

    with pytest.raises(LocalAwsError, match=r"^The embedded AWS did not start: .*encodings"), LocalAws():
        pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("retention", ["Retain", "Delete"])
def test_the_retention_policy_decides_what_a_deleted_stack_leaves(
    local_aws: LocalAws, project: Path, tmp_path: Path, retention: str
) -> None:
    """What it is about stands in the template by itself; the rest would take its time and go in any case."""
    template, name = yaml_parse((project / "template.yaml").read_text()), f"kept-{retention.lower()}"
    kept = {key: each for key, each in template["Resources"].items() if "RetentionPolicy" in str(each)}
    assert {each["Type"] for each in kept.values()} == {"AWS::S3::Bucket", "AWS::DynamoDB::Table"}
    path = tmp_path / "template.json"
    path.write_text(json.dumps({**template, "Resources": kept, "Outputs": {}}))
    local_aws.deploy(path, name, {"RetentionPolicy": retention})
    cloudformation, s3, dynamodb = (local_aws.client(each) for each in ("cloudformation", "s3", "dynamodb"))
    stack_id = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]

    def left() -> list[str]:
        buckets = [each["Name"] for each in s3.list_buckets()["Buckets"]]
        return [each for each in (*buckets, *dynamodb.list_tables()["TableNames"]) if each.startswith(f"{name}-")]

    assert len(left()) == len(kept)
    cloudformation.delete_stack(StackName=name)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack_id, WaiterConfig={"Delay": 0.1})
    assert len(left()) == (len(kept) if retention == "Retain" else 0)


def test_a_function_logs_to_the_group_of_the_template(training_stack: LocalTrainingStack) -> None:
    sfn = training_stack.client("stepfunctions")
    arn = execution.start(sfn, training_stack.outputs["StateMachineArn"], {"traget": "price"}, "logged")

    result = execution.outcome(sfn, arn)

    assert (result.error, result.failed_state) == ("InvalidRequestError", "PrepareData")
    logs = training_stack.aws.client("logs")
    group = f"/aws/lambda/{training_stack.name}-data-preparation"
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    names = [stream["logStreamName"] for stream in streams]
    pages = [logs.get_log_events(logGroupName=group, logStreamName=name)["events"] for name in names]
    messages = "\n".join(event["message"] for events in pages for event in events)
    # The traceback is for the logs; the execution tells the sentence.
    assert "InvalidRequestError" in messages
    assert "Traceback" in messages
    assert "Traceback" not in str(result.cause)
