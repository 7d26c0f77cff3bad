"""taskcat itself tests the packaged template and the roles, in two accounts of an embedded AWS.

All of it is real but for what the embedded AWS cannot do: the packaged template is without its alarms on metric math
and its denials of calls without TLS, the tools account without its pipeline, and a hook of taskcat's own kind has
templates named by path-style URL. Functions stay images, of which CloudFormation there does not ask whether they exist.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from samcli.yamlhelper import yaml_parse

from crosstrain.command import OperationFailedError
from crosstrain.delivery import taskcat
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.local.server import ACCOUNT, ROOT, LocalAws, root_of
from crosstrain.local.template import leave_out_unsupported
from embedded_cloudformation import deploy_tools_account

# A leading zero, which whoever takes accounts for numbers loses.
STAGES = {"test": "012345678901", "prod": "222222222222"}
# Where taskcat finds the hook.
HOOK = Path(__file__).parent / "hook"


@dataclass(frozen=True)
class Accounts:
    """The tools account, with its stack and a release, and two target accounts, in one region."""

    aws: LocalAws
    region: str
    folder: Path
    outputs: dict[str, str]

    def client(self, service: str, account: str = ACCOUNT) -> Any:
        """Return a client of an account's root."""
        root = root_of(account)
        session = boto3.Session(root.access_key_id, root.secret_access_key, region_name=self.region)
        return session.client(service, endpoint_url=self.aws.endpoint_url)

    def environment(self, hook: Path) -> dict[str, str]:
        """Return the settings of somebody in the tools account, with the hook in taskcat's own global settings."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        (home / ".taskcat.yml").write_text(json.dumps({"general": {"prehooks": [{"type": "local_aws"}]}}))
        profiles = [
            f"[crosstrain-{stage}]\naws_access_key_id = {account}\n"
            f"aws_secret_access_key = {root_of(account).secret_access_key}\n"
            for stage, account in STAGES.items()
        ]
        (home / "credentials").write_text("".join(profiles))
        return self.aws.environment() | {
            "HOME": str(home),
            "PYTHONPATH": str(hook),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "ARTIFACT_BUCKET": self.outputs["ArtifactBucketName"],
            **{f"REPOSITORY_{name.upper()}": self.outputs[f"{kind}RepositoryUri"] for name, kind in FUNCTIONS.items()},
            "LEDGER_TABLE": self.outputs["LedgerTableName"],
        }

    def stacks(self, account: str) -> dict[str, str]:
        """Return the status of each stack that an account has or has had."""
        found = self.client("cloudformation", account).list_stacks()["StackSummaries"]
        return {each["StackName"]: each["StackStatus"] for each in found}

    def buckets(self, account: str) -> list[str]:
        """Return the buckets of an account."""
        return [each["Name"] for each in self.client("s3", account).list_buckets()["Buckets"]]


def command(project: Path, environment: dict[str, str], *arguments: str, text: str = "") -> Any:
    return subprocess.run(
        arguments, env=environment, cwd=project, input=text, capture_output=True, text=True, timeout=240, check=False
    )


def push_images(ecr: Any, outputs: dict[str, str]) -> dict[str, str]:
    """Put an image into each repository and return them by digest."""
    pushed = {}
    for function, name in FUNCTIONS.items():
        uri = outputs[f"{name}RepositoryUri"]
        manifest = json.dumps({"schemaVersion": 2, "function": function})
        image = ecr.put_image(repositoryName=uri.partition("/")[2], imageManifest=manifest, imageTag="built")["image"]
        pushed[function] = f"{uri}@{image['imageId']['imageDigest']}"
    return pushed


def adapt_package(accounts: Accounts, package: Path) -> None:
    """Leave out of the packaged template what the embedded AWS refuses, and copy the definition to each account.

    CloudFormation there reads no bucket of another account, whatever its policy allows.
    """
    template = yaml_parse(package.read_text())
    leave_out_unsupported(template)
    machines = [each for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::StateMachine"]
    places = [each["Properties"]["DefinitionUri"] for each in machines]
    definitions = {each["Key"]: accounts.client("s3").get_object(**each)["Body"].read() for each in places}
    for place in places:
        place["Bucket"] = {"Fn::Sub": "definitions-${AWS::AccountId}"}
    for account in STAGES.values():
        s3 = accounts.client("s3", account)
        where = {"LocationConstraint": accounts.region}
        s3.create_bucket(
            Bucket=f"definitions-{account}",
            **({} if accounts.region == "us-east-1" else {"CreateBucketConfiguration": where}),
        )
        for key, definition in definitions.items():
            s3.put_object(Bucket=f"definitions-{account}", Key=key, Body=definition)
    package.write_text(json.dumps(template))


REGIONS = ("us-east-1", "eu-west-1")
# Of what no region has a say in.
ONE_REGION = pytest.mark.parametrize("accounts", REGIONS[-1:], indirect=True, scope="module")


@pytest.fixture(scope="module", params=REGIONS)
def accounts(
    request: pytest.FixtureRequest, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Accounts]:
    """Yield accounts in which everything is ready for taskcat: `make package` has run, and a release is resolved."""
    folder = tmp_path_factory.mktemp("taskcat")
    # Not the session's: roles have fixed names, and other tests count them.
    with LocalAws() as aws:
        bare = Accounts(aws, request.param, folder, {})
        given = {"TestAccountId": STAGES["test"], "ProductionAccountId": STAGES["prod"]}
        outputs = deploy_tools_account(bare.client("cloudformation"), project, "crosstrain-tools", given)
        ready = Accounts(aws, request.param, folder, outputs)
        images = push_images(ready.client("ecr"), ready.outputs)
        environment = ready.environment(HOOK)
        python = [sys.executable]
        commits = ["--order", "1", "--model-commit", "a" * 40, "--infrastructure-commit", "b" * 40]
        parameters = ["--stage", "test", "--base", "config/test.json", "--out", str(folder / "parameters-test.json")]
        for arguments, text in (
            (["make", "package", f"BUILD={folder}"], ""),
            ([*python, "scripts/record_release.py", *commits], json.dumps(images)),
            ([*python, "scripts/resolve_images.py", "latest", *parameters], ""),
            (["make", "tools/taskcat/.venv/.ready"], ""),
        ):
            done = command(project, environment, *arguments, text=text)
            assert done.returncode == 0, done.stderr
        adapt_package(ready, folder / "packaged.yaml")
        yield ready


def run_script(accounts: Accounts, project: Path, *arguments: str, **settings: str) -> Any:
    files = {"package": "packaged.yaml", "parameters": "parameters-test.json", "out": "taskcat"}
    options = [word for name, file in files.items() for word in (f"--{name}", str(accounts.folder / file))]
    environment = accounts.environment(HOOK) | settings
    return command(project, environment, sys.executable, "scripts/taskcat.py", *options, *arguments)


def test_every_stack_is_created_and_deleted_in_its_account(accounts: Accounts, project: Path) -> None:
    done = run_script(accounts, project)

    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 3]
    assert [(test, region, status) for test, region, _, status in rows] == [
        (test, accounts.region, "CREATE_COMPLETE") for test in ("test", "prod", "test-roles", "prod-roles")
    ]
    stacks = {test: name for test, _, name, _ in rows}
    for stage, account in STAGES.items():
        mine = {name for test, name in stacks.items() if test.startswith(stage)}
        assert len(mine) == 2
        assert accounts.stacks(account) == dict.fromkeys(mine, "DELETE_COMPLETE")
        # Nothing of taskcat's or of the stacks' is left.
        assert accounts.buckets(account) == [f"definitions-{account}"]
        assert accounts.client("lambda", account).list_functions()["Functions"] == []
        assert accounts.client("iam", account).list_roles()["Roles"] == []
        assert accounts.client("stepfunctions", account).list_state_machines()["stateMachines"] == []
    assert accounts.stacks(ACCOUNT) == {"crosstrain-tools": "CREATE_COMPLETE"}
    created = events_of(accounts, STAGES["prod"], stacks["prod"])
    assert {
        ("AWS::Lambda::Function", "ModelTrainingFunction", "CREATE_COMPLETE"),
        ("AWS::Lambda::Function", "ModelTrainingFunction", "DELETE_COMPLETE"),
        ("AWS::StepFunctions::StateMachine", "TrainingStateMachine", "CREATE_COMPLETE"),
        ("AWS::StepFunctions::StateMachine", "TrainingStateMachine", "DELETE_COMPLETE"),
        ("AWS::S3::Bucket", "ArtifactBucket", "DELETE_COMPLETE"),
    } <= created


def events_of(accounts: Accounts, account: str, stack: str) -> set[tuple[str, str, str]]:
    client = accounts.client("cloudformation", account)
    (arn,) = {each["StackId"] for each in client.list_stacks()["StackSummaries"] if each["StackName"] == stack}
    pages = client.get_paginator("describe_stack_events").paginate(StackName=arn)
    return {
        (each["ResourceType"], each["LogicalResourceId"], each["ResourceStatus"])
        for page in pages
        for each in page["StackEvents"]
    }


def test_the_report_is_there_to_look_at(accounts: Accounts, project: Path) -> None:
    done = run_script(accounts, project, "--tests", "prod-roles")

    assert done.returncode == 0, done.stderr
    report = accounts.folder / "taskcat/taskcat_outputs/index.html"
    (row,) = taskcat.read_report(report.read_text())
    assert (row.test, row.region, row.status) == ("prod-roles", accounts.region, "CREATE_COMPLETE")
    log = report.with_name(f"{row.stack}-{row.region}-cfnlogs.txt").read_text()
    assert "AWS::IAM::Role" in log
    assert "Stack launch was successful" in log


@ONE_REGION
def test_a_stack_that_cannot_be_created_is_told_and_leaves_nothing(accounts: Accounts, project: Path) -> None:
    parameters = json.loads((accounts.folder / "parameters-test.json").read_text())
    broken = accounts.folder / "broken.json"
    # The template's own pattern refuses it.
    broken.write_text(json.dumps({"Parameters": parameters["Parameters"] | {"Release": "not a release"}}))
    before = accounts.buckets(STAGES["test"])

    done = run_script(accounts, project, "--tests", "test", "--parameters", str(broken))

    assert done.returncode == 1
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "of test ended as CREATE_FAILED" in message
    assert str(accounts.folder / "taskcat/taskcat_outputs") in message
    assert accounts.buckets(STAGES["test"]) == before


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (
            ["--tests", "tset"],
            {},
            "no test 'tset'; its tests are test, prod, test-roles, prod-roles",
        ),
        (["--tools-stack", "other"], {}, 'There is no stack "other"'),
        ([], {"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2"}, "There is no stack"),
        (["--package", "none.yaml"], {}, "none.yaml: run `make package` first"),
        (["--parameters", "none.json"], {}, "none.json cannot be read"),
        ([], {"AWS_SHARED_CREDENTIALS_FILE": "none"}, 'no AWS profile "crosstrain-test", which the test test needs'),
    ],
)
def test_what_taskcat_would_pass_over_is_refused(
    accounts: Accounts, project: Path, arguments: list[str], settings: dict[str, str], message: str
) -> None:
    before = accounts.stacks(STAGES["test"])

    done = run_script(accounts, project, *arguments, **settings)

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert accounts.stacks(STAGES["test"]) == before


def test_taskcat_itself_passes_over_a_wrong_region_in_silence(accounts: Accounts, project: Path) -> None:
    """Should taskcat mend that one day, the script has less to do."""
    silent = accounts.folder / "silent"
    arguments = ["test", "run", "--lint-disable", "--regions", "us-west-9", "--output-directory", str(silent)]
    done = command(project, accounts.environment(HOOK), str(project / "tools/taskcat/.venv/bin/taskcat"), *arguments)

    assert done.returncode == 0
    assert taskcat.read_report((silent / "index.html").read_text()) == []


def test_a_report_is_not_believed(accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that taskcat did not delete, created in another account or does not report is named."""
    for name, value in accounts.environment(HOOK).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with Path(accounts.environment(HOOK)["AWS_SHARED_CREDENTIALS_FILE"]).open("a") as credentials:
        credentials.write(f"[tools]\naws_access_key_id = {ACCOUNT}\naws_secret_access_key = {ROOT.secret_access_key}\n")
    report = tmp_path / "index.html"
    rows = [
        f"<tr><td><h3>{test}</h3></td><td>{accounts.region}</td><td>crosstrain-tools</td><td>{status}</td><td></td></tr>"
        for test, status in (("left", "CREATE_COMPLETE"), ("elsewhere", "CREATE_COMPLETE"), ("failed", "CREATE_FAILED"))
    ]
    report.write_text(f"<table>{''.join(rows)}</table>")
    planned = [
        taskcat.Deployment(test, "template.yaml", profile)
        for test, profile in (
            ("left", "tools"),
            ("elsewhere", "crosstrain-test"),
            ("failed", "tools"),
            ("missing", "tools"),
        )
    ]

    with pytest.raises(OperationFailedError) as error:
        taskcat.judge(planned, accounts.region, 0, report)

    assert str(error.value) == (
        "The templates have not passed: "
        "the stack crosstrain-tools is left with the profile tools: CREATE_COMPLETE; "
        "the account of the profile crosstrain-test never had the stack crosstrain-tools; "
        "the stack crosstrain-tools of failed ended as CREATE_FAILED; "
        "the stack crosstrain-tools is left with the profile tools: CREATE_COMPLETE; "
        f"its report has no stack of missing in {accounts.region}. See {tmp_path}."
    )


@ONE_REGION
def test_an_interrupt_leaves_nothing(accounts: Accounts, project: Path) -> None:
    """Ctrl-C reaches both processes, and the script waits until taskcat has cleaned up."""
    before = {account: accounts.buckets(account) for account in STAGES.values()}
    out = accounts.folder / "interrupted"
    files = ["--package", str(accounts.folder / "packaged.yaml"), "--out", str(out)]
    files += ["--parameters", str(accounts.folder / "parameters-test.json")]
    process = subprocess.Popen(
        [sys.executable, "scripts/taskcat.py", *files],
        env=accounts.environment(HOOK),
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        # It has made its bucket by then, and is about to make the stacks.
        assert any("/template.yaml" in line and "s3://" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        message, _ = process.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    assert process.returncode == 1, message
    assert "error: taskcat was interrupted" in message
    for account, buckets in before.items():
        assert accounts.buckets(account) == buckets
        assert set(accounts.stacks(account).values()) <= {"DELETE_COMPLETE"}
