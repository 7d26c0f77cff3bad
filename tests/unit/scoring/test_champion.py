"""The champion: found, loaded, kept, followed within the time, and never replaced by what cannot be vouched for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from common.errors import InvalidRowsError
from common.storage import split_uri
from scoring.champion import NoChampionError

LATER = "2026-02-02T00:00:00.000Z"
ROWS = 80


def frame(slope: float = 1.0) -> pd.DataFrame:
    """Return rows of a number and a text whose target is plain."""
    random = np.random.default_rng(3)
    data = pd.DataFrame({"size": random.normal(50, 9, ROWS).round(3), "kind": random.choice(["flat", "house"], ROWS)})
    return data.assign(y=slope * data["size"] + 10 * (data["kind"] == "house"))


def batch(**columns: list[Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"size": [40.0, 60.0], "kind": ["flat", "house"]} | columns)


def counted(client: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> list[dict[str, Any]]:
    """Return what a client's method is called with from now on."""
    calls, method = list[dict[str, Any]](), getattr(client, name)

    def call(*_: Any, **parameters: Any) -> Any:
        calls.append(parameters)
        return method(*_, **parameters)

    monkeypatch.setattr(client, name, call)
    return calls


def failing(error: Exception) -> Any:
    def fail(**_: Any) -> None:
        raise error

    return fail


def test_the_champion_predicts_what_its_pipeline_predicts(shop: Any) -> None:
    pipeline = shop.train("run-1", frame(), estimator="ridge")
    shop.promote("run-1")
    champion, warnings = shop.champions().current()
    assert (champion.version, champion.since, warnings) == ("run-1", "2026-01-01T00:00:00.000Z", [])
    predictions, oddities = champion.predict(batch())
    expected = pipeline.predict(pd.DataFrame({"size": [40.0, 60.0], "kind": pd.Categorical(["flat", "house"])}))
    np.testing.assert_allclose(predictions["prediction"], expected, rtol=1e-9)
    assert not any(oddities.told)
    assert champion.card["metrics"] == {"rmse": 0.25}
    assert champion.card["class"] == "a class"


def test_what_is_odd_is_counted(shop: Any) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")
    champion, _ = shop.champions().current()
    _, oddities = champion.predict(batch(size=[None, 60.0], kind=["castle", " House"]))
    assert (oddities.missing["size"], oddities.unseen["kind"], oddities.converted["kind"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"size": ["a", "b"]},
            'Column "size" of "rows" holds texts such as "a", and the model was trained on numbers.',
        ),
        ({"size": [[1.0], [2.0]]}, 'Column "size" of "rows" has the type list'),
        ({"size": [True, False]}, "holds booleans"),
    ],
)
def test_columns_of_another_kind_are_refused(shop: Any, columns: dict[str, list[Any]], message: str) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")
    champion, _ = shop.champions().current()
    with pytest.raises(InvalidRowsError, match=message):
        champion.predict(batch(**columns))
    with pytest.raises(InvalidRowsError, match='"size" is missing'):
        champion.predict(pa.RecordBatch.from_pydict({"Size": [1.0], "kind": ["flat"]}))


