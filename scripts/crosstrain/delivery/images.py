"""Builds the container images whose contents are new, pushes them, and records them in the ledger.

An image is known by the hash of what goes into it. One that the ledger and the registry have is used again; the others
are built at the same time and pushed under their hash as an immutable tag, and their digest is read back from the
registry. Images are all that a failed build leaves behind: only a release names them.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.base_images import find_digests, images_of, replace_images
from crosstrain.delivery.engine import Engine, Jobs, Log, find_engine, last_lines, log_in, log_in_to_base
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Ledger
from crosstrain.delivery.repositories import digests_of, find_images

PLATFORMS = ("linux/amd64", "linux/arm64")
_SHARED = ("common", "slim_packages.py", ".dockerignore")
# None of these reaches an image, or distinguishes one from another.
_CACHES = frozenset({"__pycache__", ".ipynb_checkpoints"})
_BYTECODE = frozenset({".pyc", ".pyo"})
_SHOWN_LINES = 20
_PUSHES = 2
_COMMENT = re.compile(r"^[ \t]*#.*\n?", re.MULTILINE)
_CONTINUED = re.compile(r"\\[ \t]*\n([ \t]*\n)*")
_ESCAPE = re.compile(r"^[ \t]*#[ \t]*escape[ \t]*=[ \t]*[^\s\\]", re.MULTILINE | re.IGNORECASE)
# Seconds before a build is tried again that a registry has turned away, the base image's or that of packages.
_BUILD_WAITS = (10.0, 30.0, 90.0)
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors-docker.html
_TURNED_AWAY = re.compile(
    r"toomanyrequests|Too Many Requests|Rate exceeded|TLS handshake timeout|i/o timeout|connection reset by peer"
    r"|50[234] (Bad Gateway|Service Unavailable|Gateway Time-?out)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Settings:
    """What all images are built with.

    Attributes
    ----------
    context : Path
        The build context, which holds one folder for each function.
    base_image : str, optional
        The base image in place of the one that each Dockerfile names.
    build_arguments : mapping
        Further build arguments.
    platform : str
        The one platform that the images are for.
    bases : mapping
        The name by digest of each image that a Dockerfile fetches, by its name there; `pin_bases` finds them.
    """

    context: Path
    base_image: str | None = None
    build_arguments: Mapping[str, str] | None = None
    platform: str = PLATFORMS[0]
    bases: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, str]:
        """Return all build arguments."""
        base = {"BASE_IMAGE": self.base_image} if self.base_image else {}
        return {**base, **(self.build_arguments or {})}


def pin_bases(settings: Settings, engine_name: str | None, log: Log) -> Settings:
    """Return the settings with the present digest of each image that the functions' Dockerfiles fetch.

    Raises
    ------
    BadInputError
        If a Dockerfile is missing or not understood, or there is no such image.
    OperationFailedError
        If a registry does not tell a digest, and the engine does not have the image.
    """
    arguments = settings.arguments()
    images = {image for name in FUNCTIONS for image in images_of(_dockerfile(name, settings), arguments)}
    return replace(settings, bases=find_digests(sorted(images), lambda: find_engine(engine_name, _say_nothing), log))


Action = Literal["reuse", "record", "build"]


@dataclass(frozen=True)
class Plan:
    """What is to be done for one function's image, and why."""

    function: str
    content_hash: str
    repository: str
    action: Action
    why: str
    uri: str | None = None
    replaces: str | None = None

    @property
    def tag(self) -> str:
        """The image's name in its repository."""
        return f"{self.repository}:{self.content_hash}"


def content_hash(function: str, settings: Settings) -> str:
    """Return the hash of everything that decides what is in a function's image.

    That is the names, contents and executable bits of the function's files, of what all functions share and of whatever
    else the Dockerfile copies, the digests of the images that it fetches, the build arguments, and the platform; not
    the order or times of files, nor caches.

    Raises
    ------
    BadInputError
        If there is no such function in the build context, or it has no Dockerfile.
    """
    digest = hashlib.sha256()

    def add(*parts: bytes) -> None:
        # With its length before each part, no two lists of parts are the same bytes.
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)

    for path in _inputs(function, settings):
        name = path.relative_to(settings.context).as_posix().encode()
        if path.is_symlink():
            add(b"link", name, os.fsencode(path.readlink()))
        else:
            add(b"file", name, b"x" if path.stat().st_mode & 0o100 else b"-", path.read_bytes())
    # With the base images by their digests, as it is built from.
    add(b"dockerfile", _pinned_dockerfile(function, settings).encode())
    for name_of_argument, value in sorted(settings.arguments().items()):
        add(b"argument", name_of_argument.encode(), value.encode())
    add(b"platform", settings.platform.encode())
    return digest.hexdigest()


