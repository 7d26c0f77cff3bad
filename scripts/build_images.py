"""Build the container images whose contents are new, push them, record them in the ledger, and print all three.

An image is known by the hash of what goes into it. One that the ledger and the registry have is used again; the others
are built at the same time and pushed under their hash as an immutable tag, and their digest is read back from the
registry. It prints `{function: repository@sha256:…}`, and exits with 0 for success, 1 for a failed operation, 2 for
input that cannot be used. Images are all that a failed build leaves behind: only record_release.py makes a release.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from botocore.exceptions import BotoCoreError, ClientError

from ledger import FUNCTIONS, Ledger, make_client, open_ledger
from stack import BadInputError, OperationFailedError, run_command

if TYPE_CHECKING:
    from rich.console import Console

Tell = Callable[[str, str], None]
"""Tells something of a subject, as it happens."""
Found = str | OperationFailedError | BadInputError | None
"""The digest of an image, None if the registry does not have it, or why the registry does not tell."""

ROOT = Path(__file__).parents[1]
PLATFORMS = ("linux/amd64", "linux/arm64")
_SHARED = ("common", "slim_packages.py", ".dockerignore")
# None of these reaches an image, or tells one from another.
_CACHES = frozenset({"__pycache__", ".ipynb_checkpoints"})
_BYTECODE = frozenset({".pyc", ".pyo"})
_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>.+)")
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_INDEXES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
_SHOWN_LINES = 20
_PUSHES = 2


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
    """

    context: Path
    base_image: str | None = None
    build_arguments: Mapping[str, str] | None = None
    platform: str = PLATFORMS[0]

    def arguments(self) -> dict[str, str]:
        """Return all build arguments."""
        base = {"BASE_IMAGE": self.base_image} if self.base_image else {}
        return {**base, **(self.build_arguments or {})}


@dataclass(frozen=True)
class Plan:
    """What is to be done for one function's image, and why."""

    function: str
    content_hash: str
    repository: str
    action: Literal["reuse", "record", "build"]
    why: str
    uri: str | None = None
    gone: str | None = None

    @property
    def tag(self) -> str:
        """The image's name in its repository."""
        return f"{self.repository}:{self.content_hash}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        build_arguments = _pairs(options.build_arg, "--build-arg")
        settings = Settings(options.context, options.base_image, build_arguments, options.platform)
        repositories = find_repositories(_pairs(options.repository, "--repository"))
        ledger = open_ledger(options.ledger)
        plans = make_plans(ledger, settings, repositories)
        tell = _teller(errors)
        for plan in plans:
            tell(plan.function, f"{'would ' if options.dry_run else ''}{plan.action}: {plan.why}")
        if options.dry_run:
            print(json.dumps({each.function: {"action": each.action, "why": each.why} for each in plans}, indent=2))
            return
        uris = carry_out(plans, ledger, settings, commit=options.commit, engine_name=options.engine, tell=tell)
        print(json.dumps(uris, indent=2))

    return run_command(work)


