"""Watching: captured rows of the champion beside training's, from where the last comparison ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from common.distributions import of_numbers
from common.errors import DamagedFileError, InvalidRequestError
from scoring import captured, watch
from scoring.capture import Capture, Sample
from scoring.champion import Champion
from scoring.events import NotAnnouncedError, announce, drift_detail, words
from scoring.private import Private

from .conftest import MODEL, Shop

ROWS = 600
AHEAD = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def frame(rows: int, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": random.normal(50 + shift, 9, rows).round(3),
            "kind": random.choice(["flat", "house"], rows),
            "sold": pd.date_range("2024-01-01", periods=ROWS, freq="h")[random.integers(0, ROWS, rows)].strftime(
                "%Y-%m-%dT%H:%M:%S"
            ),
        }
    )


class Bus:
    """An event bus that keeps what it is given."""

    def __init__(self) -> None:
        self.details: list[dict[str, Any]] = []
        self.failed = 0

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 (as boto3 calls it)
        """Take an event, or refuse it."""
        assert [(each["Source"], each["DetailType"]) for each in Entries] == [("crosstrain", "Data Drifted")]
        self.details += [json.loads(each["Detail"]) for each in Entries]
        return {"FailedEntryCount": self.failed, "Entries": [{"ErrorMessage": "throttled"}]}


@pytest.fixture
def bus(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """Promote a version, and let the handler watch it."""
    data = frame(ROWS)
    signal = data["size"] + 5 * (data["kind"] == "house")
    shop.evaluation = {"predictions": {"of": "prediction", **of_numbers(signal.to_numpy())}}
    shop.train("run-1", data.assign(y=signal + np.random.default_rng(9).normal(0, 1, ROWS)), estimator="ridge")
    shop.promote("run-1")
    shop.set_watch_settings(monkeypatch)
    opened = Bus()
    clients = {"dynamodb": shop.dynamodb, "events": opened}
    monkeypatch.setattr(watch, "_client", clients.__getitem__)
    return opened


def send(shop: Shop, rows: pd.DataFrame, name: str, private: str = "", version: str | None = None) -> None:
    """Capture rows as one request."""
    champion: Champion = shop.champions().current()[0]
    sample = Sample()
    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    typed = batch.set_column(2, "sold", batch["sold"].cast(pa.timestamp("us")))
    sample.add_table(typed, [], champion.predict(typed)[0])
    capture = Capture(shop.s3, shop.bucket, MODEL, 100, Private.of(private))
    assert capture.keep(name, version or champion.version, sample)


def run(**event: Any) -> dict[str, Any]:
    return watch.handler({"model_name": MODEL, **event}, None)


def stored(shop: Shop, uri: str) -> str:
    key = uri.removeprefix(f"s3://{shop.bucket}/")
    return str(shop.s3.get_object(Bucket=shop.bucket, Key=key)["Body"].read().decode())


def test_rows_as_in_training_are_unchanged_and_shifted_ones_are_announced(shop: Shop, bus: Bus) -> None:
    send(shop, frame(150, 1), "first")
    send(shop, frame(150, 2), "second")
    first = run(until=AHEAD)
    assert (first["rows"], first["drifted"], bus.details) == (300, False, [])
    send(shop, frame(200, 3, shift=20), "shifted")
    second = run(since="2026-01-01T00:00:00Z", until=AHEAD)
    assert (second["rows"], second["drifted"]) == (500, True)
    (detail,) = bus.details
    assert detail["changed_columns"] == ["size"]
    assert (detail["stack"], detail["model_name"], detail["version"]) == ("stack", MODEL, "run-1")
    assert (detail["source"], detail["run_id"], detail["rows"]) == ("captured", second["run_id"], 500)
    assert detail["drift_uri"] == f"s3://{shop.bucket}/watch/{MODEL}/{second['run_id']}/drift.json"
    document = json.loads(stored(shop, detail["drift_uri"]))
    assert (document["drifted"], words(document["reason"])) == (True, detail["reason"])
    page = stored(shop, second["page_uri"])
    assert "Changed" in page
    # The first run is in the line of runs.
    assert "Of 2 batches 1 had changed" in page


def test_a_run_takes_up_where_the_last_comparison_has_ended(
    shop: Shop, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bus.details == []
    monkeypatch.setattr(watch, "_SETTLED", timedelta(days=-1))
    send(shop, frame(20, 1), "few")
    assert "too few" in run()["reason"]
    send(shop, frame(20, 2), "more")
    # Whoever looks at another time takes nothing away.
    assert run(until=AHEAD)["rows"] == 40
    # With the rows of the run that could not compare them.
    assert run()["rows"] == 40
    assert run()["rows"] == 0


def test_what_is_not_compared_is_said(shop: Shop, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    send(shop, frame(100, 1), "whole")
    send(shop, frame(50, 2), "another", version="run-0")
    send(shop, frame(30, 3), "incomplete", private="size")
    monkeypatch.setenv("PRIVATE_COLUMNS", "Kind")
    found = run(until=AHEAD)
    assert found["rows"] == 100
    told = " ".join(found["told"])
    for expected in ("private: kind.", "50 rows of run-0", "30 rows, captured when"):
        assert expected in told
    document = json.loads(stored(shop, found["drift_uri"]))
    assert {each["name"] for each in document["columns"]} == {"size", "sold"}
    assert (document["private"], document["other_versions"], document["incomplete"]) == (["kind"], {"run-0": 50}, 30)
    assert "private: kind." in stored(shop, found["page_uri"])
    assert bus.details == []
    monkeypatch.setenv("PRIVATE_COLUMNS", "kind,size,sold")
    with pytest.raises(InvalidRequestError, match="Every column"):
        run(until=AHEAD)


def test_too_many_requests_are_a_draw(shop: Shop, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bus.details == []
    for number in range(6):
        send(shop, frame(20, number), f"request-{number}")
    found = captured.find_objects(shop.s3, shop.bucket, MODEL, None, datetime.fromisoformat(AHEAD), most=4)
    assert (len(found.uris), found.left_out) == (4, 2)
    monkeypatch.setattr("scoring.watched.MOST_ROWS", 60)
    told = run(until=AHEAD)
    assert (told["rows"], "3 of them" in told["told"][0]) == (60, True)


def test_an_event_that_is_not_taken_lets_the_run_fail_and_be_repeated(shop: Shop, bus: Bus) -> None:
    send(shop, frame(200, 3, shift=20), "shifted")
    bus.failed = 1
    with pytest.raises(NotAnnouncedError, match="throttled"):
        run(until=AHEAD)
    bus.failed = 0
    assert (run(until=AHEAD)["rows"], len(bus.details)) == (200, 2)


def test_events_that_ask_for_something_else_are_refused(shop: Shop, bus: Bus) -> None:
    assert bus.details == []
    for event, reason in (
        ({"since": "yesterday"}, "no time"),
        ({"until": "2026-01-01T00:00:00"}, "no offset"),
        ({"window": 1}, "unknown field"),
        ({"model_name": ""}, "no model_name"),
    ):
        with pytest.raises(InvalidRequestError, match=reason):
            run(**event)
    assert "no champion yet" in run(model_name="another")["reason"]
    shop.s3.put_object(Bucket=shop.bucket, Key=f"captured/{MODEL}/2026/01/01/00/x.jsonl.gz", Body=b"no gzip")
    with pytest.raises(DamagedFileError, match="nothing that was captured"):
        run(until=AHEAD)


def test_an_event_names_few_columns() -> None:
    columns = [{"name": f"c{number}", "drifted": True} for number in range(30)]
    document = {"rows": 99, "columns": columns, "reason": 'Of "c1".'}
    detail = drift_detail(document, {"stack": "s"}, "s3://b/d", "s3://b/p")
    assert (len(detail["changed_columns"]), detail["changed"], detail["reason"]) == (20, 30, "Of 'c1'.")
    bus = Bus()
    announce(bus, "Data Drifted", detail)
    assert bus.details == [detail]
