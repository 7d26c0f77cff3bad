"""Real images in a rehearsal: the engine, the base image, the registry, and the network that functions run on.

Examples
--------
>>> with open_engine() as engine, open_network(engine) as network:                # doctest: +SKIP
...     with LocalAws(containers=network, registry_account=account) as aws:
...         settings = build_environment(engine, directory, aws.registry, find_base_image(engine, print))
"""

from __future__ import annotations

import gc
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import docker

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.files import SCRIPTS
from crosstrain.local import guarded_process
from crosstrain.local.server import ContainerNetwork, Registry
from crosstrain.rehearsal.images import standin_base

DEFAULT_BASE = "public.ecr.aws/lambda/python:3.13"
BASE_VARIABLE = "CROSSTRAIN_BASE_IMAGE"
NOT_REHEARSED = (
    "Functions ran with all memory and as root of their containers; on Lambda they have neither.",
    "Functions had no way to the internet, which they have on AWS: whatever a handler looks up there is not proved.",
)
WAY_OUT = "or say --no-images, and functions run as processes of this machine"
# A build may take its time before it answers.
_ANSWER_SECONDS = 900
_START_SECONDS = 30
# Where engines listen that no setting names.
_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock", "/run/finch.sock")
_OWNER = "crosstrain.owner"
# Debian's podman without systemd: crun and systemd's cgroups fail there, and the default limits exceed root's own.
_PODMAN_SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
# The engine's command line as the build sees it. A registry of ECR is the embedded one, whose password is in a file;
# but base images, which `image` asks for, are where they are.
_COMMAND = """#!/bin/sh
if [ "$1" = login ]; then
    exec cat > /dev/null
fi
if [ "$1" = image ]; then
    exec {program} "$@"
fi
{dialect}
for word in "$@"; do
    shift
    case "$word" in
        [0-9]*.dkr.ecr.*.amazonaws.com/*) word={registry}/"${{word#*.amazonaws.com/}}" ;;
    esac
    set -- "$@" "$word"
done
exec {program} "$@"
"""
# A build keeps the user's own settings, in which Docker looks for `buildx` too.
_DOCKER_DIALECT = """case "$1" in
    push | pull) set -- --config {folder} "$@" ;;
esac"""
# Podman has a `buildx` that is none, and TLS is what it expects of every registry.
_PODMAN_DIALECT = """case "$1" in
    buildx) echo "podman has no buildx" >&2; exit 1 ;;
    build) shift; set -- build --format docker "$@" ;;
    push | pull) verb=$1; shift; set -- "$verb" --tls-verify=false --authfile {folder}/config.json "$@" ;;
esac"""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers.

    Attributes
    ----------
    host : str
        Its socket, as DOCKER_HOST has it.
    kind : str
        `docker` or `podman`; what is compatible with Docker counts as it.
    client : docker.DockerClient
        A client of it.
    """

    host: str
    kind: Literal["docker", "podman"]
    client: docker.DockerClient


@contextmanager
def open_engine() -> Iterator[Engine]:
    """Yield the engine that `docker` reaches, or else podman, started here and stopped at the end.

    Raises
    ------
    BadInputError
        If there is none.
    """
    chosen = os.environ.get("DOCKER_HOST")
    for host in [chosen] if chosen else _usual_hosts():
        if client := _connect(host):
            with closing(client):
                yield Engine(host, _kind(client), client)
            return
    if chosen:
        raise BadInputError(f"No container engine answers at DOCKER_HOST ({chosen}): start it, unset it, {WAY_OUT}.")
    with _podman_service() as engine:
        yield engine


def find_base_image(engine: Engine, log: Callable[[str], None]) -> str:
    """Return CROSSTRAIN_BASE_IMAGE, AWS's base image where it can be pulled, or a stand-in for it.

    Parameters
    ----------
    engine
        The engine that gets it.
    log
        Takes a sentence, if what follows takes minutes.

    Raises
    ------
    BadInputError
        If this machine can have none of them.
    OperationFailedError
        If making the stand-in failed.
    """
    if chosen := os.environ.get(BASE_VARIABLE):
        return chosen
    if _has(engine, DEFAULT_BASE):
        return DEFAULT_BASE
    # An engine that has the stand-in had no way to the other.
    if _has(engine, standin_base.name()):
        return standin_base.name()
    with suppress(docker.errors.APIError):
        engine.client.images.pull(DEFAULT_BASE)
        return DEFAULT_BASE
    log(f"{DEFAULT_BASE} cannot be pulled: a stand-in for it is made, once.")
    try:
        return standin_base.make(engine.client)
    except PermissionError as error:
        raise BadInputError(
            f"{DEFAULT_BASE} cannot be pulled, and {error}: set {BASE_VARIABLE} to an image that you have, {WAY_OUT}."
        ) from error
    except (RuntimeError, OSError, docker.errors.DockerException) as error:
        raise OperationFailedError(f"The stand-in for {DEFAULT_BASE} could not be made: {error}") from error


@contextmanager
def open_network(engine: Engine) -> Iterator[ContainerNetwork]:
    """Yield a network of the rehearsal's own; at the end it goes, and each container on it.

    It is internal: its containers reach each other and this machine, whose address on it the embedded AWS listens at
    for them, and have no way beyond. None of their ports is published.

    Raises
    ------
    BadInputError
        If the engine's networks are not this machine's.
    """
    _refuse_foreign(engine)
    _remove_orphans(engine)
    labels = {_OWNER: f"{platform.node()}/{os.getpid()}"}
    network = engine.client.networks.create(
        f"crosstrain-{uuid.uuid4().hex[:12]}", driver="bridge", internal=True, labels=labels
    )
    try:
        network.reload()
        yield ContainerNetwork(engine.host, network.name, network.attrs["IPAM"]["Config"][0]["Gateway"])
    finally:
        _remove(engine, network.name)


def build_environment(engine: Engine, directory: Path, registry: Registry, base_image: str) -> dict[str, str]:
    """Return the variables with which `scripts/build_images.py` builds for the embedded registry.

    It gets the repositories by their names in ECR, asks ECR for them, and finds a `docker` that replaces those names
    by the embedded registry's: what it prints, and what the ledger holds, are ECR's URIs.

    Parameters
    ----------
    engine
        The engine that builds.
    directory
        An existing folder for the command.
    registry
        The embedded registry.
    base_image
        The base image; AWS's own is left to the Dockerfiles, so that the images are known by the hash they have on AWS.

    Raises
    ------
    BadInputError
        If the engine has no command line here.
    """
    program = shutil.which(engine.kind)
    if program is None:
        raise BadInputError(
            f"The engine at {engine.host} is {engine.kind}, and `{engine.kind}` is not here: install it."
        )
    command_line = (
        [program, "--remote", "--url", engine.host] if engine.kind == "podman" else [program, "--host", engine.host]
    )
    folder = directory / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "docker"
    dialect = _PODMAN_DIALECT if engine.kind == "podman" else _DOCKER_DIALECT
    command.write_text(
        _COMMAND.format(
            dialect=dialect.format(folder=shlex.quote(str(registry.folder))),
            registry=shlex.quote(registry.host),
            program=shlex.join(command_line),
        ),
        encoding="utf-8",
    )
    command.chmod(0o755)
    base = {} if base_image == DEFAULT_BASE else {"BASE_IMAGE": base_image}
    return {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}", "DOCKER_HOST": engine.host, **base}


def pull_images(environment: Mapping[str, str], uris: Sequence[str]) -> None:
    """Pull images by digest from the embedded registry, as Lambda does when a function is made.

    Parameters
    ----------
    environment
        What `build_environment` returned.
    uris
        The images, by their URIs in ECR.

    Raises
    ------
    OperationFailedError
        If the registry does not have one of them.
    """

    def pull(uri: str) -> None:
        # By its path: a search on PATH would use this process's own.
        command = shutil.which("docker", path=environment["PATH"]) or "docker"
        done = subprocess.run(
            [command, "pull", uri],
            check=False,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode:
            raise OperationFailedError(f"The image {uri} cannot be pulled: {done.stdout.strip()[-500:]}")

    with ThreadPoolExecutor(max(1, len(uris))) as pool:
        list(pool.map(pull, uris))


def forget_images(engine: Engine, registry: str) -> None:
    """Let the engine forget what it has pulled from a host that ends; a later build still finds the layers."""
    for image in engine.client.images.list():
        for tag in [tag for tag in image.tags if tag.startswith(f"{registry}/")]:
            name = tag.removeprefix(f"{registry}/").rpartition(":")[0]
            image.tag(f"localhost/crosstrain-rehearsal/{name}", "latest")
            with suppress(docker.errors.APIError):
                engine.client.images.remove(tag, noprune=True)


def _usual_hosts() -> list[str]:
    """Return the sockets where `docker` itself looks, and those of its kin."""
    hosts = []
    if program := shutil.which("docker"):
        asked = subprocess.run(
            [program, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        hosts += asked.stdout.split() if asked.returncode == 0 else []
    own = os.environ.get("XDG_RUNTIME_DIR")
    sockets = [*_SOCKETS, *([f"{own}/docker.sock", f"{own}/podman/podman.sock"] if own else [])]
    hosts += [f"unix://{socket}" for socket in sockets if Path(socket).exists()]
    return list(dict.fromkeys(hosts))


@contextmanager
def _podman_service() -> Iterator[Engine]:
    program = shutil.which("podman")
    if program is None or shutil.which("runc") is None:
        raise BadInputError(
            "No container engine answers, neither at the socket that `docker` uses nor at podman's, and podman and "
            f"runc are not both installed: start Docker, Podman or Finch, {WAY_OUT}."
        )
    with tempfile.TemporaryDirectory(prefix="crosstrain-podman-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        settings, host = directory / "containers.conf", f"unix://{directory}/podman.sock"
        settings.write_text(_PODMAN_SETTINGS, encoding="utf-8")
        log = directory / "log"
        environment = {**os.environ, "CONTAINERS_CONF": str(settings), "PYTHONPATH": str(SCRIPTS)}
        with log.open("wb") as output:
            service = guarded_process.start(
                directory,
                "crosstrain.rehearsal.images.podman_service",
                [program, host],
                env=environment,
                stdout=output,
                stderr=output,
            )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (client := _connect(host)):
                if service.poll() is not None or time.monotonic() > deadline:
                    written = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
                    raise OperationFailedError(f"Podman's service did not start: {written or 'it wrote nothing.'}")
                time.sleep(0.05)
            with closing(client):
                yield Engine(host, "podman", client)
        finally:
            guarded_process.kill(service)


def _connect(host: str) -> docker.DockerClient | None:
    # Where nobody answers, docker-py leaves its socket to the garbage collector, which warns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return docker.DockerClient(base_url=host, version="auto", timeout=_ANSWER_SECONDS)
        except docker.errors.DockerException:
            return None
        finally:
            gc.collect()


def _kind(client: docker.DockerClient) -> Literal["docker", "podman"]:
    components = client.version().get("Components") or []
    return "podman" if any(each["Name"] == "Podman Engine" for each in components) else "docker"


def _has(engine: Engine, image: str) -> bool:
    try:
        engine.client.images.get(image)
    except docker.errors.ImageNotFound:
        return False
    return True


def _refuse_foreign(engine: Engine) -> None:
    """Refuse an engine whose containers cannot reach an address of this machine: in a VM, elsewhere, or rootless."""
    info = engine.client.info()
    is_rootless = any("rootless" in option for option in info.get("SecurityOptions") or [])
    is_here = engine.host.startswith("unix://") and info.get("KernelVersion") == platform.release()
    if is_rootless or not is_here:
        what = "runs without root's rights" if is_rootless else "runs in a virtual machine or on another machine"
        raise BadInputError(
            f"The container engine at {engine.host} {what}, so its containers do not reach the embedded AWS: rehearse "
            f"on Linux with an engine that root runs, {WAY_OUT}."
        )


def _remove_orphans(engine: Engine) -> None:
    """Remove the networks, with their containers, of rehearsals that were killed."""
    for network in engine.client.networks.list(filters={"label": _OWNER}):
        host, _, process = network.attrs["Labels"][_OWNER].partition("/")
        if host == platform.node() and not Path("/proc", process).exists():
            _remove(engine, network.name)


def _remove(engine: Engine, network: str) -> None:
    found = engine.client.containers.list(all=True, sparse=True, filters={"network": network})
    with ThreadPoolExecutor(max(1, len(found))) as pool:
        list(pool.map(_kill, found))
    with suppress(docker.errors.NotFound):
        engine.client.networks.get(network).remove()


def _kill(container: docker.models.containers.Container) -> None:
    # It may be gone already, or on its way.
    with suppress(docker.errors.APIError):
        container.remove(force=True, v=True)
