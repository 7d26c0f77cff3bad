"""The training stack with its real images: built, pushed, pulled by digest, and run as functions and as tasks.

How long each step takes is printed (`-s` shows it).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from common.storage import pinned, read_json, split_uri
from container_template import write_container_template
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.images import Settings, content_hash, pin_bases
from crosstrain.files import SCRIPTS
from crosstrain.local.server import ACCOUNT, REGION, TASKS, ContainerNetwork, LocalAws, root_of
from crosstrain.rehearsal.images.cache import ImageCache
from crosstrain.rehearsal.images.containers import (
    Engine,
    build_environment,
    forget_images,
    open_network,
    pull_images,
)
from waiting import wait_for

if TYPE_CHECKING:
    import docker

REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
REPOSITORIES = {name: f"delivery/{name}" for name in FUNCTIONS}


@dataclass
class Workshop:
    """An embedded AWS with repositories and a ledger, and what builds images for it."""

    aws: LocalAws
    network: ContainerNetwork
    environment: dict[str, str]
    hashes: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    def build(self) -> tuple[dict[str, str], str]:
        """Run the pipeline's script, and return the images' URIs and the script's messages."""
        options = ["--ledger", "ledger", "--commit", "c" * 40]
        options += [word for name in FUNCTIONS for word in ("--repository", f"{name}={REGISTRY}/{REPOSITORIES[name]}")]
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / "build_images.py"), *options],
            check=False,
            env=self.aws.environment() | self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout)), done.stderr


@pytest.fixture(scope="module")
def workshop(
    opened_engine: Engine,
    base_image: str,
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    create_table: Callable[..., None],
) -> Iterator[Workshop]:
    """Start an embedded AWS whose functions are containers, with what the delivery stack has for images."""
    with ExitStack() as stack:
        try:
            network = stack.enter_context(open_network(opened_engine))
        except BadInputError as error:
            pytest.skip(str(error))
        aws = stack.enter_context(LocalAws(containers=network))
        environment = build_environment(opened_engine, tmp_path_factory.mktemp("command"), aws.registry, base_image)
        for repository in REPOSITORIES.values():
            aws.client("ecr").create_repository(repositoryName=repository, imageTagMutability="IMMUTABLE")
        create_table(aws.client("dynamodb"), "ImageLedger", "ledger")
        settings = Settings(project / "functions", environment.get("BASE_IMAGE"))
        settings = pin_bases(settings, opened_engine.kind, lambda *_told: None)
        yield Workshop(aws, network, environment, {name: content_hash(name, settings) for name in FUNCTIONS})
        forget_images(opened_engine, aws.registry.host)
    left = opened_engine.client.containers.list(all=True, sparse=True, filters={"network": network.name})
    assert left == []
    assert opened_engine.client.networks.list(names=[network.name]) == []


