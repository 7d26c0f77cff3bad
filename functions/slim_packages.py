"""Make a directory of Python packages ready for an image: drop what no function uses, compile the rest.

The Dockerfiles run it inside `docker build`; it needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from py_compile import PycInvalidationMode

# What breaks when it goes is kept although it is large: `*.libs` (numpy, scipy) and every other libarrow_*, which
# pyarrow's extension modules are linked to.
UNUSED = (
    "**/tests",
    "joblib/test",
    # Build inputs of extension modules, and type stubs.
    *("**/*.pyx", "**/*.pxd", "**/*.pxi", "**/*.pyi", "**/*.[ach]", "**/*.cc", "**/*.[ch]pp", "**/meson.build"),
    *("numpy/_core/include", "pyarrow/include", "pyarrow/src"),
    # Arrow Flight and Arrow's own S3 client: pyarrow imports both only on demand, and S3 is read through boto3.
    *("pyarrow/libarrow_flight*", "pyarrow/libarrow_python_flight*", "pyarrow/_flight*", "pyarrow/flight.py"),
    *("pyarrow/libarrow_s3*", "pyarrow/_s3fs*"),
    # What only other uses of a library load: reading Matrix Market files, model cards.
    *("scipy/io/_fast_matrix_market/_fmm_core*", "prettytable", "wcwidth", "sklearn/datasets/images"),
    # A wheel cannot hold symbolic links, so it holds these three times; the loader asks for `.so.<version>` alone.
    *("pyarrow/libarrow_python*.so", "pyarrow/libarrow_python*.so.*.*"),
    # Console scripts, and what a function's directory holds for the build alone.
    *("bin", "*/Dockerfile", "*/requirements.txt"),
)
# Packages that keep the descriptions of AWS services, one directory for each, beside files that all of them need.
SERVICE_DATA = ("botocore/data", "boto3/data")


def slim(directory: Path, services: Collection[str] = ()) -> None:
    """Remove what is unused, compile bytecode and make everything readable by Lambda's user.

    Parameters
    ----------
    directory
        Holds packages at its top level.
    services
        The AWS services that boto3 clients are made for, by botocore's names; the data of all others is removed.

    Raises
    ------
    FileNotFoundError
        If a service has no data or, at the end, a source file has no bytecode; it names them all.
    """
    for pattern in UNUSED:
        for path in list(directory.glob(pattern)):
            _remove(path)
    for data in (directory / each for each in SERVICE_DATA):
        if data.is_dir():
            _keep_services(data, services)
    # Never checked against the source: a tool that resets the times in an image (`--timestamp`, SOURCE_DATE_EPOCH)
    # would make bytecode that records them stale, and on Lambda's read-only disk each cold start would compile again.
    mode = PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(directory, force=True, quiet=1, workers=0, invalidation_mode=mode)
    if sources := missing_bytecode(directory):
        raise FileNotFoundError(f"no bytecode for {', '.join(map(str, sources))}")
    # Lambda runs the image as a user that owns nothing in it; a checkout under umask 077 would be unreadable.
    for path in directory.rglob("*"):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def missing_bytecode(directory: Path) -> list[Path]:
    """Return the source files under `directory` that the running Python would have to compile."""
    return [
        path
        for path in sorted(directory.rglob("*.py"))
        if not Path(importlib.util.cache_from_source(str(path))).is_file()
    ]


def _keep_services(data: Path, services: Collection[str]) -> None:
    known = {path.name for path in data.iterdir() if path.is_dir()}
    # boto3 describes few services; botocore describes all of them.
    if data.parent.name == "botocore" and (unknown := sorted(set(services) - known)):
        raise FileNotFoundError(f"botocore has no data for {', '.join(unknown)}")
    for name in known - set(services):
        _remove(data / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="the directory that holds the packages")
    parser.add_argument("--service", action="append", default=[], help="an AWS service to keep the data of")
    options = parser.parse_args(arguments)
    if not options.directory.is_dir():
        print(f"slim_packages: {options.directory} is not a directory", file=sys.stderr)
        return 2
    try:
        slim(options.directory, options.service)
    except FileNotFoundError as error:
        print(f"slim_packages: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
