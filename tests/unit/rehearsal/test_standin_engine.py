"""What stands for a container engine where there is none."""

from __future__ import annotations

from pathlib import Path

from crosstrain.delivery.engine import Engine, find_local_image
from crosstrain.delivery.images import Settings, pin_bases
from crosstrain.rehearsal.images.backends import LocalProcesses


def test_every_base_image_is_there_and_the_one_by_default_is_asked_of_no_registry(
    tmp_path: Path, project: Path
) -> None:
    environment = LocalProcesses(tmp_path).build_environment({"PATH": "/usr/bin:/bin"})
    base = environment["BASE_IMAGE"]
    # It needs no look-up, and sockets are not open here.
    pinned = pin_bases(Settings(project / "functions", base), None, lambda *_told: None)
    assert dict(pinned.bases) == {base: base}

    engine = Engine(str(tmp_path / "bin/docker"), "docker")
    first, second = (find_local_image(engine, f"host:5000/a:{tag}", "host:5000/a") or "" for tag in "12")
    assert first.startswith("host:5000/a@sha256:")
    assert first != second