def make_plans(ledger: Ledger, settings: Settings, repositories: Mapping[str, str]) -> list[Plan]:
    """Return what is to be done for each function.

    Raises
    ------
    BadInputError
        If a function, the ledger or a repository is missing.
    OperationFailedError
        If the ledger or a registry does not answer.
    """
    hashes = {name: content_hash(name, settings) for name in FUNCTIONS}
    known = ledger.images(hashes)
    # A ledger of other repositories, of an older pipeline say, says nothing about these.
    recorded = {name: uri for name, uri in known.items() if uri.startswith(f"{repositories[name]}@")}
    wanted = {name: recorded.get(name, f"{repositories[name]}:{each}") for name, each in hashes.items()}
    found = digests_of(find_images(wanted))
    plans = []
    for name, each in hashes.items():
        repository, digest = repositories[name], found[name]
        uri = f"{repository}@{digest}" if digest is not None else None
        foreign = (
            f"; the ledger has it in another repository, {known[name]}"
            if name in known and name not in recorded
            else ""
        )
        if uri is not None and name in recorded:
            plans.append(Plan(name, each, repository, "reuse", f"its contents are known ({each[:12]})", uri))
            continue
        action: Action = "build" if uri is None else "record"
        if uri is not None:
            why = f"the registry has it already ({each[:12]}), the ledger does not{foreign}"
        elif name in recorded:
            why = f"the registry has lost {recorded[name]}"
        else:
            why = f"its contents are new ({each[:12]}){foreign}"
        plans.append(Plan(name, each, repository, action, why, uri, replaces=known.get(name)))
    return plans


def execute_plans(
    plans: Sequence[Plan],
    ledger: Ledger,
    settings: Settings,
    *,
    commit: str,
    engine_name: str | None,
    log: Log,
) -> dict[str, str]:
    """Build, push and record what the plans say, at the same time, and return the URI of every image by digest.

    Raises
    ------
    OperationFailedError
        With the image that failed first and its last lines; the others are stopped.
    """
    to_build = [plan for plan in plans if plan.action == "build"]
    engine = find_engine(engine_name, log) if to_build else None
    uris = {plan.function: plan.uri for plan in plans if plan.uri is not None}
    if engine is not None:
        with Jobs() as jobs:
            for repository in {plan.repository.partition("/")[0]: plan.repository for plan in to_build}.values():
                log_in(engine, repository)
            fetched = [base for plan in to_build for base in _bases(plan.function, settings).values()]
            for base in {each.partition("/")[0]: each for each in fetched}.values():
                log_in_to_base(engine, base, log)
            uris |= jobs.run({each.function: _building(each, engine, settings, jobs, log) for each in to_build})
    for plan in plans:
        if plan.action != "reuse":
            uri = uris[plan.function]
            bases = _bases(plan.function, settings)
            uris[plan.function] = ledger.record_image(
                plan.function, plan.content_hash, uri, commit, bases=bases, replaces=plan.replaces
            )
    return {name: uris[name] for name in FUNCTIONS}


def push(plan: Plan, engine: Engine, jobs: Jobs, output: IO[bytes]) -> str:
    """Push a built image and return its URI by digest, as the registry has it.

    A push that fails although the registry has the tag is none: somebody else has pushed an image of the same contents
    first, and tags never change. That image is taken.

    Raises
    ------
    OperationFailedError
        If the registry does not have the image afterwards.
    """
    for attempt in range(_PUSHES):
        status = jobs.execute(engine.push(plan.tag), output)
        digest = digests_of(find_images({plan.function: plan.tag}))[plan.function]
        if digest is not None:
            return f"{plan.repository}@{digest}"
        if status == 0 or attempt + 1 == _PUSHES:
            break
    reason = "its tag is not in the registry afterwards" if status == 0 else "the push failed"
    raise OperationFailedError(f"The image of {plan.function} was not pushed: {reason}.{_reason(output)}")


def _dockerfile(function: str, settings: Settings) -> str:
    """Return a function's Dockerfile, if what every image needs is there."""
    context = settings.context
    dockerfile = context / function / "Dockerfile"
    needed = [context / function, dockerfile, *(context / each for each in _SHARED)]
    if missing := [str(path) for path in needed if not path.exists()]:
        raise BadInputError(f"The image of {function} cannot be built without {', '.join(missing)}.")
    return dockerfile.read_text(encoding="utf-8")


def _pinned_dockerfile(function: str, settings: Settings) -> str:
    """Return a function's Dockerfile with each image that it fetches by its digest."""
    return replace_images(_dockerfile(function, settings), settings.arguments(), lambda image: settings.bases[image])


def _bases(function: str, settings: Settings) -> dict[str, str]:
    """Return the name by digest of each image that a function's Dockerfile fetches, by its name there."""
    images = images_of(_dockerfile(function, settings), settings.arguments())
    return {image: settings.bases[image] for image in images}


def _say_nothing(*_told: str) -> None:
    """Take what is said again when the images are built."""


