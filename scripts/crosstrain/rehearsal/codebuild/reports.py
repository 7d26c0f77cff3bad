"""What a build leaves behind: files by the patterns of its buildspec, and the reports among them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
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
