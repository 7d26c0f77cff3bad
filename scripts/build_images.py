"""Build the container images whose contents are new, push them, record them in the ledger, and print all three.

It prints `{function: repository@sha256:…}`, and exits with 0 for success, 1 for a failed operation, 2 for input that
cannot be used. Images are all that a failed build leaves behind: only record_release.py makes a release.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosstrain.command import parse_pairs, run_command
from crosstrain.delivery.engine import Log
from crosstrain.delivery.images import PLATFORMS, Plan, Settings, execute_plans, make_plans, pin_bases
from crosstrain.delivery.ledger import open_ledger
from crosstrain.delivery.repositories import find_repositories
from crosstrain.files import PROJECT, write_whole

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work(errors: Console) -> None:
        build_arguments = parse_pairs(options.build_arg, "--build-arg")
        settings = Settings(options.context, options.base_image, build_arguments, options.platform)
        repositories = find_repositories(parse_pairs(options.repository, "--repository"))
        ledger = open_ledger(options.ledger)
        log = _log_to(errors)
        settings = pin_bases(settings, options.engine, log)
        plans = make_plans(ledger, settings, repositories)
        for plan in plans:
            log(plan.function, f"{'would ' if options.dry_run else ''}{plan.action}: {plan.why}")
        if options.dry_run:
            print(_report(plans))
            return
        uris = execute_plans(plans, ledger, settings, commit=options.commit, engine_name=options.engine, log=log)
        if options.report is not None:
            write_whole(options.report, _report(plans) + "\n")
        print(json.dumps(uris, indent=2))

    return run_command(work)


def _report(plans: Sequence[Plan]) -> str:
    return json.dumps({each.function: {"action": each.action, "why": each.why} for each in plans}, indent=2)


def _log_to(errors: Console) -> Log:
    lock = threading.Lock()

    def log(subject: str, text: str) -> None:
        with lock:
            errors.print(f"{subject}: {text}", markup=False)

    return log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ledger", help="the ledger's table; LEDGER_TABLE if left out")
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="FUNCTION=URI",
        help="a function's repository; REPOSITORY_<FUNCTION> if left out",
    )
    parser.add_argument("--context", type=Path, default=PROJECT / "functions", help="the build context")
    parser.add_argument("--commit", default="unknown", help="the commit that the images are built from")
    parser.add_argument("--base-image", default=os.environ.get("BASE_IMAGE"), help="in place of the Dockerfiles' own")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="a build argument")
    parser.add_argument("--platform", choices=PLATFORMS, default=PLATFORMS[0], help="default: linux/amd64")
    parser.add_argument("--engine", choices=("docker", "podman"), help="default: the first that is installed")
    parser.add_argument("--dry-run", action="store_true", help="say what would be built and why, and build nothing")
    parser.add_argument("--report", type=Path, help="a file for what was done with each image and why, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
