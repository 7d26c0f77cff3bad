"""What training takes of memory, and the refusal of data that need more than there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from common.capacity import FEWER_ROWS, Need, is_task, kind, largest_task_mb, takes_task, too_large
from common.conversion import Profile, feature_columns
from common.frames import KEPT_BYTES
from common.request import TrainingRequest
from model_training.boosting_rows import fits_block_by_block, sample_rows
from model_training.cluster_tasks import SPARE, coordinator_mb, workers_for
from model_training.features import (
    BOOSTING,
    Added,
    Made,
    component_columns,
    has_runs,
    made_columns,
    text_characters,
    texts_of,
    wide_columns,
)
from model_training.streaming import BLOCK_ROWS, streams

# Bytes at the peak of a fit for each row and column of a data set, as `make bench` measures them on 10^6 rows x 30
# columns, and for each row and one-hot column: those are stacked as they are made and once more beside all others.
BYTES_PER_VALUE: Mapping[str, int] = {
    "linear_regression": 16,
    "ridge": 12,
    "logistic_regression": 17,
    "random_forest": 13,
    "hist_gradient_boosting": 32,
    # In a blend, beside the frame; alone it takes the rows block by block.
    "xgboost": 16,
    # Nobody knows what it holds: as much as the one that holds most.
    "custom": 32,
}
BYTES_PER_BINNED_VALUE, BYTES_PER_GAPPY_VALUE, BYTES_PER_SAMPLE_VALUE = 4, 8, 32
"""What XGBoost holds of a value that it is fed block by block, of one in data some of which are missing (the number of
a bin is one of all columns' then, of four bytes), and what the sample takes that its features learn of. Measured from
0.8 to 10 million rows, all that a row takes over its 30 values: 3.8 bytes of decimals, 6.4 where one of a column is
missing, 8.2 of mixed columns (of 33 that are made of them 7.4); and beside them 20 to 31 for each value of the
sample."""
BYTES_PER_FRAME_VALUE = 4
"""What the frame holds of a value, which a fit alone gives back to its estimator."""
BYTES_PER_WIDE_VALUE = 4
"""What the frame holds more of a value that float32 does not do for."""
BYTES_PER_ONE_HOT = 12
BYTES_PER_SPARSE_VALUE = 24
BYTES_PER_LEVEL = 130
"""What encoding takes for each row of a column of many texts."""
BYTES_PER_RUN_CHARACTER = 40
"""What the weights of its runs of letters take for each character of a free text that counts."""
BYTES_PER_CHARACTER, BYTES_PER_TEXT = 3, 200
"""What the frame holds of a free text, and Python's own string while it is looked at."""
BYTES_PER_WEIGHT = 24
BYTES_PER_WEIGHTED_VALUE = 4
"""What ridge holds more of a value: a copy, multiplied by the weights' roots."""
IMPORTS_MB = 300
BYTES_PER_STREAMED_ROW = 60
"""What a fit block by block takes of a row, whatever its columns: the target, the bits by which the row is known, and
for a moment a column, by which rows are drawn. Measured are 45."""
BYTES_PER_BLOCK_VALUE = 24
"""A block is made, weighted and turned."""
BYTES_PER_PRODUCT = 64
"""Of each two columns that are made: their sums of products, eigenvectors, and the rows that have the sums."""
STREAMED_MB = 120
"""What it takes besides, of a row group above all."""


WAY_OUT = f"{FEWER_ROWS}, limit the trees or choose another estimator"
"""What helps a training that has no room or time, besides another way."""


def check_memory(request: TrainingRequest, profile: Profile, memory_mb: int, need: Need | None = None) -> None:
    """Refuse data whose fit would not fit the memory, before it is read.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data.
    memory_mb
        The memory in MB.
    need
        What training needs besides, where that is known: a task is to have that, too.

    Raises
    ------
    TooLargeForFunctionError, InvalidDatasetError
        Naming both figures; the one where a task has the room, and else the other, with the way out.
    """
    whole_mb = needed_memory_mb(request, profile)
    if whole_mb <= memory_mb:
        return
    needed_mb, told = whole_mb, ""
    if workers := workers_of(request, profile):
        # A task tells them what to do.
        told = f" alone, and {workers + SPARE} tasks of {largest_task_mb():,} MB grow its trees together"
        needed_mb = coordinator_mb(profile, IMPORTS_MB, _sample_bytes(request, profile))
        if is_task() and needed_mb <= memory_mb:
            return
    rows, columns = profile["rows"]["train"], len(feature_columns(profile))
    together = ", or let more tasks grow its trees together (the parameter LargestCluster)"
    raise too_large(
        f"{rows:,} training rows with {columns} features need about {whole_mb:,} MB for {request.estimator}, and "
        f"the {kind()} has {memory_mb:,} MB{told}",
        "raise the parameter ModelTrainingMemory (10,240 MB at most, and 3,008 in a new account until AWS's support "
        f"raises that), {WAY_OUT}" + (together if fits_block_by_block(request) else ""),
        where=request.compute,
        need=replace(need or Need(), memory_mb=needed_mb),
    )


def check_trial(request: TrainingRequest, profile: Profile, rows: int, memory_mb: int) -> None:
    """Send a trial that would not fit a function to a task. Without one it is made all the same: its rows are few.

    Parameters
    ----------
    request
        With the trial's choice made.
    profile
        Of the prepared data.
    rows
        How many rows of the training part the trial is made on.
    memory_mb
        The memory in MB.

    Raises
    ------
    TooLargeForFunctionError, InvalidDatasetError
        Naming both figures; the one where a task has the room.
    """
    needed_mb = trial_memory_mb(request, profile, rows)
    if needed_mb > memory_mb and takes_task(request.compute):
        raise too_large(
            f"A trial of {request.estimator} on {rows:,} of {profile['rows']['train']:,} training rows needs about "
            f"{needed_mb:,} MB, and the function has {memory_mb:,} MB",
            f"raise the parameter ModelTrainingMemory (10,240 MB at most) or {FEWER_ROWS}",
            need=Need(needed_mb),
        )


def trial_memory_mb(request: TrainingRequest, profile: Profile, rows: int) -> int:
    """Return about how much memory a trial takes: its fits on the rows that it draws, beside what is read of all."""
    drawn = {**profile, "rows": {**profile["rows"], "train": rows}}
    # Of each row the target, what it was split by and its weight are read.
    of_all: int = profile["rows"]["train"] * (
        BYTES_PER_STREAMED_ROW + BYTES_PER_WEIGHT * (request.weight_column is not None)
    )
    return needed_memory_mb(request, drawn) + (of_all >> 20)


def workers_of(request: TrainingRequest, profile: Profile) -> int:
    """Return how many workers have the memory for a fit that no task has (`cluster_tasks.workers_for`)."""
    return workers_for(request, needed_memory_mb(request, profile), IMPORTS_MB)


def needed_memory_mb(request: TrainingRequest, profile: Profile) -> int:
    """Return about how much memory training takes at its peak, in MB."""
    if request.estimator == "blend":
        # One after another, beside a frame that is there for the last of them, too; what was fitted stays.
        each = [_needed_bytes(member, profile) for member, _ in request.members()]
        needed = max(fit for fit, _ in each) + sum(kept for _, kept in each)
        needed += _frame_bytes(profile)
    elif streams(request, profile):
        needed = _streamed_bytes(request, profile)
    elif fits_block_by_block(request):
        needed = _needed_bytes_block_by_block(request, profile)
    else:
        needed = sum(_needed_bytes(request, profile))
    return IMPORTS_MB + (needed >> 20)


def _needed_bytes(request: TrainingRequest, profile: Profile) -> tuple[int, int]:
    """Return how many bytes a fit takes, and how many more what was fitted."""
    rows, columns = profile["rows"]["train"], len(feature_columns(profile))
    classes = len(profile["classes"] or ())
    made = columns + Added.of(request, profile).dense_columns(request) + component_columns(request, profile)
    row = made * BYTES_PER_VALUE[str(request.estimator)] + len(wide_columns(profile)) * BYTES_PER_WIDE_VALUE
    per_row = _one_hot_bytes(request, profile) + _means_bytes(request, profile) + _weight_bytes(request, made)
    per_row += _free_text_bytes(request, profile)
    if request.estimator in ("logistic_regression", *BOOSTING):
        # Gradients, probabilities and one-hot labels: eight-byte values for each row and class.
        per_row += classes * 8 * 3
    # The fitted trees, and once more as the bytes that are saved.
    kept = 2 * _forest_bytes(request, rows, classes) if request.estimator == "random_forest" else 0
    return rows * (row + per_row), kept


def _needed_bytes_block_by_block(request: TrainingRequest, profile: Profile) -> int:
    """Return how many bytes a fit of XGBoost's trees takes that is not part of a blend."""
    rows, classes = profile["rows"]["train"], len(profile["classes"] or ())
    columns = len(feature_columns(profile)) + Added.of(request, profile).dense_columns(request)
    columns += component_columns(request, profile) + len(texts_of(request, profile)[1]) * max(0, classes - 1)
    per_row = _weight_bytes(request, columns) + classes * 8 * 3
    kept = min(_frame_bytes(profile), KEPT_BYTES)
    has_gaps = any(column["nulls"] for column in feature_columns(profile))
    value = BYTES_PER_GAPPY_VALUE if has_gaps else BYTES_PER_BINNED_VALUE
    return int(rows * (columns * value + per_row)) + _sample_bytes(request, profile) + kept


def _sample_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return what the rows take that the features of such a fit learn of."""
    per_row = _means_bytes(request, profile) + _free_text_bytes(request, profile)
    columns = len(feature_columns(profile)) + Added.of(request, profile).dense_columns(request)
    return sample_rows(profile) * ((columns + component_columns(request, profile)) * BYTES_PER_SAMPLE_VALUE + per_row)


def _streamed_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return how many bytes a fit block by block takes: a part is kept up to a size, and no values of a larger one."""
    kept = min(_frame_bytes(profile), KEPT_BYTES)
    row = BYTES_PER_STREAMED_ROW + (0 if request.weight_column is None else BYTES_PER_WEIGHT)
    made = made_columns(request, profile)
    fixed = (STREAMED_MB << 20) + made * (BLOCK_ROWS * BYTES_PER_BLOCK_VALUE + made * BYTES_PER_PRODUCT)
    return int(fixed + kept + profile["rows"]["train"] * row)


def _frame_bytes(profile: Profile) -> int:
    columns = len(feature_columns(profile))
    row = columns * BYTES_PER_FRAME_VALUE + len(wide_columns(profile)) * BYTES_PER_WIDE_VALUE
    return int(profile["rows"]["train"] * row)


def _one_hot_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return the bytes of a row's one-hot columns; ColumnTransformer keeps them sparse below a share of values."""
    made = Made.of(request, profile)
    if not made.one_hot:
        return 0
    return made.one_hot * BYTES_PER_ONE_HOT if made.is_dense else made.values * BYTES_PER_SPARSE_VALUE


def _means_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return the bytes of a row's texts that are one of many, and of the means that become of them."""
    _, many = texts_of(request, profile)
    classes = len(profile["classes"] or ())
    return len(many) * (BYTES_PER_LEVEL + 16 * (classes if classes > 2 else 1))


def _free_text_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return the bytes of a row's free texts and, where these are columns of their own, of their runs of letters."""
    texts = [column for column in feature_columns(profile) if column["role"] == "text"]
    held = sum(BYTES_PER_TEXT + BYTES_PER_CHARACTER * column["characters"] for column in texts)
    runs = BYTES_PER_RUN_CHARACTER * sum(text_characters(profile)) if has_runs(request, profile) else 0
    return int(held + runs)


def _weight_bytes(request: TrainingRequest, columns: int) -> int:
    """Return the bytes that a row's weight takes."""
    if request.weight_column is None:
        return 0
    return BYTES_PER_WEIGHT + (columns * BYTES_PER_WEIGHTED_VALUE if request.estimator == "ridge" else 0)


def model_bytes(request: TrainingRequest, profile: Profile) -> int:
    """Return about how large the file of a model is that may be large: of forests."""
    if request.estimator == "blend":
        return sum(model_bytes(member, profile) for member, _ in request.members())
    if request.estimator != "random_forest":
        return 0
    return _forest_bytes(request, profile["rows"]["train"], len(profile["classes"] or ()))


def _forest_bytes(request: TrainingRequest, rows: int, classes: int) -> int:
    """Return the size of a fitted forest: 64 bytes a node and 8 for each of its values, about 1.3 nodes a row."""
    chosen = request.hyperparameters
    nodes = int(1.3 * rows * (chosen.get("max_samples") or 1.0) / chosen.get("min_samples_leaf", 1))
    if chosen.get("max_depth"):
        nodes = min(nodes, 2 ** (min(chosen["max_depth"], 62) + 1))
    trees: int = chosen.get("n_estimators", 100)
    return trees * nodes * (64 + 8 * max(1, classes))
