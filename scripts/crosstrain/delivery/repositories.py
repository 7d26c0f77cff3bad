"""Image repositories: in ECR, in any other registry, or in one of this machine; each is asked for an image's digest."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.message import Message
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from crosstrain.aws import make_client
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.functions import FUNCTIONS

Found = str | OperationFailedError | BadInputError | None
"""The digest of an image, None if the registry does not have it, or why the registry does not say it."""

ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?P<suffix>amazonaws\.(com(\.cn)?|eu))/(?P<name>[^@:]+)"
)
"""The URI of a repository in ECR."""
BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9.:_/-]*/[a-z0-9._/-]+@sha256:[0-9a-f]{64}")
"""An image by its digest, in any registry."""
DOCKER_HUB = "docker.io"
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_INDEXES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
# Where Docker Hub has its images, and under which name `docker login` keeps its password.
_DOCKER_HUB_HOST, _DOCKER_HUB_LOGIN = "registry-1.docker.io", "https://index.docker.io/v1/"
_ANSWER_SECONDS = 30
# What a registry answers that is busy, and the seconds before it is asked again.
_BUSY = frozenset({429, 500, 502, 503, 504})
_WAITS = (2.0, 8.0)
_CHALLENGE = re.compile(r'([a-z_]+)="([^"]*)"')


def find_images(images: Mapping[str, str], *, takes_indexes: bool = False) -> dict[str, Found]:
    """Return the digest under which the registry has each image, None for one that it does not have.

    Parameters
    ----------
    images
        Each by tag (`repository:tag`) or by digest (`repository@sha256:…`), in ECR or in any other registry.
    takes_indexes
        Whether an index of images, one for each platform, will do; Lambda rejects it, builds take it.

    Returns
    -------
    dict
        For an image that the registry says nothing about, the error.
    """
    # Making a client is not safe in threads, using one is.
    for region in {match["region"] for uri in images.values() if (match := ECR.fullmatch(split_image(uri)[0]))}:
        ecr_client(region)
    with ThreadPoolExecutor(max(1, len(images))) as pool:
        found = pool.map(lambda uri: _find_image(uri, takes_indexes), images.values())
        return dict(zip(images, found, strict=True))


def find_repositories(named: Mapping[str, str]) -> dict[str, str]:
    """Return the repository of each function, from the options or from `REPOSITORY_<FUNCTION>`.

    Raises
    ------
    BadInputError
        With every function that has none and every name that is no function.
    """
    found = {name: named.get(name) or os.environ.get(f"REPOSITORY_{name.upper()}", "") for name in FUNCTIONS}
    problems = [f"{name} is no function" for name in named if name not in FUNCTIONS]
    problems += [
        f"{name} has none: say --repository {name}=URI or set REPOSITORY_{name.upper()}"
        for name, uri in found.items()
        if not uri
    ]
    problems += [
        f"{uri} of {name} is no repository's URI, <registry>/<name> without a tag"
        for name, uri in found.items()
        if uri and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*(:\d+)?/[a-z0-9._/-]+", uri)
    ]
    if problems:
        raise BadInputError(f"The repositories are not known: {'; '.join(problems)}.")
    return found


def project_of(repository: str) -> tuple[str, str] | None:
    """Return the project and the region of a repository in ECR, `<project>/<function>`; None for any other."""
    match = ECR.fullmatch(repository)
    project, separator, _ = match["name"].partition("/") if match else ("", "", "")
    return (project, match["region"]) if match and separator else None


def _find_image(uri: str, takes_indexes: bool) -> Found:
    repository, reference = split_image(uri)
    match = ECR.fullmatch(repository)
    try:
        found = _find_in_registry(repository, reference) if match is None else _find_in_ecr(match, reference)
    except (OperationFailedError, BadInputError) as error:
        return error
    if found is None:
        return None
    digest, media_type = found
    if media_type.partition(";")[0] in _INDEXES and not takes_indexes:
        return OperationFailedError(
            f"What {repository} holds is an image index, which Lambda rejects: delete it there, and build with "
            "--provenance=false for one platform."
        )
    return digest


def _find_in_ecr(match: re.Match[str], reference: str) -> tuple[str, str] | None:
    """Return an image's digest and media type; the one right that it takes, every role that fetches images has."""
    key = "imageDigest" if ":" in reference else "imageTag"
    with explained(match[0]):
        answer = ecr_client(match["region"]).batch_get_image(
            registryId=match["account"],
            repositoryName=match["name"],
            imageIds=[{key: reference}],
            acceptedMediaTypes=[*_MANIFESTS, *_INDEXES],
        )
    for image in answer["images"]:
        return str(image["imageId"]["imageDigest"]), str(image.get("imageManifestMediaType", ""))
    return None


