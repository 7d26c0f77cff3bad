"""The accounts of a rehearsal, as its command takes them."""

from __future__ import annotations

import pytest

from crosstrain.command import BadInputError
from crosstrain.rehearsal.accounts import Accounts


def test_accounts_keep_their_zeros_and_the_last_one_stands_for_the_others() -> None:
    assert Accounts.parse("000000000001").by_stage() == dict.fromkeys(("tools", "test", "prod"), "000000000001")
    assert Accounts.parse("000000000001,000000000002").prod == "000000000002"
    for wrong in ("1", "", "000000000001,", "000000000001,2", ",".join(["000000000001"] * 4)):
        with pytest.raises(BadInputError, match="account ids of 12 digits"):
            Accounts.parse(wrong)
