"""build_images.py against a real registry: everything, then one changed function, then nothing.

The registry and the ledger are those of the embedded AWS. How long each took is printed (`-s` shows it).
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crosstrain.delivery.engine import Engine as DeliveryEngine
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.images import Settings, content_hash, pin_bases
from crosstrain.delivery.ledger import Ledger
from crosstrain.delivery.repositories import find_images
from crosstrain.local.server import LocalAws, Registry

if TYPE_CHECKING:
    import docker

    from crosstrain.rehearsal.images.containers import Engine

SCRIPT = Path(__file__).parents[2] / "scripts/build_images.py"
TABLE = "ledger-of-containers"
# Of one image, then of several for platforms or attestations: a registry answers with what it was sent.
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)


@pytest.fixture(scope="module")
def ledger(local_aws: LocalAws, create_table: Callable[..., None]) -> Ledger:
    """Return a ledger on the embedded AWS, beside a repository for each function."""
    dynamodb = local_aws.client("dynamodb")
    ecr = local_aws.client("ecr")
    create_table(dynamodb, "ImageLedger", TABLE)
    for name in FUNCTIONS:
        ecr.create_repository(repositoryName=f"delivery/{name}")
    return Ledger(dynamodb, TABLE)


@pytest.fixture(scope="module")
def registry(engine: docker.DockerClient, local_aws: LocalAws) -> Iterator[Registry]:
    """Yield the registry, and let the engine forget at the end what was built for it."""
    host = local_aws.registry.host
    yield local_aws.registry
    for tag in [tag for image in engine.images.list() for tag in image.tags if tag.startswith(f"{host}/")]:
        engine.images.remove(tag)


def passwords(registry: Registry) -> dict[str, str]:
    """Return the variables by which Docker and Podman find the registry's password."""
    return {"DOCKER_CONFIG": str(registry.folder), "REGISTRY_AUTH_FILE": str(registry.folder / "config.json")}


@pytest.fixture
def context(tmp_path: Path, project: Path) -> Path:
    """Return a build context of its own."""
    unused = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(project / "functions", tmp_path / "functions", ignore=unused)


