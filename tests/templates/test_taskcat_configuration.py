"""What .taskcat.yml says of the templates is so, and nothing in it is passed over by taskcat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from samcli.yamlhelper import yaml_parse


@pytest.fixture(scope="module")
def configuration(project: Path) -> Any:
    return yaml.safe_load((project / ".taskcat.yml").read_text(encoding="utf-8"))


def test_each_template_is_tested_in_each_account(configuration: Any) -> None:
    tested = {
        (test["template"], test["auth"][region])
        for test in configuration["tests"].values()
        for region in configuration["project"]["regions"]
    }
    assert tested == {
        (template, f"crosstrain-{stage}")
        for template in ("template.yaml", "target-account.yaml")
        for stage in ("test", "prod")
    }


def test_every_region_has_a_profile_by_its_own_name(configuration: Any) -> None:
    """`taskcat test run` puts the profile `default` in the place of auth's default."""
    for name, test in configuration["tests"].items():
        assert set(test["auth"]) == set(configuration["project"]["regions"]), name


def test_every_parameter_is_one_that_taskcat_passes_on(configuration: Any, project: Path) -> None:
    """It leaves out, in silence, parameters that the template lacks or gives a number as default."""
    for name, test in configuration["tests"].items():
        declared = yaml_parse((project / test["template"]).read_text(encoding="utf-8"))["Parameters"]
        for parameter, value in test["parameters"].items():
            assert isinstance(declared[parameter].get("Default", ""), str), (name, parameter)
            assert value in declared[parameter].get("AllowedValues", [value]), (name, parameter)


def test_training_stacks_are_deployed_as_the_pipeline_does(configuration: Any, project: Path) -> None:
    """The role's rights end with the stage's names, and a stack that is to be deleted must not retain anything."""
    resources = yaml_parse((project / "template.yaml").read_text(encoding="utf-8"))["Resources"]
    roles = [name for name, resource in resources.items() if resource["Type"] == "AWS::IAM::Role"]
    for stage in ("test", "prod"):
        test = configuration["tests"][stage]
        fixed = f"crosstrain-$[taskcat_current_region]-{stage}"
        assert test["role_name"] == f"{fixed}-cloudformation"
        assert test["stack_name_prefix"] == "crosstrain-"
        # What CloudFormation makes of it, a role's logical id and 13 characters of its own; it cuts what is longer.
        assert all(len(f"crosstrain-{stage}-123456-{role}-") + 13 <= 64 for role in roles)
        boundary = {"PermissionsBoundaryName": f"{fixed}-boundary"}
        assert test["parameters"] == {"Stage": stage, "RetentionPolicy": "Delete", **boundary}


def test_roles_have_no_names_that_an_account_has_already(configuration: Any) -> None:
    assert configuration["tests"]["test-roles"]["parameters"]["Stage"] == "prod"
    assert configuration["tests"]["prod-roles"]["parameters"]["Stage"] == "test"
