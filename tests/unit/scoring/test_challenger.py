"""The challenger: loaded by the rules of a champion, given its rows, and never in the way of the champion's answers."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from common.errors import UntrustedModelError
from common.hashing import row_hashes
from common.storage import split_uri
from scoring.challenger import is_of_challenger
from scoring.fitted import FittedModel

from .test_app import ROW, Call, caller, frame, rows

CSV = "size,rooms,kind,garden,sold\n"


class Tried:
    """A registry with the champion run-1 and the version run-2, and a worker."""

    def __init__(self, shop: Any, call: Call) -> None:
        self.shop, self.call = shop, call

    def challenge(self, version: str = "run-2", **challenger: Any) -> None:
        """Let a version challenge the champion, and let the worker look at the pointer again."""
        self.shop.promote("run-1", challenger_version=version, challenger_since="2026-02-02", **challenger)
        self.shop.now += 60

    def ask(self, *documents: Any) -> dict[str, Any]:
        """Return the answer to a request for predictions."""
        status, answer = self.call("POST", "/predictions", rows(*documents))
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    def versions(self, *documents: Any) -> list[str | None]:
        """Return the version of its own that each prediction has."""
        return [each.get("version") for each in self.ask(*documents)["predictions"]]


@pytest.fixture
def tried(shop: Any, monkeypatch: pytest.MonkeyPatch) -> Tried:
    data = frame()
    shop.train("run-1", data, estimator="ridge")
    shop.train("run-2", data.assign(y=3 * data["y"]), estimator="ridge")
    shop.promote("run-1")
    return Tried(shop, caller(shop, monkeypatch))


def many(count: int = 400) -> list[dict[str, Any]]:
    return [ROW | {"size": 20 + index / 10, "rooms": index % 7} for index in range(count)]


def metrics(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the metrics of challengers that were written since the last call."""
    lines = (line for line in capsys.readouterr().out.splitlines() if line.startswith('{"_aws"'))
    return [found for found in map(json.loads, lines) if any(name.startswith("Challenger") for name in found)]


