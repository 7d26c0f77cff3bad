"""Tests that share something run in one process, where tests run side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def test_what_a_file_shares_stays_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist hands the group of tests/conftest.py on in a test's id; a pytest that it does not fit loses it."""
    runs_side_by_side = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@unit/test_groups.py") == runs_side_by_side
