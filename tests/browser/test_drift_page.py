"""The page of a drift in a real browser: it is drawn, fits a phone, in light and dark, and runs nothing of the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import DESKTOP, PHONE, assert_no_text_is_cut, look_at_figures, needs_chromium
from drifts import ABOUT, HOSTILE, LIVE, document
from scoring.drift import in_short
from scoring.drift_page import render_page

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drift") / "drift.html"
    earlier = [in_short(document(shift=each / 10)) for each in range(5)]
    path.write_text(render_page(document(shift=1), {**ABOUT, "rows_from": HOSTILE}, earlier, LIVE), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_is_drawn_fits_and_nothing_in_it_runs(page: Path, width: int) -> None:
    seen = look_at_figures(page, width)
    assert seen.console == []
    assert seen.found["resources"] == []
    assert seen.found["loaders"] == 0
    assert seen.found["title"] == "Changed: rows for sales"
    assert HOSTILE in seen.found["text"]
    # Four columns, the predictions, and the line over time.
    assert len(seen.found["figures"]) == 6
    assert seen.found["overflow"] <= 0
    assert seen.found["outside"] == []
    assert_no_text_is_cut(seen.found["figures"])
    assert min(text["pixels"] for figure in seen.found["figures"] for text in figure["texts"]) >= 9


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read_in_light_and_dark(page: Path, *, dark: bool) -> None:
    found = look_at_figures(page, DESKTOP, dark=dark).found
    assert (sum(found["paper"][:3]) < 150) == dark
    assert min(found["contrasts"]) >= 4.5
    assert min(text["contrast"] for figure in found["figures"] for text in figure["texts"]) >= 4.5
