"""Train a model on a small data set with a deployed stack, and fail unless the run succeeds with a good metric.

The data set and the request are those of data/system-test.json; the metric must reach the request's `threshold`.
It prints what came out as JSON and exits with 0 if the stack has passed, 1 if it has not, 2 for input that cannot be
used. The model is registered as `system-test`, whatever the request says: the models of others are not touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from crosstrain.command import run_command
from crosstrain.files import PROJECT
from crosstrain.training.stack import DeployedStack
from crosstrain.training.system_test import SystemTest, borrow, run

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        test = SystemTest.read(options.test)
        session = borrow(boto3.Session(), options.role) if options.role else boto3.Session()
        print(json.dumps(run(DeployedStack.describe(session, options.stack), test, errors), indent=2))

    return run_command(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True, help="the stack to test")
    parser.add_argument("--role", help="the ARN of the role to borrow for it; your own rights if left out")
    parser.add_argument(
        "--test", type=Path, default=PROJECT / "data" / "system-test.json", help="default: data/system-test.json"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