def _inputs(function: str, settings: Settings) -> Iterator[Path]:
    """Yield every file and link that goes into a function's image, in an order that only their names decide."""
    context = settings.context
    copied = _copied(_dockerfile(function, settings), context)
    roots = {context / each for each in (function, *_SHARED, *copied)}
    found = {path for root in roots for path in (root, *root.rglob("*")) if path.is_symlink() or path.is_file()}
    for path in sorted(found, key=lambda each: each.relative_to(context).as_posix()):
        if not _CACHES.intersection(path.relative_to(context).parts) and path.suffix not in _BYTECODE:
            yield path


def _copied(dockerfile: str, context: Path) -> set[str]:
    """Return what a Dockerfile copies from its context, by the first part of each path; all of it where that is open.

    https://docs.docker.com/reference/dockerfile/#copy
    """
    everything = {path.name for path in context.iterdir()}
    found: set[str] = set()
    if _ESCAPE.search(dockerfile):
        return everything
    # As Docker does: comments go first, then what is continued becomes one line.
    for line in _CONTINUED.sub(" ", _COMMENT.sub("", dockerfile)).splitlines():
        instruction, rest = (*line.split(None, 1), "", "")[:2]
        words = rest.split()
        flags = [word for word in words if word.startswith("--")]
        if instruction.upper() == "RUN" and any(_mounts_context(flag) for flag in flags):
            return everything
        if instruction.upper() in ("COPY", "ADD") and not any(flag.startswith("--from=") for flag in flags):
            paths = _sources(rest, words[len(flags) :])
            first = {posixpath.normpath("/" + path).split("/")[1] for path in paths}
            if "$" in rest or not first <= everything:
                # A variable, a pattern, the context itself, or what the build will complain of.
                return everything
            found |= first
    return found


def _sources(rest: str, words: Sequence[str]) -> list[str]:
    """Return what an instruction copies, from its words or the JSON list of them; the last one is where to."""
    if words and words[0].startswith("["):
        try:
            listed = json.loads(rest[rest.index("[") :])
        except ValueError:
            # A pattern that begins with a class of characters.
            listed = words
        words = [str(each) for each in listed]
    return [*words[:-1]]


def _mounts_context(flag: str) -> bool:
    """Return whether a flag of RUN mounts a folder of the build context, which is what it does by default."""
    if not flag.startswith("--mount="):
        return False
    options = dict(each.partition("=")[::2] for each in flag.removeprefix("--mount=").split(","))
    return options.get("type", "bind") == "bind" and "from" not in options


def _building(plan: Plan, engine: Engine, settings: Settings, jobs: Jobs, log: Log) -> Callable[[], str]:
    """Return the work that builds and pushes one image."""

    def work() -> str:
        begin = time.monotonic()
        log(plan.function, "building")
        with _written_dockerfile(plan.function, settings) as dockerfile:
            command = engine.build(dockerfile, settings.context, plan.tag, settings.platform, settings.arguments())
            _build(plan, command, jobs, log)
        log(plan.function, f"built in {time.monotonic() - begin:.0f} s, pushing")
        with tempfile.TemporaryFile() as output:
            uri = push(plan, engine, jobs, output)
        log(plan.function, f"pushed after {time.monotonic() - begin:.0f} s")
        return uri

    return work


@contextmanager
def _written_dockerfile(function: str, settings: Settings) -> Iterator[Path]:
    """Yield a file outside of the context, which stays as it is, that holds a function's Dockerfile with digests."""
    with tempfile.TemporaryDirectory(prefix="crosstrain-") as directory:
        dockerfile = Path(directory, function, "Dockerfile")
        dockerfile.parent.mkdir()
        dockerfile.write_text(_pinned_dockerfile(function, settings), encoding="utf-8")
        # BuildKit looks for it beside the Dockerfile: https://docs.docker.com/build/concepts/context/#filename-and-location
        own = settings.context / function / "Dockerfile.dockerignore"
        if own.is_file():
            shutil.copy(own, dockerfile.parent)
        yield dockerfile


def _build(plan: Plan, command: Sequence[str], jobs: Jobs, log: Log) -> None:
    """Build an image, again after a while where a registry turns the engine away."""
    for wait in (*_BUILD_WAITS, None):
        with tempfile.TemporaryFile() as output:
            if not jobs.execute(command, output):
                return
            if wait is None or not _TURNED_AWAY.search(_text(output)):
                raise OperationFailedError(f"The image of {plan.function} could not be built.{_reason(output)}")
            log(
                plan.function,
                f"a registry has turned the build away, again in {wait:.0f} s: {last_lines(_text(output), 1)}",
            )
        jobs.wait(wait)


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode("utf-8", "replace")


def _reason(output: IO[bytes]) -> str:
    """Return the last lines of an output, below a sentence that says what to do about them where that is known."""
    text = _text(output)
    full = " The engine's disk is full: `docker system prune` frees what no image needs." if _is_full(text) else ""
    return f"{full} Its last lines:\n{last_lines(text, _SHOWN_LINES)}"


def _is_full(text: str) -> bool:
    return "no space left on device" in text.lower()
