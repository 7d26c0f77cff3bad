"""A fit on a part that lies on the disk already: for more rows than the embedded AWS keeps in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.frames import PartFile
from common.request import TrainingRequest, parse_request
from common.threads import few_threads
from common.training_rows import Columns, RowRecorder
from model_training.boosting_rows import fit_block_by_block, fits_block_by_block
from model_training.memory import needed_memory_mb
from model_training.streaming import fit_streamed
from model_training.training import build_pipeline


def what_is_asked(event: Mapping[str, Any]) -> tuple[TrainingRequest, dict[str, Any]]:
    """Return the request, and the profile as if the part had always had so many rows."""
    profile: dict[str, Any] = json.loads(Path(event["profile"]).read_text(encoding="utf-8"))
    profile["rows"]["train"] = event["rows"]
    return parse_request(event["request"]).with_positive_class(profile), profile


def needed_mb(event: Mapping[str, Any]) -> int:
    """Return the memory that the check before the fit reckons with."""
    return needed_memory_mb(*what_is_asked(event))


def run(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Fit as training does, for `{"part": …, "profile": …, "rows": …, "request": …}`, and return what was reckoned."""
    request, profile = what_is_asked(event)
    with few_threads():
        recorder = RowRecorder(Columns.of(profile), event["rows"])
        part = PartFile(Path(event["part"]), profile, keep=True)
        pipeline, target = build_pipeline(request, profile), part.target()
        if fits_block_by_block(request):
            fit_block_by_block(pipeline, part, profile, target, watch=recorder.add)
        else:
            fit_streamed(pipeline, part, target, None, recorder.add)
    return {"needed_mb": needed_mb(event)}
