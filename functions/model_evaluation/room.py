"""Sees whether a call has the memory, the disk and the time for an evaluation, before it reads the test part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.capacity import Need, check_disk, check_time, memory_mb, require_task
from common.conversion import Profile
from model_evaluation.duration import evaluation_work
from model_evaluation.memory import check_memory, needed_memory_mb

WAY_OUT = "make the test part smaller by test_fraction"


def check_room(
    profile: Profile,
    models: tuple[Mapping[str, Any], Mapping[str, Any] | None],
    sizes: Mapping[str, int],
    free_bytes: int,
    context: Any,
    compute: str,
) -> None:
    """See whether there is room and time for an evaluation.

    Parameters
    ----------
    profile
        Of the prepared data.
    models
        What describes challenger and champion (`model.json`); None without a champion.
    sizes
        The bytes of the `models`, and of the test `part`.
    free_bytes
        Of the temporary disk.
    context
        Of the call; None elsewhere than on Lambda.
    compute
        The request's.

    Raises
    ------
    TooLargeForFunctionError
        If a task is to do it.
    InvalidDatasetError, InvalidRequestError
        If no task can, or the request or the stack takes none, with both figures and the way out.
    """
    work, disk_mb = evaluation_work(profile, *models), -(-sum(sizes.values()) // (1 << 20))
    need = Need(needed_memory_mb(profile, sizes["models"]), disk_mb, work)
    require_task(compute, need)
    check_memory(profile, need, memory_mb(), compute)
    check_disk(need, free_bytes, "The test part and the models", WAY_OUT, where=compute)
    told = f"{profile['rows']['test']:,} test rows and {models[0].get('estimator')}"
    way_out = f"raise the parameter ModelEvaluationMemory for more vCPUs or {WAY_OUT}"
    check_time(need, context, told, way_out, where=compute)
