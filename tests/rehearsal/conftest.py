"""Two repositories, as a team has them, and a delivery that has gone through once, for scenarios to go on from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crosstrain.local.server import root_of
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.codepipeline.artifacts import unpack
from crosstrain.rehearsal.codepipeline.sources import Repository
from crosstrain.rehearsal.environment import Environment, Folders, open_environment
from crosstrain.rehearsal.images.backends import Images, LocalProcesses
from crosstrain.rehearsal.report.records import RehearsalRecord
from crosstrain.rehearsal.runner import Rehearsal
from git_repositories import commit_all, git

THREE = "000000000001,000000000002,000000000003"
# What is left of the unit tests: verifying is the same work with five of them as with hundreds.
KEPT_TESTS = ("conftest.py", "delivery/test_compose_sources.py")
LINT = "lint: environment-verify\n\t@$(BIN)/ruff check functions scripts\n\n"


@dataclass(frozen=True)
class Team:
    """A team's repositories, infrastructure and model."""

    infrastructure: Path
    model: Path

    def fork(self, folder: Path) -> Team:
        """Return clones, which a test may commit to."""
        clones = [folder / name for name in ("infrastructure", "model")]
        for source, clone in zip((self.infrastructure, self.model), clones, strict=True):
            git(folder, "clone", "--quiet", str(source), str(clone))
        return Team(*clones)

    def commit(self, repository: Path, changes: Mapping[str, Callable[[str], str]]) -> str:
        """Change files, each as its function says, and return the commit."""
        for name, change in changes.items():
            path = repository / name
            before = path.read_text() if path.exists() else ""
            after = change(before)
            assert after != before, name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(after)
        return commit_all(repository, f"Change {', '.join(changes)}")


@dataclass
class Delivery:
    """A environment, in which releases of the team's repositories are rehearsed one after another."""

    environment: Environment
    out: Path

    def release(self, team: Team, *, approve: bool = True) -> RehearsalRecord:
        """Rehearse what the team has committed."""
        rehearsal = self.rehearsal(team, approve=approve)
        rehearsal.prepare()
        return rehearsal.run()

    def rehearsal(self, team: Team, *, approve: bool = True) -> Rehearsal:
        """Return a rehearsal of what the team has committed."""
        repositories = Repository(team.infrastructure), Repository(team.model)
        return Rehearsal(self.environment, *repositories, approve=lambda _text: approve, out=self.out)

    def client(self, service: str, stage: str) -> Any:
        """Return a root client of a stage's account."""
        return self.environment.aws.client(service, root_of(self.environment.accounts.by_stage()[stage]))

    def item(self, key: str) -> dict[str, Any]:
        """Return an item of the ledger, its texts only."""
        table = self.environment.outputs["LedgerTableName"]
        item = self.client("dynamodb", "tools").get_item(TableName=table, Key={"id": {"S": key}}).get("Item", {})
        return {name: value["S"] for name, value in item.items() if "S" in value}

    def stack(self, stage: str) -> dict[str, Any]:
        """Return the state of a stage's stack: its status, its parameters, and when it was changed last."""
        (stack,) = self.client("cloudformation", stage).describe_stacks(StackName=f"crosstrain-{stage}")["Stacks"]
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        return {"status": stack["StackStatus"], **parameters}


def failed(record: RehearsalRecord) -> str:
    """Return which action failed."""
    assert record.failed is not None
    return f"{record.failed.stage}/{record.failed.name}"


def states(record: RehearsalRecord, stage: str) -> list[str]:
    """Return what became of a stage's actions."""
    return [str(action.state) for action in record.actions if action.stage == stage]


@pytest.fixture(scope="session")
def team(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Make the team's repositories of this working tree, with fewer unit tests and less to lint."""
    folder = tmp_path_factory.mktemp("team")
    archive = folder / "project.zip"
    Repository(project, worktree=True).fetch(archive)
    infrastructure, model = folder / "infrastructure", folder / "model"
    unpack(archive, infrastructure)
    for path in sorted((infrastructure / "tests" / "unit").rglob("*.py")):
        if str(path.relative_to(infrastructure / "tests" / "unit")) not in KEPT_TESTS:
            path.unlink()
    makefile = infrastructure / "Makefile"
    text = makefile.read_text()
    begin = text.index("lint: ")
    makefile.write_text(text[:begin] + LINT + text[text.index(".PHONY:", begin) :])
    for name in ("functions", "notebooks"):
        shutil.copytree(infrastructure / name, model / name)
    for each in (infrastructure, model):
        git(folder, "init", "--quiet", "--initial-branch", "main", str(each))
        commit_all(each, "Begin")
    return Team(infrastructure, model)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return where builds work; what is verified and set up once serves all scenarios."""
    root = tmp_path_factory.mktemp("rehearsal")
    return Folders(root / "work", root / "cache")


OpenDelivery = Callable[..., Delivery]


@pytest.fixture(scope="module")
def open_delivery(team: Team, folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDelivery]:
    """Return a function that sets up accounts for a test module."""
    with ExitStack() as stack:

        def open_one(accounts: str = THREE, images: Images | None = None) -> Delivery:
            chosen = images or LocalProcesses(folders.cache / "images")
            environment = stack.enter_context(open_environment(Accounts.parse(accounts), chosen, folders))
            environment.set_up(team.infrastructure, {})
            return Delivery(environment, tmp_path_factory.mktemp("out"))

        yield open_one


@pytest.fixture(scope="module")
def first(open_delivery: OpenDelivery, team: Team) -> tuple[Delivery, RehearsalRecord]:
    """Return a delivery, and its first release, which went through."""
    delivery = open_delivery()
    return delivery, delivery.release(team)


@pytest.fixture
def delivery(first: tuple[Delivery, RehearsalRecord]) -> Delivery:
    """Return a delivery that has gone through once at least."""
    delivery, record = first
    assert record.failed is None, record.failed
    return delivery
