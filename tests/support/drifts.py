"""Documents of a drift, for the page that shows them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from common.distributions import of_booleans, of_numbers, of_texts, text_codes, texts_by_code
from scoring.counts import Counts
from scoring.drift import compare

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
