"""Lambda handler of model evaluation: scores challenger and champion on the test part, and stores what it decided."""

from __future__ import annotations

import gc
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.bootstrap import Improvement, Interval
from common.capacity import SHARE_OF_TIME, compute, seconds_left
from common.lineage import commit, image_digest, now, release
from common.model_file import load_model
from common.request import TrainingRequest, parse_request
from common.storage import (
    describe_files,
    download,
    new_folder,
    pinned,
    read_bytes,
    read_json,
    s3_client,
    workspace,
    write_bytes,
    write_json,
)
from common.training_rows import KnownRows, TrainingRows
from model_evaluation.apart import ApartPredictions, predicted_apart
from model_evaluation.champion import Candidate, Champion, compare, fetch_model, find_champion
from model_evaluation.decision import Challenger, Comparison, decide, meets
from model_evaluation.evaluation import HeldOut, Scores, against_constant, covered, distribution_of, measure
from model_evaluation.fairness import doubts, equal_features
from model_evaluation.memory import model_bytes
from model_evaluation.predicted_part import predict_part
from model_evaluation.registry import Run, registry_items
from model_evaluation.room import check_room

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from sklearn.pipeline import Pipeline

# What the state machine and the system test get to know of the evaluation.
ANSWERED = ("metric", "value", "threshold_met", "metrics", "decision", "rule", "reason", "champion", "doubts")

_FETCHED_AT_ONCE = 3

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)

