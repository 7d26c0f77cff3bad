"""Train a model with the real state machine: on this machine, or with a deployed stack on AWS.

Without options it trains on scikit-learn's diabetes data. Progress goes to stderr, the result to stdout. It exits with
0 when the run has succeeded, whatever the decision; 2 for data or a request that cannot be used, whoever has found that
out; 1 when the run has failed for any other reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from crosstrain.command import BadInputError, result_console, run_command
from crosstrain.local.server import open_training_stack
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.progress import Progress
from crosstrain.training.request_flags import add_request_flags
from crosstrain.training.runs import train
from crosstrain.training.summary import lines
from crosstrain.training.tables import pairs_table

# What template.yaml takes.
SMALLEST_FUNCTION_MB, LARGEST_FUNCTION_MB = 512, 10_240

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        with errors_of_functions():
            result = train(options, Progress(errors), partial(open_training_stack, parameters=_sizes(options.memory)))
        _show(result, as_json=options.json)

    return run_command(work)


def _sizes(memory: int | None) -> dict[str, str]:
    """Return the parameters that give the functions of this machine so much memory."""
    if memory is None:
        return {}
    if not SMALLEST_FUNCTION_MB <= memory <= LARGEST_FUNCTION_MB:
        raise BadInputError(
            f"MEMORY is {memory:,}: a function has {SMALLEST_FUNCTION_MB:,} to {LARGEST_FUNCTION_MB:,} MB here."
        )
    return dict.fromkeys(("DataPreparationMemory", "ModelTrainingMemory", "ModelEvaluationMemory"), str(memory))


def _show(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        result_console().print(pairs_table(lines(result), title=f"Run {result['run_id']}"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train.py", description="Train a model with the training stack.")
    parser.add_argument(
        "--data", help="a file of CSV, JSON lines, Excel or Parquet, a folder of them, or an s3:// URI (with --stack)"
    )
    add_request_flags(parser)
    parser.add_argument("--out", default="out", help="the folder for the results (out)")
    parser.add_argument(
        "--memory",
        type=int,
        metavar="MB",
        help="the memory of the functions on this machine (10240 for training); what does not fit it runs as a task",
    )
    parser.add_argument("--stack", help="a deployed stack (the one that CROSSTRAIN_STACK names, else none)")
    parser.add_argument("--json", action="store_true", help="print the result document instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
