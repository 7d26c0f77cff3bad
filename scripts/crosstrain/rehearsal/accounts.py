"""The accounts of a rehearsal: tools, test and prod, any of which may be the same one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crosstrain.command import BadInputError

_ACCOUNT = re.compile(r"[0-9]{12}")
# Leading zeros, which a template that takes accounts for numbers loses.
DEFAULT = "000000000001,000000000002,000000000003"


@dataclass(frozen=True)
class Accounts:
    """The ids of the three accounts."""

    tools: str
    test: str
    prod: str

    @classmethod
    def parse(cls, text: str) -> Accounts:
        """Read `TOOLS,TEST,PROD`; two ids are the tools account and one for both stages, one is all three.

        Raises
        ------
        BadInputError
            If the text is not one to three ids.
        """
        ids = text.split(",")
        if len(ids) > 3 or not all(_ACCOUNT.fullmatch(each) for each in ids):
            raise BadInputError(
                f'--accounts takes one to three account ids of 12 digits with commas between them, not "{text}".'
            )
        # The last one stands for those that are not said.
        return cls(*(ids + ids[-1:] * (3 - len(ids))))

    def all(self) -> list[str]:
        """Return each account once."""
        return list(dict.fromkeys((self.tools, self.test, self.prod)))

    def by_stage(self) -> dict[str, str]:
        """Return the accounts by what they are for."""
        return {"tools": self.tools, "test": self.test, "prod": self.prod}
