"""What is announced on the event bus, and what each event tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def drift_detail(
    document: Mapping[str, Any], of: Mapping[str, str], drift_uri: str, drift_page_uri: str
) -> dict[str, Any]:
    """Return what `Data Drifted` tells.

    Parameters
    ----------
    document
        Of `scoring.drift.compare`.
    of
        `stack`, `model_name`, `version`, `run_id`, and the `source` of the rows: captured, or batch.
    drift_uri, drift_page_uri
        Where the document is, and its page.
    """
    changed: list[str] = [each["name"] for each in document["columns"] if each["drifted"]]
    return {
        **of,
        "rows": document["rows"],
        "changed": len(changed),
        "changed_columns": [words(name) for name in changed[:MOST_NAMES]],
        "reason": words(document["reason"]),
        "drift_uri": drift_uri,
        "drift_page_uri": drift_page_uri,
    }


def performance_detail(
    live: Mapping[str, Any], of: Mapping[str, str], feedback_uri: str, page_uri: str
) -> dict[str, Any]:
    """Return what `Performance Dropped` tells.

    Parameters
    ----------
    live
        Of `scoring.live.live_metric`.
    of
        `stack`, `model_name`, `version` and `run_id`.
    feedback_uri, page_uri
        Where the document is, and its page.
    """
    told = ("metric", "value", "test_value", "rows")
    found = {name: live[name] for name in told}
    return {**of, **found, "reason": words(live["reason"]), "feedback_uri": feedback_uri, "page_uri": page_uri}


def words(text: str) -> str:
    """Return a text without what would break the sentence of a rule that it is put into.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
    """
    return " ".join(text.replace('"', "'").replace("\\", "/").split())


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
