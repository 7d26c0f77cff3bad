"""Sizes of what the images hold over their base, against plain installations of the same libraries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import ROOT, SCRATCH
from benchmarks.figures import Goal, Section, rounded
from benchmarks.options import Options
from crosstrain.delivery.functions import FUNCTIONS

FOLDER = ROOT / "functions"
# What an image has besides its own, and botocore's names of the services that it calls.
MORE_PACKAGES = {"scoring": ("data_preparation",)}
SERVICES = {"scoring": ("s3", "dynamodb", "events")}


def measure(_options: Options) -> Section:
    """Return the bytes of each function's two layers, made by the steps of its Dockerfile in a folder."""
    section = Section("Sizes of the images over their base")
    rows = []
    for step in FUNCTIONS:
        plain = _installed(step, "plain", compiled=True)
        built = _installed(step, "built", compiled=False)
        services = SERVICES.get(step, ("s3",))
        _run("slim_packages.py", str(built), *(word for name in services for word in ("--service", name)))
        for package in ("common", step, *MORE_PACKAGES.get(step, ())):
            shutil.copytree(FOLDER / package, built / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
        _run("slim_packages.py", str(built / "code"))
        sizes = {"plain": _bytes(plain), "built": _bytes(built)}
        quotient = sizes["built"] / sizes["plain"]
        section.goals.append(
            Goal(f"image of {step} / plain pip install", rounded(quotient), "≤ 0.65", quotient <= 0.65)
        )
        largest = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in _largest(built))
        rows.append((step, f"{sizes['plain'] / 1e6:.0f}", f"{sizes['built'] / 1e6:.0f}", rounded(quotient), largest))
        shutil.rmtree(plain)
        shutil.rmtree(built)
    section.tables.append((("", "plain MB", "as built MB", "ratio", "the largest of it, MB"), rows))
    section.notes.append(
        "Without an engine: the packages of requirements.txt are installed into a folder, as in the Dockerfile, and "
        "`slim_packages.py` goes over them and over the code. `pytest tests/containers` measures the images "
        "themselves, and runs all three steps in them."
    )
    return section


def _installed(step: str, kind: str, *, compiled: bool) -> Path:
    folder = SCRATCH / "images" / f"{step}-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(folder)]
    command += ["--compile-bytecode"] if compiled else []
    subprocess.run([*command, "--requirements", str(FOLDER / step / "requirements.txt")], check=True)
    return folder


def _run(script: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(FOLDER / script), *arguments], check=True, stdout=subprocess.DEVNULL)


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _largest(folder: Path) -> list[tuple[str, int]]:
    sizes = {path.name: _bytes(path) for path in folder.iterdir() if path.is_dir()}
    return sorted(sizes.items(), key=lambda each: -each[1])[:5]
