"""Reads the test part and predicts it, a block of rows at a time, so that memory hardly grows with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from common.conversion import Profile
from common.frames import BLOCK_VALUES, SampledRows, Watch, load_blocks, load_weights, values_of
from common.metrics import Codes, Predictions, predict
from common.threads import few_threads
from model_evaluation.evaluation import HeldOut

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sklearn.pipeline import Pipeline


def predict_part(
    path: Path, profile: Profile, pipeline: Pipeline, seed: int, watching: Sequence[Watch] = ()
) -> tuple[HeldOut, Predictions]:
    """Return the test part, and what a pipeline predicts of all of its rows.

    Of a part of more than one block only predictions, target and weights are held of all rows. What looks at features
    is to do with a seeded sample of the rows then, which has as many as a block.

    Parameters
    ----------
    path
        `test.parquet`.
    profile
        The profile that was written with it.
    pipeline
        Fitted.
    seed
        Of the sample.
    watching
        What else is to see all rows.

    Raises
    ------
    DamagedFileError
        If the part is of another reading of the data set than the profile.
    """
    sample = _sample(path, profile, seed)
    sampled = None if sample is None else SampledRows(sample, profile)
    watch = _all([*watching, *([] if sampled is None else [sampled.add])])
    whole: list[pd.DataFrame] = []
    labels, pieces = list[npt.NDArray[Any]](), list[Predictions]()
    for features, target in load_blocks(path, profile, watch, values=None if sampled is None else BLOCK_VALUES):
        with few_threads(features.size):
            pieces.append(predict(pipeline, features, profile["problem"]))
        labels.append(target)
        whole += [features] if sampled is None else []
        # Before the next block is read.
        del features
    of_rows = whole[0] if sampled is None else sampled.frame()
    target = labels[0] if len(labels) == 1 else np.concatenate(labels)
    return HeldOut(of_rows, target, load_weights(path, profile), sample), Predictions.joined(pieces)


def _sample(path: Path, profile: Profile, seed: int) -> Codes | None:
    """Return which rows of the test part are looked at by their features, ascending; None for all of them."""
    rows, values = pq.read_metadata(path).num_rows, values_of(path, profile)
    if values <= BLOCK_VALUES:
        return None
    some = max(1, rows * BLOCK_VALUES // values)
    return np.sort(np.random.default_rng(seed).choice(rows, some, replace=False, shuffle=False))


def _all(watching: Sequence[Watch]) -> Watch:
    """Return a function that shows a batch to all of them."""

    def watch(batch: pa.RecordBatch) -> None:
        for each in watching:
            each(batch)

    return watch
