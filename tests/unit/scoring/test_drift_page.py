"""The page of a drift document: it says what has changed, is bounded, and runs and loads nothing."""

from __future__ import annotations

import html
import json
import re

import pytest

from drifts import ABOUT, HOSTILE, LIVE, document
from scoring.drift import in_short
from scoring.drift_page import MOST_PICTURES, MOST_ROWS, render_page


def text_of(page: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", page.partition("<main>")[2]).split()))


def test_a_page_says_what_has_changed_and_shows_both_distributions() -> None:
    found = document(shift=1)
    page = render_page(found, ABOUT)
    text = text_of(page)
    assert "<title>Changed: rows for sales</title>" in page
    assert "▲ Changed Since training 4 of 5 columns have changed" in text
    assert "What has changed" in text
    assert page.count("<figure>") == 5  # and one of the predictions
    assert "Upper bars are training" in text
    # Times are dates, the missing are beside the others.
    assert re.search(r"≤ 20\d\d-\d\d-\d\d", text)
    assert "missing" in page
    assert page == render_page(found, ABOUT)


def test_a_page_of_rows_like_training_s() -> None:
    text = text_of(render_page(document(), ABOUT))
    assert "✔ Unchanged Nothing of 5 columns and the predictions has changed" in text
    assert "No column has changed; these have the largest index." in text
    assert "Over time" not in text


def test_nothing_of_the_data_runs_and_nothing_is_loaded() -> None:
    page = render_page(document(shift=1), {**ABOUT, "model_name": HOSTILE, "rows_from": HOSTILE}, (), LIVE)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert not re.search(r"<(img|link|iframe|object|embed)|src=|url\(|https?://(?!www\.w3\.org/2000/svg)", page)


def test_texts_that_the_profile_does_not_name_stay_unnamed() -> None:
    found = document(shift=1)
    many = next(column for column in found["columns"] if column["name"] == "many")
    assert many["distribution"]["values"] is None
    assert "user " not in json.dumps(found)
    page = render_page({**found, "columns": [{**many, "drifted": True, "why": "so"}]}, ABOUT)
    assert "no. 1 by frequency" in page
    assert "all others" in page


def test_the_line_goes_through_earlier_batches() -> None:
    earlier = [in_short(document()), in_short(document(rows=10)), in_short(document(shift=0.3))]
    page = render_page(document(shift=1), ABOUT, earlier)
    # The one of too few rows has no index.
    assert "Of 3 batches 2 had changed; the last one has" in text_of(page)


def test_live_metrics_stand_first() -> None:
    text = text_of(render_page(document(), ABOUT, live=LIVE))
    assert "▼ Dropped rmse is 1.5." in text
    assert "rmse of rows with a label 1.50" in text
    assert "Predictions without a label 20" in text
    assert text.index("How good the predictions were") < text.index("What the columns are like")


def test_a_page_is_bounded_whatever_has_changed() -> None:
    found = document(rows=200, shift=2, columns=300)
    page = render_page(found, ABOUT)
    assert page.count("<figure>") == MOST_PICTURES + 1
    assert page.count("<tr>") == MOST_ROWS + 1
    assert f"The {MOST_PICTURES} columns that have moved most, of 304 that have changed." in text_of(page)
    assert len(page) < 150_000


def test_a_page_of_too_few_rows_says_so() -> None:
    text = text_of(render_page(document(rows=5), ABOUT))
    assert "Not compared 5 rows are too few to be compared with training's: 30 are needed." in text
    assert "nchanged" not in text


@pytest.mark.parametrize("name", ["few", "flag"])
def test_the_bars_are_those_of_the_document(name: str) -> None:
    found = document(shift=1)
    column = next(column for column in found["columns"] if column["name"] == name)
    places = dict(zip(column["distribution"]["values"], column["distribution"]["was"], strict=False))
    assert sum(places.values()) == pytest.approx(1)
    page = render_page({**found, "columns": [column]}, ABOUT)
    moved = max(places, key=lambda each: abs(column["distribution"]["now"][list(places).index(each)] - places[each]))
    if name == "few":
        assert f"{places[moved]:.1%} in training, 100.0% now" in text_of(page)
