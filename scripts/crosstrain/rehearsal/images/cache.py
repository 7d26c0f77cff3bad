"""Images that were built in an earlier rehearsal: kept in the user's cache folder, to be put back by their digest.

The registry of the embedded AWS is empty at the start of each rehearsal. What is put back under the tag that it had,
`build_images.py` finds there, and builds it no more.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from crosstrain.command import OperationFailedError
from crosstrain.files import write_whole
from crosstrain.local.server import Registry
from crosstrain.rehearsal.images.standin_base import cache_folder

# What only older images need is removed.
_KEPT = 12
_SECONDS = 120
_UNFINISHED_SECONDS = 3600


class ImageCache:
    """A folder of images: their manifests, and the blobs that these name.

    Parameters
    ----------
    folder
        Where it is; by default in the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder() / "images"

    def save(self, registry: Registry, uris: Iterable[str]) -> None:
        """Keep images.

        Parameters
        ----------
        registry
            One that has them.
        uris
            The images by digest, `<host>/<repository>@sha256:…`; whatever the host is, `registry` is asked.
        """
        for folder in (self._folder / "blobs", self._folder / "manifests"):
            folder.mkdir(parents=True, exist_ok=True)
        for uri in uris:
            repository, _, digest = uri.partition("/")[2].partition("@")
            manifest, media_type = _send(registry, "GET", f"/v2/{repository}/manifests/{digest}")
            for blob in _blobs(json.loads(manifest)):
                if not self._blob(blob).exists():
                    write_whole(self._blob(blob), _send(registry, "GET", f"/v2/{repository}/blobs/{blob}")[0])
            document = {"mediaType": media_type, "manifest": manifest.decode()}
            write_whole(self._manifest(digest), json.dumps(document))
        self._clean()

    def restore(self, registry: Registry, images: Mapping[str, str]) -> list[str]:
        """Put images into a registry.

        Parameters
        ----------
        registry
            It speaks HTTP.
        images
            The digest for each tag, `<host>/<repository>:<tag>`.

        Returns
        -------
        list of str
            Those of the tags whose images are there now; the others have to be built.
        """
        with ThreadPoolExecutor(max(1, len(images))) as pool:
            put = pool.map(lambda each: self._put(registry, *each), images.items())
            return [tag for tag, is_there in zip(images, put, strict=True) if is_there]

    def _put(self, registry: Registry, uri: str, digest: str) -> bool:
        repository, _, tag = uri.partition("/")[2].rpartition(":")
        try:
            document = json.loads(self._manifest(digest).read_bytes())
            manifest, kind = document["manifest"].encode(), {"Content-Type": document["mediaType"]}
            for blob in _blobs(json.loads(manifest)):
                _send(registry, "POST", f"/v2/{repository}/blobs/uploads/?digest={blob}", self._read(blob))
        except (FileNotFoundError, ValueError, KeyError):
            # Never kept, removed meanwhile, or damaged.
            return False
        if _digest(manifest) != digest:
            return False
        _send(registry, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, kind)
        return True

    def _read(self, digest: str) -> bytes:
        content = self._blob(digest).read_bytes()
        if _digest(content) != digest:
            # The next image that needs it is kept whole again.
            self._blob(digest).unlink()
            raise FileNotFoundError(digest)
        return content

    def _clean(self) -> None:
        """Remove the oldest images, and all blobs that none needs."""
        manifests = self._folder.glob("manifests/*.json")
        newest_first = sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True)
        needed: set[str] = set()
        for path in newest_first[:_KEPT]:
            needed |= set(_blobs(json.loads(json.loads(path.read_bytes())["manifest"])))
        for path in newest_first[_KEPT:]:
            path.unlink(missing_ok=True)
        for path in self._folder.glob("blobs/*"):
            # What is new may be part of an image that another rehearsal is about to name.
            if f"sha256:{path.name}" not in needed and time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
                path.unlink(missing_ok=True)

    def _manifest(self, digest: str) -> Path:
        return self._folder / "manifests" / f"{digest.removeprefix('sha256:')}.json"

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / digest.removeprefix("sha256:")


def _blobs(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Return the digests of an image's configuration and layers."""
    yield manifest["config"]["digest"]
    yield from (layer["digest"] for layer in manifest["layers"])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _send(
    registry: Registry, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[bytes, str]:
    """Send one request to a registry, and return the body and its media type."""
    with closing(http.client.HTTPConnection(registry.host, timeout=_SECONDS)) as connection:
        try:
            connection.request(method, path, body, {"Authorization": registry.authorization, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise OperationFailedError(f"The registry {registry.host} cannot be reached: {error}.") from error
    if answer.status >= http.client.BAD_REQUEST:
        message = content.decode("utf-8", "replace")[:300]
        raise OperationFailedError(f"The registry {registry.host} refuses {method} {path}: {answer.status} {message}")
    return content, answer.headers.get("Content-Type", "")
