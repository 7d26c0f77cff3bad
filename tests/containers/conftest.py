"""An engine, a base image and the three images as `sam build` makes them; without an engine these tests are skipped."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]
import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("data_preparation", "model_training", "model_evaluation")
DEFAULT_BASE = "public.ecr.aws/lambda/python:3.13"
TAG = "container-tests"
# Debian's podman without systemd: crun and systemd's cgroups fail there, and the default limits exceed root's own.
PODMAN_SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that use an engine open its socket."""
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker("enable_socket")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Yield a client of the engine at DOCKER_HOST, or of podman, started here and stopped at the end."""
    if client := _connect():
        with contextlib.closing(client):
            yield client
        return
    podman = shutil.which("podman")
    if podman is None or shutil.which("runc") is None:
        pytest.skip("no container engine answers at DOCKER_HOST, and podman and runc are not installed")
    with tempfile.TemporaryDirectory(prefix="crosstrain-podman-") as directory, pytest.MonkeyPatch.context() as patch:
        settings, socket = Path(directory, "containers.conf"), f"unix://{directory}/podman.sock"
        settings.write_text(PODMAN_SETTINGS)
        # For podman, and for SAM CLI, which runs in a process of its own.
        patch.setenv("CONTAINERS_CONF", str(settings))
        patch.setenv("DOCKER_HOST", socket)
        command = [podman, "system", "service", "--time", "0", socket]
        with subprocess.Popen(command) as service:
            try:
                deadline = time.monotonic() + 30
                while not (client := _connect()):
                    assert service.poll() is None, "podman's service ended"
                    assert time.monotonic() < deadline, "podman's service does not answer"
                    time.sleep(0.1)
                with contextlib.closing(client):
                    yield client
            finally:
                service.terminate()


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """Return CROSSTRAIN_BASE_IMAGE, AWS's base image where it can be pulled, or a stand-in for it."""
    if chosen := os.environ.get("CROSSTRAIN_BASE_IMAGE"):
        return chosen
    with contextlib.suppress(docker.errors.APIError):
        engine.images.pull(DEFAULT_BASE)
        return DEFAULT_BASE
    made = subprocess.run(
        [sys.executable, Path(__file__).with_name("standin_base.py")], check=False, capture_output=True, text=True
    )
    if made.returncode == 2:
        pytest.skip(f"{DEFAULT_BASE} cannot be pulled; {made.stderr.strip()}")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return each function's image, made by `sam build` from the project's template with `base_image` as its base."""
    directory = tmp_path_factory.mktemp("sam")
    text = (ROOT / "template.yaml").read_text()
    metadata = f"      DockerTag: {TAG}\n      DockerBuildArgs: {{ BASE_IMAGE: {base_image} }}\n"
    template = directory / "template.yaml"
    template.write_text(text.replace("      DockerTag: latest\n", metadata))
    command = [sys.executable, "-m", "samcli", "build", "--template", str(template), "--base-dir", str(ROOT)]
    built = subprocess.run(
        [*command, "--build-dir", str(directory / "build")],
        check=False,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-west-1"},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert built.returncode == 0, built.stdout
    return {name: engine.images.get(f"{name.replace('_', '')}function:{TAG}") for name in FUNCTIONS}


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest) -> str:
    """Return the name of one function, each in turn."""
    return str(request.param)


def _connect() -> docker.DockerClient | None:
    # Where nobody answers, docker-py leaves its socket to the garbage collector, which warns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return docker.from_env(timeout=600)
        except docker.errors.DockerException:
            return None
        finally:
            gc.collect()
