"""Lambda handler of model evaluation: scores the model on the test part and stores the evaluation with its decision."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from common.frames import load_part
from common.request import parse_request
from common.storage import download, read_json, s3_client, write_json
from model_evaluation.evaluation import evaluate, load_model

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Evaluate the model of one run.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "prepared": …, "model": …}`, the last as model training returns it.

    Returns
    -------
    dict
        The evaluation's URI, the metric that decides with its value, all metrics, the decision and its reason.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError, UntrustedModelError
        If the request cannot be used, the metric is undefined on the test part, or the model may not be loaded.
    """
    s3 = s3_client()
    request = parse_request(event["request"])
    prepared = event["prepared"]
    profile = read_json(s3, prepared["profile_uri"])
    with tempfile.TemporaryDirectory() as folder:
        pipeline = load_model(download(s3, event["model"]["model_uri"], Path(folder) / "model.skops"))
        features, target = load_part(download(s3, prepared["test_uri"], Path(folder) / "test.parquet"), profile)
        evaluation = evaluate(pipeline, features, target, request)
    result = {
        "metric": request.metric,
        "value": evaluation.metrics[str(request.metric)],
        "metrics": evaluation.metrics,
        "decision": evaluation.decision,
        "reason": evaluation.reason,
    }
    document = {
        "run_id": event["run_id"],
        "problem": request.problem,
        "estimator": request.estimator,
        "rows": len(target),
        "threshold": request.threshold,
        **result,
        "undefined": evaluation.undefined,
        "model_uri": event["model"]["model_uri"],
        "data_fingerprint": profile["fingerprint"],
    }
    uri = f"s3://{os.environ['ARTIFACT_BUCKET']}/runs/{event['run_id']}/evaluation/evaluation.json"
    logger.info("model evaluated", extra={"run_id": event["run_id"], "decision": evaluation.decision})
    return {"evaluation_uri": write_json(s3, document, uri), **result}
