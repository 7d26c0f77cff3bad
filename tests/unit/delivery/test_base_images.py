"""Base images: which ones a Dockerfile fetches, and their digests, from a registry or an engine."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery import base_images, repositories
from crosstrain.delivery.base_images import find_digests, images_of, replace_images
from crosstrain.delivery.engine import Engine, EngineMissingError
from crosstrain.delivery.repositories import Found, find_images
from image_registry import MANIFEST, ImageRegistry, serve_registry

DIGEST = f"sha256:{'d' * 64}"
PASSWORD = base64.b64encode(b"me:secret").decode()
DOCKERFILE = """# FROM a-comment
ARG VERSION=3.13
ARG BASE_IMAGE="public.ecr.aws/lambda/python:${VERSION}" OTHER
FROM --platform=linux/amd64 ${BASE_IMAGE} AS packages
RUN --mount=type=cache,target=/cache \\
    # why
    --mount=type=bind,from=tools/uv:1,source=/uv,target=/uv psql -c "select * \\
FROM rows"
RUN <<END
FROM here
END
from packages as code
COPY --chown=1 --from=registry.example/extension:2 /a /b
COPY --from=packages --link /a /b
COPY --from=0 /a /b
RUN echo --from=nothing
ARG VERSION=9
FROM scratch
FROM $BASE_IMAGE
"""
FETCHED = ["public.ecr.aws/lambda/python:3.13", "tools/uv:1", "registry.example/extension:2"]
# What stands for an engine's command line: it has one image, and notes what it is asked.
ENGINE = """#!/bin/sh
echo "$@" >> {calls}
[ "$*" = "image tag base:1 docker.io/library/base:{id}" ] || [ "$*" = "image inspect base:1" ] || exit 1
echo a warning >&2
echo '{image}'
"""


@pytest.fixture
def registry(socket_enabled: None) -> Iterator[ImageRegistry]:  # noqa: ARG001 - it listens at a port
    """Yield a registry on this machine."""
    with serve_registry() as served:
        yield served


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """Let nobody wait or be logged in, and return how long it would have been."""
    waited: list[float] = []
    monkeypatch.setattr(repositories.time, "sleep", waited.append)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return waited


@pytest.fixture
def make_engine(tmp_path: Path) -> Callable[..., Engine]:
    """Return a function that makes an engine that has `base:1`."""

    def make(*by_digest: str) -> Engine:
        program = tmp_path / "docker"
        image = json.dumps([{"Id": f"sha256:{'1' * 64}", "RepoDigests": by_digest}])
        program.write_text(ENGINE.format(calls=tmp_path / "calls", image=image, id="1" * 64))
        program.chmod(0o755)
        return Engine(str(program), "docker")

    return make


def log_in(registry: ImageRegistry, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": PASSWORD}}}))


def no_engine() -> Engine:
    raise EngineMissingError("No container engine is installed.")


def refuse_log(*told: str) -> None:
    raise AssertionError(told)


def test_all_images_that_a_dockerfile_fetches_are_known_and_all_else_stays() -> None:
    assert images_of(DOCKERFILE, {}) == FETCHED
    replaced = replace_images(DOCKERFILE, {}, lambda image: f"<{image}>")
    before, after = DOCKERFILE.splitlines(), replaced.splitlines()
    assert {new: old for old, new in zip(before, after, strict=True) if old != new} == {
        f"FROM --platform=linux/amd64 <{FETCHED[0]}> AS packages": before[3],
        '    --mount=type=bind,from=<tools/uv:1>,source=/uv,target=/uv psql -c "select * \\': before[6],
        "COPY --chown=1 --from=<registry.example/extension:2> /a /b": before[12],
        f"FROM <{FETCHED[0]}>": before[-1],
    }


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "expected"),
    [
        ("ARG A=a:1\nFROM $A", {"A": "b:2"}, ["b:2"]),
        ("ARG A\nFROM ${A:-a:1}", {}, ["a:1"]),
        ("ARG A\nFROM ${A:-a:1}", {"A": "b:2"}, ["b:2"]),
        ("ARG A=a B='b'\nFROM $A/${B}:1", {}, ["a/b:1"]),
        # Only what is declared is known.
        ("FROM ${A:-a:1}", {"A": "b:2"}, ["a:1"]),
        ("FROM a:1\nARG A=b:1\nFROM ${A:-c:1}", {}, ["a:1", "c:1"]),
        ("FROM a AS b\nFROM B\nFROM c AS a\nFROM a", {}, ["a", "c"]),
        ("FROM a:1\r\nRUN true\r\nFROM b:1\r\n", {}, ["a:1", "b:1"]),
        ("FROM a:1\nRUN cat <<'X' > /x && cat <<Y\nFROM b\nX\nY\nFROM c", {}, ["a:1", "c"]),
        ("FROM a:1\nRUN echo $((1<<2))\nFROM b:1", {}, ["a:1", "b:1"]),
        (f"FROM a@{DIGEST}", {}, [f"a@{DIGEST}"]),
    ],
)
def test_images_of(dockerfile: str, arguments: dict[str, str], expected: list[str]) -> None:
    assert images_of(dockerfile, arguments) == expected


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM \\\n  a:1",
        "FROM ${A}",
        "FROM a:${A:+1}",
        "FROM",
        "FROM a b",
        "FROM a@sha256:1",
        "FROM a\nCOPY --from=$A a b",
    ],
)
def test_an_image_that_is_not_understood_is_an_error(dockerfile: str) -> None:
    with pytest.raises(BadInputError, match="A Dockerfile"):
        images_of(dockerfile, {})


def test_a_registry_that_wants_a_token_says_what_a_tag_stands_for_now(registry: ImageRegistry) -> None:
    digest = registry.update("lambda/python:3.13", "first")
    image = f"{registry.host}/lambda/python:3.13"
    told: list[str] = []
    found = find_digests([image], no_engine, lambda *each: told.extend(each))

    assert found == {image: f"{registry.host}/lambda/python@{digest}"}
    assert told == ["base image", f"{image} is {digest}"]
    assert registry.asked == [
        "HEAD /v2/lambda/python/manifests/3.13",
        "GET /token?service=registry&scope=repository%3Alambda%2Fpython%3Apull",
        "HEAD /v2/lambda/python/manifests/3.13 Bearer",
    ]
    assert find_digests([image], no_engine, lambda *_told: None) == found
    registry.update("lambda/python:3.13", "second")
    assert find_digests([image], no_engine, lambda *_told: None) != found


def test_a_token_is_asked_for_with_the_password_that_an_engine_keeps(registry: ImageRegistry, tmp_path: Path) -> None:
    registry.update("a:latest", "first")
    log_in(registry, tmp_path)
    find_digests([f"{registry.host}/a"], no_engine, lambda *_told: None)
    assert [each.split()[2:] for each in registry.asked] == [[], ["Basic"], ["Bearer"]]


def test_a_registry_that_wants_a_password_gets_it(registry: ImageRegistry, tmp_path: Path) -> None:
    digest = registry.update("a:1", "first")
    registry.realm, registry.password = "", PASSWORD
    image = {"a": f"{registry.host}/a:1"}
    assert "401 Unauthorized" in str(find_images(image)["a"])
    log_in(registry, tmp_path)
    assert find_images(image, takes_indexes=True) == {"a": digest}


def test_only_images_that_are_built_upon_may_be_an_index(registry: ImageRegistry) -> None:
    registry.realm = ""
    digest = registry.update("a:1", "first")
    image = {"a": f"{registry.host}/a:1"}
    assert find_images(image, takes_indexes=True) == {"a": digest}
    assert isinstance(find_images(image)["a"], OperationFailedError)
    registry.media_type = MANIFEST
    assert find_images(image) == {"a": digest}


def test_a_digest_needs_no_look_up() -> None:
    assert find_digests([f"python@{DIGEST}", f"a.b/c:1@{DIGEST}"], no_engine, refuse_log) == {
        f"python@{DIGEST}": f"docker.io/library/python@{DIGEST}",
        f"a.b/c:1@{DIGEST}": f"a.b/c:1@{DIGEST}",
    }


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3", "docker.io/library/python:3"),
        ("team/image:1", "docker.io/team/image:1"),
        ("localhost/image", "localhost/image:latest"),
        ("host:5000/image", "host:5000/image:latest"),
        ("public.ecr.aws/lambda/python:3.13", "public.ecr.aws/lambda/python:3.13"),
    ],
)
def test_names_are_read_as_engines_read_them(monkeypatch: pytest.MonkeyPatch, image: str, name: str) -> None:
    def find(images: dict[str, str], *, takes_indexes: bool) -> dict[str, Found]:
        assert takes_indexes
        assert images == {image: name}
        return {image: DIGEST}

    monkeypatch.setattr(base_images, "find_images", find)
    assert find_digests([image], no_engine, lambda *_told: None) == {image: f"{name.rpartition(':')[0]}@{DIGEST}"}


@pytest.mark.parametrize(("times", "finds"), [(2, True), (9, False)])
def test_a_busy_registry_is_asked_again(registry: ImageRegistry, waits: list[float], times: int, finds: bool) -> None:
    registry.update("a:1", "first")
    registry.busy = times
    found = find_images({"a": f"{registry.host}/a:1"}, takes_indexes=True)["a"]
    assert isinstance(found, str) == finds
    assert waits == [2, 8]
    assert finds or "429 Too Many Requests" in str(found)


def test_no_password_goes_to_a_realm_that_anybody_can_read(registry: ImageRegistry) -> None:
    registry.update("a:1", "first")
    registry.realm = "ftp://elsewhere/token"
    found = find_images({"a": f"{registry.host}/a:1"})["a"]
    assert "no safe address" in str(found)


@pytest.mark.parametrize("reaches", [True, False])
def test_what_neither_registry_nor_engine_has_is_an_error_with_a_way_out(
    registry: ImageRegistry, make_engine: Callable[..., Engine], reaches: bool
) -> None:
    with socket.socket() as unused:
        # It is bound, and nobody listens.
        unused.bind(("127.0.0.1", 0))
        image = f"{registry.host if reaches else f'127.0.0.1:{unused.getsockname()[1]}'}/gone:1"
        reason = "The registry does not have it" if reaches else "cannot be reached: .*refused"
        for find_engine in (make_engine, no_engine):
            with pytest.raises((BadInputError, OperationFailedError), match=reason) as caught:
                find_digests([image], find_engine, refuse_log)
            assert f"Which digest the base image {image} has now is not known." in str(caught.value)
            assert "name the image by digest, repository@sha256:…" in str(caught.value)


@pytest.mark.parametrize(
    ("by_digest", "expected"),
    [
        ((f"other@{DIGEST}", f"docker.io/library/base@{DIGEST}"), f"docker.io/library/base@{DIGEST}"),
        ((f"other@{DIGEST}",), f"other@{DIGEST}"),
        ((), f"docker.io/library/base:{'1' * 64}"),
    ],
)
def test_what_the_engine_alone_has_is_taken_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, make_engine: Callable[..., Engine], by_digest: tuple[str, ...], expected: str
) -> None:
    unreachable = OperationFailedError("The registry docker.io cannot be reached: offline.")
    monkeypatch.setattr(base_images, "find_images", lambda images, **_options: dict.fromkeys(images, unreachable))
    told: list[str] = []
    found = find_digests(["base:1"], lambda: make_engine(*by_digest), lambda *each: told.extend(each))

    assert found == {"base:1": expected}
    assert f"{unreachable} What the engine here has is taken, {expected}." in told[1]
