"""Images that are kept between rehearsals, with the registry of an embedded AWS, and without a container engine."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crosstrain.command import OperationFailedError
from crosstrain.local.server import LocalAws
from crosstrain.rehearsal.images.cache import ImageCache

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Repository:
    """A repository of the embedded AWS, to which images are pushed as engines push them."""

    def __init__(self, aws: LocalAws) -> None:
        self.name = f"cache/{uuid.uuid4().hex}"
        self.registry = aws.registry
        self._ecr = aws.client("ecr")
        self._ecr.create_repository(repositoryName=self.name, imageTagMutability="IMMUTABLE")

    def push(self, tag: str, *layers: bytes) -> str:
        """Push an image of these layers, and return its digest."""
        config = json.dumps({"tag": tag}).encode()
        for blob in (config, *layers):
            self.send("POST", f"blobs/uploads/?digest={digest(blob)}", blob)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"digest": digest(config), "size": len(config)},
                "layers": [{"digest": digest(layer), "size": len(layer)} for layer in layers],
            }
        ).encode()
        self.send("PUT", f"manifests/{tag}", manifest)
        return digest(manifest)

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send a request of the registry protocol, and return the answer's body."""
        headers = {"Content-Type": MANIFEST, "Authorization": self.registry.authorization}
        with closing(http.client.HTTPConnection(self.registry.host)) as connection:
            connection.request(method, f"/v2/{self.name}/{path}", body, headers)
            answer = connection.getresponse()
            assert answer.status < 300, answer.read()
            return answer.read()

    def lose(self) -> None:
        """Lose all images, as at the end of an embedded AWS."""
        self._ecr.delete_repository(repositoryName=self.name, force=True)
        self._ecr.create_repository(repositoryName=self.name, imageTagMutability="IMMUTABLE")

    def images(self) -> dict[str, str]:
        """Return the digests by tag, as ECR tells them."""
        ids: list[dict[str, Any]] = self._ecr.list_images(repositoryName=self.name)["imageIds"]
        return {each["imageTag"]: each["imageDigest"] for each in ids}

    def uri(self, reference: str) -> str:
        """Return an image's URI in ECR."""
        separator = "@" if reference.startswith("sha256:") else ":"
        return f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{self.name}{separator}{reference}"


@pytest.fixture
def repository(local_aws: LocalAws) -> Repository:
    """Return an empty repository."""
    return Repository(local_aws)


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    """Return an empty cache."""
    return ImageCache(tmp_path)


def test_what_was_kept_comes_back_under_its_tag_and_digest(repository: Repository, cache: ImageCache) -> None:
    known = repository.push("known", b"base", b"code")
    cache.save(repository.registry, [repository.uri(known)])
    repository.lose()

    wanted = {repository.uri("known"): known, repository.uri("unknown"): digest(b"never seen")}

    assert cache.restore(repository.registry, wanted) == [repository.uri("known")]
    assert repository.images() == {"known": known}
    assert repository.send("GET", f"blobs/{digest(b'code')}") == b"code"


def test_a_damaged_blob_is_not_put_back_and_is_kept_anew(
    repository: Repository, cache: ImageCache, tmp_path: Path
) -> None:
    known = repository.push("known", b"base", b"code")
    cache.save(repository.registry, [repository.uri(known)])
    blob = tmp_path / "blobs" / digest(b"code").removeprefix("sha256:")
    blob.write_bytes(b"c0de")

    assert cache.restore(repository.registry, {repository.uri("known"): known}) == []
    cache.save(repository.registry, [repository.uri(known)])
    assert blob.read_bytes() == b"code"


def test_another_manifest_than_that_of_the_digest_is_not_put_back(
    repository: Repository, cache: ImageCache, tmp_path: Path
) -> None:
    known = repository.push("known", b"base")
    cache.save(repository.registry, [repository.uri(known)])
    path = tmp_path / "manifests" / f"{known.removeprefix('sha256:')}.json"
    document = json.loads(path.read_text())
    document["manifest"] += " "
    path.write_text(json.dumps(document))
    repository.lose()

    assert cache.restore(repository.registry, {repository.uri("known"): known}) == []
    assert repository.images() == {}


def test_only_the_newest_images_are_kept_with_what_they_need(
    repository: Repository, cache: ImageCache, tmp_path: Path
) -> None:
    digests = []
    for number in range(14):
        digests.append(repository.push(f"image-{number}", b"base", str(number).encode()))
        cache.save(repository.registry, [repository.uri(digests[-1])])
        for path in tmp_path.glob("*/*"):
            # Time goes by between two rehearsals.
            os.utime(path, (then := path.stat().st_mtime - 1000, then))
    cache.save(repository.registry, [repository.uri(digests[-1])])

    kept = {f"sha256:{path.stem}" for path in (tmp_path / "manifests").iterdir()}
    blobs = {f"sha256:{path.name}" for path in (tmp_path / "blobs").iterdir()}
    assert kept == set(digests[2:])
    assert digest(b"base") in blobs
    assert digest(b"13") in blobs
    assert digest(b"0") not in blobs


def test_a_blob_that_is_new_waits_for_its_image(repository: Repository, cache: ImageCache, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/new").touch()
    (tmp_path / "blobs/old").touch()
    os.utime(tmp_path / "blobs/old", (time.time() - 7200,) * 2)

    cache.save(repository.registry, [repository.uri(repository.push("known", b"base"))])

    names = {path.name for path in (tmp_path / "blobs").iterdir()}
    assert "new" in names
    assert "old" not in names


def test_a_registry_that_refuses_is_named(repository: Repository, cache: ImageCache) -> None:
    known = repository.push("known", b"base")
    cache.save(repository.registry, [repository.uri(known)])
    with pytest.raises(
        OperationFailedError, match=f"The registry {repository.registry.host} refuses POST .*NAME_UNKNOWN"
    ):
        cache.restore(repository.registry, {"host/nonesuch:known": known})
