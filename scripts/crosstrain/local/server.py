"""An embedded AWS for one process: started on a free port of this machine, gone when the process is gone.

Examples
--------
>>> with LocalAws() as aws:                                                       # doctest: +SKIP
...     stack = aws.deploy_training_stack(Path("template.yaml"))
...     stack.client("s3").list_objects_v2(Bucket=stack.outputs["ArtifactBucketName"], Prefix="runs/")
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from crosstrain.command import OperationFailedError
from crosstrain.files import PROJECT
from crosstrain.local import GUARD_VARIABLE, guarded_process
from crosstrain.local.policies import batch_scoring_statements, data_scientist_policy, feedback_statements
from crosstrain.local.template import write_local_template

if TYPE_CHECKING:
    from crosstrain.training.progress import Progress

# The account and region of every embedded AWS; the account is the one that AWS's own examples use.
ACCOUNT = "123456789012"
REGION = "us-east-1"
_LOOPBACK = "127.0.0.1"
# Linux lets a socket have an address that no interface has yet; Python 3.11's socket does not name the option.
_IP_FREEBIND = 15
_ARTIFACTS = "sam-artifacts"
# A server that does not answer after so many seconds has failed.
_START_SECONDS = 30.0
# A deployment that has not ended after so many seconds is stopped.
_SAM_SECONDS = 300.0
# The factor for the waits of a state machine, those between retries included.
_WAIT_SCALE = "0.001"
# The outputs of the state machines that people start, besides training.
# A network of no account, in which the processes that stand for tasks are not.
TASKS = {"JobSubnetIds": "subnet-00000000", "JobVpcId": "vpc-00000000"}
_ASKED = tuple(f"{name}StateMachineArn" for name in ("Rollback", "Canary", "Retraining", "Approval"))
# What the user has set for the AWS of everyday work, for proxies, or for an emulator of their own.
_FOREIGN_PREFIXES = ("AWS_", "BOTO_", "SAM_CLI_", "__SAM_CLI", "MINISTACK_", "LOCALSTACK_", "LAMBDA_", "SFN_", "S3_")
_FOREIGN_NAMES = frozenset(
    {
        "ALL_PROXY",
        "CLOUDTRAIL_RECORDING",
        "EDGE_PORT",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "LOG_LEVEL",
        "NO_PROXY",
        "PYTHONDONTWRITEBYTECODE",
        "SERVICES",
        "USE_SSL",
    }
)


class LocalAwsError(OperationFailedError):
    """The embedded AWS did not start, or a deployment to it failed."""


@dataclass(frozen=True)
class Credentials:
    """An access key pair of the embedded AWS, with the session token of a role's session."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


# Of every embedded AWS that this process starts: who does not have it is no root user there.
_ROOT_SECRET = secrets.token_urlsafe(30)


def root_of(account: str) -> Credentials:
    """Return the credentials of an account's root user, which no policy applies to; using them makes the account."""
    return Credentials(account, _ROOT_SECRET)


ROOT = root_of(ACCOUNT)


@dataclass(frozen=True)
class Registry:
    """The embedded AWS's image registry, which takes the root secret for a password.

    Attributes
    ----------
    host : str
        Its host and port, as engines name it.
    folder : Path
        A folder of settings for Docker that hold the password, with a `config.json` that Podman reads, too.
    """

    host: str
    folder: Path

    @property
    def authorization(self) -> str:
        """Return the header's value that lets a request in."""
        return f"Basic {_registry_token()}"


def _registry_token() -> str:
    return base64.b64encode(f"AWS:{_ROOT_SECRET}".encode()).decode()


@dataclass(frozen=True)
class ContainerNetwork:
    """A network of this machine on which image functions and tasks run, as containers.

    Attributes
    ----------
    docker_host : str
        The socket of the container engine, as DOCKER_HOST has it.
    name : str
        The network's name there.
    gateway : str
        The address of this machine on the network.
    """

    docker_host: str
    name: str
    gateway: str

    def endpoint_url(self, port: int) -> str:
        """Return where containers find the embedded AWS that listens at a port.

        An address, not a name: below a name the AWS SDKs look for each bucket under a name of its own.
        """
        return f"http://{self.gateway}:{port}"


