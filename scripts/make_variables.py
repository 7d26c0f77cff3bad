"""Say what is wrong with the variables on make's command line: make itself takes any, a misspelt one in silence.

The Makefile runs it before there is an environment, so it needs nothing but Python.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is wrong in one line, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, what in {
        "given": "the variables that are set on the command line",
        "empty": "those of them that have no value",
        "known": "those that the targets take",
    }.items():
        parser.add_argument(f"--{name}", required=True, type=str.split, help=what)
    options = parser.parse_args(arguments)
    print("; ".join(problems(options.given, options.empty, options.known)))
    return 0


def problems(given: Iterable[str], empty: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return what is wrong with each variable that no target takes, or that has no value; make ends the sentence."""
    unknown = sorted(name for name in given if name not in known)
    return [f"{name} is no variable of this target ({_way_out(name, known)})" for name in unknown] + [
        f"{name} is empty: give it a value or leave it out" for name in sorted(empty) if name not in unknown
    ]


def _way_out(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.upper().replace("-", "_"), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"


if __name__ == "__main__":
    sys.exit(main())
