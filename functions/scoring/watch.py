"""Lambda handler of watching: what was captured of requests since the last time, beside the rows of training.

Each run writes into a folder of its own, and the document that says that it is whole last: a run that has failed is as
if it had never been, and the next one looks at its requests.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from common.conversion import Profile
from common.errors import InvalidRequestError
from common.lineage import now
from common.scoring_requests import in_utc
from common.storage import Stored, new_call, pinned, read_json, s3_client, write_bytes, write_json
from scoring import events, measures
from scoring.captured import find_objects, read_objects
from scoring.clients import client as _client
from scoring.drift import LEAST_ROWS, in_short
from scoring.drift_page import MOST_EARLIER, render_page
from scoring.settings import WatchSettings
from scoring.versions import champion_of, entry_of
from scoring.watched import Watched, watch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SETTLED = timedelta(seconds=30)
"""What was written later may not be there yet: no request runs longer."""
_FIELDS = ("model_name", "since", "until")

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)

# What was imported stays for good: without it a full collection looks at 10,000 objects and not at 300,000.
gc.freeze()


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Compare what was captured of a model's requests since the last time with what its champion was trained on.

    Parameters
    ----------
    event
        `model_name`; and, if another time is meant, `since` and `until` as ISO 8601 writes them, with an offset.
    _context
        Of the call.

    Returns
    -------
    dict
        Where the documents are, how many rows were compared, whether they have `drifted`, and the `reason`.

    Raises
    ------
    InvalidRequestError
        If the event is another one, or every column is private.
    NothingToCompareError
        If the champion's profile has no distributions.
    """
    settings, asked = WatchSettings.of(), _Asked.of(event)
    version = champion_of(_client("dynamodb"), settings.table, asked.model_name)
    if version is None:
        reason = f'The model "{asked.model_name}" has no champion yet, so there is nothing to watch.'
        logger.info("not watched", extra={"reason": reason})
        return {"model_name": asked.model_name, "rows": 0, "drifted": False, "reason": reason}
    return _run(settings, asked, version)


@dataclass(frozen=True)
class _Asked:
    model_name: str
    since: datetime | None
    until: datetime | None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> _Asked:
        if unknown := [name for name in event if name not in _FIELDS]:
            raise InvalidRequestError(f'The event has an unknown field "{unknown[0]}"; known: {", ".join(_FIELDS)}.')
        name = event.get("model_name")
        if not isinstance(name, str) or not name:
            raise InvalidRequestError("The event has no model_name: name the model that is to be watched.")
        return cls(name, _time(event, "since"), _time(event, "until"))


def _time(event: Mapping[str, Any], name: str) -> datetime | None:
    text = event.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"{name} is no time such as 2026-01-31T12:00:00Z.") from error
    if found.tzinfo is None:
        raise InvalidRequestError(f"{name} has no offset: write a Z behind a time in UTC.")
    try:
        return in_utc(found)
    except ValueError as error:
        raise InvalidRequestError(f"{name}: {error}") from error


def _run(settings: WatchSettings, asked: _Asked, version: str) -> dict[str, Any]:
    s3, run_id = s3_client(), new_call()
    folder = f"s3://{settings.bucket}/watch/{asked.model_name}/{run_id}"
    entry = entry_of(_client("dynamodb"), settings.table, asked.model_name, version)
    profile, evaluation = (read_json(s3, pinned(entry, name)) for name in ("profile", "evaluation"))
    earlier = _earlier(s3, settings.bucket, asked.model_name)
    since = asked.since or _since(earlier)
    until = asked.until or datetime.now(UTC) - _SETTLED
    watched = _watched(s3, settings, asked.model_name, (since, until), version, (profile, evaluation))
    document = watched.document()
    of = {"model_name": asked.model_name, "version": version, "run_id": run_id}
    window = {"since": None if since is None else since.isoformat(), "until": until.isoformat()}
    about = {**of, "at": now(), "rows_from": f"requests that were captured until {until:%Y-%m-%d %H:%M} UTC"}
    whole = {**document, **of, "source": "captured", **window}
    drift_uri = write_json(s3, whole, f"{folder}/drift.json").uri
    before = [each["short"] for each in earlier if each["version"] == version and each["compared"]]
    page = render_page(document, {**about, "told": watched.told}, before)
    page_uri = write_bytes(s3, page.encode(), f"{folder}/drift.html", "text/html; charset=utf-8").uri
    detail = events.drift_detail(document, {"stack": settings.stack, **of, "source": "captured"}, drift_uri, page_uri)
    if document["drifted"]:
        events.announce(_client("events"), events.DATA_DRIFTED, detail)
    short = in_short(document)
    # The next run takes up the rows of one that had too few of them.
    by_hand = asked.since is not None or asked.until is not None
    done = {**of, **window, "by_hand": by_hand, "compared": document["rows"] >= LEAST_ROWS, "short": short}
    write_json(s3, done, f"{folder}/{_DONE}")
    found = {"WatchedRows": document["rows"], "DriftedColumns": detail["changed"]}
    psi = {} if short["psi"] is None else {"LargestPsi": short["psi"]}
    measures.put(settings.stack, asked.model_name, version, {**found, **psi})
    told = {name: document[name] for name in ("rows", "drifted", "reason", "told")}
    return {**of, **window, **told, "drift_uri": drift_uri, "page_uri": page_uri}


def _watched(
    s3: S3Client,
    settings: WatchSettings,
    model_name: str,
    window: tuple[datetime | None, datetime],
    version: str,
    files: tuple[Profile, Mapping[str, Any]],
) -> Watched:
    profile, evaluation = files
    found = find_objects(s3, settings.bucket, model_name, *window)
    requests = read_objects(s3, found.uris)
    watched = watch(requests, version, profile, evaluation.get("predictions"), settings.private)
    watched.left_out += found.left_out
    return watched


_DONE = "watch.json"


def _earlier(s3: S3Client, bucket: str, model_name: str) -> list[Mapping[str, Any]]:
    """Return what the latest runs have left, the oldest first."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"watch/{model_name}/")
    keys = [each["Key"] for page in pages for each in page.get("Contents", ()) if each["Key"].endswith(f"/{_DONE}")]
    found = [read_json(s3, Stored(f"s3://{bucket}/{key}")) for key in sorted(keys)[-MOST_EARLIER:]]
    # Ids of one second have no order.
    return sorted(found, key=lambda each: str(each["until"]))


def _since(earlier: Sequence[Mapping[str, Any]]) -> datetime | None:
    """Return from when on no run by itself has compared requests; None if none has."""
    by_itself = [each for each in earlier if not each["by_hand"]]
    if not by_itself:
        return None
    last = by_itself[-1]["until" if by_itself[-1]["compared"] else "since"]
    return None if last is None else datetime.fromisoformat(last)
