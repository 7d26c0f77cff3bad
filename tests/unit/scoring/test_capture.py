"""What is kept of requests: a share of them, each once and without what is private, and never at an answer's cost."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from botocore.exceptions import ClientError

from function_urls import request
from scoring import app
from scoring.capture import Capture, is_sampled
from scoring.private import Private
from scoring.settings import Settings

from .conftest import MODEL

ROWS = 120
ROW = {"size": 42.5, "rooms": 3, "kind": "flat", "sold": "2024-02-01T12:00:00Z", "order_id": "007", "e-mail": "a@b.c"}
TEXT = "size,rooms,kind,sold,order_id,e-mail\n42.5,3,flat,01.02.2024 12:00,007,a@b.c\n\n60,3,,01.02.2024 12:00,008,\n"
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def houses(shared_shop: Any) -> Any:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "size": random.normal(50, 9, ROWS).round(3),
            "rooms": random.integers(1, 9, ROWS),
            "kind": random.choice(["flat", "house"], ROWS),
            "sold": pd.date_range("2024-01-01", periods=ROWS, freq="h").strftime("%d.%m.%Y %H:%M"),
        }
    )
    shared_shop.train("run-1", frame.assign(y=frame["size"] + random.normal(0, 1, ROWS)), estimator="ridge")
    shared_shop.promote("run-1")
    return shared_shop


@pytest.fixture
def ask(houses: Any, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return a function that asks the handler of a stack that keeps every request without its e-mail and its kind."""
    champions, private = houses.champions(), Private.of("E-Mail, kind")
    settings = Settings(MODEL, houses.table, 60, "stack", houses.bucket, 100, private)
    monkeypatch.setattr(app, "_settings", lambda: settings)
    monkeypatch.setattr(app, "_champions", lambda: champions)
    monkeypatch.setattr(app, "_capture", lambda: Capture(houses.s3, houses.bucket, MODEL, 100, private))

    def run(request_id: str, body: str, kind: str = "application/json") -> dict[str, Any]:
        answer = app.handler(request("POST", "/predictions", body, kind), SimpleNamespace(aws_request_id=request_id))
        assert answer["statusCode"] == 200, answer["body"]
        return dict(json.loads(answer["body"]))

    return run


def captured(shop: Any, request_id: str) -> list[dict[str, Any]]:
    """Return the lines of one request's object."""
    found = shop.s3.list_objects_v2(Bucket=shop.bucket, Prefix=f"captured/{MODEL}/")["Contents"]
    (key,) = [each["Key"] for each in found if each["Key"].endswith(f"/{request_id}.jsonl.gz")]
    content = gzip.decompress(shop.s3.get_object(Bucket=shop.bucket, Key=key)["Body"].read())
    lines = [json.loads(line) for line in content.splitlines()]
    assert key == f"captured/{MODEL}/{lines[0]['at'][:13].replace('-', '/').replace('T', '/')}/{request_id}.jsonl.gz"
    return lines


def test_a_request_is_kept_without_what_is_private(
    ask: Ask, houses: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = ask("of-json", json.dumps({"rows": [ROW]}))
    (line,) = captured(houses, "of-json")
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "version": "run-1",
        "row": {"size": 42.5, "rooms": 3, "sold": "2024-02-01T12:00:00", "order_id": "007"},
        **answer["predictions"][0],
    }
    logged = caplog.text + "".join(repr(vars(each)) for each in caplog.records) + capsys.readouterr().out
    assert "rows scored" in logged
    assert not any(value in logged for value in ("a@b.c", "flat"))


def test_rows_of_csv_are_kept_as_those_of_json_are(ask: Ask, houses: Any) -> None:
    answer = ask("of-csv", TEXT, "text/csv")
    first, second = captured(houses, "of-csv")
    assert first["row"] == {"size": 42.5, "rooms": 3, "sold": "2024-02-01T12:00:00", "order_id": "007"}
    assert second["row"]["order_id"] == "008"
    # The blank line between them is no row.
    assert [first["prediction"], second["prediction"]] == [answer["predictions"][at]["prediction"] for at in (0, 2)]


def test_what_cannot_be_kept_is_told_and_answered_all_the_same(
    ask: Ask,
    houses: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = ask("whole", json.dumps({"rows": [ROW]}))
    assert metrics(capsys) == {"Requests": 1, "Rows": 1, "Refused": 0, "Errors": 0, "Captured": 1}

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    monkeypatch.setattr(houses.s3, "put_object", refuse)
    assert ask("refused", json.dumps({"rows": [ROW]})) == whole
    assert metrics(capsys) == {"Requests": 1, "Rows": 1, "Refused": 0, "Errors": 0, "CaptureFailures": 1}
    (told,) = [each for each in caplog.records if each.getMessage() == "request not captured"]
    assert "AccessDenied" in vars(told)["reason"]
    # Other columns that cannot be read, as by a letter that is no UTF-8, are no reason to refuse rows either.
    monkeypatch.setattr("scoring.csv_rows.KeptRows", unreadable)
    assert len(ask("broken", TEXT, "text/csv")["predictions"]) == 3
    assert metrics(capsys)["CaptureFailures"] == 1


def unreadable(*_: Any) -> Any:
    from common.errors import InvalidRowsError  # noqa: PLC0415 (of this alone)

    raise InvalidRowsError("They cannot be read.")


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the metrics of the one request since the last time, without how long it took."""
    *failed, line = [json.loads(each) for each in capsys.readouterr().out.splitlines() if "_aws" in each]
    assert (line["stack"], line["model_name"], line["version"]) == ("stack", MODEL, "run-1")
    assert line["Latency"][0] > 0
    found = _values(line, ["stack", "model_name", "version"])
    del found["Latency"]
    # An alarm knows no version beforehand.
    return found | {name: value for each in failed for name, value in _values(each, ["stack", "model_name"]).items()}


def _values(line: dict[str, Any], dimensions: list[str]) -> dict[str, int]:
    (of,) = line["_aws"]["CloudWatchMetrics"]
    assert (of["Namespace"], of["Dimensions"]) == ("Crosstrain", [dimensions])
    return {each["Name"]: int(line[each["Name"]][0]) for each in of["Metrics"]}


def test_a_refused_request_is_counted_and_not_kept(ask: Ask, houses: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError, match="problems"):
        ask("wrong", json.dumps({"rows": [ROW | {"size": "large"}]}))
    assert metrics(capsys) == {"Requests": 1, "Rows": 0, "Refused": 1, "Errors": 0}
    found = houses.s3.list_objects_v2(Bucket=houses.bucket, Prefix=f"captured/{MODEL}/").get("Contents", [])
    assert not any("wrong" in each["Key"] for each in found)


def test_the_log_of_a_failure_holds_no_text_where_columns_are_private(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError(ROW["e-mail"])

    monkeypatch.setattr(app, "read_rows", fail)
    with pytest.raises(AssertionError, match="has failed"):
        ask("failed", json.dumps({"rows": [ROW]}))
    (told,) = [each for each in caplog.records if each.getMessage() == "request failed"]
    assert (vars(told)["kind"], told.exc_info) == ("KeyError", None)
    assert "a@b.c" not in caplog.text + repr(vars(told))


def test_the_share_is_decided_by_the_id_alone() -> None:
    ids = [f"request-{number}" for number in range(4000)]
    for share in (0, 0.5, 10, 100):
        sampled = [is_sampled(each, share) for each in ids]
        assert sampled == [is_sampled(each, share) for each in ids]
        assert np.mean(sampled) == pytest.approx(share / 100, abs=0.015)
