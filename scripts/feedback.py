"""Tell how good predictions were, now that labels are there: the metric of the model, beside that of its test part.

The predictions are those of a run of batch scoring, of files that predict.py has written, or of captured requests. With
a stack its function joins them and announces what has dropped; with --from it is done here, for the model of a folder.
It exits with 0 for success, 1 for a failed operation, 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosstrain.command import result_console, run_command
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.late_labels import feedback, lines
from crosstrain.training.request_flags import add_read_flag, names_of

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        with errors_of_functions():
            found = feedback(options, errors)
        if options.json:
            print(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            result_console().print("\n".join(lines(found)))

    return run_command(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="feedback.py", description="Measure predictions by labels that came late.")
    parser.add_argument("--labels", required=True, help="a file of labels, a folder of them, or an s3:// URI")
    parser.add_argument(
        "--key", required=True, type=names_of, metavar="NAME,NAME", help="the columns that labels are joined by"
    )
    parser.add_argument("--target", help="the column of the labels (the target of training)")
    parser.add_argument(
        "--scores", help="a run of batch scoring, or a file or folder of predictions (requests that were captured)"
    )
    parser.add_argument("--since", help="from when on requests were captured, such as 2026-01-31T00:00:00Z (ever)")
    parser.add_argument("--until", help="before when requests were captured (now)")
    parser.add_argument("--model-name", help="the name of the model (the only model's)")
    parser.add_argument("--version", help="the version that has predicted (the run's, else the champion)")
    parser.add_argument("--stack", help="the deployed stack (the one that CROSSTRAIN_STACK names)")
    parser.add_argument(
        "--from", dest="folder", metavar="FOLDER", help="a folder that `make train` has written, instead of a stack"
    )
    add_read_flag(parser, "labels")
    parser.add_argument("--out", default="out", help="the folder for feedback.json and feedback.html (out)")
    parser.add_argument("--json", action="store_true", help="print the document instead of what it says")
    return parser


if __name__ == "__main__":
    sys.exit(main())
