"""The image ledger: what may be written when, what each question reads, and what its failures say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError
from moto import mock_aws

from crosstrain.aws import make_client
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Ledger, Release, open_ledger, release_id
from turns import one_at_a_time

TABLE = "image-ledger"
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def release(number: int, **fields: Any) -> Release:
    """Return the release of a pair of commits, the newer the higher its number."""
    commits = {"model_commit": f"{number:012x}" * 3, "infrastructure_commit": "f" * 40}
    images = {name: f"{REGISTRY}/{name.lower()}@sha256:{number:064x}" for name in FUNCTIONS.values()}
    name = release_id(*commits.values())
    return replace(Release(name, images, number, **commits), **fields)


class Raw:
    """A body of an answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_arguments: Any, **_options: Any) -> Iterator[bytes]:
        """Yield all of it."""
        yield self._body


def answer(client: Any, code: str, calls: list[str] | None = None) -> None:
    """Let every request of a client be answered by an error, below botocore's own retries."""

    def reply(request: Any, **_fields: Any) -> AWSResponse:
        if calls is not None:
            calls.append(request.headers["X-Amz-Target"].decode())
        body = f'{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}}'.encode()
        return AWSResponse(request.url, 400, {"content-type": "application/x-amz-json-1.0"}, Raw(body))

    client.meta.events.register_first("before-send.dynamodb", reply)


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch, create_table: Callable[..., None]) -> Iterator[Any]:
    """Yield a client made as the scripts make it, in an account that has the table."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        client = make_client("dynamodb")
        create_table(client, "ImageLedger", TABLE)
        yield client


@pytest.fixture
def ledger(dynamodb: Any) -> Ledger:
    return Ledger(dynamodb, TABLE)


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def test_a_release_is_recorded_whole_and_becomes_the_latest(ledger: Ledger) -> None:
    assert ledger.record_release(release(1, pipeline_execution="execution"))

    found = ledger.resolve("latest")
    assert (
        found == ledger.resolve(found.id) == release(1, pipeline_execution="execution", recorded_at=found.recorded_at)
    )
    assert found.recorded_at


def test_an_older_release_is_recorded_but_does_not_overtake(ledger: Ledger) -> None:
    assert ledger.record_release(release(2))
    assert not ledger.record_release(release(1))

    assert ledger.resolve("latest").id == release(2).id
    assert ledger.resolve(release(1).id).images == release(1).images


def test_the_same_release_again_changes_nothing(ledger: Ledger) -> None:
    ledger.record_release(release(1))
    first = ledger.resolve("latest")

    assert ledger.record_release(release(1))
    assert ledger.resolve("latest") == first


def test_a_release_that_is_built_again_later_becomes_the_latest_again(ledger: Ledger) -> None:
    ledger.record_release(release(1))
    ledger.record_release(release(2))

    assert ledger.record_release(release(1, order=3))
    assert ledger.resolve("latest").id == release(1).id
    assert ledger.resolve(release(1).id).order == 1
    assert not ledger.record_release(release(2))


def test_a_release_never_changes(ledger: Ledger) -> None:
    ledger.record_release(release(1))
    other = release(1, images=release(2).images, order=5)

    with pytest.raises(BadInputError, match="recorded with other images of the same commits"):
        ledger.record_release(other)
    assert ledger.resolve("latest").images == release(1).images


def test_twenty_writers_at_once_end_with_the_newest(
    ledger: Ledger, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb, "_make_api_call", one_at_a_time(dynamodb._make_api_call))
    with ThreadPoolExecutor(20) as pool:
        latest = list(pool.map(ledger.record_release, map(release, range(20, 0, -1))))

    assert any(latest)
    assert ledger.resolve("latest") == ledger.resolve(release(20).id)
    assert all(ledger.resolve(release(number).id).images == release(number).images for number in range(1, 21))


def test_a_conflict_of_transactions_is_tried_again(
    ledger: Ledger, dynamodb: Any, no_waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals = dynamodb.transact_write_items, iter(["TransactionConflict", "ThrottlingError"])

    def transact(**request: Any) -> Any:
        if (code := next(refusals, None)) is None:
            return real(**request)
        reasons = [{"Code": "None"}, {"Code": code}]
        fields: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
        raise dynamodb.exceptions.TransactionCanceledException(fields, "TransactWriteItems")

    monkeypatch.setattr(dynamodb, "transact_write_items", transact)
    assert ledger.record_release(release(1))
    assert len(no_waits) == 2
    assert no_waits[0] < no_waits[1]


def test_a_release_that_keeps_being_refused_is_given_up(
    ledger: Ledger, dynamodb: Any, no_waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def transact(**_request: Any) -> Any:
        fields: Any = {
            "Error": {"Code": "TransactionCanceledException"},
            "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
        }
        raise dynamodb.exceptions.TransactionCanceledException(fields, "TransactWriteItems")

    monkeypatch.setattr(dynamodb, "transact_write_items", transact)
    with pytest.raises(OperationFailedError, match="was not recorded: try again"):
        ledger.record_release(release(1))
    assert len(no_waits) == 12
    with pytest.raises(BadInputError, match="holds no release yet"):
        ledger.resolve("latest")


def test_stages_follow_deployments_and_rollbacks(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        ledger.record_release(release(number))
        ledger.mark_deployed("prod", release(number).id)
    assert ledger.resolve("stage:prod").id == release(3).id
    assert ledger.resolve("previous:prod").id == release(2).id
    assert ledger.stage("prod")["previous"] == release(2).id

    # A rollback, and a second one: it goes further back, not to what the first one left.
    ledger.mark_deployed("prod", release(2).id)
    assert ledger.resolve("previous:prod").id == release(1).id
    ledger.mark_deployed("prod", release(1).id)
    with pytest.raises(BadInputError, match="the first release that was deployed there"):
        ledger.resolve("previous:prod")
    with pytest.raises(BadInputError, match="deployed in stage test"):
        ledger.resolve("stage:test")


def test_marking_twice_keeps_the_previous_release(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.record_release(release(number))
        ledger.mark_deployed("test", release(number).id)
    first = ledger.stage("test")

    assert ledger.mark_deployed("test", release(2).id) == first == ledger.stage("test")


def test_two_deployments_recorded_at_once_lose_none(
    ledger: Ledger, no_waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        ledger.record_release(release(number))
    ledger.mark_deployed("test", release(1).id)
    real, others = ledger.__class__._get, iter([release(2).id])

    def get(self: Ledger, item_id: str) -> Any:
        found = real(self, item_id)
        # Between the read and the write of one, the other one writes.
        if item_id == "STAGE#test" and (other := next(others, None)):
            Ledger(self._dynamodb, TABLE).mark_deployed("test", other)
        return found

    monkeypatch.setattr(Ledger, "_get", get)
    marked = ledger.mark_deployed("test", release(3).id)
    assert [marked["release"], *(each["release"] for each in marked["earlier"])] == [
        release(number).id for number in (3, 2, 1)
    ]
    assert len(no_waits) == 1


def test_only_a_recorded_release_can_be_marked(ledger: Ledger) -> None:
    with pytest.raises(BadInputError, match=r"holds no release 0+1-f+"):
        ledger.mark_deployed("test", release(1).id)


def test_an_image_is_recorded_once(ledger: Ledger) -> None:
    assert ledger.record_image("model_training", "hash", "first", "commit") == "first"
    assert ledger.record_image("model_training", "hash", "second", "commit") == "first"
    assert ledger.images({"model_training": "hash", "model_evaluation": "hash"}) == {"model_training": "first"}


def test_an_image_that_is_gone_is_replaced_by_the_first_who_builds_it_again(ledger: Ledger) -> None:
    ledger.record_image("model_training", "hash", "lost", "commit")

    assert ledger.record_image("model_training", "hash", "new", "commit", replaces="lost") == "new"
    assert ledger.record_image("model_training", "hash", "late", "commit", replaces="lost") == "new"


@pytest.mark.parametrize("uri", [None, {"S": ""}, {"N": "1"}, {"NULL": True}, {"M": {}}])
def test_an_item_without_a_uri_is_no_image(ledger: Ledger, dynamodb: Any, uri: Any) -> None:
    attributes = {"uri": uri} if uri is not None else {}
    dynamodb.put_item(TableName=ledger.table, Item={"id": {"S": "IMAGE#model_training#hash"}, **attributes})

    assert ledger.images({"model_training": "hash"}) == {}
    assert ledger.record_image("model_training", "hash", "first", "commit") == "first"
    assert ledger.images({"model_training": "hash"}) == {"model_training": "first"}


@pytest.mark.parametrize("reference", ["latest", "0123456789ab-0123456789ab", "stage:test", "previous:test"])
def test_each_question_is_one_strongly_consistent_read(ledger: Ledger, dynamodb: Any, reference: str) -> None:
    for commit in ("1" * 40, "0123456789ab" * 3):
        made = release(len(commit), model_commit=commit, infrastructure_commit="0123456789ab")
        made = replace(made, id=release_id(commit, "0123456789ab"))
        ledger.record_release(made)
        ledger.mark_deployed("test", made.id)
    requests: list[tuple[str, Any]] = []

    def note(model: Any, params: Any, **_fields: Any) -> None:
        requests.append((model.name, b'"ConsistentRead": true' in params["body"]))

    dynamodb.meta.events.register("before-call.dynamodb", note)
    ledger.resolve(reference)
    assert requests == [("GetItem", True)]


@pytest.mark.parametrize("reference", ["stage:production", "latest:prod", "previous:"])
def test_a_reference_that_stands_for_nothing_says_what_does(ledger: Ledger, reference: str) -> None:
    with pytest.raises(BadInputError, match="say latest, a release's id"):
        ledger.resolve(reference)


def test_throttled_calls_are_tried_again_with_growing_waits_and_then_told_in_one_sentence(
    dynamodb: Any, no_waits: list[float]
) -> None:
    calls: list[str] = []
    answer(dynamodb, "ProvisionedThroughputExceededException", calls)

    with pytest.raises(OperationFailedError, match="throttled still after 6 attempts at GetItem") as caught:
        Ledger(dynamodb, TABLE).resolve("latest")
    assert len(calls) == 6
    assert len(no_waits) == 5
    assert "\n" not in str(caught.value)


def test_a_call_that_is_throttled_once_goes_through(dynamodb: Any, ledger: Ledger, no_waits: list[float]) -> None:
    ledger.record_release(release(1))
    replies = iter([True])

    def reply(request: Any, **_fields: Any) -> AWSResponse | None:
        if not next(replies, False):
            return None
        body = b'{"__type": "x#ThrottlingException", "message": "no"}'
        return AWSResponse(request.url, 400, {}, Raw(body))

    dynamodb.meta.events.register_first("before-send.dynamodb", reply)
    assert ledger.resolve("latest").id == release(1).id
    assert len(no_waits) == 1


@pytest.mark.parametrize("write", [False, True])
def test_denied_calls_name_the_right(dynamodb: Any, write: bool) -> None:
    answer(dynamodb, "AccessDeniedException")
    ledger = Ledger(dynamodb, TABLE)

    with pytest.raises(OperationFailedError, match=r"denies .*dynamodb:GetItem .* dynamodb:PutItem"):
        ledger.record_release(release(1)) if write else ledger.resolve("latest")


def test_a_missing_table_is_named(dynamodb: Any) -> None:
    with pytest.raises(BadInputError, match='no image ledger "other" in this account and region'):
        Ledger(dynamodb, "other").resolve("latest")


def test_an_empty_ledger_says_so(ledger: Ledger) -> None:
    with pytest.raises(BadInputError, match="holds no release yet: let the pipeline build one first"):
        ledger.resolve("latest")


def test_no_ledger_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGER_TABLE", raising=False)
    with pytest.raises(BadInputError, match="say --ledger TABLE or set LEDGER_TABLE"):
        open_ledger(None)


def test_the_ledger_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, dynamodb: Any) -> None:
    monkeypatch.setenv("LEDGER_TABLE", TABLE)
    assert dynamodb is not None
    assert open_ledger(None).table == TABLE


def test_no_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(BadInputError, match="Set AWS_PROFILE and AWS_REGION"):
        open_ledger(TABLE)


def test_a_region_without_the_service(monkeypatch: pytest.MonkeyPatch, no_waits: list[float]) -> None:
    # The name of such an endpoint does not resolve; here no name does, for unit tests have no network.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

    def refuse(**_fields: Any) -> Any:
        raise BotoCoreError

    client = make_client("dynamodb", "eu-nowhere-1")
    client.meta.events.register_first("before-send.dynamodb", refuse)
    with pytest.raises(OperationFailedError, match=r"cannot be reached: .*AWS_REGION are those of the tools account"):
        Ledger(client, TABLE).resolve("latest")
    assert no_waits is not None


@pytest.mark.parametrize("commit", ["", "main", "0123", "G" * 40])
def test_a_release_is_named_by_commits_alone(commit: str) -> None:
    with pytest.raises(BadInputError, match="the full hexadecimal id"):
        release_id(commit, "f" * 40)


def test_a_release_of_the_future_does_not_stay_the_latest(ledger: Ledger) -> None:
    """One that was recorded with such an order once made the latest release unmovable."""
    assert ledger.record_release(replace(release(1), order=99_999_999_999_999_999))
    assert ledger.record_release(release(2))
    assert ledger.resolve("latest").id == release(2).id