def test_rows_go_to_a_side_by_their_values_whatever_the_worker_the_format_and_the_order(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried.challenge(challenger_share=30)
    documents = many()
    sides = tried.versions(*documents)
    assert 0.2 < sides.count("run-2") / len(sides) < 0.4
    # Another worker, other orders of rows and keys, numbers as they are otherwise written.
    tried.call = caller(tried.shop, monkeypatch)
    turned = [
        dict(reversed(each.items())) | {"rooms": float(each["rooms"]), "sold": "2024-02-01 12:00:00"}
        for each in reversed(documents)
    ]
    assert tried.versions(*turned) == sides[::-1]
    # One at a time.
    assert [tried.versions(each)[0] for each in documents[:20]] == sides[:20]
    text = CSV + "".join(f"{each['size']:.4f},{each['rooms']}.0,flat,yes,01.02.2024 12:00\n" for each in documents)
    status, answer = tried.call("POST", "/predictions", text, "text/csv")
    assert status == 200, answer
    assert [each.get("version") for each in answer["predictions"]] == sides


def test_the_challenger_answers_its_rows_and_the_champion_all_others(tried: Tried) -> None:
    documents = many(60)
    by_champion = tried.ask(*documents)
    tried.challenge(challenger_share=50)
    answer = tried.ask(*documents)
    assert (answer["version"], answer["warnings"]) == ("run-1", [])
    for own, now in zip(by_champion["predictions"], answer["predictions"], strict=True):
        if "version" in now:
            assert now["version"] == "run-2"
            assert now["prediction"] == pytest.approx(3 * own["prediction"], rel=0.05)
        else:
            assert now == own


def test_a_blank_line_keeps_its_place(tried: Tried) -> None:
    tried.challenge(challenger_share=99)
    line = "{},3,flat,yes,01.02.2024 12:00\n"
    text = CSV + line.format(42.5) + "\n" + line.format(60) + line.format(61)
    _, answer = tried.call("POST", "/predictions", text, "text/csv")
    found = [each if each is None else each.get("version") for each in answer["predictions"]]
    size = [{"size": each} for each in (42.5, 60, 61)]
    expected = tried.versions(*(ROW | each for each in size))
    assert found == [expected[0], None, *expected[1:]]


@pytest.mark.parametrize("share", [1, 10, 50, 99])
def test_a_share_is_as_large_as_it_says_and_part_of_a_larger_one(share: int) -> None:
    hashes = row_hashes(pa.RecordBatch.from_pydict({"size": np.arange(20_000.0)}), ["size"])
    chosen = is_of_challenger(hashes, "run-2", share)
    assert chosen.mean() == pytest.approx(share / 100, abs=0.012)
    assert (is_of_challenger(hashes, "run-2", min(99, share + 10)) >= chosen).all()
    # Another challenger has other rows.
    assert (is_of_challenger(hashes, "run-3", share) != chosen).any()


def test_in_the_shadow_the_champion_answers_and_how_far_they_differ_is_measured(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tried.ask(*many(50))
    tried.challenge(shadow=True)
    metrics(capsys)
    assert tried.ask(*many(50)) == before
    (written,) = metrics(capsys)
    (described,) = written["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "Crosstrain"
    assert described["Dimensions"] == [["stack", "model_name"], ["stack", "model_name", "version"]]
    assert (written["stack"], written["model_name"], written["version"]) == ("stack", "houses", "run-2")
    assert written["ChallengerRows"] == [50]
    values = [each["prediction"] for each in before["predictions"]]
    # On another test part, for rows are told apart by their targets, too.
    assert written["ChallengerDifference"] == pytest.approx([2 * sum(values) / 50], rel=0.1)


def test_labels_differ_by_their_share(
    shop: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = frame(["small", "large"])
    shop.train("run-1", data, problem="classification")
    shop.train("run-2", data.assign(y=data["y"].map({"small": "large", "large": "small"})), problem="classification")
    shop.promote("run-1", challenger_version="run-2", shadow=True)
    tried = Tried(shop, caller(shop, monkeypatch))
    tried.ask(ROW | {"size": 20}, ROW | {"size": 90})
    assert metrics(capsys)[0]["ChallengerDifference"] == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{"challenger_share": 99}, {"shadow": True}])
@pytest.mark.parametrize(
    "error", [UntrustedModelError("jane@doe"), ValueError("jane@doe"), MemoryError(), ZeroDivisionError()]
)
def test_a_challenger_that_fails_leaves_the_champions_answers_and_is_counted(
    tried: Tried,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: dict[str, Any],
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = tried.ask(*many(20))
    tried.challenge(**kind)
    tried.ask(*many(20))
    broken, score = tried.shop.champions(), FittedModel.score
    broken.current()
    assert broken.challenger is not None
    schema = broken.challenger.loaded.model.profile

    def fail(model: FittedModel, *arguments: Any) -> Any:
        if model.profile == schema and model.profile["fingerprint"] == schema["fingerprint"]:
            raise error
        return score(model, *arguments)

    monkeypatch.setattr(FittedModel, "score", fail)
    metrics(capsys)
    assert tried.ask(*many(20)) == before
    (written,) = metrics(capsys)
    assert (written["ChallengerErrors"], written["version"]) == ([1], "run-2")
    (logged,) = (each for each in caplog.records if each.getMessage() == "challenger failed")
    # What scikit-learn refuses is of the rows.
    told = "InvalidRowsError" if isinstance(error, ValueError) else type(error).__name__
    assert vars(logged)["kind"] == told
    # Its text may hold values of the rows.
    assert "jane@doe" not in str(vars(logged))


def test_a_challenger_that_needs_other_columns_leaves_the_champions_answers(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tried.ask(*many(20))
    tried.shop.train("run-3", frame().assign(more=np.arange(120.0) ** 2), estimator="ridge")
    tried.challenge("run-3", challenger_share=50)
    assert tried.ask(*many(20)) == before
    assert [each["ChallengerErrors"] for each in metrics(capsys)] == [[1]]


def test_a_row_that_the_champion_refuses_is_refused(tried: Tried, capsys: pytest.CaptureFixture[str]) -> None:
    tried.challenge(challenger_share=99)
    status, answer = tried.call("POST", "/predictions", rows(ROW | {"size": "a"}))
    assert (status, answer["version"]) == (422, "run-1")
    assert not metrics(capsys)


def vanish(shop: Any) -> None:
    bucket, key = split_uri(shop.entries["run-2"]["model_uri"])
    shop.s3.delete_object(Bucket=bucket, Key=key, VersionId=shop.entries["run-2"]["version_ids"]["model"])


def replace_model(shop: Any) -> None:
    shop.record("run-2", sha256=shop.entries["run-2"]["sha256"] | {"model": "0" * 64})


def forget(shop: Any) -> None:
    shop.dynamodb.delete_item(
        TableName=shop.table, Key={"model_name": {"S": "houses"}, "entry": {"S": "version#run-2"}}
    )


def reject(shop: Any) -> None:
    shop.record("run-2", decision="reject")


def predict_otherwise(shop: Any) -> None:
    shop.train("run-3", frame(["small", "large"]), problem="classification")
    shop.entries["run-2"] = shop.entries["run-3"] | {"entry": "version#run-2", "version": "run-2"}
    shop.record("run-2")


@pytest.mark.parametrize(
    ("spoil", "pointer", "reason"),
    [
        (vanish, {}, r"its files cannot be read \((NoSuchVersion|404)\)"),
        (replace_model, {}, "has the SHA-256"),
        (forget, {}, "the registry does not hold it"),
        (reject, {}, "it was rejected, so it may be tried in the shadow alone"),
        (predict_otherwise, {}, "it predicts something else than the champion"),
        (None, {"challenger_version": "run-1"}, "it is the champion itself"),
        (None, {"challenger_version": ""}, "the registry does not hold it"),
        (None, {"challenger_version": 5}, "the registry does not hold it"),
        *(
            (None, {"challenger_share": share}, "the registry gives it neither")
            for share in (0, 100, -1, "10", True, None)
        ),
        (None, {"shadow": True}, "the registry gives it neither"),
        (None, {"challenger_share": None, "shadow": "yes"}, "the registry gives it neither"),
    ],
)
def test_a_challenger_that_nobody_can_vouch_for_leaves_the_champion_alone_in_use_and_is_counted(
    tried: Tried, capsys: pytest.CaptureFixture[str], spoil: Any, pointer: dict[str, Any], reason: str
) -> None:
    before = tried.ask(*many(20))
    if spoil is not None:
        spoil(tried.shop)
    fields = {"challenger_share": 99, **pointer}
    version = fields.pop("challenger_version", "run-2")
    tried.challenge(version, **{name: value for name, value in fields.items() if value is not None})
    answer = tried.ask(*many(20))
    assert answer["predictions"] == before["predictions"]
    (warning,) = answer["warnings"]
    assert warning.startswith(f"The challenger {version} cannot be used: ")
    assert warning.endswith(" The champion alone predicts.")
    assert re.search(reason, warning)
    assert [each["ChallengerErrors"] for each in metrics(capsys)] == [[1]]
    _, described = tried.call("GET", "/model")
    assert described["challenger"] is None


def test_a_rejected_version_is_tried_in_the_shadow(tried: Tried) -> None:
    reject(tried.shop)
    tried.challenge(shadow=True)
    assert tried.ask(ROW)["warnings"] == []
    _, answer = tried.call("GET", "/model")
    expected = {"version": "run-2", "decision": "reject", "challenger_since": "2026-02-02", "shadow": True}
    assert expected.items() <= answer["challenger"].items()
    assert answer["challenger"]["challenger_share"] is None
    assert "champion_since" not in answer["challenger"]


def test_files_that_cannot_be_read_for_a_while_are_no_error_of_the_challenger(
    tried: Tried, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    get = tried.shop.s3.get_object

    def fail(**parameters: Any) -> Any:
        if "run-2" in parameters["Key"]:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "GetObject")
        return get(**parameters)

    tried.challenge(challenger_share=99)
    monkeypatch.setattr(tried.shop.s3, "get_object", fail)
    assert tried.ask(ROW)["warnings"] == [
        "The challenger run-2 cannot be used: its files cannot be read (SlowDown). The champion alone predicts."
    ]
    assert not metrics(capsys)
    monkeypatch.undo()


def test_a_model_that_does_not_fit_the_memory_is_not_loaded(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    tried.ask(ROW)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "64")
    tried.challenge(challenger_share=99)
    (warning,) = tried.ask(ROW)["warnings"]
    assert "raise ScoringMemory" in warning


def test_the_end_of_a_canary_and_a_promotion_are_followed_without_another_read(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried.challenge(challenger_share=99)
    assert set(tried.versions(*many(40))) == {"run-2", None} or tried.versions(*many(40)) == ["run-2"] * 40
    read = []
    monkeypatch.setattr(tried.shop.s3, "get_object", lambda **parameters: read.append(parameters))
    tried.shop.promote("run-1")
    assert "run-2" in tried.versions(*many(40))
    tried.shop.now += 60
    assert tried.versions(*many(40)) == [None] * 40
    monkeypatch.undo()


def test_a_challenger_that_becomes_the_champion_is_not_read_again(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried.challenge(challenger_share=10)
    tried.ask(ROW)
    monkeypatch.setattr(tried.shop.s3, "get_object", lambda **_: pytest.fail("read again"))
    tried.shop.promote("run-2", "2026-03-03")
    tried.shop.now += 60
    answer = tried.ask(ROW)
    assert (answer["version"], "version" in answer["predictions"][0]) == ("run-2", False)
    monkeypatch.undo()


def test_a_registry_that_is_down_leaves_both_in_use(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    tried.challenge(challenger_share=99)
    before = tried.versions(*many(20))

    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "GetItem")

    monkeypatch.setattr(tried.shop.dynamodb, "get_item", fail)
    tried.shop.now += 60
    assert tried.versions(*many(20)) == before
    monkeypatch.undo()


def test_an_answer_of_the_challenger_that_would_be_too_long_is_the_champions(
    tried: Tried, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tried.ask(*many(20))
    tried.challenge(challenger_share=99)
    monkeypatch.setattr("scoring.challenger.most_rows", lambda _: 19)
    assert tried.ask(*many(20)) == before
    assert [each["ChallengerErrors"] for each in metrics(capsys)] == [[1]]


def test_both_are_told_and_the_schema_has_the_challengers_predictions(tried: Tried) -> None:
    tried.challenge(challenger_share=25)
    _, answer = tried.call("GET", "/model")
    assert answer["card"]["version"] == "run-1"
    assert (answer["challenger"]["version"], answer["challenger"]["challenger_share"]) == ("run-2", 25)
    _, document = tried.call("GET", "/openapi.json")
    schemas = document["components"]["schemas"]
    assert schemas["ChallengerPrediction"]["required"] == ["prediction", "version"]
    assert {"$ref": "#/components/schemas/ChallengerPrediction"} in schemas["Predictions"]["properties"]["predictions"][
        "items"
    ]["anyOf"]
