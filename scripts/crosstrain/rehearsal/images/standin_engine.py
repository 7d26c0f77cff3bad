"""Stands for a container engine's command line where there is none: it builds nothing, and pushes an image of nothing.

`build` keeps a copy of the build context; `push` makes the calls that a push makes, with the caller's own rights, and
leaves an image without layers of software in ECR, whose digest is that of what would have gone into it. Functions then
run from the copy. It is run by a file named `docker` that comes first in a build's PATH.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CACHES = shutil.ignore_patterns("__pycache__", "*.pyc", ".ipynb_checkpoints")


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    store, command, *rest = arguments
    if command == "login":
        sys.stdin.read()
    elif command == "build":
        build(Path(store), rest)
    elif command == "push":
        push(Path(store), rest[-1])
    elif command == "image":
        inspect(rest[-1])
    # It has no buildx.
    return 0 if command in ("version", "login", "build", "push", "image") else 1


def build(store: Path, arguments: Sequence[str]) -> None:
    """Keep a copy of the build context under the image's name."""
    parser = argparse.ArgumentParser()
    for name in ("--platform", "--tag", "--file"):
        parser.add_argument(name, required=True)
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("context", type=Path)
    options = parser.parse_args(arguments)
    target = store / "builds" / _file_name(options.tag)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(options.context, target / "context", ignore=_CACHES)
    shutil.copyfile(options.file, target / "Dockerfile")
    print(f"Nothing is built: {options.tag} is a copy of {options.context}.")


def inspect(image: str) -> None:
    """Say that an image to build upon is there: its digest is that of its name."""
    digest = hashlib.sha256(image.encode()).hexdigest()
    repository = re.sub(r":[^:/]*$", "", image)
    print(json.dumps([{"RepoDigests": [f"{repository}@sha256:{digest}"]}]))


def push(store: Path, tag: str) -> None:
    """Put an image of nothing into ECR, by the calls that an engine makes."""
    import boto3  # noqa: PLC0415 - `docker version` is asked more often than anything is pushed

    uri, _, reference = tag.rpartition(":")
    name = uri.partition("/")[2]
    blob = json.dumps({"tag": tag}).encode()
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    ecr = boto3.client("ecr")
    ecr.batch_check_layer_availability(repositoryName=name, layerDigests=[digest])
    upload = ecr.initiate_layer_upload(repositoryName=name)["uploadId"]
    ecr.upload_layer_part(
        repositoryName=name, uploadId=upload, partFirstByte=0, partLastByte=len(blob) - 1, layerPartBlob=blob
    )
    ecr.complete_layer_upload(repositoryName=name, uploadId=upload, layerDigests=[digest])
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(blob), "digest": digest}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []})
    pushed = ecr.put_image(
        repositoryName=name, imageManifest=manifest, imageManifestMediaType=MANIFEST, imageTag=reference
    )
    image = pushed["image"]["imageId"]["imageDigest"].removeprefix("sha256:")
    target = store / "images" / image
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # The copy becomes the image as a whole, under the digest that releases know it by.
        shutil.copytree(store / "builds" / _file_name(tag), target)
    (target / "manifest.json").write_text(manifest, encoding="utf-8")
    print(f"{tag}: digest: sha256:{image}")


def _file_name(tag: str) -> str:
    return tag.replace("/", "_").replace(":", "_")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
