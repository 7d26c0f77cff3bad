"""Sees whether a call has the memory, the disk and the time for a training, before it reads the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.capacity import FEWER_ROWS, Need, Work, check_disk, check_time, memory_mb, require_task
from common.conversion import Profile, feature_columns
from common.request import TrainingRequest
from model_training.duration import training_work
from model_training.memory import WAY_OUT, check_memory, model_bytes, needed_memory_mb, workers_of


def check_room(
    request: TrainingRequest,
    profile: Profile,
    search: Mapping[str, Any] | None,
    part_bytes: int,
    free_bytes: int,
    context: Any,
) -> None:
    """See whether there is room and time for a training.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data.
    search
        The record of the search that has chosen the model; None without one.
    part_bytes, free_bytes
        What the disk is to hold of the training part, and the space that it has.
    context
        Of the call; None elsewhere than on Lambda.

    Raises
    ------
    TooLargeForFunctionError
        If a task is to do it.
    InvalidDatasetError, InvalidRequestError
        If no task can, or the request or the stack takes none, with both figures and the way out.
    """
    workers = workers_of(request, profile)
    # How long several tasks take together nobody has measured.
    work = Work() if workers else training_work(request, profile, search)
    disk_mb = -(-(part_bytes + model_bytes(request, profile)) // (1 << 20))
    need = Need(needed_memory_mb(request, profile), disk_mb, work)
    where = request.compute
    if not workers:
        # Else no task has what all of them need: check_memory says what the one needs that tells them what to do.
        require_task(where, need)
    check_memory(request, profile, memory_mb(), need)
    blocks = f"{FEWER_ROWS}, or choose ridge, linear_regression or xgboost, whose rows need no disk"
    check_disk(need, free_bytes, "The training part and the model", blocks, where=where)
    rows, columns = profile["rows"]["train"], len(feature_columns(profile))
    told = f"{rows:,} training rows with {columns} features and {request.estimator}"
    check_time(need, context, told, f"raise the parameter ModelTrainingMemory for more vCPUs, {WAY_OUT}", where=where)
