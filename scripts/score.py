"""Score data sets with a stack's champion: each object gets a file of predictions, and is compared with training's.

The run is the stack's; this command brings the rows, follows the run and fetches what it has written. Progress goes to
stderr, the result to stdout. It exits with 0 when the run has succeeded, whatever has drifted and even if some objects
could not be scored; 2 for data or a request that cannot be used; 1 when the run has failed for any other reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crosstrain.command import result_console, run_command
from crosstrain.local.batches import open_with_model
from crosstrain.training.batches import score
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.progress import Progress
from crosstrain.training.request_flags import add_keep_flags, add_read_flag
from crosstrain.training.tables import pairs_table

if TYPE_CHECKING:
    from rich.console import Console

_MOST_TOLD = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        with errors_of_functions():
            result = score(options, Progress(errors), open_with_model)
        if options.json:
            print(json.dumps(result, indent=2, ensure_ascii=False))
        else:
            result_console().print(pairs_table(_lines(result), title=f"Run {result['run_id']}"))

    return run_command(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="score.py", description="Score data sets with the champion of a stack.")
    parser.add_argument("--data", required=True, help="a file of rows, a folder of them, or an s3:// URI")
    parser.add_argument("--model-name", help="the name of the model (the only model's)")
    parser.add_argument("--version", help="a version of the model (the champion)")
    add_keep_flags(parser)
    parser.add_argument("--format", choices=["parquet", "csv"], help="what the predictions are written as (parquet)")
    add_read_flag(parser, "files")
    parser.add_argument("--out", default="scores", help="the folder that gets a folder for this run (scores)")
    parser.add_argument("--stack", help="the deployed stack (the one that CROSSTRAIN_STACK names)")
    parser.add_argument(
        "--from", dest="folder", metavar="FOLDER", help="a folder that `make train` has written, instead of a stack"
    )
    parser.add_argument("--trust", action="store_true", help="load the model of --from, for which nobody else vouches")
    parser.add_argument("--json", action="store_true", help="print the result document instead of the table")
    return parser


def _lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is told of a run, name by name."""
    objects = result["objects"]
    lines = [
        ("Rows", f"{result['rows']:,}"),
        ("Model", f"{result['model_name']} {result['version']}"),
        ("Objects", ", ".join(f"{count:,} {state}" for state, count in objects.items() if count)),
    ]
    for kind, word in (("failed", "Not scored"), ("empty", "Empty")):
        lines += [(word, f"{name}: {reason}") for name, reason in result[kind][:_MOST_TOLD]]
        if len(result[kind]) > _MOST_TOLD:
            lines.append((word, f"and {len(result[kind]) - _MOST_TOLD:,} more, in manifest.json"))
    lines.append(("Drift", result["reason"]))
    return [*lines, ("Predictions", result["out"]), *([("On S3", result["uri"])] if result["uri"] else [])]


if __name__ == "__main__":
    sys.exit(main())