# What was imported stays for good: without it a full collection looks at 10,000 objects and not at 300,000.
gc.freeze()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Evaluate the model of one run.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "prepared": …, "model": …, "champion": …, "comparisons": …, "contended": …}`: the
        model as model training returns it; the champion's `version` and `item`, its entry in the registry, or None; how
        many models were compared on this test part, this one included; and whether so many other runs have promoted
        meanwhile that this one gives up.

    Returns
    -------
    dict
        The URIs of the evaluation and of its report, the metric that decides with its value, all metrics, the decision
        with its rule and its reason, what it ran on, and the registry's items.

    Raises
    ------
    TooLargeForFunctionError
        If a task is to do it.
    InvalidRequestError, InvalidDatasetError, UntrustedModelError, DamagedFileError
        If the request cannot be used, the data do not fit, the model may not be loaded, or a file is not the one that
        an earlier step has written.
    TooLargeForFunctionError
        If the test part needs more memory, disk or time than there is, and a task has it.
    """
    s3, request = s3_client(), parse_request(event["request"])
    run = Run(event["run_id"], request.model_dump(), event["prepared"], event["model"])
    scored = _score(s3, run, request, event.get("champion"), context)
    comparisons = event.get("comparisons", 1)
    decision = decide(
        scored.challenger(request),
        request,
        scored.comparison,
        contended=event.get("contended", False),
        comparisons=comparisons,
    )
    document = {
        "run_id": run.run_id,
        **scored.document(request),
        "decision": decision.decision,
        "rule": decision.rule,
        "reason": decision.reason,
        "comparisons": comparisons,
        "model_uri": run.model["model_uri"],
        "evaluated_at": now(),
        "compute": {"model_training": scored.info.get("compute"), "model_evaluation": compute()},
    }
    document["card"], report = _card_and_report(document, scored)
    files = _store(s3, run.run_id, document, report)
    logger.info("model evaluated", extra={"run_id": run.run_id, "decision": decision.decision, "rule": decision.rule})
    return {
        **files,
        **{name: document[name] for name in ANSWERED},
        "compute": document["compute"]["model_evaluation"],
        "registry": registry_items(
            run, {**document, **files}, _lineage(scored.profile, scored.info), scored.profile["split"]
        ),
    }


@dataclass(frozen=True)
class _Scored:
    """What the test part says of the challenger, and of the champion beside it."""

    profile: dict[str, Any]
    info: dict[str, Any]
    pipeline: Pipeline
    part: HeldOut
    scores: Scores
    metric: Interval | None
    over_constant: Improvement | None
    comparison: Comparison | None
    equal_features: int

    def challenger(self, request: TrainingRequest) -> Challenger:
        return Challenger(self.metric, self.scores.undefined.get(str(request.metric)), self.over_constant)

    def document(self, request: TrainingRequest) -> dict[str, Any]:
        value = None if self.metric is None else self.metric.value
        return {
            "problem": request.problem,
            "estimator": request.estimator,
            "rows": len(self.part.target),
            "weight_column": request.weight_column,
            "metric": request.metric,
            "pos_label": self.profile["pos_label"],
            "quantile": request.quantile,
            "value": value,
            "interval": None if self.metric is None else vars(self.metric),
            "predictions": distribution_of(self.scores, self.profile["pos_label"]),
            "prediction_interval": covered(self.pipeline, self.scores, self.part),
            "threshold": request.threshold,
            "threshold_met": value is not None and meets(str(request.metric), value, request.threshold),
            "minimum_improvement": request.minimum_improvement,
            "metrics": self.scores.metrics,
            "undefined": self.scores.undefined,
            "over_constant": None if self.over_constant is None else vars(self.over_constant),
            "champion": None if self.comparison is None else self.comparison.document(),
            "rows_with_equal_features": self.equal_features,
            "other_splits": self.info["other_splits"],
            "doubts": doubts(self.info["other_splits"]),
            "suspicions": self.info["suspicions"],
            "data_fingerprint": self.profile["fingerprint"],
        }


def _score(s3: S3Client, run: Run, request: TrainingRequest, given: dict[str, Any] | None, context: Any) -> _Scored:
    prepared, model, comparison = run.prepared, run.model, None
    # What is waited for is waited for at once.
    with workspace(request.compute) as folder, ThreadPoolExecutor(_FETCHED_AT_ONCE) as threads:
        test, free_bytes = pinned(prepared, "test"), shutil.disk_usage(folder).free
        model_file = threads.submit(download, s3, pinned(model, "model"), folder / "model.skops")
        information = threads.submit(read_json, s3, pinned(model, "info"))
        training_rows = threads.submit(read_bytes, s3, pinned(model, "training_rows"))
        profile = read_json(s3, pinned(prepared, "profile"))
        info, request = information.result(), request.with_positive_class(profile)
        own, champion = (
            TrainingRows.read(training_rows.result(), info["training_rows"]),
            find_champion(s3, given, request),
        )
        sizes = {"models": model_bytes(model, None if champion is None else champion.entry), "part": test.size or 0}
        models = info, champion.info if champion is not None and champion.info else None
        check_room(profile, models, sizes, free_bytes, context, request.compute)
        known = [KnownRows(own), *([champion.known] if champion is not None and champion.known is not None else [])]
        test_part = threads.submit(download, s3, test, folder / "test.parquet")
        champion = fetch_model(s3, champion, folder / "champion.skops")
        pipeline, path = load_model(model_file.result()), test_part.result()
        # Under way while this process does its own part.
        with _champions_predictions(champion, folder, profile, str(request.problem), context) as predicted:
            part, predictions = predict_part(path, profile, pipeline, request.seed, [each.add for each in known])
            scores = measure(predictions, part.target, part.weights, request.scoring)
            metric, guess = against_constant(scores, part, info["baseline"], request)
            if champion is not None:
                candidate = Candidate(known[0], scores, part, request, profile["fingerprint"])
                comparison = compare(champion, candidate, predicted)
    return _Scored(profile, info, pipeline, part, scores, metric, guess, comparison, equal_features(known[0]))


def _champions_predictions(
    champion: Champion | None, folder: Path, profile: dict[str, Any], problem: str, context: Any
) -> AbstractContextManager[ApartPredictions | None]:
    if champion is None or champion.unusable:
        return nullcontext()
    # The report takes some of the time, too.
    return predicted_apart(folder, profile, problem, SHARE_OF_TIME * seconds_left(context))


def _card_and_report(document: dict[str, Any], scored: _Scored) -> tuple[dict[str, Any], str]:
    # Imported here: drawing costs a second that a function's start does not have to pay.
    from model_evaluation.analysis import ReportData, analyse  # noqa: PLC0415
    from model_evaluation.card import model_card  # noqa: PLC0415
    from model_evaluation.report import render_report  # noqa: PLC0415

    part, predictions = scored.part, scored.scores.predictions
    data = ReportData(
        document,
        scored.profile,
        scored.info,
        scored.pipeline,
        part.features,
        part.target,
        predictions,
        part.weights,
        part.sample,
    )
    analysis = analyse(data)
    return model_card(data, analysis), render_report(data, analysis)


def _store(s3: S3Client, run_id: str, document: dict[str, Any], report: str) -> dict[str, Any]:
    """Store the evaluation and its report, and return where and what they are."""
    prefix = new_folder(run_id, "evaluation")
    files = {
        "report": write_bytes(s3, report.encode(), f"{prefix}/report.html", "text/html; charset=utf-8"),
        # Written last: where it is, the report is whole.
        "evaluation": write_json(s3, document, f"{prefix}/evaluation.json"),
    }
    return describe_files(files)


def _lineage(profile: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    return {
        "data_fingerprint": profile["fingerprint"],
        "release": release(),
        "commit": commit(),
        "image_digests": {
            "data_preparation": profile["image_digest"],
            "model_training": info["image_digest"],
            "model_evaluation": image_digest(),
        },
    }
