"""Lambda handler of scoring: a Function URL or an HTTP API that answers with the champion's predictions."""

from __future__ import annotations

import base64
import binascii
import functools
import gc
import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response
from botocore.config import Config

from common.conversion import feature_columns
from common.errors import InvalidDatasetError, InvalidRowsError, UntrustedModelError
from scoring import answers, challenger, measures, schema
from scoring.capture import Capture, Sample
from scoring.champion import Challenger, Champion, Champions, NoChampionError
from scoring.json_rows import read_rows
from scoring.page import PAGE, POLICY
from scoring.private import log_without_text
from scoring.refusal import RefusedError
from scoring.scored import Scored
from scoring.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.exceptions import NotFoundError

PREDICTIONS = "/predictions"
ROUTES = {PREDICTIONS: "POST", "/model": "GET", "/health": "GET", "/openapi.json": "GET", "/": "GET"}
# Whoever waits for a prediction does not wait for a registry or files that are away, when a champion is loaded.
_PATIENCE = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2, "mode": "standard"})
# A request of the sample waits for its rows to be kept.
_HASTE = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1, "mode": "standard"})
# A worker without a champion asks the registry at each request.
_RETRY_SECONDS = "10"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)
app = LambdaFunctionUrlResolver()
# Of the request that is being answered: a worker has one at a time.
_counted: dict[str, float] = {}

# What was imported stays for good: without it a full collection looks at 10,000 objects and not at 300,000.
gc.freeze()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request.

    Parameters
    ----------
    event
        Of a Function URL or of an HTTP API, payload format 2.0:
        https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    context
        Of the call.

    Returns
    -------
    dict
        `statusCode`, `headers` and `body`: predictions, or why there are none, whatever the request holds.
    """
    _counted.clear()
    begin = time.monotonic()
    answer = app.resolve(event, context)
    if event.get("rawPath") == PREDICTIONS:
        _measure(answer["statusCode"], time.monotonic() - begin)
    return answer


@functools.cache
def _settings() -> Settings:
    return Settings.of()


@functools.cache
def _capture() -> Capture:
    settings = _settings()
    s3 = boto3.client("s3", config=_HASTE)
    return Capture(s3, settings.bucket, settings.model_name, settings.capture_share, settings.private)


@functools.cache
def _champions() -> Champions:
    settings = _settings()
    dynamodb, s3 = boto3.client("dynamodb", config=_PATIENCE), boto3.client("s3", config=_PATIENCE)
    champions = Champions(dynamodb, s3, settings.table, settings.model_name, seconds=settings.champion_ttl)
    champions.on_broken = functools.partial(challenger.count_error, settings.stack, settings.model_name)
    return champions


def _measure(status: int, seconds: float) -> None:
    """Put the metrics of one request for predictions."""
    settings, champions = _settings(), _champions()
    version = None if champions.loaded is None else champions.loaded.version
    found = {
        "Requests": 1,
        "Rows": 0,
        "Refused": int(400 <= status < 500),
        "Errors": int(status >= 500),
        "Latency": 1000 * seconds,
        **_counted,
    }
    measures.put(settings.stack, settings.model_name, version, found)


@app.post(PREDICTIONS)
def predict() -> Response[str]:
    """Score the rows of the body."""
    body, kind = _body(), _media_type(app.current_event.headers)
    champion, warnings = _champions().current()
    challenging, is_captured = _champions().challenger, _is_captured()
    sample = Sample(keeps_others=is_captured) if is_captured or challenging is not None else None
    begin, most = time.monotonic(), answers.most_rows(champion.model)
    scored = _score(body, kind, champion, most, sample)
    found: challenger.Answers = answers.predictions(champion.model, scored.predictions)
    seconds = round(time.monotonic() - begin, 4)
    _counted["Rows"] = len(found)
    logger.info("rows scored", extra={"rows": len(found), "version": champion.version, "seconds": seconds})
    if sample is not None and challenging is not None:
        found = challenger.answer(
            found, sample.hashes(), challenging, lambda: _predict_by(challenging, body, kind, most), _settings().stack
        )
        sample.answered_by = [each.get(challenger.VERSION) for each in found if each is not None]
    if sample is not None and is_captured:
        _keep(sample, champion.version)
    told = answers.warnings_of(scored.oddities, scored.others, [*warnings, *scored.told])
    return _answer(200, answers.document(found, told))


def _score(body: bytes, kind: str, champion: Champion, most: int, sample: Sample | None = None) -> Scored:
    if kind == schema.CSV:
        # The reader of data sets takes a while to be imported, and rows of JSON do without it.
        from scoring.csv_rows import score_csv  # noqa: PLC0415

        return score_csv(body, champion, most, sample)
    rows = read_rows(body, champion.profile, champion.model.known_categories, most)
    predictions, oddities = champion.predict(rows.batch, rows.kinds)
    if sample is not None:
        sample.add_table(rows.batch, rows.besides() if sample.keeps_others else [], predictions)
    return Scored(predictions, oddities, rows.others, ())


def _predict_by(challenging: Challenger, body: bytes, kind: str, most: int) -> challenger.Answers:
    scored = _score(body, kind, challenging.loaded, most)
    return answers.predictions(challenging.loaded.model, scored.predictions)


def _is_captured() -> bool:
    return bool(_settings().capture_share) and _capture().wants(app.lambda_context.aws_request_id)


def _keep(sample: Sample, version: str) -> None:
    is_kept = _capture().keep(app.lambda_context.aws_request_id, version, sample)
    if is_kept:
        _counted["Captured"] = 1
    else:
        measures.put_of_all(_settings().stack, _settings().model_name, {"CaptureFailures": 1})


@app.get("/model")
def describe_model() -> Response[str]:
    """Tell what the champion is."""
    champion, warnings = _champions().current()
    challenging = _champions().challenger
    features = {column["name"]: schema.column_schema(column) for column in feature_columns(champion.profile)}
    card = None if challenging is None else challenging.card
    return _answer(200, {"card": champion.card, "challenger": card, "features": features, "warnings": warnings})


@app.get("/health")
def check_health() -> Response[str]:
    """Tell whether a champion can be used."""
    _, warnings = _champions().current()
    return _answer(200, {"status": "ok", "warnings": warnings})


@app.get("/openapi.json")
def describe_api() -> Response[str]:
    """Return the schema of the champion's rows and predictions."""
    champion, _ = _champions().current()
    return _respond(200, schema.JSON, _document(champion, _champions().challenger))


