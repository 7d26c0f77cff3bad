"""The handler: predictions for what fits the model, and for whatever else an answer that says why there are none."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from common.adjusted import IntervalRegressor
from function_urls import JSON, request
from scoring import answers, app
from scoring.page import PAGE

CSV = "text/csv"
ROWS = 120
CONTEXT = SimpleNamespace(function_name="scoring", aws_request_id="request-1")
ROW = {"size": 42.5, "rooms": 3, "kind": "flat", "garden": True, "sold": "2024-02-01T12:00:00Z"}


def frame(labels: list[Any] | None = None) -> pd.DataFrame:
    """Return rows of every role, with missing texts, and a target of numbers or of labels."""
    random = np.random.default_rng(5)
    data = pd.DataFrame(
        {
            "size": random.normal(50, 9, ROWS).round(3),
            "rooms": random.integers(1, 9, ROWS),
            "kind": random.choice(["flat", "house", "Café"], ROWS),
            "garden": random.choice(["yes", "no"], ROWS),
            "sold": pd.date_range("2024-01-01", periods=ROWS, freq="h").strftime("%d.%m.%Y %H:%M"),
        }
    )
    signal = data["size"] + 10 * (data["kind"] == "house") + random.normal(0, 1, ROWS)
    data["y"] = signal if labels is None else [labels[i] for i in pd.qcut(signal, len(labels), labels=False)]
    data.loc[:3, "kind"] = None
    return data


Call = Callable[..., tuple[int, Any]]


def caller(shop: Any, patch: pytest.MonkeyPatch) -> Call:
    """Return a function that calls the handler, and returns the status and the document of the answer."""
    champions = shop.champions()
    patch.setattr(app, "_champions", lambda: champions)

    def run(method: str, path: str, *arguments: Any, **headers: str) -> tuple[int, Any]:
        answer = app.handler(request(method, path, *arguments, **headers), CONTEXT)
        assert not answer["isBase64Encoded"]
        document = json.loads(answer["body"], parse_constant=pytest.fail)
        if path != "/openapi.json" or answer["statusCode"] != 200:
            assert {"model_name", "version"} <= document.keys()
        return answer["statusCode"], document

    return run


@pytest.fixture
def call(shop: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that calls the handler with a registry of the test's own."""
    return caller(shop, monkeypatch)


@pytest.fixture(scope="module")
def houses(shared_shop: Any) -> Any:
    """Train a ridge on `frame`, promote it, and return its pipeline."""
    pipeline = shared_shop.train("run-1", frame(), estimator="ridge")
    shared_shop.promote("run-1")
    return pipeline


