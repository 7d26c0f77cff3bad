"""What people deploy by hand at first: what CloudFormation does not take is bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crosstrain.command import BadInputError
from crosstrain.rehearsal.accounts import Accounts
from deliveries import Delivery


def test_a_parameter_that_cannot_be_used_is_bad_input(set_up: Delivery, project: Path) -> None:
    empty = replace(set_up.environment, accounts=Accounts.parse("000000000021,000000000022,000000000023"))
    with pytest.raises(BadInputError, match=r"^CloudFormation does not take crosstrain-pipeline: .*LogRetentionDays"):
        empty.set_up(project, {"LogRetentionDays": "2"})
