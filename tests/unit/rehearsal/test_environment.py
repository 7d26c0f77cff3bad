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
from crosstrain.rehearsal.environment import TEMPLATES, Environment
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
    for name in TEMPLATES:
        shutil.copy(project / name, folder)
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


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_file_that_is_missing_is_named(environment: Environment, templates: Path, name: str) -> None:
    (templates / name).unlink()

    with pytest.raises(BadInputError, match=f"has no {name}"):
        environment.set_up(templates, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("TestAccountId", r"TestAccountId is said by --accounts"),
        ("ToolsAccountId", r"ToolsAccountId is said by --accounts"),
        ("Stage", r"^The parameter Stage is set by the rehearsal itself\.$"),
        ("BranchNames", r"^No template has the parameter BranchNames\.$"),
    ],
)
def test_a_parameter_that_is_not_to_be_given_is_named(
    environment: Environment, templates: Path, parameter: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        environment.set_up(templates, {parameter: "000000000005"})
