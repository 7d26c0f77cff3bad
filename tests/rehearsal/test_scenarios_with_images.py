"""The cases that need real images, built from the real Dockerfiles; without a container engine they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from crosstrain.command import BadInputError
from crosstrain.delivery.functions import FUNCTIONS, STEPS
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.environment import Folders, open_environment
from crosstrain.rehearsal.images.backends import ContainerImages, open_containers
from crosstrain.rehearsal.report.records import State
from deliveries import THREE, Delivery, FirstRelease, Team, cause, failed, open_delivery, states

pytestmark = pytest.mark.enable_socket


@pytest.fixture(scope="module")
def images(folders: Folders) -> Iterator[ContainerImages]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(open_containers(folders.work / "engine", THREE.partition(",")[0], print))
        except BadInputError as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="module")
def first(
    images: ContainerImages, team: Team, folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FirstRelease]:
    """Return a delivery with real images, and its first release."""
    with open_delivery(team, folders, tmp_path_factory.mktemp("out"), THREE, images) as delivery:
        yield FirstRelease.of(delivery, team)


def test_all_green_with_the_same_digests_in_both_stages(first: FirstRelease) -> None:
    delivery, record = first.delivery, first.record
    assert {action.state for action in record.actions} == {State.SUCCEEDED}
    for stage in ("test", "prod"):
        functions = delivery.client("lambda", stage).list_functions()["Functions"]
        # Those of a run, and those that score batches and measure predictions by labels.
        assert len(functions) == len(STEPS) + 2
        deployed = delivery.stack(stage)
        digests = {uri.rpartition("@")[2] for name, uri in deployed.items() if name.endswith("ImageUri")}
        for function in functions:
            assert function["PackageType"] == "Image"
            # The function's variable has the digest in ECR that the ledger resolved.
            assert function["Environment"]["Variables"]["IMAGE_URI"].rpartition("@")[2] in digests
    assert not [each for each in record.not_rehearsed if "processes of this machine" in each]


def test_a_broken_dockerfile_stops_at_build_and_the_ledger_has_no_such_release(
    delivery: Delivery, team: Team, tmp_path: Path
) -> None:
    fork = team.fork(tmp_path)
    before = [delivery.stack(stage) for stage in ("test", "prod")]
    latest = delivery.item("LATEST")["release"]
    broken = "\nRUN echo this-cannot-be-built && false\n"
    fork.commit(fork.model, {"functions/model_evaluation/Dockerfile": lambda text: text + broken})

    record = delivery.release(fork)

    assert failed(record) == "Build/Images"
    assert "model_evaluation could not be built" in cause(record)
    assert set(states(record, "Test") + states(record, "Production")) == {"not run"}
    assert not delivery.item(f"RELEASE#{record.model_commit[:12]}-{record.infrastructure_commit[:12]}")
    assert delivery.item("LATEST")["release"] == latest
    assert [delivery.stack(stage) for stage in ("test", "prod")] == before


def test_the_next_rehearsal_builds_no_image_when_nothing_has_changed(
    delivery: Delivery, images: ContainerImages, folders: Folders, team: Team, tmp_path: Path
) -> None:
    known = tmp_path / "images.json"
    delivery.environment.save_images(known)

    with open_environment(Accounts.parse(THREE), images, folders) as environment:
        environment.set_up(team.infrastructure, {})
        environment.restore_images(known)
        record = Delivery(environment, tmp_path, environment.declaration()).release(team)

    assert record.failed is None, record.failed
    build, _ = [action for action in record.actions if action.stage == "Build"]
    assert f"images built: none; used again: {len(FUNCTIONS)}" in build.details
