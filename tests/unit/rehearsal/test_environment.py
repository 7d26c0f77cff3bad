"""What people deploy by hand at first: templates and parameters that cannot be used are refused beforehand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crosstrain.command import BadInputError
from crosstrain.local.server import LocalAws
from crosstrain.rehearsal import accounts
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.authorization import Authorizer
from crosstrain.rehearsal.cloudformation.change_sets import CloudFormation
from crosstrain.rehearsal.codebuild.builds import CodeBuild
from crosstrain.rehearsal.environment import Environment
from crosstrain.rehearsal.images.backends import LocalProcesses


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Return accounts on an embedded AWS that does not run."""
    aws, images = LocalAws(), LocalProcesses(tmp_path / "images")
    authorizer = Authorizer(aws)
    codebuild = CodeBuild(aws, authorizer, images, work=tmp_path / "work", cache=tmp_path / "cache", fresh=False)
    cloudformation = CloudFormation(aws, authorizer, images, lambda: False)
    return Environment(aws, Accounts.parse(accounts.DEFAULT), authorizer, codebuild, cloudformation, images)


@pytest.fixture
def templates(project: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir()
    for path in project.glob("*.yaml"):
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Resources: [", r"^pipeline\.yaml is no template: while parsing"),
        ("Description: empty", r"^pipeline\.yaml is no template: it has no Resources\.$"),
        ("Resources: many", r"^pipeline\.yaml is no template: it has no Resources\.$"),
        ("just a text", r"^pipeline\.yaml is no template: "),
    ],
)
def test_a_file_that_is_no_template_is_named(
    environment: Environment, templates: Path, text: str, message: str
) -> None:
    (templates / "pipeline.yaml").write_text(text)

    with pytest.raises(BadInputError, match=message):
        environment.set_up(templates, {})


def test_a_file_that_is_missing_is_named(environment: Environment, templates: Path) -> None:
    (templates / "pipeline.yaml").unlink()

    with pytest.raises(BadInputError, match=r"has no pipeline\.yaml"):
        environment.set_up(templates, {})


def test_accounts_are_no_parameters(environment: Environment, templates: Path) -> None:
    with pytest.raises(BadInputError, match=r"TestAccountId is said by --accounts"):
        environment.set_up(templates, {"TestAccountId": "000000000005"})
