"""What functions and tasks run from: images in containers or, without a container engine, folders of this machine."""

from __future__ import annotations

import io
import os
import shlex
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from crosstrain.command import OperationFailedError
from crosstrain.local.server import ContainerNetwork, LocalAws, Registry, root_of
from crosstrain.local.template import handler_of, leave_out_unsupported, use_process, use_registry
from crosstrain.rehearsal.images import containers, standin_engine
from crosstrain.rehearsal.images.cache import ImageCache
from crosstrain.rehearsal.images.containers import Engine

NO_IMAGES = (
    "The images were not built, and no container ran: neither the Dockerfiles nor the requirements of the functions "
    "were tried. Digests stand for the sources of an image. The functions ran as processes of this machine, with the "
    "packages of this project."
)
_NO_BASE = f"localhost/none@sha256:{'0' * 64}"
_CODE_BUCKET = "rehearsal-images-{account}"
# As the handler of a function: the one that its image names.
_OF_IMAGE = "image"


class Images(Protocol):
    """What a rehearsal asks of whatever builds and runs the images.

    Attributes
    ----------
    kind : str
        Its name, for what one rehearsal keeps for the next.
    not_rehearsed : list of str
        Plain sentences: what is not proved with it.
    """

    kind: str
    not_rehearsed: list[str]

    def aws_options(self) -> dict[str, Any]:
        """Return the options with which the embedded AWS is to be started."""

    def start(self, aws: LocalAws) -> None:
        """Take note of the embedded AWS, which runs now."""

    def build_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables by which a build finds a container engine."""

    def adapt(self, template: dict[str, Any]) -> None:
        """Let a packaged training template be deployed, in place."""

    def fetch(self, account: str, uris: Sequence[str]) -> None:
        """Fetch images by digest to where functions of an account run."""

    def save(self, uris: Sequence[str]) -> None:
        """Keep images, given by digest, for the next rehearsal."""

    def restore(self, images: Mapping[str, str]) -> Sequence[str]:
        """Put the images of an earlier rehearsal into the repositories, and return the tags that are there now.

        Parameters
        ----------
        images
            The digest for each tag (`<repository's URI>:<tag>`).
        """


@contextmanager
def open_containers(directory: Path, account: str, log: Callable[[str], None]) -> Iterator[ContainerImages]:
    """Yield real images: built by this machine's container engine, and run as containers.

    Parameters
    ----------
    directory : Path
        For what the builds' command line needs.
    account : str
        The account of the image repositories.
    log
        Takes a sentence, if what follows takes minutes.

    Raises
    ------
    BadInputError
        If there is no engine.
    """
    with containers.open_engine() as engine, containers.open_network(engine) as network:
        images = ContainerImages(engine, network, directory, account, containers.find_base_image(engine, log))
        try:
            yield images
        finally:
            images.forget()


class ContainerImages:
    """Real images.

    Parameters
    ----------
    engine, network
        What builds them, and where their containers are.
    directory : Path
        For the command by which builds reach the engine.
    account : str
        The account of the image repositories.
    base_image : str
        What the images are built upon.
    """

    def __init__(
        self, engine: Engine, network: ContainerNetwork, directory: Path, account: str, base_image: str
    ) -> None:
        self.kind = "containers"
        self.not_rehearsed = list(containers.NOT_REHEARSED)
        if base_image != containers.DEFAULT_BASE:
            self.not_rehearsed.append(f"The images were built on {base_image} in place of {containers.DEFAULT_BASE}.")
        self._engine, self._network, self._directory, self._account = engine, network, directory, account
        self._base_image = base_image
        self._environment: dict[str, str] = {}

    _registry: Registry

    def aws_options(self) -> dict[str, Any]:
        """Return where functions run, and whose the registry is."""
        return {"containers": self._network, "registry_account": self._account}

    def start(self, aws: LocalAws) -> None:
        """Take note of the embedded AWS, whose registry runs now."""
        self._registry = aws.registry
        self._directory.mkdir(parents=True, exist_ok=True)
        self._environment = containers.build_environment(
            self._engine, self._directory, self._registry, self._base_image
        )

    def build_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables by which a build finds the engine and the embedded registry."""
        command = self._environment["PATH"].partition(os.pathsep)[0]
        return {**self._environment, "PATH": os.pathsep.join([command, environment["PATH"]])}

    def adapt(self, template: dict[str, Any]) -> None:
        """Let the image functions be pulled from the embedded registry."""
        use_registry(template, self._registry.host)

    def fetch(self, account: str, uris: Sequence[str]) -> None:  # noqa: ARG002 - all accounts have one engine
        """Pull images into the engine."""
        containers.pull_images(self._environment, uris)

    def save(self, uris: Sequence[str]) -> None:
        """Keep images for the next rehearsal."""
        ImageCache().save(self._registry, uris)

    def restore(self, images: Mapping[str, str]) -> Sequence[str]:
        """Put the images of an earlier rehearsal into the repositories again."""
        return ImageCache().restore(self._registry, images)

    def forget(self) -> None:
        """Let the engine forget what it has pulled from a registry that ends."""
        if self._environment:
            containers.forget_images(self._engine, self._registry.host)


