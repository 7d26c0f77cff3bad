"""Record the images of a pair of commits as a release, and make it the latest unless a newer one is.

The images are the JSON that build_images.py prints, each in its function's own repository, which has to hold it.
Which release is newer is decided by when its pipeline execution began: `--pipeline` and `--execution` look it up,
`--order` says it. It exits with 0 when the release is recorded, 1 for a failed operation, 2 for input that cannot be
used; then nothing is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosstrain.aws import make_client
from crosstrain.command import BadInputError, parse_pairs, run_command
from crosstrain.delivery.ledger import Release, latest_order, open_ledger, release_id
from crosstrain.delivery.releases import execution_start, parse_images, require_images
from crosstrain.delivery.repositories import find_repositories

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.order is None and not (options.pipeline and options.execution):
        parser.error("say --order N, or --pipeline NAME and --execution ID")

    def work(errors: Console) -> None:
        name = release_id(options.model_commit, options.infrastructure_commit)
        repositories = find_repositories(parse_pairs(options.repository, "--repository"))
        images = parse_images(_read(options.images), repositories)
        require_images(images)
        order = options.order
        if order is not None and not 0 < order <= latest_order():
            raise BadInputError(
                f"--order {order} is no time in milliseconds since 1970 up to now: a release of the future would stay "
                "the latest for ever."
            )
        if order is None:
            order = execution_start(make_client("codepipeline"), options.pipeline, options.execution)
        release = Release(
            name,
            images,
            order,
            options.model_commit,
            options.infrastructure_commit,
            pipeline_execution=options.execution or "",
        )
        is_latest = open_ledger(options.ledger).record_release(release)
        errors.print(f"Release {name} is recorded" + (", the latest." if is_latest else "; a newer one is the latest."))
        print(name)

    return run_command(work)


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The images cannot be read: {error}.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", default="-", help="the file of what build_images.py printed; - is standard input")
    parser.add_argument("--model-commit", required=True, help="the full commit of the model repository")
    parser.add_argument(
        "--infrastructure-commit", required=True, help="the full commit of the infrastructure repository"
    )
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="FUNCTION=URI",
        help="the repository that a function's image has to be in; REPOSITORY_<FUNCTION> if left out",
    )
    parser.add_argument("--ledger", help="the ledger's table; LEDGER_TABLE if left out")
    parser.add_argument("--order", type=int, help="the milliseconds at which the build began, in place of an execution")
    parser.add_argument("--pipeline", help="the pipeline that builds the release")
    parser.add_argument("--execution", help="the id of its execution")
    return parser


if __name__ == "__main__":
    sys.exit(main())
