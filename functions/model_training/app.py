"""Lambda handler of model training: plans a search, makes its trials, and fits the model that is kept."""

from __future__ import annotations

import gc
import io
import logging
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.capacity import SHARE_OF_TIME, Need, compute, memory_mb, seconds_left, takes_task, too_large
from common.frames import PartFile, load_order, load_part, load_weights
from common.lineage import commit, image_digest, release
from common.model_file import save_model
from common.ranges import ObjectFile
from common.request import parse_request
from common.storage import (
    Stored,
    describe_files,
    download,
    new_folder,
    pinned,
    read_bytes,
    read_json,
    s3_client,
    upload,
    workspace,
    write_bytes,
    write_json,
)
from common.threads import few_threads
from common.training_rows import Columns, RowRecorder
from model_training.boosting_rows import fit_block_by_block, fits_block_by_block
from model_training.cluster_tasks import on_tasks
from model_training.memory import check_trial, trial_memory_mb, workers_of
from model_training.other_splits import OtherSplits
from model_training.own_rows import OwnRows
from model_training.room import check_room
from model_training.streaming import fit_streamed, streams
from model_training.suspicions import Suspicions
from model_training.training import build_pipeline, describe, describe_baseline, fit
from model_training.trial import OUT_OF_TIME, Trial, Tried

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from mypy_boto3_s3 import S3Client

    from common.conversion import Profile
    from common.metrics import Weights
    from common.request import TrainingRequest
    from model_training.adjustment import Adjustment
    from model_training.distributed import Workers
    from model_training.folds import PartOnDisk
    from model_training.search import Plan

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)

_SHARE_OF_FOLDS = 0.2
"""The share of a call's time that held-out folds of the chosen model may take."""
_SECONDS_OF_START = 60.0
"""What loading the training part may take, and the last fold."""
_SHARE_OF_DISK = 0.9
"""The share of the temporary disk that the training part may take: the model is written there, too."""
_SHARE_OF_OUTPUTS = 0.25
"""The share of the memory that what trials have predicted may take."""

