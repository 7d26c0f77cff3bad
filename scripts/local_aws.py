"""Keep an embedded AWS with the training stack running, and print what leads other terminals to it.

What it prints are lines for a shell: set them in another terminal, and train.py, models.py, predict.py and the AWS CLI
there work with this stack, with a data scientist's rights. Data and models stay until it is stopped by Ctrl-C or
SIGTERM, which leave nothing behind.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from crosstrain.command import run_command, terminate
from crosstrain.local.terminal import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: to be stopped, once it serves, is its success."""
    options = _parser().parse_args(arguments)
    # A terminal that is closed.
    signal.signal(signal.SIGHUP, terminate)
    return run_command(lambda errors: serve(options.env_file, errors, options.parameter_overrides))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="local_aws.py", description="Keep an embedded AWS with the training stack running."
    )
    parser.add_argument("--env-file", type=Path, metavar="PATH", help="write the shell lines to a new file as well")
    parser.add_argument(
        "--parameter-overrides",
        nargs="+",
        default=(),
        metavar="NAME=VALUE",
        help="parameters of the stack, as `sam deploy` takes them, such as ServeModel=houses-price",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
