"""An engine, a base image and the three images as `sam build` makes them; without an engine these tests are skipped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crosstrain.command import BadInputError
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.rehearsal.images.containers import Engine, find_base_image, open_engine

if TYPE_CHECKING:
    import docker

ROOT = Path(__file__).parents[2]
TAG = "container-tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that use an engine open its socket."""
    for item in items:
        if "opened_engine" in getattr(item, "fixturenames", ()):
            item.add_marker("enable_socket")


@pytest.fixture(scope="session")
def opened_engine() -> Iterator[Engine]:
    """Yield the engine that `docker` reaches, or podman, started here and stopped at the end."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        try:
            opened = stack.enter_context(open_engine())
        except BadInputError as error:
            pytest.skip(str(error))
        # For SAM CLI, which runs in a process of its own, and for podman's command line.
        patch.setenv("DOCKER_HOST", opened.host)
        if opened.kind == "podman":
            patch.setenv("CONTAINER_HOST", opened.host)
        yield opened


@pytest.fixture(scope="session")
def engine(opened_engine: Engine) -> docker.DockerClient:
    """Return a client of the engine."""
    return opened_engine.client


@pytest.fixture(scope="session")
def base_image(opened_engine: Engine) -> str:
    """Return the base image that a rehearsal takes."""
    try:
        return find_base_image(opened_engine, print)
    except BadInputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return each function's image, made by `sam build` from the project's template with `base_image` as its base."""
    directory = tmp_path_factory.mktemp("sam")
    text = (ROOT / "template.yaml").read_text()
    metadata = f"DockerTag: {TAG}, DockerBuildArgs: {{ BASE_IMAGE: '{base_image}' }} }}"
    # Several functions may share an image.
    assert {*re.findall(r"Dockerfile: (\w+)/Dockerfile, DockerTag: latest }", text)} == FUNCTIONS.keys()
    template = directory / "template.yaml"
    template.write_text(text.replace("DockerTag: latest }", metadata))
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