class LocalProcesses:
    """Functions without a container engine: processes of this machine that run the code of the image's build context.

    Parameters
    ----------
    store : Path
        Where the code of each image is kept, by its digest.
    """

    def __init__(self, store: Path) -> None:
        self.kind = "processes"
        self.not_rehearsed = [NO_IMAGES]
        self._store = store.resolve()
        self._aws: LocalAws

    def aws_options(self) -> dict[str, Any]:
        """Return nothing: the embedded AWS runs functions as processes by itself."""
        return {}

    def start(self, aws: LocalAws) -> None:
        """Take note of the embedded AWS, which runs now."""
        self._aws = aws

    def build_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return a PATH on which `docker` is the stand-in for an engine, and a base image that no registry has."""
        commands = self._store / "bin"
        commands.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-P", standin_engine.__file__, str(self._store)]
        command = commands / "docker"
        command.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        return {"PATH": os.pathsep.join([str(commands), environment["PATH"]]), "BASE_IMAGE": _NO_BASE}

    def adapt(self, template: dict[str, Any]) -> None:
        """Turn images into code that is found by the digest in their parameters: of functions, and of tasks."""
        leave_out_unsupported(template)
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::ECS::TaskDefinition":
                (container,) = resource["Properties"]["ContainerDefinitions"]
                folder = [str(self._store / "images"), _digest_of(container["Image"]), "context"]
                use_process(resource, {"Fn::Join": ["/", folder]}, self._aws.endpoint_url)
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            properties = resource["Properties"]
            uri = properties.pop("ImageUri")
            properties.pop("PackageType", None)
            (handler,) = properties.pop("ImageConfig", {"Command": [_OF_IMAGE]})["Command"]
            resource.pop("Metadata", None)
            properties["Runtime"] = "provided.al2023"
            properties["Handler"] = handler
            properties["CodeUri"] = {
                "Bucket": {"Fn::Sub": _CODE_BUCKET.format(account="${AWS::AccountId}")},
                "Key": {"Fn::Join": ["", [_digest_of(uri), ".zip"]]},
            }

    def fetch(self, account: str, uris: Sequence[str]) -> None:
        """Put the code of each image to where functions of an account find it."""
        s3, bucket = self._aws.client("s3", root_of(account)), _CODE_BUCKET.format(account=account)
        s3.create_bucket(Bucket=bucket)
        for uri in uris:
            digest = uri.rpartition("@sha256:")[2]
            image = self._store / "images" / digest
            if not image.is_dir():
                raise OperationFailedError(f"There is no image {uri}: no build of this rehearsal has pushed it.")
            s3.put_object(Bucket=bucket, Key=f"{digest}.zip", Body=self._code(image))

    def save(self, uris: Sequence[str]) -> None:
        """Keep images: they are in the folder already."""

    def restore(self, images: Mapping[str, str]) -> Sequence[str]:
        """Put the images of an earlier rehearsal into the repositories again, those of which there still is a copy."""
        restored = []
        for tag, digest in images.items():
            image = self._store / "images" / digest.removeprefix("sha256:")
            manifest = image / "manifest.json"
            if manifest.is_file() and (image / "Dockerfile").is_file():
                uri, _, reference = tag.rpartition(":")
                account, _, name = uri.partition(".dkr.")[0], *uri.partition("/")[1:]
                self._aws.client("ecr", root_of(account)).put_image(
                    repositoryName=name,
                    imageManifest=manifest.read_text(encoding="utf-8"),
                    imageManifestMediaType=standin_engine.MANIFEST,
                    imageTag=reference,
                )
                restored.append(tag)
        return restored

    def _code(self, image: Path) -> bytes:
        """Return a custom runtime that starts the image's handler in this Python environment."""
        context = image / "context"
        handler = handler_of(image / "Dockerfile")
        lines = [
            "#!/bin/sh",
            f"export AWS_ENDPOINT_URL={shlex.quote(self._aws.endpoint_url)}",
            f"export PYTHONPATH={shlex.quote(str(context))}",
            # Without bytecode files each cold start compiles its imports again.
            "unset PYTHONDONTWRITEBYTECODE",
            f'if [ "$_HANDLER" = {_OF_IMAGE} ]; then _HANDLER={shlex.quote(handler)}; fi',
            f'exec {shlex.join([sys.executable, "-m", "awslambdaric"])} "$_HANDLER"',
        ]
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            # With one time for all, the same code is the same zip.
            info = zipfile.ZipInfo("bootstrap")
            info.external_attr = 0o755 << 16
            opened.writestr(info, "\n".join(lines) + "\n")
        return archive.getvalue()


def _digest_of(uri: Any) -> dict[str, Any]:
    """Return the intrinsic function that takes the digest from the URI of an image, without what it is made by."""
    return {"Fn::Select": [1, {"Fn::Split": ["@sha256:", uri]}]}
