"""What a run writes is written once, and what it reads is what was handed on."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest
from botocore.exceptions import ClientError, IncompleteReadError

from common import storage
from common.errors import DamagedFileError, InvalidDatasetError
from common.storage import (
    Stored,
    describe_files,
    download,
    download_unchanged,
    names_in,
    open_upload,
    pinned,
    read_bytes,
    upload,
    upload_stream,
    write_bytes,
)

URI = "s3://artifacts/runs/run-1/model/call/model.skops"
LARGE = 9 << 20
"""More than one part of an upload."""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="artifacts")
        client.put_bucket_versioning(Bucket="artifacts", VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture(params=[10, LARGE], ids=["one request", "parts"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(storage, "ONE_REQUEST_BYTES", LARGE - 1)
    path = tmp_path / "file"
    path.write_bytes(b"a" * request.param)
    return path


def conditions(s3: Any) -> list[tuple[str, str | None]]:
    """Collect the requests that make an object, with the condition that each has."""
    found: list[tuple[str, str | None]] = []

    def note(model: Any, params: Any, **_: Any) -> None:
        if model.name in ("PutObject", "CompleteMultipartUpload"):
            found.append((model.name, params["headers"].get("If-None-Match")))

    s3.meta.events.register("before-call.s3", note)
    return found


def test_an_object_is_written_on_the_condition_that_there_is_none(s3: Any, file: Path) -> None:
    asked = conditions(s3)
    stored = upload(s3, file, URI)
    operation = "CompleteMultipartUpload" if file.stat().st_size == LARGE else "PutObject"
    assert asked == [(operation, "*")]
    (version,) = s3.list_object_versions(Bucket="artifacts")["Versions"]
    assert stored == Stored(URI, storage.digest_of(file), file.stat().st_size, version["VersionId"])
    # The client's other calls are as they were.
    s3.put_object(Bucket="artifacts", Key="other", Body=b"")
    assert asked[-1] == ("PutObject", None)


def test_uploads_at_once_have_each_its_own_condition_and_version(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ONE_REQUEST_BYTES", LARGE - 1)
    sizes = {f"{number}": size for number, size in enumerate([LARGE, 10, LARGE, 10])}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(name.encode() * size)
    asked = conditions(s3)
    with ThreadPoolExecutor(len(sizes)) as threads:
        stored = list(threads.map(lambda name: upload(s3, tmp_path / name, f"s3://artifacts/runs/{name}"), sizes))
    assert [condition for _, condition in asked] == ["*"] * len(sizes)
    for name, each in zip(sizes, stored, strict=True):
        assert each.sha256 == storage.digest_of(tmp_path / name)
        assert each.version_id is not None
        assert read_bytes(s3, each) == (tmp_path / name).read_bytes()


def test_what_is_there_already_stays(s3: Any) -> None:
    """Only an attempt of the same request, whose answer was lost, can have written it."""
    first = write_bytes(s3, b"first", URI, "text/plain")
    second = write_bytes(s3, b"second", URI, "text/plain")
    assert read_bytes(s3, first) == b"first"
    assert second.version_id is None
    with pytest.raises(DamagedFileError, match="Start a new run"):
        read_bytes(s3, second)
    assert len(s3.list_object_versions(Bucket="artifacts")["Versions"]) == 1


@pytest.mark.parametrize("answers", [["lost"], ["conflict", "conflict"]])
def test_an_upload_whose_answer_is_lost_has_been_made(
    s3: Any, file: Path, monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    """The client's own second attempt meets the first one's object, and S3 may still be at work on that."""
    monkeypatch.setattr(storage, "_WAITS", (0, 0))
    known = {"lost": (412, "PreconditionFailed"), "conflict": (409, "ConditionalRequestConflict")}
    left = list(answers)

    def answer(model: Any, **_: Any) -> Any:
        if model.name not in ("PutObject", "CompleteMultipartUpload") or not left:
            return None
        status, code = known[left.pop(0)]
        error = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return type("Response", (), {"status_code": status})(), error

    s3.meta.events.register("before-call.s3", answer)
    stored = upload(s3, file, URI)
    assert not left
    assert stored.sha256 == storage.digest_of(file)
    assert (stored.version_id is None) == (answers == ["lost"])


def test_another_error_is_none_of_that(s3: Any) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        write_bytes(s3, b"", "s3://none/key", "text/plain")


def test_the_version_that_was_recorded_is_read_whatever_came_after_it(s3: Any, tmp_path: Path) -> None:
    stored = write_bytes(s3, b"first", URI, "text/plain")
    bucket, key = storage.split_uri(URI)
    s3.put_object(Bucket=bucket, Key=key, Body=b"later")
    assert read_bytes(s3, stored) == b"first"
    assert download(s3, stored, tmp_path / "f").read_bytes() == b"first"
    s3.delete_object(Bucket=bucket, Key=key)
    assert read_bytes(s3, stored) == b"first"


def test_a_file_without_a_recorded_digest_is_not_pinned() -> None:
    document = describe_files({"model": Stored(URI, "d" * 64, 3, "v")})
    assert document == {
        "model_uri": URI, "sha256": {"model": "d" * 64}, "bytes": {"model": 3}, "version_ids": {"model": "v"}
    }  # fmt: skip
    assert pinned(document, "model") == Stored(URI, "d" * 64, 3, "v")
    with pytest.raises(KeyError):
        pinned({"model_uri": URI, "sha256": {}}, "model")


def test_a_data_set_that_is_replaced_while_it_is_read_is_found_out(s3: Any, file: Path, tmp_path: Path) -> None:
    s3.upload_file(str(file), "artifacts", "data/x.csv")
    etag = s3.head_object(Bucket="artifacts", Key="data/x.csv")["ETag"]
    download_unchanged(s3, "s3://artifacts/data/x.csv", etag, tmp_path / "first")
    assert (tmp_path / "first").read_bytes() == file.read_bytes()
    s3.put_object(Bucket="artifacts", Key="data/x.csv", Body=b"other")
    with pytest.raises(ClientError, match=r"412|PreconditionFailed"):
        download_unchanged(s3, "s3://artifacts/data/x.csv", etag, tmp_path / "second")


class _Broken:
    """The body of an answer that breaks off."""

    def read(self) -> bytes:
        raise IncompleteReadError(actual_bytes=1, expected_bytes=2)


@pytest.mark.parametrize("breaks", [0, 1, 4, 5])
def test_an_answer_that_breaks_off_is_asked_for_again(s3: Any, breaks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, get_object, left = write_bytes(s3, b"whole", URI, "text/plain"), s3.get_object, [breaks]

    def breaking(**parameters: Any) -> dict[str, Any]:
        left[0] -= 1
        return get_object(**parameters) if left[0] < 0 else {"Body": _Broken()}

    monkeypatch.setattr(s3, "get_object", breaking)
    if breaks < 5:
        assert read_bytes(s3, stored) == b"whole"
    else:
        with pytest.raises(IncompleteReadError):
            read_bytes(s3, stored)


@pytest.mark.parametrize("size", [1, 9 << 20, 40 << 20])
def test_a_stream_becomes_an_object_that_is_written_once(s3: Any, size: int) -> None:
    asked, content = conditions(s3), bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    stored = upload_stream(s3, io.BytesIO(content), URI)
    assert asked == [("CompleteMultipartUpload", "*")]
    assert (stored.size, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert read_bytes(s3, stored) == content
    again = upload_stream(s3, io.BytesIO(content), URI)
    assert (again.version_id, again.sha256) == (None, stored.sha256)
    (version,) = s3.list_object_versions(Bucket="artifacts")["Versions"]
    assert version["VersionId"] == stored.version_id


def test_the_names_in_a_folder_are_those_below_it(s3: Any) -> None:
    for name in ("a/1", "a/b/2", "ab"):
        write_bytes(s3, b"", f"s3://artifacts/{name}", "text/plain")
    assert names_in(s3, "s3://artifacts/a/") == {"1", "b/2"}


@pytest.mark.parametrize("size", [0, 10, 5 << 20, (12 << 20) + 7])
def test_what_is_written_piece_by_piece_is_one_object(s3: Any, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(storage, "PART_BYTES", 5 << 20)
    content, made = os.urandom(size), conditions(s3)
    for number in range(2):
        # A call that is repeated finds what it was about to write.
        with open_upload(s3, URI) as sink:
            for at in range(0, size, 1_000_003):
                assert sink.write(memoryview(content)[at : at + 1_000_003]) <= 1_000_003
            assert sink.tell() == size
        assert (sink.stored.sha256, sink.stored.size) == (hashlib.sha256(content).hexdigest(), size)
        assert (sink.stored.version_id is None) == (number == 1)
    assert read_bytes(s3, Stored(URI, sink.stored.sha256)) == content
    assert {condition for _, condition in made} == {"*"}
    assert len(s3.list_object_versions(Bucket="artifacts")["Versions"]) == 1


def test_parts_grow_so_that_their_greatest_number_is_not_what_bounds_an_object(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PARTS_OF_A_SIZE", 1)
    monkeypatch.setattr(storage, "PART_BYTES", 5 << 20)
    with open_upload(s3, URI) as sink:
        sink.write(bytes(20 << 20))
    assert (len(sink._parts), sink.stored.size) == (3, 20 << 20)
    monkeypatch.setattr(storage, "MOST_PARTS", 2)
    with pytest.raises(InvalidDatasetError, match="the most that is written as one"), open_upload(s3, URI) as sink:
        sink.write(bytes(40 << 20))


def test_what_is_not_written_to_its_end_is_no_object(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PART_BYTES", 5 << 20)

    def write() -> None:
        with open_upload(s3, URI) as sink:
            sink.write(bytes(6 << 20))
            raise KeyError("stopped")

    with pytest.raises(KeyError):
        write()
    assert "Contents" not in s3.list_objects_v2(Bucket="artifacts")
