"""The images that a Dockerfile builds upon: which they are, their digests, and the Dockerfile that names these.

A tag is moved to other contents without notice, by a security update for one, so a build is known by the digests. Of an
image for several platforms it is that of their index: it serves every platform that a stage may ask for, and is what
engines resolve the tag to; it changes when any platform does, but updates come for all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.engine import Engine, EngineMissingError, Log, find_local_image
from crosstrain.delivery.repositories import DOCKER_HUB, Found, find_images

# https://docs.docker.com/reference/dockerfile/
_INSTRUCTION = re.compile(
    r"^[ \t]*(?P<name>[A-Za-z]+)(?P<rest>"
    # One with a here-document, whose lines are no instructions.
    r"""[ \t].*<<-?(?P<quote>["']?)(?P<end>\w+)(?P=quote).*\n(?:.*\n)*?\t*(?P=end)$"""
    # One on lines that are continued, between which comments and empty lines do not count.
    r"|(?:\\[ \t\r]*\n(?:[ \t]*(?:#.*)?\n)*|.)*)",
    re.MULTILINE,
)
_STAGE = re.compile(
    r"(?P<before>[ \t]+(?:--\S+[ \t]+)*)(?P<image>\S+)(?P<after>(?:[ \t]+AS[ \t]+(?P<stage>\S+))?\s*)", re.IGNORECASE
)
_FLAGS = re.compile(r"(?:(?:[ \t]|\\[ \t\r]*\n|#.*\n)+--\S+)*")
_FROM_FLAG = re.compile(r"(?P<before>--from=|--mount=(?:[^\s,]+,)*from=)(?P<image>[^\s,]+)")
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<braced>\w+)(?::-(?P<default>[^}]*))?\})")
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]*(@sha256:[0-9a-f]{64})?")


def replace_images(dockerfile: str, arguments: Mapping[str, str], replace: Callable[[str], str]) -> str:
    """Return a Dockerfile with other names for the images that it fetches; all else stays to the letter.

    Parameters
    ----------
    dockerfile
        Its text.
    arguments
        The build arguments, in place of the defaults that it declares before its first stage.
    replace
        Takes an image's name, with all variables replaced, and returns the other one. It is asked about each image of
        `FROM`, `COPY --from` and `RUN --mount=…,from=`, and neither about the Dockerfile's own stages nor `scratch`.

    Raises
    ------
    BadInputError
        If a line names its image in a way that is not understood.
    """
    return _INSTRUCTION.sub(_Reader(arguments, replace).instruction, dockerfile)


class _Reader:
    """Goes through the instructions of a Dockerfile in their order."""

    def __init__(self, arguments: Mapping[str, str], replace: Callable[[str], str]) -> None:
        self._arguments, self._replace = arguments, replace
        self._values: dict[str, str] = {}
        self._stages: list[str] = []

    def instruction(self, match: re.Match[str]) -> str:
        """Return an instruction with other names for the images that it fetches."""
        name, rest = match["name"], match["rest"]
        if name.upper() == "FROM":
            return f"{name}{self._stage(rest)}"
        if name.upper() in ("COPY", "RUN"):
            flags = _FLAGS.match(rest)
            end = flags.end() if flags else 0
            return f"{name}{_FROM_FLAG.sub(self._flag, rest[:end])}{rest[end:]}"
        if name.upper() == "ARG" and not self._stages:
            self._declare(rest)
        return match[0]

    def _declare(self, rest: str) -> None:
        for word in rest.split():
            name, separator, default = word.partition("=")
            if name in self._arguments:
                self._values[name] = self._arguments[name]
            elif separator:
                self._values[name] = _expand(default.strip("\"'"), self._values)

    def _stage(self, rest: str) -> str:
        match = _STAGE.fullmatch(rest)
        if match is None:
            raise BadInputError(f"A Dockerfile's `FROM{rest}` is not understood: write it as one line.")
        image = _expand(match["image"], self._values)
        replaced = f"{match['before']}{self._fetched(image)}{match['after']}"
        self._stages.append((match["stage"] or "").lower())
        return replaced

    def _flag(self, match: re.Match[str]) -> str:
        # A stage may be called by its number too.
        image = match["image"]
        return match[0] if image.isdecimal() else f"{match['before']}{self._fetched(image)}"

    def _fetched(self, image: str) -> str:
        if image == "scratch" or image.lower() in self._stages:
            return image
        if not _IMAGE.fullmatch(image):
            raise BadInputError(f'A Dockerfile names "{image}" as an image to fetch, which is none: see its ARGs.')
        return self._replace(image)


def images_of(dockerfile: str, arguments: Mapping[str, str]) -> list[str]:
    """Return the names of the images that a Dockerfile fetches, the same one once."""
    found: dict[str, str] = {}
    replace_images(dockerfile, arguments, lambda image: found.setdefault(image, image))
    return list(found)


def find_digests(images: Iterable[str], find_engine: Callable[[], Engine], log: Log) -> dict[str, str]:
    """Return the name by digest, `repository@sha256:…`, of each image.

    The registry is asked what the tag stands for now. An image that it does not tell is taken as the engine has it, if
    it does, and that is said; there never is a build upon a tag that may be moved.

    Parameters
    ----------
    images
        Their names in Dockerfiles; one by digest is its own answer.
    find_engine
        Returns the container engine; it is asked for where a registry does not answer.
    log
        Takes what was found.

    Raises
    ------
    BadInputError
        If neither the registry nor the engine has an image.
    OperationFailedError
        If a registry does not tell, and the engine does not have the image.
    """
    names = {image: _full_name(image) for image in images}
    found = find_images({image: name for image, name in names.items() if "@" not in name}, takes_indexes=True)
    digests = {image: name for image, name in names.items() if "@" in name}
    for image, each in found.items():
        if isinstance(each, str):
            digests[image] = f"{names[image].rpartition(':')[0]}@{each}"
            log("base image", f"{image} is {each}")
        else:
            digests[image] = _of_engine(image, names[image], each, find_engine)
            log("base image", f"{_why(image, each)} What the engine here has is taken, {digests[image]}.")
    return digests


def _of_engine(image: str, name: str, found: Found, find_engine: Callable[[], Engine]) -> str:
    local = None
    with suppress(EngineMissingError):
        local = find_local_image(find_engine(), image, name.rpartition(":")[0])
    if local is None:
        kind = BadInputError if found is None else OperationFailedError
        raise kind(
            f"{_why(image, found)} No container engine here has it either, and nothing is built upon a tag alone: "
            "try again once the registry answers, or name the image by digest, repository@sha256:…."
        )
    return local


def _why(image: str, found: Found) -> str:
    why = "The registry does not have it." if found is None else str(found)
    return f"Which digest the base image {image} has now is not known. {why}"


def _expand(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its variables replaced, those without a value left as they are."""

    def value(match: re.Match[str]) -> str:
        default = match[0] if match["default"] is None else match["default"]
        return values.get(match["plain"] or match["braced"]) or default

    return _VARIABLE.sub(value, text)


def _full_name(image: str) -> str:
    """Return an image's name with its registry, and its tag where no digest follows, as engines read it."""
    repository, separator, digest = image.partition("@")
    first, slash, _ = repository.partition("/")
    if not slash or not (first == "localhost" or {".", ":"}.intersection(first)):
        repository = f"{DOCKER_HUB}/{repository if slash else f'library/{repository}'}"
    if separator:
        return f"{repository}@{digest}"
    return repository if ":" in repository.rpartition("/")[2] else f"{repository}:latest"
