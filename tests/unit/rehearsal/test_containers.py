"""The engine of a rehearsal, as far as none is needed: what is refused, and the command that a build finds."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from crosstrain.command import BadInputError
from crosstrain.local.server import Registry
from crosstrain.rehearsal.images import containers
from crosstrain.rehearsal.images.containers import Engine, build_environment, open_engine, open_network

# Prints its arguments, one a line.
PRINTER = """#!/bin/sh
printf '%s\\n' "$@"
"""
REGISTRY = Registry("127.0.0.1:4566", Path("/a folder"))
URI = "123456789012.dkr.ecr.us-east-1.amazonaws.com/crosstrain/model-training"


class Answering:
    """As much of a client as is asked where an engine runs."""

    def __init__(self, **answer: Any) -> None:
        self._answer = {"KernelVersion": platform.release(), "SecurityOptions": [], **answer}

    def info(self) -> dict[str, Any]:
        """Return what the engine says of itself."""
        return self._answer


def engine(kind: str, host: str = "unix:///run/engine.sock", **answer: Any) -> Engine:
    return Engine(host, cast("Any", kind), cast("Any", Answering(**answer)))


def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, base: str = "base") -> dict[str, str]:
    """Return the environment of a build, in which the engine's program prints its arguments."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / kind).write_text(PRINTER)
    (programs / kind).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return build_environment(engine(kind), tmp_path, REGISTRY, base)


def printed_by(environment: dict[str, str], *arguments: str, text: str = "") -> list[str]:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec docker "$@"', "sh", *arguments],
        env={**os.environ, **environment},
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_an_engine_that_does_not_answer_at_docker_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonesuch.sock")
    with pytest.raises(BadInputError, match=r"DOCKER_HOST \(unix:///nonesuch.sock\).*--no-images"), open_engine():
        pass


def test_no_engine_at_all_offers_to_rehearse_without_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(containers, "_SOCKETS", ())
    with pytest.raises(BadInputError, match=r"No container engine answers.*say --no-images"), open_engine():
        pass


@pytest.mark.parametrize(
    ("foreign", "why"),
    [
        (engine("docker", SecurityOptions=["name=rootless"]), "without root's rights"),
        (engine("docker", KernelVersion="6.6.0-linuxkit"), "in a virtual machine"),
        (engine("docker", host="tcp://192.0.2.1:2376"), "on another machine"),
    ],
)
def test_an_engine_whose_containers_do_not_reach_this_machine_is_refused(foreign: Engine, why: str) -> None:
    with pytest.raises(BadInputError, match=rf"{why}.*--no-images"), open_network(foreign):
        pass


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_a_build_for_ecr_goes_to_the_embedded_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    environment = command(tmp_path, monkeypatch, kind)

    built = printed_by(environment, "build", "--tag", f"{URI}:a b", "--build-arg", f"BASE_IMAGE={URI}:1", "/a context")
    pushed = printed_by(environment, "push", f"{URI}:1")
    asked = printed_by(environment, "image", "inspect", f"{URI}:1")

    assert built[-5:] == [
        "--tag",
        f"{REGISTRY.host}/crosstrain/model-training:a b",
        "--build-arg",
        # The base image is pulled from where it is.
        f"BASE_IMAGE={URI}:1",
        "/a context",
    ]
    assert asked[-1] == f"{URI}:1"
    assert pushed[-1] == f"{REGISTRY.host}/crosstrain/model-training:1"
    # Podman takes every registry to have TLS.
    assert ("--tls-verify=false" in pushed) == (kind == "podman")
    password = ["--authfile", "/a folder/config.json"] if kind == "podman" else ["--config", "/a folder"]
    assert set(password) <= set(pushed)
    assert not set(password) & set(built)
    assert environment["BASE_IMAGE"] == "base"


def test_nothing_is_logged_in_to_and_no_password_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = command(tmp_path, monkeypatch, "docker")
    assert printed_by(environment, "login", "--username", "AWS", "--password-stdin", "host", text="secret") == []


def test_podman_does_not_pass_for_buildx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = command(tmp_path, monkeypatch, "podman")
    with pytest.raises(subprocess.CalledProcessError):
        printed_by(environment, "buildx", "version")


def test_awss_own_base_image_is_left_to_the_dockerfiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = command(tmp_path, monkeypatch, "docker", containers.DEFAULT_BASE)
    assert "BASE_IMAGE" not in environment


def test_an_engine_without_its_command_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInputError, match="`podman` is not here"):
        build_environment(engine("podman"), tmp_path, REGISTRY, "base")
