"""What all tests share: where sockets may go, and the training stack on one embedded AWS for the whole session."""

import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import hypothesis
import pytest
from samcli.yamlhelper import yaml_parse

from crosstrain.local.server import LocalAws, LocalTrainingStack
from training_stacks import LARGEST_CLUSTER, RETRAINED, RETRAINED_PREFIX, SERVED, MockedAws, token_issuer

# Before any numeric library is imported: threads of a small fit wait for each other on a busy machine, twenty times as
# long as the fit takes, and there is a test process for each core already. Where a test is about threads, those that
# wait leave their core to others: https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html
for variable, value in {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(variable, value)

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
# Tests outside of tests/containers that need a container engine.
ENGINE_USERS = {"test_scenarios_with_images.py"}

# What takes longest begins first, so that nobody waits for one process in the end; the other rooms' files are short.
LONGEST_FIRST = ("rehearsal", "containers", "regions", "integration", "statemachine", "taskcat", "fuzz", "templates")

# The machine may be busy with anything: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("all", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.load_profile("all")


# Each session reads the models of its services again, a tenth of a second for a client: here all share what was read.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

# A shell lets what it runs in the background ignore Ctrl-C; the commands under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples where slow tests are left out; whoever runs all of them has all examples."""
    hypothesis.settings.load_profile("quick" if "not slow" in config.option.markexpr else "all")


# Before pytest-xdist's own, which hands the groups on.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say where sockets may go, and which tests belong into one process of those that run side by side."""
    for item in items:
        # Unit tests reach no network at all, and other tests this machine only.
        is_unit = TESTS / "unit" in item.path.parents
        item.add_marker(pytest.mark.disable_socket if is_unit else pytest.mark.allow_hosts(["127.0.0.1"]))
        item.add_marker(pytest.mark.xdist_group(_group(item.path.relative_to(TESTS))))
    rank = {room: number for number, room in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(TESTS).parts[0], len(rank)))


def _group(path: Path) -> str:
    """Return what a file's tests share: the machine's one engine, the first release of a rehearsal, or the file."""
    if path.parts[0] == "containers" or path.name in ENGINE_USERS:
        return "engine"
    return "rehearsal" if path.parts[0] == "rehearsal" else str(path)


@pytest.fixture(scope="session")
def project() -> Path:
    """Return the root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def create_table() -> Callable[[Any, str, str], None]:
    """Return a function that creates a table as the templates declare it: `create_table(client, logical_id, name)`."""
    resources: dict[str, Any] = {}
    for file in ("template.yaml", "tools-account.yaml"):
        resources |= yaml_parse((PROJECT / file).read_text())["Resources"]

    def create(client: Any, logical_id: str, name: str) -> None:
        declared = resources[logical_id]["Properties"]
        used = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        client.create_table(TableName=name, **{key: declared[key] for key in used if key in declared})

    return create


@pytest.fixture(scope="session")
def local_aws() -> Iterator[LocalAws]:
    """Start the embedded AWS for the first test that needs it; a unit test cannot, for it has no sockets."""
    with MockedAws(TESTS / "statemachine" / "mock_config.json") as aws:
        yield aws


@pytest.fixture(scope="session")
def training_stack(local_aws: LocalAws) -> LocalTrainingStack:
    """Deploy the training stack, with data and models that go when it is deleted, and an endpoint of a model.

    Another model is retrained by events, and tasks may grow trees together.
    """
    parameters = {
        "RetentionPolicy": "Delete",
        "ServeModel": SERVED,
        "RetrainModel": RETRAINED,
        "RetrainOn": "drift-or-performance",
        "RetrainPrefix": RETRAINED_PREFIX,
        "LargestCluster": LARGEST_CLUSTER,
        **token_issuer(local_aws),
    }
    return local_aws.deploy_training_stack(PROJECT / "template.yaml", parameters=parameters)
