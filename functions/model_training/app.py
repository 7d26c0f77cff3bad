"""Lambda handler of model training: fits a pipeline on the training part and stores it with its description."""

from __future__ import annotations

import gc
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common.frames import load_part, load_weights
from common.lineage import commit, image_digest, release
from common.model_file import save_model
from common.request import parse_request
from common.storage import (
    describe_files,
    download,
    new_folder,
    pinned,
    read_json,
    s3_client,
    upload,
    workspace,
    write_bytes,
    write_json,
)
from common.training_rows import Columns, RowHashes, TrainingRows
from model_training.other_splits import OtherSplits
from model_training.suspicions import Suspicions
from model_training.threads import one_blas_thread
from model_training.training import build_pipeline, check_memory, describe, describe_baseline, fit

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)

# What was imported stays for good: without it a full collection looks at 10,000 objects and not at 300,000.
gc.freeze()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Train the model of one run.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "prepared": …}`, the last two as data preparation returns them.

    Returns
    -------
    dict
        The URIs and digests of the model, of the record of its training rows and of its description, the number of
        rows, and the seconds of the fit.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError, DamagedFileError
        If the request cannot be used, the data does not fit the function's memory or the estimator, or is not what data
        preparation has written.
    """
    s3 = s3_client()
    request, prepared = parse_request(event["request"]), event["prepared"]
    prefix = new_folder(event["run_id"], "model")
    # By their digests, the parts and the profile are of one reading of the data set.
    profile = read_json(s3, pinned(prepared, "profile"))
    check_memory(request, profile, int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]))
    with workspace() as folder, one_blas_thread(), ThreadPoolExecutor(1) as beside:
        hashes = RowHashes(Columns.of(profile))
        part = download(s3, pinned(prepared, "train"), folder / "train.parquet")
        features, target = load_part(part, profile, hashes.add)
        weights = load_weights(part, profile)
        baseline = describe_baseline(target, str(request.problem), weights)
        # Of the features, which the fit consumes, both keep a sample.
        other_splits = OtherSplits(request, profile, features, target, weights)
        suspicions = Suspicions(request, profile, features, target)
        suspected = beside.submit(suspicions.found)
        begin = time.process_time()
        model = fit(build_pipeline(request, profile), features, target, weights, consume=True)
        # Not beside the fit: warnings are caught for all threads at once, and each is to have its own.
        tried = beside.submit(other_splits.metrics, time.process_time() - begin)
        file = save_model(model.pipeline, folder / "model.skops")
        files = {"model": upload(s3, file, f"{prefix}/model.skops")}
        # Not beside the fit, which needs the memory.
        training_rows, kind = TrainingRows.of(hashes), "application/octet-stream"
        files["training_rows"] = write_bytes(s3, bytes(training_rows), f"{prefix}/training_rows.bloom", kind)
    description = {
        "run_id": event["run_id"],
        **describe(model, request, profile),
        "baseline": baseline,
        "other_splits": tried.result(),
        "suspicions": suspected.result(),
        "training_rows": training_rows.description(),
        "sha256": {name: file.sha256 for name, file in files.items()},
        **_lineage(),
    }
    # The description is written last: where it is, the model is whole.
    files["info"] = write_json(s3, description, f"{prefix}/model.json")
    logger.info("model trained", extra={"run_id": event["run_id"], "seconds": model.seconds})
    return {
        **describe_files(files),
        "rows": description["rows"],
        "seconds": description["seconds"],
    }


def _lineage() -> dict[str, str | None]:
    return {"image_digest": image_digest(), "release": release(), "commit": commit()}
