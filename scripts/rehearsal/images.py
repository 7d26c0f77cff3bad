"""What functions run from: images in containers or, without a container engine, folders of this machine."""

from __future__ import annotations

import io
import os
import shlex
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from local_aws import LocalAws, root_of
from local_template import handler_of, leave_out_unsupported
from rehearsal import standin_engine
from stack import OperationFailedError

NO_IMAGES = (
    "The images were not built, and no container ran: neither the Dockerfiles nor the requirements of the functions "
    "were tried. The functions ran as processes of this machine, with the packages of this project."
)
_CODE_BUCKET = "rehearsal-images-{account}"


class Images(Protocol):
    """What a rehearsal asks of whatever builds and runs the images.

    Attributes
    ----------
    not_rehearsed : list of str
        Plain sentences: what is not proved with it.
    """

    not_rehearsed: list[str]

    def aws_options(self) -> dict[str, Any]:
        """Return the options with which the embedded AWS is to be started."""

    def start(self, aws: LocalAws) -> None:
        """Take note of the embedded AWS, which runs now."""

    def build_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables by which a build finds a container engine."""

    def adapt(self, template: dict[str, Any]) -> None:
        """Let a packaged training template be deployed, in place."""

    def bring(self, account: str, uris: list[str]) -> None:
        """Fetch images by digest to where functions of an account run."""


class LocalProcesses:
    """Functions without a container engine: processes of this machine that run the code of the image's build context.

    Parameters
    ----------
    store : Path
        Where the code of each image is kept, by its digest.
    """

    def __init__(self, store: Path) -> None:
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
        """Return a PATH on which `docker` is the stand-in for an engine."""
        commands = self._store / "bin"
        commands.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, standin_engine.__file__, str(self._store)]
        command = commands / "docker"
        command.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        return {"PATH": os.pathsep.join([str(commands), environment["PATH"]])}

    def adapt(self, template: dict[str, Any]) -> None:
        """Turn each image function into one whose code is found by the digest in the image's parameter."""
        leave_out_unsupported(template)
        for resource in template["Resources"].values():
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            properties = resource["Properties"]
            uri = properties.pop("ImageUri")
            for name in ("PackageType", "ImageConfig"):
                properties.pop(name, None)
            resource.pop("Metadata", None)
            digest = {"Fn::Select": [1, {"Fn::Split": ["@sha256:", uri]}]}
            properties["Runtime"] = "provided.al2023"
            # The code knows its own handler, as an image does.
            properties["Handler"] = "image"
            properties["CodeUri"] = {
                "Bucket": {"Fn::Sub": _CODE_BUCKET.format(account="${AWS::AccountId}")},
                "Key": {"Fn::Join": ["", [digest, ".zip"]]},
            }

    def bring(self, account: str, uris: list[str]) -> None:
        """Put the code of each image to where functions of an account find it."""
        s3, bucket = self._aws.client("s3", root_of(account)), _CODE_BUCKET.format(account=account)
        s3.create_bucket(Bucket=bucket)
        for uri in uris:
            digest = uri.rpartition("@sha256:")[2]
            image = self._store / "images" / digest
            if not image.is_dir():
                raise OperationFailedError(f"There is no image {uri}: no build of this rehearsal has pushed it.")
            s3.put_object(Bucket=bucket, Key=f"{digest}.zip", Body=self._code(image))

    def _code(self, image: Path) -> bytes:
        """Return a custom runtime that starts the image's handler in this Python environment."""
        context = image / "context"
        handler = handler_of(context / (image / "dockerfile").read_text(encoding="utf-8"))
        lines = [
            "#!/bin/sh",
            f"export AWS_ENDPOINT_URL={shlex.quote(self._aws.endpoint_url)}",
            f"export PYTHONPATH={shlex.quote(str(context))}",
            # Without bytecode files each cold start compiles its imports again.
            "unset PYTHONDONTWRITEBYTECODE",
            f"exec {shlex.join([sys.executable, '-m', 'awslambdaric', handler])}",
        ]
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            # With one time for all, the same code is the same zip.
            info = zipfile.ZipInfo("bootstrap")
            info.external_attr = 0o755 << 16
            opened.writestr(info, "\n".join(lines) + "\n")
        return archive.getvalue()
