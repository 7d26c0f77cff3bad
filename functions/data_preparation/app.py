"""Lambda handler of data preparation: downloads the data set, calls `prepare`, uploads the parts and the profile.

What is too large for one call is prepared in pieces (`in_pieces`), each of them a call of this handler, too.
"""

from __future__ import annotations

import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from common.capacity import in_pieces
from common.errors import InvalidDatasetError
from common.request import parse_request
from common.storage import Stored, is_disk_full, new_folder, s3_client, upload, workspace, write_json
from data_preparation.objects import Downloads, list_objects
from data_preparation.piece_plan import check_room
from data_preparation.preparation import PreparedData, prepare
from data_preparation.results import inherited_split, profile_with, result_of
from data_preparation.row_groups import groups_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)

# What was imported stays for good: without it a full collection looks at 10,000 objects and not at 300,000.
gc.freeze()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Prepare the data set of one run, or do one task of its preparation in pieces.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "champion": …}`: the request as the execution's input holds it; the champion's
        `version`, `target` and `split`, as JSON, which is inherited, or None. And `task`:

        - `plan_pieces`, to be told `pieces`: where they are handed over, and how many there are;
        - `scan_piece` and `write_piece`, with these `pieces` and the number of a `piece`;
        - `merge_scans`, with `pieces`, to be told them with what is to be done next;
        - `finish_pieces`, with `pieces`, for what none returns:
        - none, to prepare the data set in this call.
    context
        Of the call; None elsewhere than on Lambda.

    Returns
    -------
    dict
        `request`, with every open choice made, and `prepared`: the URIs, digests and row counts of what was written.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError
        If the request or the data cannot be used.
    TooLargeForFunctionError
        If one call has no room or time for the data set: it is to be prepared in pieces.
    """
    if "task" in event:
        return _in_pieces(event, context)
    s3 = s3_client()
    request = parse_request(event["request"])
    try:
        with workspace() as folder:
            listing = list_objects(s3, request.dataset_uri)
            check_room(listing.objects, folder, context, partial(groups_of, s3))
            champion = inherited_split(event.get("champion"))
            prepared = prepare(Downloads(s3, listing.objects, folder), request, folder, champion)
            prefix = new_folder(event["run_id"], "prepared")
            files = _upload_parts(s3, prepared, prefix)
    except InvalidDatasetError as error:
        if not is_disk_full(error):
            raise
        raise in_pieces("The data do not fit the temporary disk") from error
    profile = profile_with(prepared.profile, listing.ignored)
    # Written last: where it is, the parts are whole.
    files["profile"] = write_json(s3, profile, f"{prefix}/profile.json")
    logger.info("data prepared", extra={"run_id": event["run_id"], "rows": profile["rows"]})
    return result_of(prepared.request, profile, files)


def _in_pieces(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    from data_preparation.in_pieces import (  # noqa: PLC0415 (loaded by a run that needs it)
        finish_pieces,
        merge_scans,
        plan_pieces,
        scan_piece,
        write_piece,
    )

    s3 = s3_client()
    match event["task"]:
        case "plan_pieces":
            return plan_pieces(s3, event, context)
        case "scan_piece":
            scan_piece(s3, event)
        case "merge_scans":
            return merge_scans(s3, event, context)
        case "write_piece":
            write_piece(s3, event)
        case "finish_pieces":
            return finish_pieces(s3, event, context)
        case task:
            raise ValueError(f"there is no task {task}")
    # What a piece tells is on S3: an answer for each would be too much for the state machine.
    return None


def _upload_parts(s3: S3Client, prepared: PreparedData, prefix: str) -> dict[str, Stored]:
    """Upload both parts at once."""
    paths = {"train": prepared.train, "test": prepared.test}
    with ThreadPoolExecutor(len(paths)) as threads:
        uploads = {name: threads.submit(upload, s3, path, f"{prefix}/{name}.parquet") for name, path in paths.items()}
    return {name: each.result() for name, each in uploads.items()}
