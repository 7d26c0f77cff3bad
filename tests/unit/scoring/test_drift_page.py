"""The page of a drift document: it says what has changed, is bounded, and runs and loads nothing."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from common.distributions import of_booleans, of_numbers, of_texts, text_codes, texts_by_code
from scoring.counts import Counts
from scoring.drift import compare, in_short
from scoring.drift_page import MOST_PICTURES, MOST_ROWS, render_page

ABOUT = {"model_name": "sales", "version": "run-1", "rows_from": "rows.csv", "at": "2026-01-02T03:04:05Z"}
HOSTILE = "<script>document.title = 'run'</script>"


def document(rows: int = 500, shift: float = 0.0, columns: int = 0) -> dict[str, Any]:
    """Return a document of a number, a time, a boolean, texts with and without names, and further numbers."""
    random = np.random.default_rng(0)
    text = pa.array(random.choice([HOSTILE, "b", "c"], 3000)).dictionary_encode()
    users = [pa.array([f"user {each}" for each in random.integers(0, 500, 3000).tolist()]) for _ in range(2)]
    many, others = (each.dictionary_encode() for each in users)
    seconds = 1.6e9 + random.integers(0, 30_000_000, 3000)
    made: dict[str, tuple[str, str, Any]] = {
        HOSTILE: ("numeric", "float64", of_numbers(random.normal(size=3000))),
        "time": ("timestamp", "float64", of_numbers(seconds)),
        "flag": ("boolean", "bool", of_booleans((random.random(3000) < 0.3).astype(float))),
        "few": ("categorical", "category", of_texts(text_codes(text), texts_by_code([HOSTILE, "b", "c"]))),
        "many": ("categorical", "category", of_texts(text_codes(many), None)),
        **{f"n{each}": ("numeric", "float64", of_numbers(random.normal(size=300))) for each in range(columns)},
    }
    described = [
        {"name": name, "use": "feature", "role": role, "dtype": dtype, "distribution": found}
        for name, (role, dtype, found) in made.items()
    ]
    counts = Counts({"fingerprint": "f", "columns": described}, {"of": "prediction", **of_numbers(np.arange(1000.0))})
    batch: dict[str, Any] = {
        HOSTILE: random.normal(shift, 1, rows),
        "time": pa.array(((seconds[:rows] + shift * 1e7) * 1e6).astype(np.int64)).cast(pa.timestamp("us")),
        "flag": pa.array(random.random(rows) < 0.3, mask=random.random(rows) < 0.1 * shift),
        "few": pa.array([HOSTILE] * rows).dictionary_encode() if shift else text[:rows],
        "many": others[:rows],
        **{f"n{each}": random.normal(shift, 1, rows) for each in range(columns)},
    }
    counts.add(pa.record_batch(batch), pa.record_batch({"prediction": random.integers(0, 1000, rows).astype(float)}))
    return json.loads(json.dumps(compare(counts)))


LIVE = {
    "rows": 400, "unmatched": 20, "unmatched_labels": 3, "duplicates": 2, "missing_keys": 1, "missing_labels": 7,
    "metric": "rmse", "value": 1.5, "interval": {"value": 1.5, "low": 1.4, "high": 1.6, "deviation": 0.05},
    "test_value": 1.0, "test_interval": None, "dropped": True, "reason": "rmse is 1.5.", "told": [HOSTILE],
}  # fmt: skip


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