@app.get("/")
def show_page() -> Response[str]:
    """Return a form for one row."""
    return _respond(200, "text/html; charset=utf-8", PAGE, {"Content-Security-Policy": POLICY})


@functools.lru_cache(maxsize=1)
def _document(champion: Champion, challenging: Challenger | None) -> str:
    return _json(schema.openapi(champion, challenging))


def _refuse(error: RefusedError) -> Response[str]:
    return _answer(error.status, error.document())


def _refuse_rows(error: Exception) -> Response[str]:
    return _answer(422, {"error": str(error)})


def _be_away(error: NoChampionError) -> Response[str]:
    return _answer(503, {"error": str(error)}, {"Retry-After": _RETRY_SECONDS} if error.may_pass else None)


def _tell_failure(error: UntrustedModelError) -> Response[str]:
    logger.error("model failed", exc_info=error)
    return _answer(500, {"error": str(error)})


def _tell_error(error: Exception) -> Response[str]:
    # The text of an error of ours may hold values of the rows; the log does not leave the account.
    if _settings().private:
        # A value of a private column is not to be in the log either.
        log_without_text(logger, "request failed", error)
    else:
        logger.error("request failed", exc_info=error)
    return _answer(500, {"error": "The request has failed, and why is in the function's log."})


for _error, _tell in (
    (RefusedError, _refuse),
    (InvalidRowsError, _refuse_rows),
    (InvalidDatasetError, _refuse_rows),
    (NoChampionError, _be_away),
    (UntrustedModelError, _tell_failure),
    (Exception, _tell_error),
):
    app.exception_handler(_error)(_tell)


@app.not_found
def _not_found(_error: NotFoundError) -> Response[str]:
    known = ROUTES.get(app.current_event.path)
    if known is not None:
        return _answer(405, {"error": f"{app.current_event.path} takes {known} alone."}, {"Allow": known})
    routes = ", ".join(f"{method} {path}" for path, method in ROUTES.items())
    return _answer(404, {"error": f"There is nothing here. Known: {routes}."})


def _body() -> bytes:
    raw: Mapping[str, Any] = app.current_event.raw_event
    text = raw.get("body") or ""
    try:
        body = base64.b64decode(text, validate=True) if raw.get("isBase64Encoded") else text.encode()
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RefusedError(400, "The body cannot be decoded.") from error
    if len(body) > answers.MAX_BYTES:
        raise RefusedError(413, f"The body has more than {answers.MAX_BYTES >> 20} MB: send several requests.")
    return body


def _media_type(headers: Mapping[str, str]) -> str:
    if headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(415, "The body is compressed: send it as it is.")
    kind, _, parameters = headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind not in (schema.JSON, schema.CSV):
        raise RefusedError(415, f"The content type is neither {schema.JSON} nor {schema.CSV}: say which it is.")
    charset = parameters.lower().partition("charset=")[2].strip(' "')
    if kind == schema.JSON and charset not in ("", "utf-8", "utf8"):
        raise RefusedError(415, "JSON is read as UTF-8, and the content type has another charset.")
    return kind


def _answer(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response[str]:
    champions = _champions()
    version = None if champions.loaded is None else champions.loaded.version
    return _respond(
        status,
        schema.JSON,
        _json({"model_name": champions.model_name, "version": version, **document}),
        headers,
    )


def _respond(status: int, kind: str, body: str, headers: Mapping[str, str] | None = None) -> Response[str]:
    return Response(status, kind, body, {**_HEADERS, **(headers or {})})


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":"))
