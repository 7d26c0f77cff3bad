"""Lambda handler of model evaluation: scores challenger and champion on the test part, and stores what it decided."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from common.errors import UntrustedModelError
from common.frames import load_part
from common.lineage import commit, image_digest, now, release
from common.request import TrainingRequest, parse_request
from common.storage import download, read_json, s3_client, workspace, write_json, write_text
from model_evaluation.evaluation import (
    Comparison,
    HeldOut,
    Scores,
    UnusableChampionError,
    compare,
    decide,
    defined_value,
    load_model,
    meets,
    score,
)
from model_evaluation.registry import Run, registry_items

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from sklearn.pipeline import Pipeline

# What the state machine and the system test get to know of the evaluation.
ANSWERED = ("metric", "value", "threshold_met", "metrics", "decision", "reason", "champion")

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Evaluate the model of one run.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "prepared": …, "model": …, "champion": …, "contended": …}`: the model as model
        training returns it; the champion's `version` and `model_uri`, or None; and whether so many other runs have
        promoted meanwhile that this one gives up.

    Returns
    -------
    dict
        The URIs of the evaluation and of its report, the metric that decides with its value, all metrics, the decision
        with its reason, and the registry's items.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError, UntrustedModelError
        If the request cannot be used, the metric is undefined on the test part, or the model may not be loaded.
    """
    s3 = s3_client()
    request = parse_request(event["request"])
    run = Run(event["run_id"], request.model_dump(), event["prepared"], event["model"])
    profile, info = read_json(s3, run.prepared["profile_uri"]), read_json(s3, run.model["info_uri"])
    with workspace() as folder:
        pipeline = load_model(download(s3, run.model["model_uri"], folder / "model.skops"))
        part = HeldOut(*load_part(download(s3, run.prepared["test_uri"], folder / "test.parquet"), profile))
    scores = score(pipeline, part, str(request.problem))
    value = defined_value(scores, str(request.metric))
    champion = event.get("champion")
    comparison = _compare(s3, champion, scores, part, request) if champion else None
    decision, reason = decide(scores, request, comparison, contended=event.get("contended", False))
    document = {
        "run_id": run.run_id,
        "problem": request.problem,
        "estimator": request.estimator,
        "rows": len(part.target),
        "metric": request.metric,
        "value": value,
        "threshold": request.threshold,
        "threshold_met": meets(str(request.metric), value, request.threshold),
        "minimum_improvement": request.minimum_improvement,
        "metrics": scores.metrics,
        "undefined": scores.undefined,
        "decision": decision,
        "reason": reason,
        "champion": comparison.document() if comparison else None,
        "model_uri": run.model["model_uri"],
        "data_fingerprint": profile["fingerprint"],
        "evaluated_at": now(),
    }
    uris = _store(s3, run.run_id, document, _report(document, profile, info, pipeline, part, scores))
    logger.info("model evaluated", extra={"run_id": run.run_id, "decision": decision})
    return {
        **uris,
        **{name: document[name] for name in ANSWERED},
        "registry": registry_items(run, {**document, **uris}, _lineage(profile, info)),
    }


def _report(
    document: dict[str, Any],
    profile: dict[str, Any],
    info: dict[str, Any],
    pipeline: Pipeline,
    part: HeldOut,
    scores: Scores,
) -> str:
    # Imported here: drawing costs a second that a function's start does not have to pay.
    from model_evaluation.report import ReportData, render_report  # noqa: PLC0415

    return render_report(ReportData(document, profile, info, pipeline, part.features, part.target, scores.predictions))


def _store(s3: S3Client, run_id: str, document: dict[str, Any], report: str) -> dict[str, str]:
    prefix = f"s3://{os.environ['ARTIFACT_BUCKET']}/runs/{run_id}/evaluation"
    return {
        "report_uri": write_text(s3, report, f"{prefix}/report.html", "text/html; charset=utf-8"),
        # The evaluation is written last: where it is, the report is whole.
        "evaluation_uri": write_json(s3, document, f"{prefix}/evaluation.json"),
    }


def _compare(
    s3: S3Client, champion: dict[str, str], scores: Scores, part: HeldOut, request: TrainingRequest
) -> Comparison:
    """Compare with the champion; one that cannot be loaded or applied is reported, and no reason to fail."""
    version = champion["version"]
    with workspace() as folder:
        try:
            loaded = load_model(download(s3, champion["model_uri"], folder / "model.skops"))
            return compare(version, loaded, scores, part, request)
        except UnusableChampionError as error:
            return Comparison(version, "unusable", str(error))
        except UntrustedModelError as error:
            return Comparison(version, "unusable", f"its file may not be loaded ({error})")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            # Without the right to list the bucket, S3 answers 403 for an object that is gone.
            if code not in ("403", "404", "AccessDenied", "NoSuchKey", "NoSuchBucket"):
                raise
            return Comparison(version, "unusable", f"its file cannot be read ({code})")


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