@dataclass(frozen=True)
class LocalTrainingStack:
    """The training stack, deployed to an embedded AWS.

    Attributes
    ----------
    aws : LocalAws
        Where it is deployed.
    name : str
        The name of the stack.
    outputs : mapping
        The outputs of the stack.
    data_scientist : Credentials
        A user with the rights of `data_scientist_policy`.
    """

    aws: LocalAws
    name: str
    outputs: Mapping[str, str]
    data_scientist: Credentials

    def client(self, service: str) -> Any:
        """Return a boto3 client that has the data scientist's rights."""
        return self.aws.client(service, self.data_scientist)


class LocalAws:
    """Context manager that starts the embedded AWS and stops everything that belongs to it.

    The server holds a socket that was bound here, so no other process can take its port, and it keeps all of its
    files in a temporary folder of its own. With the function workers, which are its children, it is a guarded process:
    it is gone when this process is, however this process ends.

    Parameters
    ----------
    containers : ContainerNetwork, optional
        Where image functions and tasks run; without it what `write_local_template` makes of them runs as processes.
    registry_account : str
        The account that images are pushed to: whoever pushes has a password, which says no account.

    Attributes
    ----------
    directory : Path
        The temporary folder, while the server runs.
    endpoint_url : str
        Where the server listens, while it runs.
    registry : Registry
        Where images are pushed to, while it runs.
    """

    directory: Path
    endpoint_url: str
    registry: Registry

    def __init__(
        self,
        *,
        containers: ContainerNetwork | None = None,
        registry_account: str = ACCOUNT,
    ) -> None:
        self._containers = containers
        self._registry_account = registry_account
        self._server: subprocess.Popen[bytes] | None = None
        self._clients: dict[tuple[str, Credentials, str], Any] = {}

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="crosstrain-aws-"))
        try:
            for name in ("state", "server", "sam", "registry"):
                (self.directory / name).mkdir()
            for name in ("config", "credentials"):
                (self.directory / name).touch()
            self._start()
            # `sam deploy --resolve-s3` would create this bucket, but it fails over plain http.
            self.client("s3").create_bucket(Bucket=_ARTIFACTS)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def environment(self, credentials: Credentials = ROOT) -> dict[str, str]:
        """Return this process's environment for a subprocess that is to see the embedded AWS and no other.

        It is whole, not an overlay: what the user has set for AWS, proxies and certificates is not in it.
        """
        return _without_foreign(os.environ) | self.settings(credentials)

    def settings(self, credentials: Credentials = ROOT) -> dict[str, str]:
        """Return the variables that lead to the embedded AWS, for an environment with no other settings for AWS."""
        token = {"AWS_SESSION_TOKEN": credentials.session_token} if credentials.session_token else {}
        return {
            **token,
            "AWS_ACCESS_KEY_ID": credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            **self._isolation(),
        }

    def client(self, service: str, credentials: Credentials = ROOT, *, region: str = REGION) -> Any:
        """Return a boto3 client of the embedded AWS that takes nothing from the user's settings.

        Without credentials it is root's, which no policy applies to: good for setting a stage, not for proving a right.
        """
        # Making a client costs more than most calls with it.
        key = service, credentials, region
        if key not in self._clients:
            self._clients[key] = self._new_client(*key)
        return self._clients[key]

    def deploy(self, template: Path, stack_name: str, parameters: Mapping[str, str] | None = None) -> dict[str, str]:
        """Deploy a local template with `sam deploy` and return the outputs of the stack.

        Raises
        ------
        LocalAwsError
            With the reason of the first resource that failed, or else the last lines that `sam` wrote.
        """
        # A file, because the command line's own syntax gives spaces and quotes in a value a meaning. `sam` wants it to
        # be YAML, of which JSON is a part.
        values = self.directory / "sam" / f"{stack_name}.parameters.yaml"
        values.write_text(json.dumps(dict(parameters or {})), encoding="utf-8")
        options = {
            "template-file": template.resolve(),
            "stack-name": stack_name,
            "s3-bucket": _ARTIFACTS,
            "s3-prefix": stack_name,
        }
        arguments = [each for name, value in options.items() for each in (f"--{name}", str(value))]
        arguments += ["--region", REGION, "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
        arguments += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]
        if self._containers is not None:
            # `sam` asks for it wherever there is an image function; an image that has a URI is not pushed.
            arguments += ["--image-repository", f"{self._registry_account}.dkr.ecr.{REGION}.amazonaws.com/unused"]
        if parameters:
            arguments += ["--parameter-overrides", values.as_uri()]
        status, written = self._run_sam(["deploy", *arguments])
        if status != 0:
            # `sam` writes its errors last, each begun with this word.
            reason = self._first_failure(stack_name) or _last_lines(written.rpartition("\nError: ")[2])
            raise LocalAwsError(f"The stack {stack_name} could not be deployed to the embedded AWS: {reason}")
        return _outputs(self._describe(stack_name))

    def create_user(self, name: str, policy: Mapping[str, Any]) -> Credentials:
        """Create an IAM user that may do what `policy` says, and nothing else."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def data_scientist(self, stack_name: str) -> Credentials:
        """Create a user with just the rights that training with a deployed stack needs (`data_scientist_policy`)."""
        stack = self._describe(stack_name)
        outputs = _outputs(stack)
        policy = data_scientist_policy(
            stack["StackId"],
            outputs["StateMachineArn"],
            outputs["ArtifactBucketName"],
            outputs.get("ModelRegistryTableName"),
            [outputs[name] for name in _ASKED if name in outputs],
            outputs.get("ScoringFunctionName"),
        )
        if "FeedbackFunctionName" in outputs:
            of_stack = (outputs["StateMachineArn"], outputs["ArtifactBucketName"], outputs["FeedbackFunctionName"])
            policy["Statement"] += feedback_statements(*of_stack)
        if "BatchScoringStateMachineArn" in outputs:
            policy["Statement"] += batch_scoring_statements(
                outputs["BatchScoringStateMachineArn"], outputs["ArtifactBucketName"]
            )
        return self.create_user(f"data-scientist-{stack_name}", policy)

    def deploy_training_stack(
        self, template: Path, stack_name: str = "crosstrain-local", parameters: Mapping[str, str] | None = None
    ) -> LocalTrainingStack:
        """Deploy the local variant of the training template, once per name, and create a user to work with it.

        Models record the commit that the template is checked out from, unless `parameters` names another.
        """
        directory = self.directory / "stacks" / stack_name
        directory.mkdir(parents=True)
        local = write_local_template(template, directory, self.endpoint_url)
        # Functions of this machine are limited by this machine alone.
        here = {
            "Commit": checked_out_commit(template.parent),
            "ModelTrainingMemory": "10240",
            "TrialsAtOnce": str(min(4, os.cpu_count() or 1)),
            **TASKS,
            "PiecesAtOnce": str(min(8, os.cpu_count() or 1)),
            # So that it can be seen without a large data set.
            "PieceBytes": os.environ.get("PIECE_BYTES", "0"),
        }
        outputs = self.deploy(local, stack_name, {**here, **(parameters or {})})
        return LocalTrainingStack(self, stack_name, outputs, self.data_scientist(stack_name))

    def wait(self) -> NoReturn:
        """Wait until the server ends by itself, or a signal's handler ends the wait.

        Raises
        ------
        LocalAwsError
            With the last lines that the server wrote.
        """
        if self._server is not None:
            self._server.wait()
        raise LocalAwsError(f"The embedded AWS has ended: {_last_lines(self.server_log())}")

    def server_log(self) -> str:
        """Return what the server has written so far."""
        return (self.directory / "server.log").read_text(encoding="utf-8", errors="replace")

    def _new_client(self, service: str, credentials: Credentials, region: str) -> Any:
        # No environment variable is consulted, or AWS_PROFILE, AWS_CA_BUNDLE and their like would be obeyed.
        variables = {name: (value[0], None, *value[2:]) for name, value in Session.SESSION_VARIABLES.items()}
        variables["config_file"] = (None, None, str(self.directory / "config"), None)
        variables["credentials_file"] = (None, None, str(self.directory / "credentials"), None)
        session = boto3.Session(
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token,
            region_name=region,
            botocore_session=Session(session_vars=variables),
        )
        config = Config(proxies={})
        # The stubs have an overload for each service's name, and none for a name that is not known here.
        return session.client(service, endpoint_url=self.endpoint_url, config=config)  # type: ignore[call-overload]

    def _isolation(self) -> dict[str, str]:
        """Return the variables that keep botocore from looking elsewhere than in its environment."""
        return {
            "AWS_CONFIG_FILE": str(self.directory / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.directory / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": _LOOPBACK,
            "no_proxy": _LOOPBACK,
        }

    def _start(self) -> None:
        with ExitStack() as opened:
            listeners = [opened.enter_context(socket.create_server((_LOOPBACK, 0), backlog=128))]
            port = listeners[0].getsockname()[1]
            self.endpoint_url = f"http://{_LOOPBACK}:{port}"
            self.registry = Registry(f"{_LOOPBACK}:{port}", self.directory / "registry")
            passwords = {"auths": {self.registry.host: {"auth": _registry_token()}}}
            (self.registry.folder / "config.json").write_text(json.dumps(passwords), encoding="utf-8")
            if self._containers is not None:
                listeners.append(opened.enter_context(_listen_on_gateway(self._containers.gateway, port)))
            log = opened.enter_context((self.directory / "server.log").open("wb"))
            # Hypercorn takes the bound sockets by number; ministack's own main() can only bind a port by itself.
            bound = [each for listener in listeners for each in ("--bind", f"fd://{listener.fileno()}")]
            self._server = guarded_process.start(
                self.directory,
                "hypercorn",
                # No worker process: the server is to be the one that is guarded.
                ["crosstrain.local.guard:app", *bound, "--workers", "0", "--keep-alive", "75"],
                env=self._server_environment(port),
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno() for listener in listeners],
            )
        deadline = time.monotonic() + _START_SECONDS
        while not _is_healthy(port, deadline):
            if self._server.poll() is not None or time.monotonic() >= deadline:
                raise LocalAwsError(f"The embedded AWS did not start: {_last_lines(self.server_log())}")
            time.sleep(0.02)

    def _server_environment(self, port: int) -> dict[str, str]:
        """Return the server's settings; what is in here also reaches the functions, which are its children."""
        return _without_foreign(os.environ) | {
            "AUTH": "true",
            "GATEWAY_PORT": str(port),
            "BIND_HOST": _LOOPBACK,
            "MINISTACK_REGION": REGION,
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "PERSIST_STATE": "0",
            "STATE_DIR": str(self.directory / "state"),
            "S3_PERSIST": "0",
            "S3_DATA_DIR": str(self.directory / "state"),
            "TMPDIR": str(self.directory / "server"),
            "MINISTACK_ACCOUNT_ID": self._registry_account,
            "SFN_WAIT_SCALE": _WAIT_SCALE,
            **self._isolation(),
            **self._executor(port),
            **self._guard(port),
        }

    def _guard(self, port: int) -> dict[str, str]:
        """Return what the gate before the server goes by (`guard.py`), and where the containers of tasks are."""
        addresses, containers = [_LOOPBACK, "localhost"], None
        if self._containers is not None:
            addresses += [self._containers.gateway, "host.docker.internal"]
            containers = {"network": self._containers.name, "endpoint_url": self._containers.endpoint_url(port)}
        settings = {
            "root_secret": _ROOT_SECRET,
            "hosts": [f"{address}:{port}" for address in addresses],
            "registry_token": _registry_token(),
            "containers": containers,
        }
        return {GUARD_VARIABLE: json.dumps(settings)}

    def _executor(self, port: int) -> dict[str, str]:
        """Return the settings that decide where functions and tasks run."""
        if self._containers is None:
            # It removes containers that bear its label; those of another instance are none of ours.
            return {"LAMBDA_EXECUTOR": "local", "DOCKER_HOST": f"unix://{self.directory}/no-container-engine"}
        gateway = self._containers.gateway
        flags = [
            "--read-only",
            "--tmpfs=/tmp",
            "--security-opt=no-new-privileges",
            f"--env=AWS_ENDPOINT_URL={self._containers.endpoint_url(port)}",
            f"--add-host=host.docker.internal:{gateway}",
        ]
        return {
            "LAMBDA_EXECUTOR": "docker",
            "LAMBDA_DOCKER_NETWORK": self._containers.name,
            "LAMBDA_DOCKER_FLAGS": " ".join(flags),
            "DOCKER_HOST": self._containers.docker_host,
            "DOCKER_CONFIG": str(self.registry.folder),
            # What an answer of the engine may take, in seconds: a busy machine starts no container in ten.
            "MINISTACK_DOCKER_TIMEOUT": "60",
        }

    def _run_sam(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run `sam` in its own folder, where it finds no configuration file, and return its status and output."""
        home = self.directory / "sam"
        # Without a date, `sam` asks the package registry for a newer version after each first command.
        (home / "metadata.json").write_text(
            json.dumps({"telemetryEnabled": False, "lastVersionCheck": time.time()}), encoding="utf-8"
        )
        settings = {
            "SAM_CLI_POLL_DELAY": "0.1",
            "SAM_CLI_TELEMETRY": "0",
            "__SAM_CLI_APP_DIR": str(home),
            # It leaves empty folders behind.
            "TMPDIR": str(home),
        }
        log = home / "deploy.log"
        with log.open("wb") as output:
            process = guarded_process.start(
                home, "samcli", arguments, env=self.environment() | settings, stdout=output, stderr=output
            )
        try:
            process.wait(_SAM_SECONDS)
        except subprocess.TimeoutExpired:
            return 1, f"it was stopped after {_SAM_SECONDS:g} seconds."
        finally:
            guarded_process.kill(process)
        return process.returncode, log.read_text(encoding="utf-8", errors="replace")

    def _describe(self, stack_name: str) -> dict[str, Any]:
        stack: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"][0]
        return stack

    def _first_failure(self, stack_name: str) -> str | None:
        try:
            events = self.client("cloudformation").describe_stack_events(StackName=stack_name)["StackEvents"]
        except ClientError:
            return None
        for event in reversed(events):
            if event["ResourceStatus"].endswith("_FAILED"):
                return f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
        return None

    def _stop(self) -> None:
        if self._server is not None:
            # There is nothing to save, so nothing is asked to end by itself.
            guarded_process.kill(self._server)
            self._server = None
        self._clients.clear()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def open_training_stack(
    progress: Progress, parameters: Mapping[str, str] | None = None
) -> Iterator[LocalTrainingStack]:
    """Start an embedded AWS with the project's training stack, and stop it at the end.

    Parameters
    ----------
    progress
        Where it is told what goes on.
    parameters
        Of the stack, by name; the template's defaults for the others.

    Raises
    ------
    LocalAwsError
        If it does not start, or the deployment fails.
    """
    with ExitStack() as resources:
        with progress.step("Start the embedded AWS"):
            aws = resources.enter_context(LocalAws())
        with progress.step("Deploy the training stack"):
            stack = aws.deploy_training_stack(PROJECT / "template.yaml", parameters=parameters)
        yield stack


def checked_out_commit(folder: Path) -> str:
    """Return the commit that a folder is checked out from, marked where files have changed, or `unknown`."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _without_foreign(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name.upper() not in _FOREIGN_NAMES
    }


def _listen_on_gateway(address: str, port: int) -> socket.socket:
    """Return a socket that containers alone reach; the engine sets the address up with the network's first one."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise LocalAwsError(f"The embedded AWS cannot listen at {address}:{port}, for containers: {error}.") from error
    return listener


def _is_healthy(port: int, deadline: float) -> bool:
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=max(0.1, deadline - time.monotonic()))
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_lines(text: str, count: int = 5) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-count:]) or "it wrote nothing."