@pytest.fixture
def build(
    opened_engine: Engine,
    base_image: str,
    local_aws: LocalAws,
    registry: Registry,
    context: Path,
    tmp_path: Path,
) -> Callable[..., Any]:
    """Return a function that runs the script: with podman where that is the engine, otherwise with docker."""
    environment = local_aws.environment() | passwords(registry)

    def run(*arguments: str) -> Any:
        options = ["--ledger", TABLE, "--context", str(context), "--base-image", base_image, "--commit", "c" * 40]
        options += [word for name in FUNCTIONS for word in ("--repository", f"{name}={registry.host}/delivery/{name}")]
        options += ["--engine", opened_engine.kind, *arguments]
        return subprocess.run(
            [sys.executable, str(SCRIPT), *options],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    return run


@pytest.fixture
def current_hashes(context: Path, base_image: str, opened_engine: Engine) -> Callable[[], dict[str, str]]:
    """Return a function that returns the content hash of each function now."""

    def find() -> dict[str, str]:
        settings = pin_bases(Settings(context, base_image), opened_engine.kind, lambda *_told: None)
        return {name: content_hash(name, settings) for name in FUNCTIONS}

    return find


def test_only_what_changed_is_built(
    build: Callable[..., Any],
    ledger: Ledger,
    context: Path,
    current_hashes: Callable[[], dict[str, str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    def measured(name: str) -> dict[str, str]:
        begin = time.monotonic()
        done = build()
        seconds[name] = time.monotonic() - begin
        assert done.returncode == 0, done.stderr
        pushed[name] = done.stderr.count(": pushed after")
        uris: dict[str, str] = json.loads(done.stdout)
        return uris

    seconds: dict[str, float] = {}
    pushed: dict[str, int] = {}
    everything = measured("everything")
    with (context / "model_training/training.py").open("a") as file:
        file.write("# changed\n")
    planned = json.loads(build("--dry-run").stdout)
    assert {name: plan["action"] for name, plan in planned.items()} == {
        "data_preparation": "reuse",
        "model_training": "build",
        "model_evaluation": "reuse",
        "scoring": "reuse",
    }
    one = measured("one changed function")
    nothing = measured("nothing changed")

    assert pushed == {"everything": len(FUNCTIONS), "one changed function": 1, "nothing changed": 0}
    assert [name for name in FUNCTIONS if everything[name] != one[name]] == ["model_training"]
    assert nothing == one
    assert ledger.images(current_hashes()) == nothing
    with capfd.disabled():
        for name, each in seconds.items():
            ratio = each / seconds["everything"]
            print(f"\n{name}: {pushed[name]} built and pushed, {each:.1f} s, {ratio:.2f} of everything", end="")


def test_two_builds_of_the_same_contents_at_once_both_end_well(
    build: Callable[..., Any], ledger: Ledger, context: Path, current_hashes: Callable[[], dict[str, str]]
) -> None:
    with (context / "data_preparation/app.py").open("a") as file:
        file.write("# built twice at once\n")
    with ThreadPoolExecutor(2) as pool:
        first, second = (future.result() for future in [pool.submit(build), pool.submit(build)])

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert ledger.images(current_hashes()) == json.loads(first.stdout)


@pytest.fixture
def moved_base(engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    """Yield a tag of the base image that a test may move, and let the engine forget it at the end."""
    name = "localhost/crosstrain-moved-base"
    engine.images.get(base_image).tag(name, "1")
    yield f"{name}:1"
    for tag in [tag for image in engine.images.list() for tag in image.tags if tag.startswith(f"{name}:")]:
        engine.images.remove(tag)


def test_other_contents_behind_the_tag_of_the_base_image_are_built_upon(
    build: Callable[..., Any], engine: docker.DockerClient, registry: Registry, context: Path, moved_base: str
) -> None:
    for name in FUNCTIONS:
        (context / name / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY common /common\n")
    first, again = build("--base-image", moved_base), build("--base-image", moved_base)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "pushed after" not in again.stderr
    # No registry has it, which is said.
    assert f"Which digest the base image {moved_base} has now is not known." in again.stderr

    update = f"FROM {moved_base}\nLABEL update=applied\n".encode()
    engine.images.build(fileobj=io.BytesIO(update), tag=moved_base)
    updated = build("--base-image", moved_base)
    assert updated.returncode == 0, updated.stderr
    assert updated.stderr.count(": pushed after") == len(FUNCTIONS)
    uris = json.loads(updated.stdout)
    assert not set(uris.values()) & set(json.loads(first.stdout).values())
    labels = {
        tag.partition(":")[2].partition("/")[2].partition(":")[0]
        for image in engine.images.list()
        for tag in image.tags
        if tag.startswith(f"{registry.host}/") and image.labels.get("update") == "applied"
    }
    assert labels == {f"delivery/{name}" for name in FUNCTIONS}


def test_a_build_that_fails_is_named(build: Callable[..., Any], ledger: Ledger, context: Path) -> None:
    with (context / "model_evaluation/Dockerfile").open("a") as file:
        file.write("RUN echo this cannot work && exit 3\n")
    done = build()

    assert (done.returncode, done.stdout) == (1, "")
    assert "The image of model_evaluation could not be built." in done.stderr
    assert "this cannot work" in done.stderr
    assert ledger._get("LATEST") is None


@pytest.fixture(scope="module")
def sent(images: dict[str, Any], opened_engine: Engine, registry: Registry, ledger: Ledger) -> dict[str, str]:
    """Push what `sam build` has made, as `sam deploy` does, to the repositories beside the ledger; return the tags."""
    assert ledger.table == TABLE
    program = shutil.which(opened_engine.kind)
    assert program is not None
    tags = {}
    for name, image in images.items():
        tags[name] = f"{registry.host}/delivery/{name}:sam"
        image.tag(*tags[name].rsplit(":", 1))
        command = DeliveryEngine(program, "podman" if opened_engine.kind == "podman" else "docker").push(tags[name])
        environment = os.environ | passwords(registry)
        pushed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert pushed.returncode == 0, pushed.stderr
    return tags


def test_trap_5_sam_build_makes_single_manifests_too(
    sent: dict[str, str], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attestation would make an index of the image, which Lambda refuses."""
    for name, value in passwords(registry).items():
        monkeypatch.setenv(name, value)
    for name, tag in sent.items():
        host, _, path = tag.partition("/")
        repository, _, reference = path.rpartition(":")
        headers = {"Accept": ", ".join(MANIFESTS), "Authorization": registry.authorization}
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", f"/v2/{repository}/manifests/{reference}", headers=headers)
        manifest = json.loads(connection.getresponse().read())
        connection.close()
        assert manifest["mediaType"] in MANIFESTS[:2], name
        assert {"config", "layers"} <= set(manifest), name
    assert all(isinstance(digest, str) for digest in find_images(sent).values())
