"""What evaluation takes of memory, and what becomes of a test part that needs more than there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.capacity import Need, kind, too_large
from common.conversion import Profile, feature_columns, is_large, target_column
from common.frames import BLOCK_VALUES

# As measured by the resident sets of workers, with ridge and logistic regression on 30 columns.
IMPORTS_MB = 260
LOOKING_MB = 130
"""What looking at features takes when blocks are gone, whatever the test part is."""
BYTES_PER_BLOCK_VALUE, BYTES_PER_EXACT_BLOCK_VALUE = 40, 56
"""What reading and predicting a block takes for each of its values: the frame, and what a pipeline makes of it."""
BYTES_PER_ROW = 80
"""What is held of each row at the peak, which is that of the bootstrap."""
BYTES_PER_LABEL, BYTES_PER_LETTER, BYTES_PER_PROBABILITY = 100, 4, 30
"""What is held besides of a row that has a class."""
BYTES_PER_MODEL_BYTE = 4
"""What loading takes for each byte of a model's file, of a forest (`scoring.champion`)."""


def check_memory(profile: Profile, need: Need, memory_mb: int, compute: str) -> None:
    """Refuse a test part that would not fit the memory, before it is read.

    Parameters
    ----------
    profile
        Of the prepared data.
    need
        What evaluation needs.
    memory_mb
        The memory in MB.
    compute
        The request's.

    Raises
    ------
    TooLargeForFunctionError, InvalidDatasetError
        Naming both figures; the one where a task has the room, and else the other, with the way out.
    """
    if need.memory_mb <= memory_mb:
        return
    raise too_large(
        f"{profile['rows']['test']:,} test rows need about {need.memory_mb:,} MB to be evaluated, and the {kind()} has "
        f"{memory_mb:,} MB",
        "raise the parameter ModelEvaluationMemory (10,240 MB at most, and 3,008 in a new account until AWS's support "
        "raises that) or make the test part smaller by test_fraction",
        where=compute,
        need=need,
    )


def needed_memory_mb(profile: Profile, model_bytes: int) -> int:
    """Return about how much memory evaluation takes at its peak, in MB."""
    rows, columns = int(profile["rows"]["test"]), len(feature_columns(profile))
    of_value = BYTES_PER_BLOCK_VALUE if is_large(profile) else BYTES_PER_EXACT_BLOCK_VALUE
    block = max(LOOKING_MB << 20, min(BLOCK_VALUES, rows * columns) * of_value)
    held = rows * (BYTES_PER_ROW + _class_bytes(profile))
    return IMPORTS_MB + ((block + held + model_bytes * BYTES_PER_MODEL_BYTE) >> 20)


def _class_bytes(profile: Profile) -> int:
    """Return what is held of a row besides if the target is a class."""
    classes = profile["classes"]
    if profile["problem"] != "classification" or not classes:
        return 0
    letters = max(len(str(each["label"])) for each in classes) if target_column(profile)["kind"] == "text" else 0
    return len(classes) * BYTES_PER_PROBABILITY + BYTES_PER_LABEL + letters * BYTES_PER_LETTER


def model_bytes(*described: Mapping[str, Any] | None) -> int:
    """Return the bytes of models, each by what describes its files; nothing for what does not say."""
    found = [(each or {}).get("bytes") for each in described]
    sizes = [each.get("model") for each in found if isinstance(each, Mapping)]
    return sum(each for each in sizes if isinstance(each, int))
