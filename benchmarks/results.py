"""Renders the figures as Markdown."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Section

LIBRARIES = ("numpy", "pandas", "pyarrow", "scikit-learn", "skops", "boto3", "ministack")
REACHED = {True: "yes", False: "**no**", None: ""}


def render(sections: Mapping[str, Section], *, quick: bool) -> str:
    """Return the document: the machine, the summary with its goals, and each benchmark's own figures."""
    command = "make bench-quick" if quick else "make bench"
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{command}`: run it for your machine's figures. Seconds depend on the machine, ratios hardly.",
        "A figure is the median of paired runs, in which contestants take turns; in brackets are least and largest.",
        "How each is measured: [benchmarks](../docs/benchmarks.md).",
        "",
        machine(),
        "",
        "## Summary",
        "",
        *table(
            ("what", "figure", "goal", "reached"),
            [
                (goal["what"], goal["figure"], goal["goal"], REACHED[goal["reached"]])
                for section in sections.values()
                for goal in map(_plain, section.goals)
            ],
        ),
    ]
    for section in sections.values():
        lines += ["", f"## {section.title}", ""]
        for head, rows in section.tables:
            lines += [*table(head, rows), ""]
        lines += [f"- {note}" for note in section.notes]
    return "\n".join(lines).rstrip() + "\n"


def _plain(goal: object) -> dict[str, object]:
    return goal if isinstance(goal, dict) else vars(goal)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
    ]


def machine() -> str:
    """Return one paragraph on the machine and the libraries."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    load = os.getloadavg()[0]
    return (
        f"{dt.datetime.now(dt.UTC):%d %B %Y}; {os.cpu_count()} cores of {_processor()}, {_memory_gib():.0f} GiB, "
        f"{platform.system()} {platform.release().partition('-')[0]}, load {load:.1f} at the end; "
        f"Python {platform.python_version()}, {versions}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
