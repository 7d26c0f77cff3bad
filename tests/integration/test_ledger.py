"""The image ledger on the embedded AWS, with twenty writers at once that each have a client of their own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Ledger, Release, release_id
from crosstrain.local.server import REGION, ROOT, LocalAws

WRITERS = 20


@pytest.fixture
def table(local_aws: LocalAws, create_table: Callable[..., None]) -> Iterator[str]:
    """Yield the name of a new ledger."""
    dynamodb, name = local_aws.client("dynamodb"), f"ledger-{uuid.uuid4().hex[:8]}"
    create_table(dynamodb, "ImageLedger", name)
    yield name
    dynamodb.delete_table(TableName=name)


def release(number: int) -> Release:
    commits = (f"{number:012x}" * 3, "f" * 40)
    host = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    images = {name: f"{host}/{name.lower()}@sha256:{number:064x}" for name in FUNCTIONS.values()}
    return Release(release_id(*commits), images, number, *commits)


def run(local_aws: LocalAws, project: Path, script: str, *arguments: str, text: str = "") -> Any:
    return subprocess.run(
        [sys.executable, str(project / "scripts" / script), *arguments],
        env=local_aws.environment(),
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_twenty_builds_at_once_leave_the_newest_as_the_latest(local_aws: LocalAws, table: str) -> None:
    numbers = list(range(1, WRITERS + 1))
    random.Random(1).shuffle(numbers)  # noqa: S311 - no secret
    together, stop, seen = threading.Barrier(WRITERS + 1, timeout=60), threading.Event(), list[int]()

    def write(number: int) -> bool:
        ledger = Ledger(local_aws._new_client("dynamodb", ROOT, REGION), table)
        together.wait()
        return ledger.record_release(release(number))

    def watch() -> None:
        ledger = Ledger(local_aws.client("dynamodb"), table)
        together.wait()
        while not stop.is_set():
            item = ledger._get("LATEST")
            if item is not None:
                seen.append(item["order"])

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        watching = pool.submit(watch)
        try:
            latest = list(pool.map(write, numbers))
        finally:
            stop.set()
        watching.result()

    ledger = Ledger(local_aws.client("dynamodb"), table)
    assert ledger.resolve("latest") == ledger.resolve(release(WRITERS).id)
    assert dict(zip(numbers, latest, strict=True))[WRITERS]
    assert all(ledger.resolve(release(number).id).images == release(number).images for number in numbers)
    # Whoever looked meanwhile never saw it go back.
    assert seen == sorted(seen)


@pytest.fixture
def images(local_aws: LocalAws) -> Iterator[Callable[[], dict[str, str]]]:
    """Yield a function that pushes an image of each function to the registry and returns them by digest."""
    ecr = local_aws.client("ecr")
    repositories = {name: f"ledger/{name}-{uuid.uuid4().hex[:8]}" for name in FUNCTIONS}
    for repository in repositories.values():
        ecr.create_repository(repositoryName=repository)

    def push() -> dict[str, str]:
        pushed = {}
        for name, repository in repositories.items():
            manifest = json.dumps({"schemaVersion": 2, "function": name})
            image = ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag="built")["image"]
            registry = f"{image['registryId']}.dkr.ecr.{REGION}.amazonaws.com"
            pushed[name] = f"{registry}/{repository}@{image['imageId']['imageDigest']}"
        return pushed

    yield push
    for repository in repositories.values():
        ecr.delete_repository(repositoryName=repository, force=True)


@pytest.mark.slow
def test_a_release_goes_from_record_to_the_parameter_file_of_each_stage(
    local_aws: LocalAws, table: str, images: Callable[[], dict[str, str]], project: Path, tmp_path: Path
) -> None:
    pushed = images()
    repositories = [f"--repository={name}={uri.partition('@')[0]}" for name, uri in pushed.items()]
    recorded = run(
        local_aws, project, "record_release.py", "--ledger", table, "--order", "7", *repositories,
        "--model-commit", "a" * 40, "--infrastructure-commit", "b" * 40, text=json.dumps(pushed),
    )  # fmt: skip
    assert (recorded.returncode, recorded.stdout) == (0, f"{'a' * 12}-{'b' * 12}\n"), recorded.stderr
    for stage in ("test", "prod"):
        base, out = project / f"config/{stage}.json", tmp_path / f"parameters-{stage}.json"
        resolve = ["resolve_images.py", "latest", "--ledger", table, "--stage", stage]
        written = run(local_aws, project, *resolve, "--base", str(base), "--out", str(out))
        assert (written.returncode, written.stdout) == (0, ""), written.stderr
        own = json.loads(base.read_text())
        assert json.loads(out.read_text()) == {
            "Parameters": {
                "PermissionsBoundaryName": f"ledger-us-east-1-{stage}-boundary",
                **own["Parameters"],
                **{f"{kind}ImageUri": images()[name] for name, kind in FUNCTIONS.items()},
                "Release": f"{'a' * 12}-{'b' * 12}",
                "Commit": "a" * 40,
                "Stage": stage,
            },
            "Tags": {**own["Tags"], "stage": stage},
        }


def test_a_release_whose_images_are_gone_writes_nothing(
    local_aws: LocalAws, table: str, images: Callable[[], dict[str, str]], project: Path, tmp_path: Path
) -> None:
    recorded = images()
    commits = ("a" * 40, "b" * 40)
    by_kind = {kind: recorded[name] for name, kind in FUNCTIONS.items()}
    ledger = Ledger(local_aws.client("dynamodb"), table)
    ledger.record_release(Release(release_id(*commits), by_kind, 1, *commits))
    for uri in recorded.values():
        repository, _, digest = uri.partition("/")[2].partition("@")
        local_aws.client("ecr").batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])

    resolve = ["resolve_images.py", "latest", "--ledger", table, "--stage", "test"]
    gone = run(local_aws, project, *resolve, "--out", str(tmp_path / "parameters.json"))

    assert (gone.returncode, gone.stdout) == (2, "")
    assert gone.stderr.count("is gone from its registry") == len(FUNCTIONS)
    assert not list(tmp_path.iterdir())
