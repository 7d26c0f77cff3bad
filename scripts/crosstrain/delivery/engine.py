"""The container engine that builds the images, and the processes that it is run by."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Self

from botocore.exceptions import BotoCoreError, ClientError

from crosstrain.aws import make_client
from crosstrain.command import OperationFailedError, wait_for
from crosstrain.delivery.repositories import ECR, ecr_client, explained

Log = Callable[[str, str], None]
"""Takes a subject and what has happened to it."""
# Its one region that hands out tokens: https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html
PUBLIC_ECR, _PUBLIC_ECR_REGION = "public.ecr.aws", "us-east-1"


class EngineMissingError(OperationFailedError):
    """There is no container engine, or it does not answer."""


@dataclass(frozen=True)
class Engine:
    """A container engine's command line.

    Attributes
    ----------
    program : str
        Where it is.
    kind : str
        `buildx`, `docker` (without buildx) or `podman`.
    """

    program: str
    kind: Literal["buildx", "docker", "podman"]

    def build(
        self, dockerfile: Path, context: Path, tag: str, platform: str, arguments: Mapping[str, str]
    ) -> list[str]:
        """Return the command that builds an image."""
        own = {
            # Lambda takes an image, never an index, which an attestation of its provenance would make it.
            "buildx": ["buildx", "build", "--provenance=false", "--load"],
            "docker": ["build"],
            "podman": ["build", "--format", "docker"],
        }[self.kind]
        command = [self.program, *own, "--platform", platform, "--tag", tag, "--file", str(dockerfile)]
        for name, value in arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        return [*command, str(context)]

    def push(self, tag: str) -> list[str]:
        """Return the command that pushes an image."""
        # Docker speaks HTTP to this machine's own registries by itself.
        is_here = tag.startswith(("127.0.0.1", "localhost"))
        plain_http = ["--tls-verify=false"] if self.kind == "podman" and is_here else []
        return [self.program, "push", *plain_http, tag]


def find_engine(name: str | None, log: Log) -> Engine:
    """Return the engine of a name or, without one, docker with buildx, docker without it, or podman.

    Raises
    ------
    EngineMissingError
        If there is none, or it does not answer.
    """
    program = next(
        (found for each in ([name] if name else ("docker", "podman")) if (found := shutil.which(each))), None
    )
    if program is None:
        raise EngineMissingError(
            f"No container engine is installed that could build the images ({name or 'docker, podman'}): install "
            "Docker, or let the pipeline build them."
        )
    asked = _run([program, "version"])
    if asked.returncode:
        message = asked.stdout.strip().splitlines()[-1:] or ["it says nothing"]
        raise EngineMissingError(f"{program} does not reach its container engine, start it: {message[0]}")
    if Path(program).name == "podman":
        log("engine", "podman")
        return Engine(program, "podman")
    if _run([program, "buildx", "version"]).returncode == 0:
        return Engine(program, "buildx")
    log("engine", "docker has no buildx here: building with `docker build`")
    return Engine(program, "docker")


def find_local_image(engine: Engine, image: str, repository: str) -> str | None:
    """Return a name for what an engine has under an image's name that stays with these contents, None if it has none.

    That is its digest or, where the engine keeps none of what no registry has, a tag made of its id: BuildKit builds
    upon no id (https://github.com/moby/buildkit/issues/2204).

    Parameters
    ----------
    engine
        The engine.
    image
        The image's name as it is known to the engine.
    repository
        The image's repository, in full.

    Raises
    ------
    OperationFailedError
        If the engine cannot tag the image.
    """
    asked = subprocess.run([engine.program, "image", "inspect", image], check=False, capture_output=True, text=True)
    if asked.returncode:
        return None
    found = json.loads(asked.stdout)[0]
    by_digest: list[str] = found.get("RepoDigests") or []
    if by_digest:
        return next((each for each in by_digest if each.startswith(f"{repository}@")), by_digest[0])
    tag = f"{repository}:{found['Id'].removeprefix('sha256:')}"
    tagged = _run([engine.program, "image", "tag", image, tag])
    if tagged.returncode:
        raise OperationFailedError(f"{engine.program} could not tag {image}: {last_lines(tagged.stdout, 3)}")
    return tag


def log_in(engine: Engine, repository: str) -> None:
    """Let the engine push to an ECR registry; any other is left to the user's own settings.

    Raises
    ------
    OperationFailedError
        If the registry or the engine refuses.
    """
    match = ECR.fullmatch(repository)
    if match is None:
        return
    with explained(repository):
        answer = ecr_client(match["region"]).get_authorization_token()
    _log_in(engine, repository.partition("/")[0], answer["authorizationData"][0]["authorizationToken"])


def log_in_to_base(engine: Engine, image: str, log: Log) -> None:
    """Let the engine fetch a base image with an identity: ECR Public throttles those that have none sooner.

    A public image is fetched all the same where the caller may not log in, or in a partition without ECR Public.

    Raises
    ------
    OperationFailedError
        If the image is in ECR, and its registry or the engine refuses.
    """
    if match := ECR.match(image):
        log_in(engine, match[0])
    if not image.startswith(f"{PUBLIC_ECR}/"):
        return
    try:
        answer = make_client("ecr-public", _PUBLIC_ECR_REGION).get_authorization_token()
        _log_in(engine, PUBLIC_ECR, answer["authorizationData"]["authorizationToken"])
    except (BotoCoreError, ClientError, OperationFailedError) as error:
        log("engine", f"not logged in to {PUBLIC_ECR}, which throttles those who are not: {error}")


def _log_in(engine: Engine, host: str, token: str) -> None:
    user, _, password = base64.b64decode(token).decode().partition(":")
    command = [engine.program, "login", "--username", user, "--password-stdin", host]
    done = _run(command, text=password)
    if done.returncode:
        raise OperationFailedError(f"{engine.program} could not log in to {host}: {last_lines(done.stdout, 3)}")


class Jobs:
    """Runs the work on several images at the same time, each with the processes of its own; all end with it."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def run(self, work: Mapping[str, Callable[[], str]]) -> dict[str, str]:
        """Return what each of the works returns, or stop the others at the first that fails and raise its error."""
        with ThreadPoolExecutor(max(1, len(work))) as pool:
            try:
                futures = {pool.submit(each): name for name, each in work.items()}
                done = wait_for(futures, FIRST_EXCEPTION)
                if failed := [error for future in done if (error := future.exception()) is not None]:
                    raise failed[0]
                return {name: future.result() for future, name in futures.items()}
            finally:
                # The threads end when their processes do, and the pool waits for the threads.
                self.stop()

    def execute(self, command: Sequence[str], output: IO[bytes]) -> int:
        """Run a command to its end and return its status."""
        environment = os.environ | {
            "DOCKER_BUILDKIT": "1" if "buildx" in command else "0",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        }
        with self._lock:
            if self._stopped.is_set():
                return 1
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )
            self._processes.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._processes.discard(process)

    def wait(self, seconds: float) -> None:
        """Wait before another attempt, no longer than until all processes are ended."""
        self._stopped.wait(seconds)

    def stop(self) -> None:
        """End all processes, and let none begin."""
        with self._lock:
            self._stopped.set()
            for process in self._processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)


def _run(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def last_lines(text: str, count: int) -> str:
    """Return the last lines of a text that are not empty."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "it wrote nothing"
