"""Turn a release of the image ledger into the parameters of a deployment.

RELEASE is `latest`, the id of a release, `stage:<stage>` or `previous:<stage>`. `--out` writes the
template-configuration file of a stage, `--format sam` prints arguments of `sam deploy --parameter-overrides`,
`--format json` the release itself.
It exits with 0 for success, 1 for a failed operation, 2 for anything that cannot be deployed, all of it in one error;
then no file is touched. A release is one strongly consistent read of one item of the ledger. With a stage, what it runs
is read too: its images have to be there, for a deployment that fails goes back to them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosstrain.command import run_silent_command
from crosstrain.delivery.ledger import open_ledger
from crosstrain.delivery.parameters import configure, read_parameters, sam_words
from crosstrain.delivery.stages import STAGES, read_base
from crosstrain.files import PROJECT, write_whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # `stage:prod` and `previous:prod` say the stage by themselves.
    stage = options.stage or options.release.partition(":")[2] or None
    if options.out is not None and stage is None:
        parser.error("--out needs --stage")

    def work() -> None:
        ledger = open_ledger(options.ledger)
        release = ledger.resolve(options.release)
        checks = not (options.skip_registry or options.without_way_back)
        configuration = configure(
            release,
            read_parameters(options.template),
            stage=stage,
            base=read_base(options.base) if options.base else None,
            check_registry=not options.skip_registry,
            replaced=ledger.deployed(stage) if stage and checks else None,
        )
        documents = {None: configuration, "sam": configuration["Parameters"], "json": release.contents()}
        if options.out is not None:
            write_whole(options.out, _json(documents[options.format]) + "\n")
            print(f"{options.out}: release {release.id} for stage {stage}", file=sys.stderr)
        elif options.format == "sam":
            print(" ".join(sam_words(configuration["Parameters"])))
        else:
            print(_json(release.contents()))

    return run_silent_command(work)


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("release", metavar="RELEASE", help="latest, a release's id, stage:<stage> or previous:<stage>")
    parser.add_argument("--ledger", help="the ledger's table; LEDGER_TABLE if left out")
    parser.add_argument("--stage", choices=STAGES, help="the stage to deploy to")
    parser.add_argument("--base", type=Path, help="a JSON file of the stage's own Parameters and Tags")
    parser.add_argument("--template", type=Path, default=PROJECT / "template.yaml", help="the template to deploy")
    parser.add_argument("--skip-registry", action="store_true", help="do not see whether the registry holds the images")
    parser.add_argument(
        "--without-way-back",
        action="store_true",
        help="deploy although the registry lacks an image of what the stage runs, to which nothing can then go back",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="write a file: the stage's template configuration or, with --format sam, what `sam deploy "
        "--parameter-overrides file://` reads",
    )
    parser.add_argument("--format", choices=("json", "sam"), help="what is printed (default: json) or written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
