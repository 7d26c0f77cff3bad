"""cfn-lint finds nothing in any template, in any region: services and resource types differ between them.

tests/templates looks at one region.
"""

from __future__ import annotations

from pathlib import Path

import cfnlint.api
import pytest
from cfnlint.config import ManualArgs
from cfnlint.helpers import REGIONS

from delivery_templates import TEMPLATES

# A few regions at once: cfn-lint tries all combinations of region, partition and suffix, which takes minutes for all.
CHUNK = 6
ALL = sorted(REGIONS)
CHUNKS = [ALL[first : first + CHUNK] for first in range(0, len(ALL), CHUNK)]


def test_every_region_is_in_a_chunk() -> None:
    assert sorted(region for chunk in CHUNKS for region in chunk) == ALL
    assert len(ALL) > 30


@pytest.mark.parametrize("regions", CHUNKS, ids=lambda regions: f"{regions[0]}-to-{regions[-1]}")
@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_finds_nothing_in_these_regions(project: Path, name: str, regions: list[str]) -> None:
    config = ManualArgs(regions=regions, include_checks=["I"])
    assert cfnlint.api.lint_file(project / name, config=config) == []
