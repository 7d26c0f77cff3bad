"""Fits XGBoost's trees on a part that is read block by block: no more of it is in memory than XGBoost's own bins.

What a pipeline's features learn of the rows (the mean target of a text of many, components of free texts, the scale of
what float32 has too few digits for) they learn of a sample, and a part that is no larger is its own sample: then the
model is the one of a fit in memory, to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.boosted import ROWS_AT_ONCE, as_floats
from common.conversion import Profile, feature_columns
from common.metrics import Weights
from common.request import TrainingRequest
from common.threads import few_threads
from model_training.boosting import Batch, Growth, Rows, grow
from model_training.features import MAX_NATIVE_CATEGORIES
from model_training.training import FittedModel, as_told, keep_what_predicts, learn_features

if TYPE_CHECKING:
    import xgboost
    from sklearn.pipeline import Pipeline

    from common.frames import PartFile

SAMPLE_VALUES = 10_000_000
"""How many values the sample has: 40 MB as trees see them."""
LEAST_SAMPLE_ROWS = 20_000
MOST_TEXTS = MAX_NATIVE_CATEGORIES + 1
"""Of a column with more different texts they are not told apart."""


def fits_block_by_block(request: TrainingRequest) -> bool:
    """Return whether a fit takes the rows block by block, which depends on the request alone, and on no machine."""
    return request.estimator == "xgboost"


def sample_rows(profile: Profile) -> int:
    """Return of about how many rows features learn, at most."""
    rows: int = profile["rows"]["train"]
    return min(rows, max(LEAST_SAMPLE_ROWS, SAMPLE_VALUES // max(1, len(feature_columns(profile)))))


@dataclass(frozen=True)
class Learned:
    """What features have learned, for whoever makes the other rows' features.

    Attributes
    ----------
    features
        The fitted transformer.
    profile
        Of the part.
    rows_of_groups
        How many rows each row group of the part has.
    sample
        The places of the rows that it was fitted on, sorted.
    made
        What it has made of them, with target and weights.
    """

    features: Any
    profile: Profile
    rows_of_groups: list[int]
    sample: npt.NDArray[np.intp]
    made: Batch


def fit_block_by_block(  # noqa: PLR0913 - the rows come in these pieces
    pipeline: Pipeline,
    part: PartFile,
    profile: Profile,
    target: npt.NDArray[Any],
    weights: Weights = None,
    *,
    watch: Callable[[pa.RecordBatch], None] | None = None,
    elsewhere: Callable[[Growth, Learned], xgboost.Booster] | None = None,
) -> FittedModel:
    """Fit the pipeline of XGBoost's trees.

    Parameters
    ----------
    pipeline
        From `model_training.training.build_pipeline`, of a request that `fits_block_by_block`.
    part
        The training part.
    profile
        The profile that was written with it.
    target
        Shape (rows,).
    weights
        How much each row counts, shape (rows,); None for all alike.
    watch
        What else is to see the rows, batch by batch.
    elsewhere
        Grows the trees on other machines.

    Raises
    ------
    InvalidDatasetError
        If XGBoost or scikit-learn refuses the data.
    """
    started = time.perf_counter()
    sample, model = _rows_to_learn_of(part, profile, watch), pipeline["model"]
    of_sample = None if weights is None else weights[sample]
    with as_told(pipeline) as messages, few_threads(part.rows * len(part.columns)):
        made = learn_features(pipeline, part.take(sample), target[sample], of_sample)
        batch = as_floats(made, slice(None)), target[sample], of_sample
        del made
        growth = Growth.of(model, model.told(iter([(target, weights)])))
        learned = Learned(pipeline["features"], profile, part.rows_of_groups, sample, batch)
        model.take(
            grow(growth, _Blocks(learned, part, target, weights).batches)
            if elsewhere is None
            else elsewhere(growth, learned)
        )
    keep_what_predicts(pipeline)
    return FittedModel(pipeline, messages, time.perf_counter() - started)


def _rows_to_learn_of(
    part: PartFile, profile: Profile, watch: Callable[[pa.RecordBatch], None] | None
) -> npt.NDArray[np.intp]:
    """Return evenly spread rows, and the first row of each text that is told apart, in their order."""
    step = -(-part.rows // sample_rows(profile))
    texts = [column["name"] for column in feature_columns(profile) if column["role"] == "categorical"]
    seen: dict[str, set[Any]] = {name: set() for name in texts}
    chosen, begin = [np.arange(0, part.rows, step)], 0
    if step > 1 or watch is not None:
        for block in part.blocks(texts if watch is None else part.watched, ROWS_AT_ONCE):
            if watch is not None:
                for batch in block.to_batches():
                    watch(batch)
            chosen += [begin + _firsts(block[name], seen[name]) for name in texts]
            begin += block.num_rows
    return np.unique(np.concatenate(chosen)).astype(np.intp)


def _firsts(column: pa.ChunkedArray, seen: set[Any]) -> npt.NDArray[np.intp]:
    """Return where texts stand that were not seen before, at most as many as are told apart, and remember them."""
    known = pc.unique(column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column)
    new = [each for each in known.to_pylist() if each is not None and each not in seen][: MOST_TEXTS - len(seen)]
    seen.update(new)
    texts = column.cast(pa.string())
    return np.array([pc.index(texts, each).as_py() for each in new], np.intp)


@dataclass(frozen=True)
class _Blocks:
    """The rows of a part: first those that features have learned of, then all others as they are made."""

    learned: Learned
    part: PartFile
    target: npt.NDArray[Any]
    weights: Weights

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over all rows."""
        yield from Rows.of(*self.learned.made).batches()
        sample, begin = self.learned.sample, 0
        if len(sample) == self.part.rows:
            return
        for block in self.part.blocks(self.part.columns, ROWS_AT_ONCE):
            others = not_in(sample, begin, block.num_rows)
            rows = begin + np.flatnonzero(others)
            frame = self.part.frame(block, self.part.columns)
            made = as_floats(self.learned.features.transform(frame), slice(None))
            yield made[others], self.target[rows], None if self.weights is None else self.weights[rows]
            begin += block.num_rows


def not_in(sample: npt.NDArray[np.intp], begin: int, rows: int) -> npt.NDArray[np.bool_]:
    """Return which of some rows, one after the other, are not in a sorted sample, shape (rows,)."""
    others = np.ones(rows, np.bool_)
    others[sample[np.searchsorted(sample, begin) : np.searchsorted(sample, begin + rows)] - begin] = False
    return others
