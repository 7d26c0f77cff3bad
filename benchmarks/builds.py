"""Builds: everything, one changed function of three, nothing changed, with a real engine and registry."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from benchmarks import ROOT
from benchmarks.figures import Goal, Section
from benchmarks.options import Options

TEST = "tests/containers/test_build_images.py::test_only_what_changed_is_built"
LIMITS = {"one changed function": 0.4, "nothing changed": 0.05}
_LINE = re.compile(
    r"^(?P<name>[a-z ]+): (?P<pushed>\d) built and pushed, (?P<seconds>[\d.]+) s, (?P<ratio>[\d.]+) of", re.MULTILINE
)


def measure(_options: Options) -> Section:
    """Return how long `build_images.py` takes, as the container tests run and time it."""
    section = Section("Builds")
    if shutil.which("podman") is None and shutil.which("docker") is None:
        section.notes.append("Not measured: there is no container engine on this machine.")
        return section
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", TEST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = {line["name"]: line for line in _LINE.finditer(done.stdout)}
    if done.returncode or not found:
        reason = (done.stdout.strip().splitlines() or ["it printed nothing"])[-1]
        section.notes.append(f"Not measured: `pytest {TEST}` ended with {reason}")
        return section
    whole = float(found["everything"]["seconds"])
    for name, limit in LIMITS.items():
        share = float(found[name]["seconds"]) / whole
        section.goals.append(Goal(f"build: {name} / everything", f"{share:.3f}", f"≤ {limit}", share <= limit))
    section.tables.append(
        (
            ("", "built and pushed", "seconds"),
            [(name, line["pushed"], line["seconds"]) for name, line in found.items()],
        )
    )
    section.notes.append(f"One run of `pytest -s {TEST}`: a build of everything takes minutes.")
    return section
