"""A table for boosted trees: numbers with gaps, and a column of categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CATEGORY = 2


def table(rows: int = 400) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Return features of shape (rows, 3), and a target that needs the first, where that is missing, and the last."""
    random = np.random.default_rng(0)
    features = random.normal(size=(rows, 3)).astype(np.float32)
    features[:, CATEGORY] = random.integers(0, 9, rows)
    features[random.random((rows, 3)) < 0.1] = np.nan
    target = np.where(np.isnan(features[:, 0]), 3, features[:, 0]) + 2 * (np.nan_to_num(features[:, CATEGORY]) % 2)
    return features, target + random.normal(0, 0.1, rows)
