"""Show what training would understand of data: how files are written, what each column is, and what is doubtful.

The table goes to stdout, nothing is trained. It exits with 2 for data that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosstrain.command import result_console, run_command
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.inspection import inspect, printed, sentences
from crosstrain.training.request_flags import json_object

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(_errors: Console) -> None:
        with errors_of_functions():
            document = inspect(options)
        if options.json:
            print(json.dumps(document, indent=2, ensure_ascii=False))
            return
        console = result_console()
        console.print(printed(document))
        for word, sentence in sentences(document):
            console.print(f"{word}: {sentence}", markup=False, style="yellow" if word == "doubt" else None)

    return run_command(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="inspect_data.py", description="Show what training would understand of data.")
    parser.add_argument("--data", required=True, help="a file of data, or a folder of them")
    parser.add_argument("--target", help="the column to predict")
    parser.add_argument(
        "--read", type=json_object, metavar="JSON", help="how the files are to be read, as for training"
    )
    parser.add_argument("--columns", type=json_object, metavar="JSON", help="what columns are, as for training")
    parser.add_argument("--json", action="store_true", help="print a JSON document instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
