"""What a build leaves behind: artifacts and reports by its buildspec, and the results of the project's own commands."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path

from crosstrain.command import OperationFailedError
from crosstrain.rehearsal.codebuild.buildspec import Files


def find_files(source: Path, files: Files) -> list[tuple[str, Path]]:
    """Return the files that patterns find, each with the name that it is handed on by."""
    base = source / files.base
    found = {path for pattern in files.patterns for path in base.glob(pattern) if path.is_file()}
    return [(path.name if files.discards_paths else str(path.relative_to(base)), path) for path in sorted(found)]


def read_report(source: Path, group: str, files: Files) -> str:
    """See that a report is there and can be read, and say what is in it.

    Raises
    ------
    OperationFailedError
        If it is not there, or is no report.
    """
    found = find_files(source, files)
    if not found:
        raise OperationFailedError(f"The report group {group} finds no {', '.join(files.patterns)} in {files.base}.")
    try:
        roots = [ET.parse(path).getroot() for _, path in found]  # noqa: S314 - the build's own files
    except ET.ParseError as error:
        raise OperationFailedError(f"The report group {group} cannot be read: {error}.") from error
    if files.file_format == "COBERTURAXML":
        return f"{group}: {float(roots[0].get('line-rate', 'nan')):.0%} of lines"
    suites = [suite for root in roots for suite in root.iter("testsuite")]
    count = sum(int(suite.get("tests", 0)) for suite in suites)
    seconds = sum(float(suite.get("time", 0)) for suite in suites)
    return f"{group}: {count} tests in {seconds:.0f} s"


def read_results(source: Path) -> list[str]:
    """Return what the project's own commands have left in files that is worth knowing in a summary.

    A team may change what its builds do, so a file that is missing is none of a rehearsal's concern; one that is there
    and has become something else is named.
    """
    details = []
    for name, describe in RESULTS.items():
        path = source / name
        if path.is_file():
            try:
                details.append(describe(path.read_text(encoding="utf-8")))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                details.append(f"{name} is not what was expected: {type(error).__name__}: {error}")
    return details


def _describe_images(text: str) -> str:
    actions = {function: each["action"] for function, each in json.loads(text).items()}
    built = [function for function, action in actions.items() if action == "build"]
    return f"images built: {', '.join(built) or 'none'}; used again: {len(actions) - len(built)}"


def _describe_release(text: str) -> str:
    return f"release {text.strip()}"


def _describe_system_test(text: str) -> str:
    result = json.loads(text)
    return f"{result['metric']} {result['value']:g} (threshold {result['threshold']:g})"


# Where buildspec/build.yml and buildspec/system-test.yml put the results of scripts/build_images.py (--report),
# scripts/record_release.py and scripts/system_test.py.
RESULTS: Mapping[str, Callable[[str], str]] = {
    "build/images-report.json": _describe_images,
    "build/release": _describe_release,
    "build/system-test.json": _describe_system_test,
}