def test_the_registry_is_asked_once_in_a_time_and_files_once_for_a_version(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")
    asked = counted(shop.dynamodb, monkeypatch, "get_item")
    read = counted(shop.s3, monkeypatch, "get_object")
    champions = shop.champions(seconds=60)
    for shop.now in (0.0, 30.0, 59.9):
        champions.current()
    assert [each["Key"]["entry"]["S"] for each in asked] == ["champion", "version#run-1"]
    assert all(each["ConsistentRead"] for each in asked)
    shop.now = 60.0
    champions.current()
    assert len(asked) == 3
    (model,) = (each for each in read if each["Key"].endswith("model.skops"))
    assert model["VersionId"] == shop.entries["run-1"]["version_ids"]["model"]


def test_a_promotion_and_a_rollback_are_followed_within_the_time(shop: Any) -> None:
    shop.train("run-1", frame())
    shop.train("run-2", frame(slope=3))
    shop.promote("run-1")
    champions = shop.champions(seconds=60)
    first = champions.current()[0].predict(batch())[0]
    shop.promote("run-2", LATER)
    shop.now = 59.0
    assert champions.current()[0].version == "run-1"
    shop.now = 60.0
    champion, warnings = champions.current()
    assert (champion.version, champion.since, warnings) == ("run-2", LATER, [])
    assert champion.predict(batch())[0] != first
    shop.promote("run-1", "2026-03-03T00:00:00.000Z")
    shop.now = 120.0
    champion, _ = champions.current()
    assert (champion.version, champion.since) == ("run-1", "2026-03-03T00:00:00.000Z")
    assert champion.predict(batch())[0] == first


def test_one_that_became_the_champion_again_is_not_read_again(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")
    champions = shop.champions(seconds=0)
    champions.current()
    read = counted(shop.s3, monkeypatch, "get_object")
    shop.promote("run-1", LATER)
    assert champions.current()[0].since == LATER
    assert not read


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "GetItem"),
        EndpointConnectionError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com"),
        ReadTimeoutError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com"),
    ],
)
def test_a_registry_that_is_down_leaves_the_champion_in_use(
    shop: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")
    champions = shop.champions(seconds=60)
    champions.current()
    shop.now = 60.0
    with monkeypatch.context() as patch:
        patch.setattr(shop.dynamodb, "get_item", failing(error))
        champion, (warning,) = champions.current()
        assert champion.version == "run-1"
        assert warning.startswith("The registry or the model's files cannot be read (")
        assert "champion not read" in caplog.text
        # Nobody waits for it at each request.
        patch.setattr(shop.dynamodb, "get_item", failing(AssertionError("it was asked again")))
        shop.now = 119.0
        assert champions.current()[1] == [warning]
    shop.now = 120.0
    assert champions.current()[1] == []


def test_a_registry_that_is_down_from_the_start_is_asked_each_time(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.train("run-1", frame())
    shop.promote("run-1")
    champions = shop.champions()
    with monkeypatch.context() as patch:
        denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "GetItem")
        patch.setattr(shop.dynamodb, "get_item", failing(denied))
        with pytest.raises(NoChampionError, match="AccessDeniedException"):
            champions.current()
    assert champions.current()[0].version == "run-1"


def test_without_a_promotion_there_is_no_champion(shop: Any) -> None:
    champions = shop.champions()
    with pytest.raises(NoChampionError, match='The model "houses" has no champion yet'):
        champions.current()
    shop.train("run-1", frame())
    with pytest.raises(NoChampionError):
        champions.current()
    shop.promote("run-1")
    assert champions.current()[0].version == "run-1"
    shop.dynamodb.delete_item(TableName=shop.table, Key={"model_name": {"S": "houses"}, "entry": {"S": "champion"}})
    shop.now = 60.0
    with pytest.raises(NoChampionError):
        champions.current()
    assert champions.loaded is None


def damaged_model(shop: Any) -> None:
    # Its digest is recorded, its S3 version is not: then whatever is there is looked at.
    bucket, key = split_uri(shop.entries["run-2"]["model_uri"])
    shop.s3.put_object(Bucket=bucket, Key=key, Body=b"something else")
    shop.record("run-2", version_ids={})


def deleted_model(shop: Any) -> None:
    bucket, key = split_uri(shop.entries["run-2"]["model_uri"])
    shop.s3.delete_object(Bucket=bucket, Key=key, VersionId=shop.entries["run-2"]["version_ids"]["model"])


def unrecorded_files(shop: Any) -> None:
    shop.record("run-2", sha256={})


def no_entry(shop: Any) -> None:
    shop.dynamodb.delete_item(
        TableName=shop.table, Key={"model_name": {"S": "houses"}, "entry": {"S": "version#run-2"}}
    )


def other_profile(shop: Any) -> None:
    entry = shop.entries["run-2"]
    shop.record(
        "run-2",
        **{f"{each}_uri": entry["info_uri"] for each in ("profile",)},
        **{field: entry[field] | {"profile": entry[field]["info"]} for field in ("sha256", "bytes", "version_ids")},
    )


def other_model(shop: Any) -> None:
    entry = shop.entries["run-2"]
    shop.record(
        "run-2",
        model_uri=entry["info_uri"],
        **{field: entry[field] | {"model": entry[field]["info"]} for field in ("sha256", "bytes", "version_ids")},
    )


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (damaged_model, "has the SHA-256"),
        (deleted_model, "cannot be read"),
        (unrecorded_files, "does not say which files"),
        (no_entry, "does not hold the version run-2"),
        (other_profile, "is none that data preparation has written"),
        (other_model, "cannot be read as a skops file"),
    ],
)
def test_a_champion_that_nobody_can_vouch_for_is_not_served(shop: Any, harm: Any, told: str) -> None:
    shop.train("run-1", frame())
    shop.train("run-2", frame(slope=3))
    shop.promote("run-1")
    running = shop.champions()
    running.current()
    harm(shop)
    shop.promote("run-2", LATER)
    with pytest.raises(NoChampionError, match=told):
        shop.champions().current()
    shop.now = 60.0
    champion, (warning,) = running.current()
    assert champion.version == "run-1"
    assert told in warning
    assert warning.endswith("Predictions are those of run-1.")
