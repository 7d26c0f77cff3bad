"""Two repositories, as a team has them, and a delivery that has gone through once, for scenarios to go on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosstrain.rehearsal.codepipeline.artifacts import unpack
from crosstrain.rehearsal.codepipeline.sources import Repository
from crosstrain.rehearsal.environment import Folders
from deliveries import Delivery, FirstRelease, Team, open_delivery
from git_repositories import commit_all, git

# What is left of the unit tests: verifying is the same work with few of them as with hundreds. One is of the model's
# own code.
KEPT_TESTS = ("conftest.py", "common/test_request.py", "delivery/test_compose_sources.py")
LINT = "lint: environment-verify\n\t@$(BIN)/ruff check functions scripts\n\n"


@pytest.fixture(scope="session")
def team(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Make the team's repositories of this working tree, with fewer unit tests, less to lint and no search."""
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
    # A search is as many fits more, of which delivery knows nothing.
    system_test = infrastructure / "data" / "system-test.json"
    document = json.loads(system_test.read_text())
    document["request"]["search_trials"] = 0
    system_test.write_text(json.dumps(document, indent=2))
    for name in ("functions", "notebooks"):
        shutil.copytree(infrastructure / name, model / name)
    for each in (infrastructure, model):
        git(folder, "init", "--quiet", "--initial-branch", "main", str(each))
        commit_all(each, "Begin")
    return Team(infrastructure, model)


@pytest.fixture
def fork(team: Team, tmp_path: Path) -> Team:
    """Return the team's repositories, for one test to commit to."""
    return team.fork(tmp_path)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return where builds work; what is verified and set up once serves all scenarios."""
    root = tmp_path_factory.mktemp("rehearsal")
    return Folders(root / "work", root / "cache")


@pytest.fixture(scope="session")
def set_up(team: Team, folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """Return three accounts with the delivery stack; whoever changes the stack puts it back."""
    with open_delivery(team, folders, tmp_path_factory.mktemp("out")) as opened:
        yield opened


@pytest.fixture(scope="session")
def first(set_up: Delivery, team: Team) -> FirstRelease:
    """Return the first release in these accounts, which went through."""
    return FirstRelease.of(set_up, team)


@pytest.fixture
def delivery(first: FirstRelease) -> Delivery:
    """Return a delivery that has gone through once at least; whoever breaks a stack puts it back."""
    return first.delivery