def _find_in_registry(repository: str, reference: str) -> tuple[str, str] | None:
    """Return an image's digest and media type by the protocol that all registries have in common.

    A HEAD is no pull to those that count them.

    References
    ----------
    .. [1] https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
    .. [2] https://docs.docker.com/docker-hub/usage/pulls/
    """
    host, _, name = repository.partition("/")
    address = _DOCKER_HUB_HOST if host == DOCKER_HUB else host
    url = f"{'http' if _is_here(host) else 'https'}://{address}/v2/{name}/manifests/{reference}"
    status, headers, _ = _ask("HEAD", url)
    if status == http.client.UNAUTHORIZED:
        challenges = headers.get_all("WWW-Authenticate", [])
        challenge = next((each for each in challenges if each.lower().startswith("bearer ")), None)
        login = _login(host)
        status, headers, _ = _ask("HEAD", url, login if challenge is None else _token(host, challenge, login))
    if status == http.client.NOT_FOUND:
        return None
    digest = headers.get("Docker-Content-Digest")
    if status != http.client.OK or digest is None:
        reason = http.client.responses.get(status, "")
        raise OperationFailedError(f"The registry {host} says nothing about {name}: {status} {reason}.")
    return digest, headers.get("Content-Type", "")


def _token(host: str, challenge: str, login: str) -> str:
    """Return what lets in to a registry that asks for a token, fetched without a name where no engine has logged in.

    References
    ----------
    .. [1] https://distribution.github.io/distribution/spec/auth/token/
    .. [2] https://github.com/aws/containers-roadmap/issues/1806, for ECR Public
    """
    fields = dict(_CHALLENGE.findall(challenge))
    realm = fields.get("realm", "")
    if not (realm.startswith("https://") or (_is_here(host) and realm.startswith("http://"))):
        raise OperationFailedError(f"The registry {host} asks for a token that it has no safe address for: {realm}.")
    query = urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
    status, _, body = _ask("GET", f"{realm}?{query}", login)
    with suppress(ValueError, TypeError, AttributeError):
        answer = json.loads(body)
        if token := answer.get("token") or answer.get("access_token"):
            return f"Bearer {token}"
    raise OperationFailedError(f"The registry {host} gives no token for {fields.get('scope', 'its images')}: {status}.")


def _ask(method: str, url: str, authorization: str = "") -> tuple[int, Message, bytes]:
    """Return what a registry answers: status, headers and body; one that is busy is asked again after a while."""
    for wait in _WAITS:
        answer = _send(method, url, authorization)
        if answer[0] not in _BUSY:
            return answer
        time.sleep(wait)
    return _send(method, url, authorization)


def _send(method: str, url: str, authorization: str) -> tuple[int, Message, bytes]:
    host = urlsplit(url).netloc
    headers = {"Accept": ", ".join([*_MANIFESTS, *_INDEXES])}
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - its scheme is http or https
    if authorization:
        # Not for where a redirect leads to.
        request.add_unredirected_header("Authorization", authorization)
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if _is_here(host) else []))
    try:
        with opener.open(request, timeout=_ANSWER_SECONDS) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise OperationFailedError(f"The registry {host} cannot be reached: {reason}.") from error


def _is_here(host: str) -> bool:
    """Return whether a registry is one of this machine's own, which engines speak plain HTTP to."""
    return host.partition(":")[0] in ("127.0.0.1", "localhost")


def _login(host: str) -> str:
    """Return what lets in to a registry, with the password that an engine's `login` has left in a file; or nothing."""
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    names = (host, _DOCKER_HUB_LOGIN) if host == DOCKER_HUB else (host,)
    for path in (Path(os.environ.get("REGISTRY_AUTH_FILE") or docker), docker):
        for name in names:
            with suppress(OSError, ValueError, LookupError, TypeError):
                return f"Basic {json.loads(path.read_bytes())['auths'][name]['auth']}"
    return ""


@lru_cache
def ecr_client(region: str) -> Any:
    """Return the one client of ECR in a region."""
    return make_client("ecr", region)


@contextmanager
def explained(repository: str) -> Iterator[None]:
    """Turn what ECR answers into one sentence."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] == "RepositoryNotFoundException":
            raise BadInputError(
                f"There is no repository {repository}: see whether the account and the region in it are right."
            ) from error
        raise OperationFailedError(
            f"The repository {repository} cannot be asked, which needs ecr:BatchGetImage, and "
            f"ecr:GetAuthorizationToken to push: {error}"
        ) from error
    except BotoCoreError as error:
        raise OperationFailedError(
            f"The repository {repository} cannot be reached: {str(error).rstrip('.')}."
        ) from error


def digests_of(found: Mapping[str, Found]) -> dict[str, str | None]:
    """Return the digests that were found, or raise the first error among them."""
    digests: dict[str, str | None] = {}
    for name, each in found.items():
        if isinstance(each, Exception):
            raise each
        digests[name] = each
    return digests


def split_image(uri: str) -> tuple[str, str]:
    """Return the repository of an image and its tag or digest."""
    repository, separator, digest = uri.partition("@")
    if separator:
        return repository, digest
    repository, _, tag = uri.rpartition(":")
    return repository, tag
