"""What the embedded AWS hands out, without starting it."""

import os
from pathlib import Path

import pytest

from crosstrain.local import server as local_aws
from crosstrain.local.policies import data_scientist_policy
from crosstrain.local.server import Credentials, LocalAws

USER = Credentials("AKIA", "secret")


@pytest.fixture
def aws(tmp_path: Path) -> LocalAws:
    """Return an embedded AWS that looks as if it was running."""
    aws = LocalAws()
    aws.directory = tmp_path
    aws.endpoint_url = "http://127.0.0.1:4566"
    return aws


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a user may have set for the AWS of everyday work."""
    for name, value in {
        "AWS_PROFILE": "work",
        "AWS_DEFAULT_PROFILE": "work",
        "AWS_CONFIG_FILE": "/nowhere/config",
        "AWS_SESSION_TOKEN": "token-of-work",
        "AWS_CA_BUNDLE": "/nowhere/bundle.pem",
        "AWS_ENDPOINT_URL_S3": "http://192.0.2.1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_MAX_ATTEMPTS": "none",
        "SAM_CLI_TELEMETRY": "1",
        "HTTP_PROXY": "http://192.0.2.1:3128",
        "http_proxy": "http://192.0.2.1:3128",
        "PYTHONDONTWRITEBYTECODE": "1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("hostile")
def test_the_environment_holds_nothing_of_the_users_own_aws(aws: LocalAws) -> None:
    environment = aws.environment(USER)

    assert not any("192.0.2.1" in value or "/nowhere" in value for value in environment.values())
    assert {name for name in environment if name.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID",
        "AWS_CONFIG_FILE",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SHARED_CREDENTIALS_FILE",
    }
    assert environment["AWS_ACCESS_KEY_ID"] == "AKIA"
    assert environment["NO_PROXY"] == environment["no_proxy"] == "127.0.0.1"
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["PATH"] == os.environ["PATH"]


def test_the_environment_carries_the_token_of_a_roles_session(aws: LocalAws) -> None:
    environment = aws.environment(Credentials("ASIA", "secret", "of the session"))

    assert environment["AWS_SESSION_TOKEN"] == "of the session"  # noqa: S105


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("service", ["s3", "stepfunctions", "cloudformation"])
def test_a_client_obeys_nothing_of_the_users_own_aws(aws: LocalAws, service: str) -> None:
    client = aws.client(service, USER)

    assert client.meta.endpoint_url == "http://127.0.0.1:4566"
    assert client.meta.region_name == local_aws.REGION
    assert client.meta.config.proxies == {}
    assert not client.meta.config.use_fips_endpoint
    assert client._get_credentials().token is None


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(USER)


def test_a_data_scientist_may_do_what_training_needs_and_no_more() -> None:
    policy = data_scientist_policy(
        "arn:aws-cn:cloudformation:cn-north-1:123456789012:stack/local/1",
        "arn:aws-cn:states:cn-north-1:123456789012:stateMachine:training",
        "artifacts",
    )

    allowed = {action: each["Resource"] for each in policy["Statement"] for action in each["Action"]}
    assert allowed == {
        "cloudformation:DescribeStacks": ["arn:aws-cn:cloudformation:cn-north-1:123456789012:stack/local/*"],
        "s3:PutObject": ["arn:aws-cn:s3:::artifacts/data/*"],
        "s3:GetObject": ["arn:aws-cn:s3:::artifacts/data/*", "arn:aws-cn:s3:::artifacts/runs/*"],
        "s3:GetObjectVersion": ["arn:aws-cn:s3:::artifacts/runs/*"],
        "s3:ListBucket": ["arn:aws-cn:s3:::artifacts"],
        "states:StartExecution": ["arn:aws-cn:states:cn-north-1:123456789012:stateMachine:training"],
        "states:DescribeExecution": ["arn:aws-cn:states:cn-north-1:123456789012:execution:training:*"],
        "states:GetExecutionHistory": ["arn:aws-cn:states:cn-north-1:123456789012:execution:training:*"],
        "states:StopExecution": ["arn:aws-cn:states:cn-north-1:123456789012:execution:training:*"],
    }


def test_a_data_scientist_starts_rollbacks_and_stops_none() -> None:
    machine = "arn:aws:states:eu-west-1:123456789012:stateMachine:local-rollback"
    arns = ("arn:aws:cloudformation:eu-west-1:123456789012:stack/local/1", machine.replace("rollback", "training"))
    policy = data_scientist_policy(*arns, "artifacts", asked=[machine])

    without = data_scientist_policy(*arns, "artifacts")["Statement"]
    added = [each for each in policy["Statement"] if each not in without]
    executions = [f"{machine.replace(':stateMachine:', ':execution:')}:*"]
    assert {action: each["Resource"] for each in added for action in each["Action"]} == {
        "states:StartExecution": [machine],
        "states:DescribeExecution": executions,
        "states:GetExecutionHistory": executions,
    }


def _refuse(*_: object, **__: object) -> None:
    raise OSError("no port")


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("socket.create_server", _refuse)

    with pytest.raises(OSError, match="no port"), LocalAws():
        pass

    assert list(tmp_path.iterdir()) == []


def test_an_error_is_one_sentence_with_the_last_lines() -> None:
    assert local_aws._last_lines("one\n\ntwo\n  three\n", count=2) == "two three"
    assert local_aws._last_lines("") == "it wrote nothing."