def content_hash(function: str, settings: Settings) -> str:
    """Return the hash of everything that decides what is in a function's image.

    That is the names, contents and executable bits of the files that the build copies, the Dockerfile, the build
    arguments with the base image, and the platform; not the order or times of files, nor caches.

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

    for path in _inputs(function, settings.context):
        name = path.relative_to(settings.context).as_posix().encode()
        if path.is_symlink():
            add(b"link", name, os.fsencode(path.readlink()))
        else:
            add(b"file", name, b"x" if path.stat().st_mode & 0o100 else b"-", path.read_bytes())
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
    recorded = ledger.images(hashes)
    # A ledger of other repositories, of an older pipeline say, tells nothing about these.
    recorded = {name: uri for name, uri in recorded.items() if uri.startswith(f"{repositories[name]}@")}
    wanted = {name: recorded.get(name, f"{repositories[name]}:{each}") for name, each in hashes.items()}
    found = _or_raise(find_images(wanted))
    plans = []
    for name, each in hashes.items():
        repository, digest = repositories[name], found[name]
        uri = f"{repository}@{digest}"
        if digest is None and name in recorded:
            why = f"the registry has lost {recorded[name]}"
            plans.append(Plan(name, each, repository, "build", why, gone=recorded[name]))
        elif digest is None:
            plans.append(Plan(name, each, repository, "build", f"its contents are new ({each[:12]})"))
        elif name in recorded:
            plans.append(Plan(name, each, repository, "reuse", f"its contents are known ({each[:12]})", uri))
        else:
            why = f"the registry has it already ({each[:12]}), the ledger does not"
            plans.append(Plan(name, each, repository, "record", why, uri))
    return plans


def carry_out(
    plans: Sequence[Plan],
    ledger: Ledger,
    settings: Settings,
    *,
    commit: str,
    engine_name: str | None,
    tell: Tell,
) -> dict[str, str]:
    """Build, push and record what the plans say, at the same time, and return the URI of every image by digest.

    Raises
    ------
    OperationFailedError
        With the image that failed first and its last lines; the others are stopped.
    """
    to_build = [plan for plan in plans if plan.action == "build"]
    engine = find_engine(engine_name, tell) if to_build else None
    uris = {plan.function: plan.uri for plan in plans if plan.uri is not None}
    if engine is not None:
        with Jobs() as jobs:
            for repository in {plan.repository.partition("/")[0]: plan.repository for plan in to_build}.values():
                log_in(engine, repository)
            uris |= jobs.run({each.function: _building(each, engine, settings, jobs, tell) for each in to_build})
    for plan in plans:
        if plan.action != "reuse":
            uri = uris[plan.function]
            uris[plan.function] = ledger.record_image(plan.function, plan.content_hash, uri, commit, gone=plan.gone)
    return {name: uris[name] for name in FUNCTIONS}


@dataclass(frozen=True)
class Engine:
    """A container engine's command line.

    Attributes
    ----------
    program : str
        Where it is.
    kind : str
        `buildx`, `docker` (without buildx) or `podman`.
    """

    program: str
    kind: Literal["buildx", "docker", "podman"]

    def build(self, plan: Plan, settings: Settings) -> list[str]:
        """Return the command that builds an image."""
        own = {
            # Lambda takes an image, never an index, which an attestation of its provenance would make it.
            "buildx": ["buildx", "build", "--provenance=false", "--load"],
            "docker": ["build"],
            "podman": ["build", "--format", "docker"],
        }[self.kind]
        words = [self.program, *own, "--platform", settings.platform, "--tag", plan.tag]
        words += ["--file", str(settings.context / plan.function / "Dockerfile")]
        for name, value in settings.arguments().items():
            words += ["--build-arg", f"{name}={value}"]
        return [*words, str(settings.context)]


def find_engine(name: str | None, tell: Tell) -> Engine:
    """Return the engine of a name or, without one, docker with buildx, docker without it, or podman.

    Raises
    ------
    OperationFailedError
        If there is none, or it does not answer.
    """
    program = next(
        (found for each in ([name] if name else ("docker", "podman")) if (found := shutil.which(each))), None
    )
    if program is None:
        raise OperationFailedError(
            f"No container engine is installed that could build the images ({name or 'docker, podman'}): install "
            "Docker, or let the pipeline build them."
        )
    asked = _run([program, "version"])
    if asked.returncode:
        told = asked.stdout.strip().splitlines()[-1:] or ["it says nothing"]
        raise OperationFailedError(f"{program} does not reach its container engine, start it: {told[0]}")
    if Path(program).name == "podman":
        tell("engine", "podman")
        return Engine(program, "podman")
    if _run([program, "buildx", "version"]).returncode == 0:
        return Engine(program, "buildx")
    tell("engine", "docker has no buildx here: building with `docker build`")
    return Engine(program, "docker")


def log_in(engine: Engine, repository: str) -> None:
    """Let the engine push to an ECR registry; any other is left to the user's own settings.

    Raises
    ------
    OperationFailedError
        If the registry or the engine refuses.
    """
    match = _ECR.fullmatch(repository)
    if match is None:
        return
    with _explained(repository):
        answer = _ecr(match["region"]).get_authorization_token()
    user, _, password = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode().partition(":")
    host = repository.partition("/")[0]
    command = [engine.program, "login", "--username", user, "--password-stdin", host]
    done = _run(command, text=password)
    if done.returncode:
        raise OperationFailedError(f"{engine.program} could not log in to {host}: {_last_lines(done.stdout, 3)}")


class Jobs:
    """Runs the work on several images at the same time, each with the processes of its own; all end with it."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def run(self, work: Mapping[str, Callable[[], str]]) -> dict[str, str]:
        """Return what each of the works returns, or stop the others at the first that fails and raise its error."""
        with ThreadPoolExecutor(max(1, len(work))) as pool:
            try:
                futures = {pool.submit(each): name for name, each in work.items()}
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                if failed := [error for future in done if (error := future.exception()) is not None]:
                    raise failed[0]
                return {name: future.result() for future, name in futures.items()}
            finally:
                # The threads end when their processes do, and the pool waits for the threads.
                self.stop()

    def execute(self, command: Sequence[str], log: IO[bytes]) -> int:
        """Run a command to its end and return its status."""
        environment = os.environ | {
            "DOCKER_BUILDKIT": "1" if "buildx" in command else "0",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        }
        with self._lock:
            if self._stopped:
                return 1
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            self._processes.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._processes.discard(process)

    def stop(self) -> None:
        """End all processes, and let none begin."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)


def push(plan: Plan, engine: Engine, jobs: Jobs, log: IO[bytes]) -> str:
    """Push a built image and return its URI by digest, as the registry tells it.

    A push that fails although the registry has the tag is none: somebody else has pushed an image of the same contents
    first, and tags never change. That image is taken.

    Raises
    ------
    OperationFailedError
        If the registry does not have the image afterwards.
    """
    for attempt in range(_PUSHES):
        status = jobs.execute([engine.program, "push", *_plain_http(plan, engine), plan.tag], log)
        digest = _or_raise(find_images({plan.function: plan.tag}))[plan.function]
        if digest is not None:
            return f"{plan.repository}@{digest}"
        if status == 0 or attempt + 1 == _PUSHES:
            break
    told = "its tag is not in the registry afterwards" if status == 0 else "the push failed"
    raise OperationFailedError(f"The image of {plan.function} was not pushed: {told}.{_reason(log)}")


def find_images(images: Mapping[str, str]) -> dict[str, Found]:
    """Return the digest under which the registry has each image, None for one that it does not have.

    Parameters
    ----------
    images
        Each by tag (`repository:tag`) or by digest (`repository@sha256:…`), in ECR or in a plain registry.

    Returns
    -------
    dict
        For an image that the registry tells nothing about, the error.
    """
    # Making a client is not safe in threads, using one is.
    for region in {match["region"] for uri in images.values() if (match := _ECR.fullmatch(_split(uri)[0]))}:
        _ecr(region)
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


def _inputs(function: str, context: Path) -> Iterator[Path]:
    """Yield every file and link that goes into a function's image, in an order that only their names decide."""
    roots = [context / function, *(context / each for each in _SHARED)]
    dockerfile = context / function / "Dockerfile"
    if missing := [str(path) for path in (roots[0], dockerfile, *roots[1:]) if not path.exists()]:
        raise BadInputError(f"The image of {function} cannot be built without {', '.join(missing)}.")
    found = {path for root in roots for path in (root, *root.rglob("*")) if path.is_symlink() or path.is_file()}
    for path in sorted(found, key=lambda each: each.relative_to(context).as_posix()):
        if not _CACHES.intersection(path.relative_to(context).parts) and path.suffix not in _BYTECODE:
            yield path


