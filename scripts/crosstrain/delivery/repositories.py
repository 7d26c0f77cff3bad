"""Image repositories: in ECR, or a plain registry of this machine; what they hold is asked for by one call each."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

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
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_INDEXES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)


def find_images(images: Mapping[str, str]) -> dict[str, Found]:
    """Return the digest under which the registry has each image, None for one that it does not have.

    Parameters
    ----------
    images
        Each by tag (`repository:tag`) or by digest (`repository@sha256:…`), in ECR or in a plain registry.

    Returns
    -------
    dict
        For an image that the registry says nothing about, the error.
    """
    # Making a client is not safe in threads, using one is.
    for region in {match["region"] for uri in images.values() if (match := ECR.fullmatch(split_image(uri)[0]))}:
        ecr_client(region)
    with ThreadPoolExecutor(max(1, len(images))) as pool:
        return dict(zip(images, pool.map(_find_image, images.values()), strict=True))


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


def _find_image(uri: str) -> Found:
    repository, reference = split_image(uri)
    match = ECR.fullmatch(repository)
    try:
        return _find_in_registry(repository, reference) if match is None else _find_in_ecr(match, reference)
    except (OperationFailedError, BadInputError) as error:
        return error


def _find_in_ecr(match: re.Match[str], reference: str) -> str | None:
    """Return an image's digest; the one right that it takes, every role that fetches images has."""
    key = "imageDigest" if ":" in reference else "imageTag"
    with explained(match[0]):
        answer = ecr_client(match["region"]).batch_get_image(
            registryId=match["account"],
            repositoryName=match["name"],
            imageIds=[{key: reference}],
            acceptedMediaTypes=[*_MANIFESTS, *_INDEXES],
        )
    for image in answer["images"]:
        _refuse_index(match[0], image.get("imageManifestMediaType", ""))
        return str(image["imageId"]["imageDigest"])
    return None


def _find_in_registry(repository: str, reference: str) -> str | None:
    """Return an image's digest in a registry that is not ECR, by the protocol that all registries have in common."""
    host, _, name = repository.partition("/")
    is_here = host.partition(":")[0] in ("127.0.0.1", "localhost")
    connection = (http.client.HTTPConnection if is_here else http.client.HTTPSConnection)(host, timeout=30)
    try:
        headers = {"Accept": ", ".join([*_MANIFESTS, *_INDEXES]), **_login(host)}
        connection.request("HEAD", f"/v2/{name}/manifests/{reference}", headers=headers)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise OperationFailedError(f"The registry {host} cannot be reached: {error}.") from error
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        return None
    digest = answer.headers.get("Docker-Content-Digest")
    if answer.status != http.client.OK or digest is None:
        raise OperationFailedError(f"The registry {host} says nothing about {name}: {answer.status} {answer.reason}.")
    _refuse_index(repository, answer.headers.get("Content-Type", ""))
    return digest


def _login(host: str) -> dict[str, str]:
    """Return the header that lets in to a registry, with the password that an engine's `login` has left in a file."""
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    for path in (Path(os.environ.get("REGISTRY_AUTH_FILE") or docker), docker):
        with suppress(OSError, ValueError, LookupError, TypeError):
            return {"Authorization": f"Basic {json.loads(path.read_bytes())['auths'][host]['auth']}"}
    return {}


def _refuse_index(repository: str, media_type: str) -> None:
    if media_type.partition(";")[0] in _INDEXES:
        raise OperationFailedError(
            f"What {repository} holds is an image index, which Lambda rejects: delete it there, and build with "
            "--provenance=false for one platform."
        )


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
