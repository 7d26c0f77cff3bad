"""Score files with a model: the champion of a deployed stack, one of its versions, or a local folder of results.

The rows are prepared as they were for training. The predictions go to stdout as CSV, or to a file, in the order of the
rows; nothing is written if any row cannot be scored. It exits with 0 for success, 1 for a failed operation, 2 for input
that cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosstrain.command import run_command
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.request_flags import add_keep_flags, add_read_flag
from crosstrain.training.scored_files import predict

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        with errors_of_functions():
            predict(options, errors)

    return run_command(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict.py", description="Score files with a trained model.")
    parser.add_argument("file", help="a file of data, a folder of them, or - for text on stdin")
    parser.add_argument("--model-name", help="the name of the model (the only model's)")
    parser.add_argument("--version", help="a version of the model (the champion)")
    parser.add_argument("--stack", help="the deployed stack (the one that CROSSTRAIN_STACK names)")
    parser.add_argument(
        "--from", dest="folder", metavar="FOLDER", help="a folder that `make train` has written, instead of a stack"
    )
    parser.add_argument("--trust", action="store_true", help="load the model of --from, for which nobody else vouches")
    add_read_flag(parser, "files")
    add_keep_flags(parser)
    parser.add_argument(
        "--keep-formulas",
        action="store_true",
        help="write texts that begin with =, +, - or @ to CSV as they are (with an apostrophe, for spreadsheets)",
    )
    parser.add_argument("--out", help="the file for the predictions, .csv or .parquet (stdout, as CSV)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
