"""A stand-in for AWS's Lambda base image, for a machine that cannot pull it.

Debian 13 has the Python version of the real one. It is made once: the engine keeps the image, and the user's cache
folder its files, for an engine that has lost it. Making it needs root and debootstrap.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import docker
import samcli

REPOSITORY = "localhost/crosstrain-standin-base"
# As in AWS's image: Lambda sets AWS_LAMBDA_RUNTIME_API, anywhere else the emulator takes its place.
ENTRYPOINT = """#!/bin/sh
export _HANDLER="$1"
[ -n "$AWS_LAMBDA_RUNTIME_API" ] || exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
exec /var/runtime/bootstrap
"""
BOOTSTRAP = """#!/bin/sh
export PYTHONPATH=/var/runtime
exec python3 -m awslambdaric "$_HANDLER"
"""
SETTINGS = [
    "ENV LAMBDA_TASK_ROOT=/var/task",
    "ENV LAMBDA_RUNTIME_DIR=/var/runtime",
    "ENV LANG=C.UTF-8",
    "WORKDIR /var/task",
    'ENTRYPOINT ["/lambda-entrypoint.sh"]',
]


def name() -> str:
    """Return the image's name; the tag follows what the image is made from."""
    recipe = [inspect.getsource(fill), ENTRYPOINT, BOOTSTRAP, *SETTINGS, importlib.metadata.version("awslambdaric")]
    return f"{REPOSITORY}:{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"


def fill(root: Path) -> None:
    """Install Debian, the runtime interface client and the emulator under `root`."""
    packages = "python3,python3-pip,ca-certificates"
    _run("debootstrap", "--variant=minbase", f"--include={packages}", "trixie", str(root))
    # The build installs from a package index, which the machine may reach only through an authority of its own.
    authorities = ssl.get_default_verify_paths().cafile
    if authorities:
        shutil.copy(authorities, root / "etc/ssl/certs/ca-certificates.crt")
    client = f"awslambdaric=={importlib.metadata.version('awslambdaric')}"
    pip = ["python3", "-m", "pip", "install", "--only-binary=:all:", "--no-cache-dir", "--target", "/var/runtime"]
    _run("chroot", str(root), *pip, client)
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    emulator = Path(samcli.__file__).parent / f"local/rapid/aws-lambda-rie-{machine}"
    shutil.copy(emulator, root / "usr/local/bin/aws-lambda-rie")
    (root / "lambda-entrypoint.sh").write_text(ENTRYPOINT)
    (root / "var/runtime/bootstrap").write_text(BOOTSTRAP)
    for program in ("usr/local/bin/aws-lambda-rie", "lambda-entrypoint.sh", "var/runtime/bootstrap"):
        (root / program).chmod(0o755)
    (root / "var/task").mkdir()
    for cache in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / cache, ignore_errors=True)


def make(client: docker.DockerClient) -> str:
    """Return the name of the stand-in, made unless the engine or the cache folder has it.

    Raises
    ------
    PermissionError
        If this machine cannot make it.
    RuntimeError
        If making it failed.
    """
    image = name()
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        repository, _, tag = image.partition(":")
        # Podman's API drops the tag of an import, so it is set afterwards.
        reply = client.api.import_image_from_file(str(_files(tag)), changes=SETTINGS)
        client.images.get(json.loads(reply.splitlines()[-1])["status"]).tag(repository, tag)
    return image


def _files(tag: str) -> Path:
    """Return the archive of the stand-in's files; those of older stand-ins are removed."""
    folder = cache_folder()
    archive = folder / f"standin-base-{tag}.tar.gz"
    if archive.is_file():
        return archive
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise PermissionError("a stand-in for it needs root and debootstrap")
    folder.mkdir(parents=True, exist_ok=True)
    # Not in the cache folder, which may lie where devices and other owners' files cannot be.
    with tempfile.TemporaryDirectory(prefix="crosstrain-standin-") as directory:
        root, whole = Path(directory, "root"), Path(directory, "root.tar.gz")
        fill(root)
        _run("tar", "--create", "--gzip", "--file", str(whole), "--directory", str(root), ".")
        part = archive.with_suffix(f".{os.getpid()}")
        shutil.copyfile(whole, part)
        part.replace(archive)
    for older in folder.glob("standin-base-*.tar.gz"):
        if older != archive:
            older.unlink(missing_ok=True)
    return archive


def cache_folder() -> Path:
    """Return the folder of what is slow to make and may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosstrain"


def _run(*command: str) -> None:
    # Neither pip's settings nor an interpreter's belong to the machine inside.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(
        command, check=False, env=inherited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}")
