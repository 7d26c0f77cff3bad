"""What data preparation takes from the state machine and gives back to it, whichever way it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from common.lineage import image_digest, unpack_names
from common.request import TrainingRequest
from common.storage import Stored, describe_files


def inherited_split(champion: Mapping[str, str] | None) -> dict[str, Any] | None:
    """Return what is inherited of a champion; an earlier version of this project did not say all of the split."""
    split = json.loads((champion or {}).get("split", "{}"))
    if champion is None or "columns" not in split:
        return None
    return {**champion, "split": {**split, "columns": unpack_names(split["columns"])}}


def profile_with(profile: Mapping[str, Any], ignored: Sequence[str]) -> dict[str, Any]:
    """Return a profile with what no row tells: which files were ignored, and which image has made it."""
    return {**profile, "ignored_files": ignored, "image_digest": image_digest()}


def result_of(request: TrainingRequest, profile: Mapping[str, Any], files: Mapping[str, Stored]) -> dict[str, Any]:
    """Return what the next steps are told: the `request` with its choices made, and what was `prepared`."""
    handed_on = request.model_dump()
    if "pos_label" in profile["left_open"]:
        # What a class is called is data, and what states hand on is logged: the profile tells it.
        handed_on["pos_label"] = None
    prepared = {
        **describe_files(files),
        "rows": profile["rows"],
        "columns": sum(column["use"] == "feature" for column in profile["columns"]),
        "test_part": profile["split"]["test_part"],
    }
    return {"request": handed_on, "prepared": prepared}
