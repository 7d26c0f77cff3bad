"""What people deploy by hand at first: templates and parameters that cannot be used are bad input."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosstrain.command import BadInputError
from crosstrain.rehearsal import accounts
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.environment import Environment, Folders, open_environment
from crosstrain.rehearsal.images.backends import LocalProcesses


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    folders = Folders(tmp_path / "work", tmp_path / "cache")
    with open_environment(
        Accounts.parse(accounts.DEFAULT), LocalProcesses(folders.cache / "images"), folders
    ) as opened:
        yield opened


@pytest.fixture
def templates(project: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name in ("pipeline.yaml", "target-account.yaml"):
        shutil.copy(project / name, folder)
    return folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Resources: [", r"^pipeline\.yaml is no template: while parsing"),
        ("Description: empty", r"^pipeline\.yaml is no template: it has no Resources\.$"),
        ("Resources: many", r"^pipeline\.yaml is no template: it has no Resources\.$"),
        ("just a text", r"^pipeline\.yaml is no template: "),
    ],
)
def test_a_file_that_is_no_template_is_named(environment: Environment, templates: Path, text: str, said: str) -> None:
    (templates / "pipeline.yaml").write_text(text)

    with pytest.raises(BadInputError, match=said):
        environment.set_up(templates, {})


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"TestAccountId": "000000000005"}, r"TestAccountId is said by --accounts"),
        ({"LogRetentionDays": "2"}, r"^CloudFormation does not take crosstrain-pipeline: .*LogRetentionDays"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_bad_input(
    environment: Environment, templates: Path, parameters: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        environment.set_up(templates, parameters)