# What was imported stays for good: without it a full collection looks at 10,000 objects and not at 300,000.
gc.freeze()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do one task of a run's training.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "prepared": …}`, the last two as data preparation returns them, and `task`:

        - `plan_search`, with what was `done` so far, to be told what is tried next or what is best
          (`model_training.search.Plan`);
        - `train_trial`, with the `trial` to make (`model_training.trial.Trial`), to be told what became of it;
        - none, to train the model, with the `search` by which it was chosen, if there was one.
    context
        Of the call; None elsewhere than on Lambda.

    Returns
    -------
    dict
        Of a training: the URIs and digests of the model, of the record of its training rows and of its description, the
        number of rows, the seconds of the fit, and what it ran on.

    Raises
    ------
    TooLargeForFunctionError
        If a task is to do it, which has more memory.
    InvalidRequestError, InvalidDatasetError, DamagedFileError
        If the request cannot be used, the data does not fit the memory or the estimator, or is not what data
        preparation has written.
    """
    if event.get("task") == "plan_search":
        return _plan_search(event, context)
    if event.get("task") == "train_trial":
        return _train_trial(event, context)
    return _train_model(event, context)


def _plan_search(event: dict[str, Any], context: Any) -> dict[str, Any]:
    # Its sampler is loaded by a run that searches.
    from model_training.search import plan  # noqa: PLC0415

    request, prepared = parse_request(event["request"]), event["prepared"]
    profile = read_json(s3_client(), pinned(prepared, "profile"))
    request, most_seconds = request.with_positive_class(profile), seconds_left(context) * SHARE_OF_TIME
    planned = plan(
        request,
        profile,
        [Tried.of(each) for each in event["done"]],
        at_once=int(os.environ.get("TRIALS_AT_ONCE", "1")),
        memory_mb=memory_mb(),
        most_seconds=most_seconds,
    )
    if request.estimator == "auto" and not planned.trials:
        planned = _blended(planned, request, profile, prepared, most_seconds)
    return planned.document()


def _blended(
    planned: Plan, request: TrainingRequest, profile: dict[str, Any], prepared: dict[str, Any], most_seconds: float
) -> Plan:
    """Return the end of a search with a blend of trials in place of the best one, if that is better on the folds."""
    from model_training.blend_choice import CANDIDATES, HeldOutRows, choose_blend  # noqa: PLC0415 (as above)
    from model_training.folds import rows_to_try  # noqa: PLC0415
    from model_training.search import blend_candidates, that_fits, with_blend  # noqa: PLC0415
    from model_training.trials import drawn_folds  # noqa: PLC0415

    values = rows_to_try(request, profile) * len(profile["classes"] or "1")
    most = min(CANDIDATES, int(_SHARE_OF_OUTPUTS * memory_mb() * 2**20 / (8 * values)))
    candidates = blend_candidates(planned, request, profile, most_seconds)[:most]
    if len(candidates) < 2:
        return planned
    s3 = s3_client()
    with workspace(request.compute) as folder:
        part, folds = drawn_folds(rows_to_try(request, profile), request, profile, _part(s3, prepared, profile, folder))
    rows = HeldOutRows.of(folds, part.target, part.weights, str(request.problem))
    outputs = {each.number: _outputs(s3, each) for each in candidates}
    blended = with_blend(planned, choose_blend(outputs, rows, request))
    return that_fits(blended, planned, request, profile, memory_mb())


def _train_trial(event: dict[str, Any], context: Any) -> dict[str, Any]:
    from model_training.trials import ended_after, run_trial  # noqa: PLC0415 (as above)

    s3, prepared, asked = s3_client(), event["prepared"], Trial(**event["trial"])
    profile = read_json(s3, pinned(prepared, "profile"))
    request = parse_request(event["request"]).with_positive_class(profile)
    chosen = request.with_choice(asked.estimator, asked.hyperparameters)
    check_trial(chosen, profile, asked.rows, memory_mb())
    left = seconds_left(context)
    # What the call has no time for is given up between two folds, too, and counts no more than it took.
    trial = replace(asked, seconds=min(asked.seconds, left * SHARE_OF_TIME))
    goes_on = trial.seconds < asked.seconds and takes_task(request.compute)
    # Wall-clock time, too, for what hangs takes no other. What a task has more time for is left to Lambda to stop.
    allowed = asked if goes_on else trial
    seconds = 4 * asked.seconds + _SECONDS_OF_START
    with (
        workspace(request.compute) as folder,
        ended_after(seconds if goes_on else min(left, seconds), 2 * allowed.seconds + _SECONDS_OF_START / 4),
    ):
        outcome = run_trial(trial, request, profile, _part(s3, prepared, profile, folder))
    if goes_on and (outcome.tried.error or "").startswith(OUT_OF_TIME):
        raise too_large(
            f"Trial {trial.number} takes longer than the {trial.seconds:,.0f} processor seconds that a function has",
            "give the search less time",
            need=Need(trial_memory_mb(chosen, profile, trial.rows)),
        )
    prefix = new_folder(event["run_id"], f"trials/{trial.number:03d}")
    outputs = None if outcome.outputs is None else _write_outputs(s3, outcome.outputs, f"{prefix}/out_of_fold.npy")
    # Written last: where it is, the trial is whole.
    stored = write_json(s3, outcome.document, f"{prefix}/trial.json")
    return {**vars(outcome.tried), "uri": stored.uri, "outputs": outputs, "compute": compute()}


def _part(s3: S3Client, prepared: dict[str, Any], profile: dict[str, Any], folder: Path) -> PartOnDisk:
    from model_training.folds import PartOnDisk  # noqa: PLC0415 (as above)

    path = download(s3, pinned(prepared, "train"), folder / "train.parquet")
    # Trials are made on few rows.
    features = PartFile(path, profile)
    return PartOnDisk(features, features.target(), load_weights(path, profile), load_order(path, profile))


def _write_outputs(s3: S3Client, outputs: npt.NDArray[Any], uri: str) -> dict[str, str]:
    buffer = io.BytesIO()
    np.save(buffer, outputs, allow_pickle=False)
    stored = write_bytes(s3, buffer.getvalue(), uri, "application/octet-stream")
    return {"uri": stored.uri, "sha256": str(stored.sha256)}


def _outputs(s3: S3Client, tried: Tried) -> npt.NDArray[Any]:
    """Read what a trial has predicted, by the digest that it has handed on."""
    kept = dict(tried.outputs or {})
    content = read_bytes(s3, Stored(kept["uri"], kept["sha256"]))
    found: npt.NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return found


def _train_model(event: dict[str, Any], context: Any) -> dict[str, Any]:
    s3 = s3_client()
    request, prepared = parse_request(event["request"]), event["prepared"]
    prefix = new_folder(event["run_id"], "model")
    # By their digests, the parts and the profile are of one reading of the data set.
    profile = read_json(s3, pinned(prepared, "profile"))
    request = request.with_positive_class(profile)
    stored = pinned(prepared, "train")
    with workspace(request.compute) as folder, few_threads(), ThreadPoolExecutor(1) as beside:
        free_bytes = shutil.disk_usage(folder).free
        stays = _stays_on_s3(stored, request, profile, free_bytes)
        check_room(request, profile, event.get("search"), 0 if stays else stored.size or 0, free_bytes, context)
        recorder = RowRecorder(Columns.of(profile), profile["rows"]["train"])
        part = ObjectFile(s3, stored).compared() if stays else download(s3, stored, folder / "train.parquet")
        features, target = _features(part, request, profile, recorder)
        weights = load_weights(part, profile)
        baseline = describe_baseline(target, request, weights)
        # Of the features, which the fit consumes, these keep a sample.
        other_splits = OtherSplits(request, profile, features, target, weights)
        suspicions = Suspicions(request, profile, features, target)
        own_rows = OwnRows(request, features, target, weights)
        suspected = beside.submit(suspicions.found)
        adjustment = _learn_of_folds(event, context, request, profile, part, (features, target, weights))
        begin = time.process_time()
        pipeline = build_pipeline(request, profile)
        if fits_block_by_block(request) and isinstance(features, PartFile):
            workers = _workers(event, request, profile, folder)
            with workers as elsewhere:
                model = fit_block_by_block(
                    pipeline, features, profile, target, weights, watch=recorder.add, elsewhere=elsewhere
                )
        elif isinstance(features, PartFile):
            model = fit_streamed(pipeline, features, target, weights, recorder.add)
        else:
            model = fit(pipeline, features, target, weights, consume=True)
        # Not beside the fit: warnings are caught for all threads at once, and each is to have its own.
        tried = beside.submit(other_splits.metrics, time.process_time() - begin)
        pipeline = model.pipeline if adjustment is None else adjustment.applied(model.pipeline)
        train_metric = beside.submit(own_rows.metric, pipeline)
        file = save_model(pipeline, folder / "model.skops")
        files = {"model": upload(s3, file, f"{prefix}/model.skops")}
        # Not beside the fit, which needs the memory.
        training_rows, kind = recorder.training_rows(), "application/octet-stream"
        files["training_rows"] = write_bytes(s3, bytes(training_rows), f"{prefix}/training_rows.bloom", kind)
    description = {
        "run_id": event["run_id"],
        **describe(model, request, profile),
        "baseline": baseline,
        "train_metric": train_metric.result(),
        "search": event.get("search"),
        "adjustment": None if adjustment is None else adjustment.record,
        "other_splits": tried.result(),
        "suspicions": suspected.result(),
        "training_rows": training_rows.description(),
        "sha256": {name: file.sha256 for name, file in files.items()},
        "compute": compute(),
        **_lineage(),
    }
    # The description is written last: where it is, the model is whole.
    files["info"] = write_json(s3, description, f"{prefix}/model.json")
    logger.info("model trained", extra={"run_id": event["run_id"], "seconds": model.seconds})
    return {
        **describe_files(files),
        "rows": description["rows"],
        "seconds": description["seconds"],
        "compute": description["compute"],
    }


def _workers(
    event: dict[str, Any], request: TrainingRequest, profile: Profile, folder: Path
) -> AbstractContextManager[Workers | None]:
    """Return the workers of a fit that no machine has the memory for; None for any other."""
    count = workers_of(request, profile)
    if not count:
        return nullcontext()
    return on_tasks(event["run_id"], pinned(event["prepared"], "train"), folder, count)


def _stays_on_s3(file: Stored, request: TrainingRequest, profile: Profile, free_bytes: int) -> bool:
    """Return whether a training part that does not fit the disk need not, for its fit takes block after block."""
    return (file.size or 0) > _SHARE_OF_DISK * free_bytes and _takes_blocks(request, profile)


def _takes_blocks(request: TrainingRequest, profile: Profile) -> bool:
    return streams(request, profile) or fits_block_by_block(request)


def _features(
    path: Path | ObjectFile, request: TrainingRequest, profile: Profile, recorder: RowRecorder
) -> tuple[pd.DataFrame | PartFile, npt.NDArray[Any]]:
    """Return the features, as a file of which the fit takes block after block or as a frame, and the target."""
    if isinstance(path, Path) and not _takes_blocks(request, profile):
        return load_part(path, profile, recorder.add)
    features = PartFile(path, profile, keep=True)
    return features, features.target()


def _learn_of_folds(
    event: dict[str, Any],
    context: Any,
    request: TrainingRequest,
    profile: Profile,
    path: Path | ObjectFile,
    loaded: tuple[pd.DataFrame | PartFile, npt.NDArray[Any], Weights],
) -> Adjustment | None:
    """Return what held-out folds teach of the model, before its own fit consumes the rows; None where nobody asks."""
    if not request.learns_of_folds(searched=event.get("search") is not None):
        return None
    # A run that learns nothing does without scipy's optimizers.
    from model_training.adjustment import learn  # noqa: PLC0415
    from model_training.folds import Part, PartOnDisk  # noqa: PLC0415

    (features, target, weights), order = loaded, load_order(path, profile)
    part = (
        PartOnDisk(features, target, weights, order)
        if isinstance(features, PartFile)
        else Part(features, target, weights, order)
    )
    return learn(request, profile, part, seconds_left(context) * _SHARE_OF_FOLDS)


def _lineage() -> dict[str, str | None]:
    return {"image_digest": image_digest(), "release": release(), "commit": commit()}
