"""Lambda handler of data preparation: downloads the data set, calls `prepare`, uploads the parts and the profile."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from common.lineage import image_digest, unpack_names
from common.request import parse_request
from common.storage import (
    Stored,
    describe_files,
    new_folder,
    s3_client,
    upload,
    workspace,
    write_json,
)
from data_preparation.objects import Downloads, list_objects
from data_preparation.preparation import PreparedData, prepare

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Prepare the data set of one run.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "champion": …}`: the request as the execution's input holds it; the champion's
        `version`, `target` and `split`, as JSON, which is inherited, or None.

    Returns
    -------
    dict
        `request`, with every open choice made, and `prepared`: the URIs, digests and row counts of what was written.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError
        If the request or the data cannot be used.
    """
    s3 = s3_client()
    request = parse_request(event["request"])
    prefix = new_folder(event["run_id"], "prepared")
    with workspace() as folder:
        listing = list_objects(s3, request.dataset_uri)
        downloads, champion = Downloads(s3, listing.objects, folder), _inherited(event.get("champion"))
        prepared = prepare(downloads, request, folder, champion)
        profile = {**prepared.profile, "ignored_files": listing.ignored, "image_digest": image_digest()}
        rows = profile["rows"]
        files = {
            **_upload_parts(s3, prepared, prefix),
            # Written last: where it is, the parts are whole.
            "profile": write_json(s3, profile, f"{prefix}/profile.json"),
        }
        result = {
            **describe_files(files),
            "rows": rows,
            "columns": sum(column["use"] == "feature" for column in profile["columns"]),
            "test_part": profile["split"]["test_part"],
        }
    logger.info("data prepared", extra={"run_id": event["run_id"], "rows": rows})
    handed_on = prepared.request.model_dump()
    if "pos_label" in profile["left_open"]:
        # What a class is called is data, and what states hand on is logged: the profile tells it.
        handed_on["pos_label"] = None
    return {"request": handed_on, "prepared": result}


def _upload_parts(s3: S3Client, prepared: PreparedData, prefix: str) -> dict[str, Stored]:
    """Upload both parts at once."""
    paths = {"train": prepared.train, "test": prepared.test}
    with ThreadPoolExecutor(len(paths)) as threads:
        uploads = {name: threads.submit(upload, s3, path, f"{prefix}/{name}.parquet") for name, path in paths.items()}
    return {name: each.result() for name, each in uploads.items()}


def _inherited(champion: dict[str, str] | None) -> dict[str, Any] | None:
    """Return what is inherited of a champion; an earlier version of this project did not say all of the split."""
    split = json.loads((champion or {}).get("split", "{}"))
    if champion is None or "columns" not in split:
        return None
    return {**champion, "split": {**split, "columns": unpack_names(split["columns"])}}
