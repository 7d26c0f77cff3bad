"""Builds: everything, one changed function of three, nothing changed, with a real engine and registry."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from benchmarks import ROOT
from benchmarks.figures import Section, Spread, at_most, ratio
from benchmarks.options import Options

TEST = "tests/containers/test_build_images.py::test_only_what_changed_is_built"
LIMITS = {"one changed function": 0.4, "nothing changed": 0.05}
_LINE = re.compile(
    r"^(?P<name>[a-z ]+): (?P<pushed>\d) built and pushed, (?P<seconds>[\d.]+) s, (?P<ratio>[\d.]+) of", re.MULTILINE
)


def measure(options: Options) -> Section:
    """Return how long `build_images.py` takes, as the container tests run and time it."""
    section = Section("Builds")
    if shutil.which("podman") is None and shutil.which("docker") is None:
        section.notes.append("Not measured: there is no container engine on this machine.")
        return section
    runs = [_run() for _ in range(options.repeats)]
    for run in runs:
        if isinstance(run, str):
            section.notes.append(f"Not measured: `pytest {TEST}` ended with {run}")
            return section
    seconds = {name: [float(run[name]["seconds"]) for run in runs] for name in runs[0]}
    for name, limit in LIMITS.items():
        section.goals.append(at_most(f"build: {name} / everything", ratio(seconds[name], seconds["everything"]), limit))
    section.tables.append(
        (
            ("", "built and pushed", "seconds"),
            [(name, runs[0][name]["pushed"], Spread.of(each).text()) for name, each in seconds.items()],
        )
    )
    section.notes.append(f"As `pytest -s {TEST}` prints them, with packages and base at hand.")
    return section


def _run() -> dict[str, re.Match[str]] | str:
    """Return what the test printed of each build, by its name, or how it failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", TEST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = {line["name"]: line for line in _LINE.finditer(done.stdout)}
    if done.returncode or not found:
        return (done.stdout.strip().splitlines() or ["nothing printed"])[-1]
    return found