@pytest.fixture
def ask(shared_shop: Any, houses: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that calls the handler, which has the champion of `houses`."""
    assert houses is not None
    return caller(shared_shop, monkeypatch)


def rows(*documents: Any) -> str:
    return json.dumps({"rows": documents})


def test_rows_of_json_and_of_csv_get_the_same_predictions(ask: Call, houses: Any) -> None:
    status, answer = ask("POST", "/predictions", rows(ROW, ROW | {"size": 60}))
    assert (status, answer["model_name"], answer["version"], answer["warnings"]) == (200, "houses", "run-1", [])
    text = "size,rooms,kind,garden,sold\n42.5,3,flat,yes,01.02.2024 12:00\n60,3,flat,yes,01.02.2024 12:00\n"
    status, of_text = ask("POST", "/predictions", text, "text/csv; charset=utf-8")
    assert (status, of_text) == (200, answer)
    features = pd.DataFrame(
        {
            "size": [42.5, 60],
            "rooms": [3, 3],
            "kind": pd.Categorical(["flat", "flat"]),
            "garden": [1.0, 1.0],
            "sold": [pd.Timestamp("2024-02-01T12:00:00").timestamp()] * 2,
        }
    )
    np.testing.assert_allclose([each["prediction"] for each in answer["predictions"]], houses.predict(features))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["low", "high", "middle, or so"], {"low", "high", "middle, or so"}),
        ([0, 1], {0, 1}),
        ([1.0, 2.0], {1.0, 2.0}),
        (["yes", "no"], {"yes", "no"}),
        ([True, False], {True, False}),
        (["01", "b"], {"01", "b"}),
    ],
)
def test_labels_come_back_as_they_went_in(call: Call, shop: Any, labels: list[Any], expected: set[Any]) -> None:
    data = frame(labels)
    shop.train("run-1", data, estimator="logistic_regression", problem="classification")
    shop.promote("run-1")
    status, answer = call("POST", "/predictions", data.drop(columns="y").to_csv(index=False), CSV)
    assert status == 200, answer
    found = answer["predictions"]
    assert {each["prediction"] for each in found} == expected
    assert {type(each["prediction"]) for each in found} == {type(each) for each in expected}
    for each in found:
        assert sum(each["probabilities"].values()) == pytest.approx(1)
        likeliest = max(each["probabilities"], key=each["probabilities"].get)
        # Columns of a file are called so, too.
        assert likeliest.lower() == str(each["prediction"]).lower().removesuffix(".0")
    _, document = call("GET", "/openapi.json")
    assert set(document["components"]["schemas"]["Prediction"]["properties"]["prediction"]["enum"]) == expected


def test_an_interval_stands_beside_each_prediction(call: Call, shop: Any) -> None:
    shop.train("run-1", frame(), adjust=lambda model: IntervalRegressor(model, 0.9, 1.5), estimator="ridge")
    shop.promote("run-1")
    _, answer = call("POST", "/predictions", rows(ROW))
    (found,) = answer["predictions"]
    assert found["high"] - found["prediction"] == pytest.approx(1.5)
    assert found["prediction"] - found["low"] == pytest.approx(1.5)


def test_what_is_odd_is_scored_and_told(ask: Call) -> None:
    odd = [
        ROW | {"kind": "castle"},
        ROW | {"kind": " HOUSE"},
        ROW | {"size": None, "kind": "NA"},
        ROW | {"id": 7, "é": 1},
    ]
    status, answer = ask("POST", "/predictions", rows(*odd))
    assert status == 200
    assert answer["warnings"] == [
        'ignored, for the model does not use it: "id", "é"',
        'categories that training has not seen: 1 in "kind"',
        'values written otherwise than in training, and taken for the same: 1 in "kind"',
        'missing values: 1 in "size", 1 in "kind"',
    ]
    _, plain = ask("POST", "/predictions", rows(ROW | {"kind": "house"}))
    assert answer["predictions"][1] == plain["predictions"][0]
    _, missing = ask("POST", "/predictions", rows(ROW | {"size": None, "kind": None}))
    assert answer["predictions"][2] == missing["predictions"][0]


def test_a_blank_line_has_no_prediction_and_keeps_its_place(ask: Call) -> None:
    text = "size,rooms,kind,garden,sold\n42.5,3,flat,yes,01.02.2024\n\n42.5,3,flat,yes,01.02.2024\n"
    _, answer = ask("POST", "/predictions", text, CSV)
    first, blank, last = answer["predictions"]
    assert blank is None
    assert first == last


HUGE = "1" + "0" * 400
BAD_VALUES = [
    ({"size": "42"}, "size", "it is a text, and the model takes a number"),
    ({"size": True}, "size", "it is true or false, and the model takes a number"),
    ({"size": [1]}, "size", "it is a list, and the model takes a number"),
    ({"rooms": {"a": 1}}, "rooms", "it is an object, and the model takes a number"),
    ({"kind": 7}, "kind", "it is a number, and the model takes a text"),
    ({"kind": "\ud800"}, "kind", "it is a text, and the model takes one of whole characters"),
    ({"garden": "yes"}, "garden", "it is a text, and the model takes true or false"),
    ({"garden": 1}, "garden", "it is a number, and the model takes true or false"),
    ({"sold": "yesterday"}, "sold", "it is a text, and the model takes a time such as 2024-01-31T12:00:00Z"),
    ({"sold": "31.01.2024"}, "sold", "it is a text, and the model takes a time such as 2024-01-31T12:00:00Z"),
    ({"sold": "01/31/2024"}, "sold", "it is a text, and the model takes a time such as 2024-01-31T12:00:00Z"),
    ({"sold": "2024-02-30"}, "sold", "it is a text, and the model takes a time such as 2024-01-31T12:00:00Z"),
    ({"sold": 1706702400}, "sold", "it is a number, and the model takes a text"),
]


@pytest.mark.parametrize(("change", "column", "reason"), BAD_VALUES)
def test_a_wrong_value_is_named_by_its_row_and_column(
    ask: Call, change: dict[str, Any], column: str, reason: str
) -> None:
    status, answer = ask("POST", "/predictions", rows(ROW, ROW | change))
    assert (status, answer["problems"]) == (422, [{"row": 2, "column": column, "reason": reason}])
    assert answer["error"] == f'Row 2, column "{column}" cannot be scored: {reason}.'


@pytest.mark.parametrize("number", [HUGE, f"-{HUGE}", "1e999", "-1e999"], ids=["long", "-long", "1e999", "-1e999"])
def test_a_number_that_nothing_can_be_computed_with_is_refused(ask: Call, number: str) -> None:
    status, answer = ask("POST", "/predictions", rows(ROW | {"size": "@"}).replace('"@"', number))
    assert status == 422
    assert (
        answer["problems"][0]["reason"]
        == "it is a number beyond what can be computed with, and the model takes a number"
    )


@pytest.mark.parametrize("number", [str(2**63), str(-(2**70)), "1e300", "3.5e38"])
def test_a_number_that_training_takes_for_infinite_is_missing(ask: Call, number: str) -> None:
    status, answer = ask("POST", "/predictions", rows(ROW | {"size": "@"}).replace('"@"', number))
    assert status == 200
    assert (answer["warnings"] != []) == ("e" in number)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (None, 400, "is not JSON"),
        ("", 400, "is not JSON"),
        ('{"rows": [', 400, "is not JSON"),
        (b"\xff\xfe{", 400, "is not UTF-8"),
        ('{"rows": [{"size": NaN}]}', 400, "NaN is no number"),
        ('{"rows": [{"size": -Infinity}]}', 400, "-Infinity is no number"),
        ('{"rows": [{"size": 1' + "0" * 5000 + "}]}", 400, "too many digits"),
        ("[" * 100_000 + "]" * 100_000, 400, "nests deeper"),
        ('{"rows":' * 50_000 + "1" + "}" * 50_000, 400, "nests deeper"),
        ("[]", 422, "no object with one member"),
        ("7", 422, "no object with one member"),
        ("{}", 422, "no object with one member"),
        ('{"rows": [], "more": 1}', 422, "no object with one member"),
        ('{"rows": [], "rows": []}', 422, "no object with one member"),
        ('{"rows": []}', 422, "no list of one row or more"),
        ('{"rows": {}}', 422, "no list of one row or more"),
        ('{"rows": [1]}', 422, "it is no object of columns and values"),
        ('{"rows": [{}]}', 422, "it is not there; null says that a value is missing"),
        ('{"rows": [{"size": 1, "size": 2}]}', 422, "the row has it more than once"),
        ('{"rows": [' + ",".join(["{}"] * 20_000) + "]}", 413, "more than 10,000 rows"),
        (" " * (answers.MAX_BYTES + 1), 413, "more than 4 MB"),
        (rows(*[ROW] * 90_000), 413, "more than 4 MB"),
        (b"\xff\xfe" + rows(ROW).encode("utf-16-le"), 400, "is not UTF-8"),
        (rows(ROW | {"kind": "Café"}).replace("\\u00e9", "é").encode("latin-1"), 400, "is not UTF-8"),
    ],
    ids=count(),
)
def test_a_body_that_is_none_says_why(ask: Call, body: str | bytes | None, status: int, told: str) -> None:
    found, answer = ask("POST", "/predictions", body)
    assert (found, told in answer["error"]) == (status, True), answer["error"]


@pytest.mark.slow
def test_a_row_of_as_many_columns_as_a_request_can_hold_is_scored_and_told_of_in_short(ask: Call) -> None:
    wide = rows(ROW | {f"{number:x}": 1 for number in range(340_000)}).replace(" ", "")
    assert len(wide) > answers.MAX_BYTES - (1 << 20)
    status, answer = ask("POST", "/predictions", wide)
    assert (status, len(answer["predictions"])) == (200, 1)
    assert len(json.dumps(answer)) < 3000
    # A million of them are more than it takes.
    assert ask("POST", "/predictions", rows(ROW | {f"{number:x}": 1 for number in range(1_000_000)}))[0] == 413


@pytest.mark.parametrize(
    ("sold", "told"),
    [("01.02.2024 12:00", []), ("2024-02-01 12:00", ["otherwise"]), ("2024-02-01T12:00:00Z", ["otherwise"])],
)
def test_a_date_of_csv_in_another_form_is_the_same_time_and_is_told(ask: Call, sold: str, told: list[str]) -> None:
    _, expected = ask("POST", "/predictions", rows(ROW))
    text = f"size,rooms,kind,garden,sold\n42.5,3,flat,yes,{sold}\n"
    status, answer = ask("POST", "/predictions", text, CSV)
    assert (status, answer["predictions"]) == (200, expected["predictions"])
    assert [word for word in ("otherwise",) if word in " ".join(answer["warnings"])] == told


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_csv_is_read_in_the_encodings_that_training_reads(ask: Call, encoding: str) -> None:
    text = "size,rooms,kind,garden,sold\n42.5,3,Café,yes,01.02.2024 12:00\n"
    status, answer = ask("POST", "/predictions", text.encode(encoding), CSV)
    assert status == 200, answer
    assert answer["predictions"] == ask("POST", "/predictions", rows(ROW | {"kind": "Café"}))[1]["predictions"]
    assert not any("unseen" in each or "not seen" in each for each in answer["warnings"])


def test_a_number_that_is_none_is_missing_in_csv(ask: Call) -> None:
    text = "size,rooms,kind,garden,sold\nNaN,3,flat,yes,01.02.2024 12:00\n"
    status, answer = ask("POST", "/predictions", text, CSV)
    assert (status, answer["warnings"]) == (200, ['missing values: 1 in "size"'])
    assert answer["predictions"] == ask("POST", "/predictions", rows(ROW | {"size": None}))[1]["predictions"]


def test_a_champion_of_another_problem_is_followed_with_its_schema(call: Call, shop: Any) -> None:
    shop.train("run-1", frame(), estimator="ridge")
    shop.train("run-2", frame(["low", "high"]), estimator="logistic_regression", problem="classification")
    shop.promote("run-1")
    number = call("POST", "/predictions", rows(ROW))[1]["predictions"][0]["prediction"]
    assert isinstance(number, float)
    shop.promote("run-2")
    shop.now = 60.0
    _, answer = call("POST", "/predictions", rows(ROW))
    assert answer["version"] == "run-2"
    assert answer["predictions"][0]["prediction"] in ("low", "high")
    schemas = call("GET", "/openapi.json")[1]["components"]["schemas"]
    assert set(schemas["Prediction"]["properties"]["prediction"]["enum"]) == {"low", "high"}


def test_problems_are_told_up_to_a_number(ask: Call) -> None:
    status, answer = ask("POST", "/predictions", rows(*[ROW | {"size": "x", "kind": 1}] * 1000))
    assert (status, len(answer["problems"])) == (422, 20)
    assert [each["row"] for each in answer["problems"][:4]] == [1, 1, 2, 2]
    status, answer = ask("POST", "/predictions", rows(*[{}] * 1000))
    assert (status, len(answer["problems"])) == (422, 20)
    status, answer = ask("POST", "/predictions", rows(ROW | {f"{'k' * 50}{number}": 1 for number in range(10_000)}))
    assert status == 200
    assert len(json.dumps(answer)) < 3000


@pytest.mark.parametrize(
    ("content_type", "headers", "told"),
    [
        (None, {}, "neither application/json nor text/csv"),
        ("text/plain", {}, "neither"),
        ("application/jsonp", {}, "neither"),
        ("application/json; charset=utf-16", {}, "read as UTF-8"),
        (JSON, {"content_encoding": "gzip"}, "compressed"),
    ],
)
def test_another_content_type_is_refused(ask: Call, content_type: str, headers: dict[str, str], told: str) -> None:
    status, answer = ask("POST", "/predictions", rows(ROW), content_type, **headers)
    assert (status, told in answer["error"]) == (415, True), answer["error"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("", 422, "is empty"),
        ("size,rooms\n1,2\n", 422, '"kind" is missing'),
        ("size,size\n1,2\n", 422, "more than one column"),
        ("size,rooms,kind,garden,sold\nbig,3,flat,yes,01.02.2024\n", 422, 'Column "size" of "rows.csv" holds texts'),
        ("size,rooms,kind,garden,sold\n1,2\n", 422, "rows.csv"),
        (gzip.compress(b"size\n1\n"), 415, "not packed"),
        (b"PAR1" + bytes(100), 415, "in no other format"),
        (b'{"size": 1}\n', 415, "in no other format"),
        (b"%PDF-1.4\n", 422, "a PDF document"),
        ("size,rooms,kind,garden,sold\n1,2,flat,yes,soon\n", 422, 'Column "sold" of "rows.csv" holds texts'),
        ("size,rooms,kind,garden,sold\n" + "1,2,flat,yes,01.02.2024\n" * 10_001, 413, "more than 10,000 rows"),
        ("size,rooms,kind,garden,sold" + "," * 1_000_000 + "\n1\n", 422, "more than 10,000 columns"),
        (",".join(f"{n:x}" for n in range(600_000)) + "\n1\n", 422, "more than 10,000 columns"),
    ],
    ids=count(),
)
def test_a_text_that_is_no_table_says_why(ask: Call, body: str | bytes, status: int, told: str) -> None:
    found, answer = ask("POST", "/predictions", body, CSV)
    assert (found, told in answer["error"]) == (status, True), answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/predictions", 405, "/predictions takes POST alone."),
        ("DELETE", "/model", 405, "/model takes GET alone."),
        ("GET", "/admin", 404, "Known: POST /predictions, GET /model"),
        ("OPTIONS", "/nothing", 404, "Known:"),
    ],
)
def test_other_paths_and_methods_are_told(ask: Call, method: str, path: str, status: int, told: str) -> None:
    found, answer = ask(method, path)
    assert (found, told in answer["error"]) == (status, True)


def test_the_model_is_described(ask: Call) -> None:
    status, answer = ask("GET", "/model")
    assert (status, answer["version"]) == (200, "run-1")
    assert answer["card"]["champion_since"] == "2026-01-01T00:00:00.000Z"
    assert answer["card"]["metrics"] == {"rmse": 0.25}
    assert list(answer["features"]) == list(ROW)
    assert ask("GET", "/health") == (200, {"model_name": "houses", "version": "run-1", "status": "ok", "warnings": []})


def test_the_schema_is_the_profiles(ask: Call) -> None:
    _, document = ask("GET", "/openapi.json")
    assert (document["openapi"], document["info"]["title"], document["info"]["version"]) == ("3.1.0", "houses", "run-1")
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == list(ROW)
    assert {name: column["type"] for name, column in row["properties"].items()} == {
        "size": ["number", "null"],
        "rooms": ["number", "null"],
        "kind": ["string", "null"],
        "garden": ["boolean", "null"],
        "sold": ["string", "null"],
    }
    assert set(row["properties"]["kind"]["examples"]) == {"flat", "house", "Café"}
    assert row["properties"]["rooms"]["x-training"]["min"] == 1
    assert "training saw 1 to 8" in row["properties"]["rooms"]["description"]
    status, answer = ask("POST", "/predictions", json.dumps({"rows": [row["example"]]}))
    assert (status, answer["warnings"]) == (200, [])
    content = document["paths"]["/predictions"]["post"]["requestBody"]["content"]
    of_text = ask("POST", "/predictions", content[CSV]["example"], CSV)[1]
    assert of_text["predictions"] == answer["predictions"]


def test_the_page_asks_nobody_else(houses: Any) -> None:
    assert houses is not None
    answer = app.handler(request("GET", "/"), CONTEXT)
    assert (answer["statusCode"], answer["body"]) == (200, PAGE)
    policy = answer["headers"]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.count("sha256-") == 2
    assert "http" not in PAGE.replace("http-equiv", "")


def test_many_classes_leave_room_for_fewer_rows(call: Call, shop: Any) -> None:
    labels = [f"{'label' * 20} {number}" for number in range(30)]
    shop.train("run-1", frame(labels), estimator="logistic_regression", problem="classification")
    shop.promote("run-1")
    status, answer = call("POST", "/predictions", rows(*[ROW] * 10_000))
    assert status == 413
    most = int(answer["error"].split("more than ")[1].split(" rows")[0].replace(",", ""))
    status, answer = call("POST", "/predictions", rows(*[ROW] * most))
    assert status == 200
    assert 3 << 20 < len(json.dumps(answer)) < 6 << 20


def test_without_a_champion_each_answer_says_so(call: Call) -> None:
    for method, path, body in (
        ("POST", "/predictions", rows(ROW)),
        ("GET", "/health", None),
        ("GET", "/openapi.json", None),
    ):
        status, answer = call(method, path, body)
        assert (status, answer["version"], answer["model_name"]) == (503, None, "houses")
        assert "has no champion yet" in answer["error"]


def test_a_registry_that_is_down_is_told(call: Call, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")
    call("GET", "/health")
    shop.now = 60.0

    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalServerError", "Message": ""}}, "GetItem")

    monkeypatch.setattr(shop.dynamodb, "get_item", fail)
    status, answer = call("POST", "/predictions", rows(ROW))
    assert (status, answer["version"]) == (200, "run-1")
    assert "InternalServerError" in answer["warnings"][0]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "may not"}}, "GetItem"),
        ReadTimeoutError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com"),
    ],
    ids=["refuses", "times out"],
)
def test_a_registry_that_is_down_from_the_start_is_told_with_when_to_ask_again(
    call: Call, shop: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")

    def fail(**_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(shop.dynamodb, "get_item", fail)
        answer = app.handler(request("POST", "/predictions", rows(ROW)), CONTEXT)
        assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "10")
        told = json.loads(answer["body"])["error"]
        assert told.startswith("The registry or the model's files cannot be read (")
        assert "Traceback" not in answer["body"]
    assert call("POST", "/predictions", rows(ROW))[0] == 200


def test_what_does_not_pass_by_itself_has_no_time_to_ask_again(call: Call) -> None:
    assert call("GET", "/health")[0] == 503
    assert "Retry-After" not in app.handler(request("GET", "/health"), CONTEXT)["headers"]


def test_what_nobody_has_thought_of_is_logged_and_told(
    ask: Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a value of a row")

    monkeypatch.setattr(app, "read_rows", fail)
    status, answer = ask("POST", "/predictions", rows(ROW))
    assert status == 500
    assert "a value" not in answer["error"]
    assert "a value of a row" in caplog.text


def test_a_request_is_logged_without_its_values(ask: Call, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ask("POST", "/predictions", rows(ROW | {"kind": "a secret"}))
    (record,) = [each for each in caplog.records if each.message == "rows scored"]
    assert (record.rows, record.version) == (1, "run-1")  # type: ignore[attr-defined] # as `extra` has it
    assert "a secret" not in str(vars(record))
