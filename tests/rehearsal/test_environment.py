"""What people deploy by hand at first: templates and parameters that cannot be used are bad input."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosstrain.command import BadInputError
from crosstrain.local.server import root_of
from crosstrain.rehearsal import accounts
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.environment import TEMPLATES, Environment, Folders, open_environment
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
    for name in TEMPLATES:
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
        ({"ToolsAccountId": "000000000005"}, r"ToolsAccountId is said by --accounts"),
        ({"Stage": "test"}, r"^The parameter Stage is set by the rehearsal itself\.$"),
        ({"BranchNames": "main"}, r"^No template has the parameter BranchNames\.$"),
        # Each of them is of another template.
        ({"CreateRepositories": "yes"}, r"^CloudFormation does not take crosstrain-tools: .*CreateRepositories"),
        ({"LogRetentionDays": "2"}, r"^CloudFormation does not take crosstrain-pipeline: .*LogRetentionDays"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_bad_input(
    environment: Environment, templates: Path, parameters: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        environment.set_up(templates, parameters)


def test_a_parameter_goes_to_each_template_that_has_it(environment: Environment, templates: Path) -> None:
    environment.set_up(templates, {"ProjectName": "other", "BranchName": "release", "StudioDomainId": "d-a"})

    assert environment.outputs["ProjectName"] == environment.outputs["PipelineName"] == "other"
    assert environment.parameters["BranchName"] == "release"
    assert "StudioDomainId" not in environment.parameters
    iam = environment.aws.client("iam", root_of(environment.accounts.prod))
    assert iam.get_role(RoleName="other-prod-action")["Role"]["RoleName"] == "other-prod-action"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_is_missing_is_named(environment: Environment, templates: Path, name: str) -> None:
    (templates / name).unlink()

    with pytest.raises(BadInputError, match=f"has no {name}"):
        environment.set_up(templates, {})
