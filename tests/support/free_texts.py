"""A table with a column of remarks, half of which hold good words and half bad ones, and the target follows that."""

from __future__ import annotations

import numpy as np
import pandas as pd

GOOD, BAD = "great fine works perfect happy", "broken late awful never refund"
PLAIN = "the delivery of this order came with box and paper on monday to our house"


def remarks(rows: int, seed: int = 0) -> list[str | None]:
    """Return remarks, the odd ones with good words; some are missing."""
    random = np.random.default_rng(seed)
    found = list[str | None]()
    for n in range(rows):
        words = [*random.choice(PLAIN.split(), 5), *random.choice((GOOD if n % 2 else BAD).split(), 3)]
        found.append(None if n % 40 == 7 else " ".join(random.permutation(words)))
    return found


def table(problem: str = "regression", rows: int = 400) -> pd.DataFrame:
    """Return a number, a category, the remarks as `note` and the target `y`."""
    random = np.random.default_rng(1)
    number = random.normal(size=rows)
    signal = 3 * (np.arange(rows) % 2) + number + random.normal(0, 0.1, rows)
    target = signal if problem == "regression" else np.where(signal > 1.5, "high", "low")
    return pd.DataFrame({"a": number, "kind": random.choice(["x", "y"], rows), "note": remarks(rows), "y": target})
