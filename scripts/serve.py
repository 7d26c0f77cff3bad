"""Serve the champion of a model on this machine: a form in the browser, and an address for programs.

Requests go, signed with the user's rights, to the function that a stack has for its model: one on AWS, that of `make
local-aws`, or one of this command's own that holds the model of a local folder. Ctrl-C ends it. stdout has the address.
It exits with 0 when it is stopped, 1 for a failed operation, 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from crosstrain.command import run_command
from crosstrain.local.serving import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda errors: serve(options, errors))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve.py", description="Serve the champion of a model on this machine.")
    parser.add_argument("--model-name", help="the model that is expected (the one that the stack serves)")
    parser.add_argument("--stack", help="the deployed stack (the one that CROSSTRAIN_STACK names)")
    parser.add_argument("--from", dest="folder", metavar="FOLDER", help="a local folder of results, and no stack")
    parser.add_argument("--trust", action="store_true", help="load the model of that folder, for which nobody vouches")
    parser.add_argument("--port", type=int, default=8765, help="where to listen on 127.0.0.1 (%(default)s); 0 for any")
    return parser


if __name__ == "__main__":
    sys.exit(main())