def _building(plan: Plan, engine: Engine, settings: Settings, jobs: Jobs, tell: Tell) -> Callable[[], str]:
    """Return the work that builds and pushes one image."""

    def work() -> str:
        begin = time.monotonic()
        with tempfile.TemporaryFile() as log:
            tell(plan.function, "building")
            if jobs.execute(engine.build(plan, settings), log):
                raise OperationFailedError(f"The image of {plan.function} could not be built.{_reason(log)}")
            tell(plan.function, f"built in {time.monotonic() - begin:.0f} s, pushing")
            uri = push(plan, engine, jobs, log)
        tell(plan.function, f"pushed after {time.monotonic() - begin:.0f} s")
        return uri

    return work


def _find_image(uri: str) -> Found:
    repository, reference = _split(uri)
    match = _ECR.fullmatch(repository)
    try:
        return _find_in_registry(repository, reference) if match is None else _find_in_ecr(match, reference)
    except (OperationFailedError, BadInputError) as error:
        return error


def _find_in_ecr(match: re.Match[str], reference: str) -> str | None:
    """Return an image's digest; the one right that it takes, every role that fetches images has."""
    key = "imageDigest" if ":" in reference else "imageTag"
    with _explained(match[0]):
        answer = _ecr(match["region"]).batch_get_image(
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
        accept = {"Accept": ", ".join([*_MANIFESTS, *_INDEXES])}
        connection.request("HEAD", f"/v2/{name}/manifests/{reference}", headers=accept)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise OperationFailedError(f"The registry {host} cannot be reached: {error}.") from error
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        return None
    digest = answer.headers.get("Docker-Content-Digest")
    if answer.status != http.client.OK or digest is None:
        raise OperationFailedError(f"The registry {host} does not tell about {name}: {answer.status} {answer.reason}.")
    _refuse_index(repository, answer.headers.get("Content-Type", ""))
    return digest


def _refuse_index(repository: str, media_type: str) -> None:
    if media_type.partition(";")[0] in _INDEXES:
        raise OperationFailedError(
            f"What {repository} holds is an image index, which Lambda rejects: delete it there, and build with "
            "--provenance=false for one platform."
        )


@lru_cache
def _ecr(region: str) -> Any:
    return make_client("ecr", region)


@contextmanager
def _explained(repository: str) -> Iterator[None]:
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


def _or_raise(found: Mapping[str, Found]) -> dict[str, str | None]:
    digests: dict[str, str | None] = {}
    for name, each in found.items():
        if isinstance(each, Exception):
            raise each
        digests[name] = each
    return digests


def _split(uri: str) -> tuple[str, str]:
    """Return the repository of an image and its tag or digest."""
    repository, separator, digest = uri.partition("@")
    if separator:
        return repository, digest
    repository, _, tag = uri.rpartition(":")
    return repository, tag


def _plain_http(plan: Plan, engine: Engine) -> list[str]:
    # Docker speaks HTTP to this machine's own registries by itself.
    is_here = plan.repository.startswith(("127.0.0.1", "localhost"))
    return ["--tls-verify=false"] if engine.kind == "podman" and is_here else []


def _run(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def _reason(log: IO[bytes]) -> str:
    """Return the last lines of a log, below a sentence that says what to do about them where that is known."""
    log.seek(0)
    text = log.read().decode("utf-8", "replace")
    full = " The engine's disk is full: `docker system prune` frees what no image needs." if _is_full(text) else ""
    return f"{full} Its last lines:\n{_last_lines(text, _SHOWN_LINES)}"


def _is_full(text: str) -> bool:
    return "no space left on device" in text.lower()


def _last_lines(text: str, count: int) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "it wrote nothing"


def _teller(errors: Console) -> Tell:
    lock = threading.Lock()

    def tell(subject: str, text: str) -> None:
        with lock:
            errors.print(f"{subject}: {text}", markup=False)

    return tell


def _pairs(words: Sequence[str], option: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [word for word, (name, separator, _) in zip(words, pairs, strict=True) if not (name and separator)]:
        raise BadInputError(f"{option} takes NAME=VALUE, not {', '.join(wrong)}.")
    return {name: value for name, _, value in pairs}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ledger", help="the ledger's table; LEDGER_TABLE if left out")
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="FUNCTION=URI",
        help="a function's repository; REPOSITORY_<FUNCTION> if left out",
    )
    parser.add_argument("--context", type=Path, default=ROOT / "functions", help="the build context")
    parser.add_argument("--commit", default="unknown", help="the commit that the images are built from")
    parser.add_argument("--base-image", default=os.environ.get("BASE_IMAGE"), help="in place of the Dockerfiles' own")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="a build argument")
    parser.add_argument("--platform", choices=PLATFORMS, default=PLATFORMS[0], help="default: linux/amd64")
    parser.add_argument("--engine", choices=("docker", "podman"), help="default: the first that is installed")
    parser.add_argument("--dry-run", action="store_true", help="say what would be built and why, and build nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
