"""What people deploy by hand at first: what CloudFormation refuses is bad input, the rest goes to its templates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crosstrain.command import BadInputError
from crosstrain.local.server import root_of
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.environment import Environment
from deliveries import Delivery


def elsewhere(delivery: Delivery, accounts: str) -> Environment:
    """Return other accounts of the same embedded AWS, in which nothing is deployed yet."""
    return replace(delivery.environment, accounts=Accounts.parse(accounts))


@pytest.mark.parametrize(
    ("accounts", "parameters", "message"),
    [
        # Each of them is of another template.
        ("000000000021", {"CreateRepositories": "yes"}, r"does not take crosstrain-tools: .*CreateRepositories"),
        ("000000000022", {"LogRetentionDays": "2"}, r"does not take crosstrain-pipeline: .*LogRetentionDays"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_bad_input(
    set_up: Delivery, project: Path, accounts: str, parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        elsewhere(set_up, accounts).set_up(project, parameters)


def test_a_parameter_goes_to_each_template_that_has_it(set_up: Delivery, project: Path) -> None:
    environment = elsewhere(set_up, "000000000031,000000000032,000000000033")
    environment.set_up(project, {"ProjectName": "other", "BranchName": "release", "StudioDomainId": "d-a"})

    assert environment.outputs["ProjectName"] == environment.outputs["PipelineName"] == "other"
    assert environment.parameters["BranchName"] == "release"
    assert "StudioDomainId" not in environment.parameters
    iam = environment.aws.client("iam", root_of(environment.accounts.prod))
    assert iam.get_role(RoleName="other-us-east-1-prod-action")["Role"]["RoleName"] == "other-us-east-1-prod-action"
