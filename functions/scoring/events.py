"""What is announced on the event bus, and what each event tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

SOURCE = "crosstrain"
DATA_DRIFTED, PERFORMANCE_DROPPED = "Data Drifted", "Performance Dropped"
MOST_NAMES = 20
"""An event is small: of more columns the document tells, which it names.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
"""

Detail = Mapping[str, Any]


class NotAnnouncedError(Exception):
    """The event bus has not taken an event."""


def drift_detail(document: Mapping[str, Any], of: Mapping[str, str], drift_uri: str) -> dict[str, Any]:
    """Return what `Data Drifted` tells.

    Parameters
    ----------
    document
        Of `scoring.drift.compare`.
    of
        `stack`, `model_name`, `version`, `run_id`, and the `source` of the rows: captured, or batch.
    drift_uri
        Where the document is.
    """
    changed: Sequence[str] = [each["name"] for each in document["columns"] if each["drifted"]]
    prediction = document["prediction"]
    return {
        **of,
        "rows": document["rows"],
        "columns": list(changed[:MOST_NAMES]),
        "column_count": len(changed),
        "predictions_changed": bool(prediction and prediction["drifted"]),
        "reason": document["reason"],
        "drift_uri": drift_uri,
    }


def performance_detail(live: Mapping[str, Any], of: Mapping[str, str], feedback_uri: str) -> dict[str, Any]:
    """Return what `Performance Dropped` tells.

    Parameters
    ----------
    live
        Of `scoring.live.live_metric`.
    of
        `stack`, `model_name`, `version` and `run_id`.
    feedback_uri
        Where the document is.
    """
    told = ("metric", "value", "test_value", "rows", "reason")
    return {**of, **{name: live[name] for name in told}, "feedback_uri": feedback_uri}


def announce(events: Any, kind: str, detail: Detail) -> None:
    """Put an event on the account's default bus.

    Raises
    ------
    NotAnnouncedError
        If the bus does not take it.
    """
    entry = {"Source": SOURCE, "DetailType": kind, "Detail": json.dumps(detail, allow_nan=False)}
    answer = events.put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        raise NotAnnouncedError(f'"{kind}" was not announced: {answer["Entries"][0].get("ErrorMessage")}.')