@dataclass(frozen=True)
class Deployed:
    """A training stack whose functions are containers."""

    aws: LocalAws
    name: str
    outputs: dict[str, str]
    uris: dict[str, str]

    @property
    def machine(self) -> str:
        """The state machine of training."""
        return self.outputs["StateMachineArn"]

    def upload(self, path: Path, key: str) -> str:
        """Put a file into the stack's bucket, and return its URI."""
        bucket = self.outputs["ArtifactBucketName"]
        self.aws.client("s3").upload_file(str(path), bucket, key)
        return f"s3://{bucket}/{key}"

    def start(self, request: dict[str, Any], machine: str | None = None) -> tuple[str, str]:
        """Start a run, and return its id and the ARN of its execution."""
        run_id, given = uuid.uuid4().hex, json.dumps(request)
        states = self.aws.client("stepfunctions")
        started = states.start_execution(stateMachineArn=machine or self.machine, name=run_id, input=given)
        return run_id, str(started["executionArn"])

    def run(self, request: dict[str, Any], machine: str | None = None) -> tuple[str, dict[str, Any]]:
        """Run the state machine to its end, and return the run's id and how it ended."""
        states = self.aws.client("stepfunctions")
        run_id, arn = self.start(request, machine)
        deadline = time.monotonic() + 300
        while (execution := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, self.aws.server_log()[-3000:]
            time.sleep(0.05)
        return run_id, execution


@pytest.fixture(scope="module")
def deployed(workshop: Workshop, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Build and push the images as the pipeline does, and deploy template.yaml with their digests."""
    begin = time.monotonic()
    uris, _ = workshop.build()
    workshop.seconds["build and push"] = time.monotonic() - begin
    pull_images(workshop.environment, list(uris.values()))
    template = write_container_template(
        project / "template.yaml", tmp_path_factory.mktemp("template"), workshop.aws.registry.host
    )
    parameters = {f"{FUNCTIONS[name]}ImageUri": uri for name, uri in uris.items()}
    parameters |= {**TASKS, "RetentionPolicy": "Delete"}
    outputs = workshop.aws.deploy(template, "crosstrain-images", parameters)
    return Deployed(workshop.aws, "crosstrain-images", outputs, uris)


def test_a_training_run_succeeds_in_the_images_of_these_digests(
    deployed: Deployed, workshop: Workshop, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = deployed.upload(project / "data/diabetes.csv", "data/diabetes.csv")
    begin = time.monotonic()
    _, execution = deployed.run({"dataset_uri": data, "target": "target", "search_trials": 0})
    workshop.seconds["run, with cold starts"] = time.monotonic() - begin
    begin = time.monotonic()
    _, again = deployed.run({"dataset_uri": data, "target": "target", "search_trials": 0})
    workshop.seconds["run, warm"] = time.monotonic() - begin

    assert [each["status"] for each in (execution, again)] == ["SUCCEEDED", "SUCCEEDED"], execution.get("cause")
    document = read_json(deployed.aws.client("s3"), pinned(json.loads(execution["output"])["model"], "info"))
    assert document["image_digest"] == deployed.uris["model_training"].partition("@")[2]
    with capfd.disabled():
        for name, seconds in workshop.seconds.items():
            print(f"\n{name}: {seconds:.1f} s", end="")


def test_a_failure_keeps_its_name_and_its_words(deployed: Deployed, project: Path) -> None:
    data = deployed.upload(project / "data/diabetes.csv", "data/diabetes.csv")

    _, no_column = deployed.run({"dataset_uri": data, "target": "nonesuch", "search_trials": 0})
    _, no_field = deployed.run({"dataset_uri": data, "target": "target", "search_trials": 0, "nonesuch": 1})

    assert (no_column["status"], no_column["error"]) == ("FAILED", "InvalidDatasetError")
    assert no_column["cause"].startswith('PrepareData: The target "nonesuch" is not a column')
    assert (no_field["status"], no_field["error"]) == ("FAILED", "InvalidRequestError")


def test_a_container_has_the_rights_of_its_functions_role_alone(deployed: Deployed, project: Path) -> None:
    elsewhere = deployed.upload(project / "data/diabetes.csv", "elsewhere/diabetes.csv")

    _, execution = deployed.run({"dataset_uri": elsewhere, "target": "target", "search_trials": 0})

    assert (execution["status"], execution["error"]) == ("FAILED", "InvalidDatasetError")
    assert f'PrepareData: "{elsewhere}" may not be read' in execution["cause"]


def test_a_task_is_the_functions_image_and_makes_its_model(deployed: Deployed, project: Path) -> None:
    data = deployed.upload(project / "data/diabetes.csv", "data/diabetes.csv")
    s3, models = deployed.aws.client("s3"), {}
    for where in ("lambda", "task"):
        # Under a name of its own, for the second would be compared with the first.
        request = {"dataset_uri": data, "target": "target", "estimator": "ridge", "search_trials": 0}
        _, execution = deployed.run({**request, "compute": where, "model_name": f"as-{where}"})
        assert execution["status"] == "SUCCEEDED", execution.get("cause")
        models[where] = json.loads(execution["output"])["model"]
    info = {where: read_json(s3, pinned(model, "info")) for where, model in models.items()}

    assert [info[where]["compute"]["kind"] for where in models] == ["function", "task"]
    assert info["task"]["image_digest"] == deployed.uris["model_training"].partition("@")[2]
    assert models["task"]["sha256"]["model"] == models["lambda"]["sha256"]["model"]
    # Whatever a task writes goes to its log, evaluation's, too.
    logs, group = deployed.aws.client("logs"), f"/aws/ecs/{deployed.name}-tasks"
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert {each["logStreamName"].partition("/")[0] for each in streams} == {"model-training", "model-evaluation"}


def test_a_task_is_closed_in_and_ends_with_its_run(
    deployed: Deployed, workshop: Workshop, opened_engine: Engine, project: Path
) -> None:
    engine, ecs = opened_engine.client, deployed.aws.client("ecs")
    arn = ecs.describe_clusters(clusters=[f"{deployed.name}-tasks"])["clusters"][0]["clusterArn"]
    labels = {"label": f"com.amazonaws.ecs.cluster={arn}"}

    def tasks() -> dict[str, Any]:
        return {each.id: each for each in engine.containers.list(all=True, sparse=True, filters=labels)}

    earlier = tasks()  # ministack may not have removed the containers of an earlier run yet

    def running() -> list[Any]:
        return [task for key, task in tasks().items() if key not in earlier]

    volumes = {each.name for each in engine.volumes.list()}
    data = deployed.upload(project / "data/diabetes.csv", "data/diabetes.csv")
    request = {"dataset_uri": data, "target": "target", "search_trials": 0, "compute": "task", "model_name": "stopped"}
    request |= {"estimator": "random_forest", "hyperparameters": {"n_estimators": 2000}}
    _, execution = deployed.start(request)

    (container,) = wait_for(running)
    container.reload()
    host, config = container.attrs["HostConfig"], container.attrs["Config"]
    assert config["Image"].endswith(deployed.uris["model_training"].partition("/")[2])
    assert config["Entrypoint"] == ["python3", "-m", "common.job"]
    assert config["Cmd"] == ["model_training.app.handler"]
    assert host["ReadonlyRootfs"]
    assert (host["Memory"], host["MemorySwap"]) == (8192 << 20, 8192 << 20)
    assert list(container.attrs["NetworkSettings"]["Networks"]) == [workshop.network.name]

    deployed.aws.client("stepfunctions").stop_execution(executionArn=execution)
    wait_for(lambda: not running())
    assert {each.name for each in engine.volumes.list()} <= volumes


def test_a_task_that_takes_more_memory_than_it_has_says_so(deployed: Deployed, project: Path) -> None:
    states = deployed.aws.client("stepfunctions")
    deployed_machine = states.describe_state_machine(stateMachineArn=deployed.machine)
    size, smaller = '"Memory": "{% $states.input.large.memory %}"', '"Memory": "128"'
    assert size in deployed_machine["definition"]
    machine = states.create_state_machine(
        name="small-tasks",
        roleArn=deployed_machine["roleArn"],
        definition=deployed_machine["definition"].replace(size, smaller),
    )["stateMachineArn"]
    data = deployed.upload(project / "data/diabetes.csv", "data/diabetes.csv")

    request = {
        "dataset_uri": data,
        "target": "target",
        "search_trials": 0,
        "compute": "task",
        "model_name": "too-small",
    }
    _, execution = deployed.run(request, machine)

    assert (execution["status"], execution["error"]) == ("FAILED", "OutOfMemoryError")
    assert execution["cause"].startswith("TrainModel: The task was killed")


def test_a_function_of_another_account_acts_in_that_account(
    deployed: Deployed, workshop: Workshop, project: Path
) -> None:
    root = root_of("210987654321")
    iam, s3, functions = (workshop.aws.client(service, root) for service in ("iam", "s3", "lambda"))
    for bucket in ("data-of-another-account", "closed-in-another-account"):
        s3.create_bucket(Bucket=bucket)
        s3.upload_file(str(project / "data/diabetes.csv"), bucket, "data/diabetes.csv")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName="another", AssumeRolePolicyDocument=json.dumps(policy(trust)))["Role"]["Arn"]
    resources = ["arn:aws:s3:::data-of-another-account", "arn:aws:s3:::data-of-another-account/*"]
    allowed = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject"], "Resource": resources}
    iam.put_role_policy(RoleName="another", PolicyName="data", PolicyDocument=json.dumps(policy(allowed)))
    uri = deployed.uris["data_preparation"].replace(REGISTRY, workshop.aws.registry.host)
    functions.create_function(
        FunctionName="another",
        Role=role,
        PackageType="Image",
        Code={"ImageUri": uri},
        Timeout=60,
        Environment={"Variables": {"ARTIFACT_BUCKET": "data-of-another-account", "RELEASE": "r", "COMMIT": "c"}},
    )

    def prepare(bucket: str) -> Any:
        request = {"dataset_uri": f"s3://{bucket}/data/diabetes.csv", "target": "target", "search_trials": 0}
        payload = json.dumps({"run_id": "run-1", "request": request})
        return json.loads(functions.invoke(FunctionName="another", Payload=payload)["Payload"].read())

    prepared = prepare("data-of-another-account")
    assert "errorType" not in prepared
    assert prepare("closed-in-another-account")["errorType"] == "InvalidDatasetError"
    assert split_uri(prepared["prepared"]["train_uri"])[1] in [
        each["Key"] for each in s3.list_objects_v2(Bucket="data-of-another-account")["Contents"]
    ]


def policy(statement: dict[str, Any]) -> dict[str, Any]:
    """Return a policy of one statement."""
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_a_container_is_closed_in(deployed: Deployed, workshop: Workshop, opened_engine: Engine) -> None:
    deployed.run({"dataset_uri": "s3://none/none.csv", "target": "target", "search_trials": 0})
    engine = opened_engine.client
    assert engine.networks.get(workshop.network.name).attrs["Internal"]
    containers = engine.containers.list(filters={"network": workshop.network.name})
    assert containers != []
    for container in containers:
        host, networks = container.attrs["HostConfig"], container.attrs["NetworkSettings"]["Networks"]
        assert host["ReadonlyRootfs"]
        assert list(networks) == [workshop.network.name]
        assert not any(container.attrs["NetworkSettings"]["Ports"].values())

        def does(script: str, container: Any = container) -> bool:
            status, _ = container.exec_run(["python3", "-c", script])
            return bool(status == 0)

        port = int(workshop.aws.registry.host.rpartition(":")[2])
        reach = "import socket; socket.create_connection(('{}', {}), 2)".format
        assert does(reach(workshop.network.gateway, port))
        if opened_engine.kind == "podman":
            # Without a route; Docker has one, to a firewall. The address is documentation's own (RFC 5737).
            assert does(
                "import errno, socket\ntry: socket.create_connection(('198.51.100.1', 80), 2)\n"
                "except OSError as error: raise SystemExit(error.errno != errno.ENETUNREACH)"
            )
        assert does("open('/tmp/a', 'w')")
        assert not does("open('/var/task/a', 'w')")


def test_the_embedded_aws_listens_for_containers_and_itself_alone(workshop: Workshop) -> None:
    port = int(workshop.aws.registry.host.rpartition(":")[2])
    listening = {
        bytes.fromhex(address)[::-1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        for address, _, number in [line.split()[1].partition(":")]
        if line.split()[3] == "0A" and int(number, 16) == port
    }
    assert listening == {socket.inet_aton("127.0.0.1"), socket.inet_aton(workshop.network.gateway)}


def test_what_containers_log_is_in_the_functions_log_group(deployed: Deployed, project: Path) -> None:
    data = deployed.upload(project / "data/diabetes.csv", "data/diabetes.csv")
    deployed.run({"dataset_uri": data, "target": "target", "search_trials": 0})
    logs = deployed.aws.client("logs")

    events = logs.filter_log_events(logGroupName="/aws/lambda/crosstrain-images-model-training")["events"]

    assert any(each["message"].startswith("REPORT RequestId") for each in events), events


def test_a_digest_that_the_registry_does_not_have_cannot_be_pulled(workshop: Workshop) -> None:
    missing = f"{REGISTRY}/{REPOSITORIES['model_training']}@sha256:{'0' * 64}"
    with pytest.raises(OperationFailedError, match="cannot be pulled"):
        pull_images(workshop.environment, [missing])


def test_an_image_that_was_built_before_is_not_built_again(
    deployed: Deployed, workshop: Workshop, tmp_path: Path
) -> None:
    cache, registry = ImageCache(tmp_path / "cache"), workshop.aws.registry
    images = {}
    for name, uri in deployed.uris.items():
        repository, _, digest = uri.partition("@")
        images[f"{repository}:{workshop.hashes[name]}"] = digest
    assert cache.restore(registry, images) == []
    cache.save(registry, deployed.uris.values())
    blobs = list((tmp_path / "cache/blobs").iterdir())
    # The registry loses what it has, as it does when the embedded AWS ends; the ledger too.
    ecr, ledger = (workshop.aws.client(service) for service in ("ecr", "dynamodb"))
    for repository in REPOSITORIES.values():
        ecr.delete_repository(repositoryName=repository, force=True)
        ecr.create_repository(repositoryName=repository, imageTagMutability="IMMUTABLE")
    for item in ledger.scan(TableName="ledger")["Items"]:
        ledger.delete_item(TableName="ledger", Key={"id": item["id"]})

    begin = time.monotonic()
    restored = cache.restore(registry, images)
    print(f"restored in {time.monotonic() - begin:.1f} s")
    uris, message = workshop.build()

    assert restored == list(images)
    assert uris == deployed.uris
    assert "built in" not in message
    pull_images(workshop.environment, list(uris.values()))
    # A damaged blob is no image.
    largest = max(blobs, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"x")
    assert len(cache.restore(registry, images)) < len(images)


# Opens all that a rehearsal opens, runs a container, and waits for its end.
OPENS = """
import sys
from crosstrain.rehearsal.images.containers import find_base_image, open_engine, open_network
with open_engine() as engine, open_network(engine) as network:
    base = find_base_image(engine, print)
    engine.client.containers.run(base, ["600"], entrypoint="sleep", network=network.name, detach=True)
    print(engine.host, network.name, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_however_a_rehearsal_ends(
    engine: docker.DockerClient, opened_engine: Engine, base_image: str, stop: signal.Signals
) -> None:
    # With a podman of its own where this one is of the tests.
    environment = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "CONTAINER_HOST")}
    if opened_engine.kind == "docker":
        environment["DOCKER_HOST"] = opened_engine.host
    with subprocess.Popen(
        [sys.executable, "-c", OPENS],
        env=environment | {"PYTHONPATH": str(SCRIPTS), "CROSSTRAIN_BASE_IMAGE": base_image},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        host, _, name = process.stdout.readline().strip().partition(" ")
        assert len(engine.containers.list(sparse=True, filters={"network": name})) == 1
        process.send_signal(stop)
        process.wait(60)
    if stop == signal.SIGKILL:
        # Nobody can do anything then; the next rehearsal does.
        with open_network(opened_engine):
            pass
    assert name not in [each.name for each in engine.networks.list()]
    assert engine.containers.list(all=True, sparse=True, filters={"network": name}) == []
    if host != opened_engine.host:
        deadline = time.monotonic() + 10
        while Path(host.removeprefix("unix://")).parent.exists():
            assert time.monotonic() < deadline, f"{host} is still there"
            time.sleep(0.1)


def test_a_network_at_work_stays(engine: docker.DockerClient, opened_engine: Engine) -> None:
    with open_network(opened_engine) as network, open_network(opened_engine) as other:
        assert {network.name, other.name} <= {each.name for each in engine.networks.list()}
