"""Deploy the packaged training template and the roles of a stage to real accounts with taskcat, and delete them again.

.taskcat.yml says what is deployed where. taskcat passes over tests and regions that it does not know, and over stacks
that cannot be deleted, without a word; so this looks before at what is asked for, and afterwards at taskcat's report
and at what is left in the accounts. Needs AWS_PROFILE and AWS_REGION of the tools account, and the profiles that
.taskcat.yml names.
It exits with 0 if every stack was created and deleted, 1 if not, 2 for anything that cannot be tested.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from crosstrain.command import run_silent_command
from crosstrain.delivery.taskcat import (
    TRAINING,
    judge,
    plan,
    read_configuration,
    release_parameters,
    run,
    stage_files,
    tools_parameters,
    without_new_buckets,
    write_configuration,
)
from crosstrain.files import PROJECT
from crosstrain.training.stack import find_stack


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        tools = find_stack(options.tools_stack)
        region = tools.session.region_name
        configuration = read_configuration(options.config)
        planned = plan(configuration, region, options.tests)
        parameters = tools_parameters(tools.name, tools.outputs)
        if any(each.template == TRAINING for each in planned):
            parameters |= release_parameters(options.parameters, region)
        stage_files(planned, options.package, parameters, options.out)
        with without_new_buckets(configuration["project"]["name"], {each.profile for each in planned}, region):
            status = run(planned, region, write_configuration(options.config, region, options.out), options.out)
        judge(planned, region, status, options.out / "taskcat_outputs/index.html")

    return run_silent_command(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", metavar="NAME,NAME", help="the tests of .taskcat.yml to run (default: all)")
    parser.add_argument("--tools-stack", default="crosstrain-tools", help="the stack of tools-account.yaml")
    parser.add_argument(
        "--package", type=Path, default=PROJECT / "build/packaged.yaml", help="what `make package` wrote"
    )
    parser.add_argument(
        "--parameters",
        type=Path,
        default=PROJECT / "build/parameters-test.json",
        help="the parameter file of the release, which scripts/resolve_images.py wrote",
    )
    parser.add_argument("--config", type=Path, default=PROJECT / ".taskcat.yml", help="taskcat's own configuration")
    parser.add_argument("--out", type=Path, default=PROJECT / "build/taskcat", help="the folder for files and report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
