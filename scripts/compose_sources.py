"""Put the model repository's functions/ and notebooks/ in the place of the samples in the infrastructure repository.

Each folder is replaced as a whole: nothing of a sample is left over. The same goes for the tests of a function
(tests/unit/<function>), where the model repository has its own; otherwise the sample's have to pass. Where one
repository serves as both, `--model` and `--into` are the same folder and nothing is done. It exits with 0 for
success, 2 for a model repository that lacks a function, and then nothing is changed. It needs nothing but Python, for
it runs before the environment is made.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from crosstrain.delivery.functions import FUNCTIONS

# What the model repository must have, and what it may have.
REQUIRED_FOLDER = "functions"
OPTIONAL_FOLDERS = ("notebooks", *(f"tests/unit/{name}" for name in ("common", *FUNCTIONS)))


class IncompleteModelError(Exception):
    """The model repository lacks something that the pipeline builds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the checkout of the model repository")
    parser.add_argument("--into", type=Path, default=Path(), help="the checkout of the infrastructure repository")
    options = parser.parse_args(arguments)
    try:
        for line in compose(options.model, options.into):
            print(line)
    except IncompleteModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compose(model: Path, infrastructure: Path) -> list[str]:
    """Replace the sample folders of one checkout by those of another, and return what was done, in sentences.

    Raises
    ------
    IncompleteModelError
        If the model repository is no folder or lacks a function or its Dockerfile; nothing is changed.
    """
    if not model.is_dir():
        raise IncompleteModelError(f'The model repository "{model}" is no folder: check it out first.')
    if model.resolve() == infrastructure.resolve():
        return ["One repository serves as both: nothing is to be put together."]
    missing = [name for name in FUNCTIONS if not (model / REQUIRED_FOLDER / name / "Dockerfile").is_file()]
    if missing:
        paths = ", ".join(f"{REQUIRED_FOLDER}/{name}/Dockerfile" for name in missing)
        raise IncompleteModelError(f"The model repository lacks {paths}: add each function that the pipeline builds.")
    done = [_replace(model, infrastructure, REQUIRED_FOLDER)]
    for name in OPTIONAL_FOLDERS:
        if (model / name).is_dir():
            done.append(_replace(model, infrastructure, name))
        else:
            done.append(f"The model repository has no {name}/: the sample stays.")
    return done


def _replace(model: Path, infrastructure: Path, name: str) -> str:
    target = infrastructure / name
    # Beside the target, so that it is there as a whole or not at all.
    incoming = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(model / name, incoming, symlinks=True)
    replaced = target.is_dir()
    shutil.rmtree(target, ignore_errors=True)
    incoming.rename(target)
    files = sum(1 for path in target.rglob("*") if path.is_file())
    return f"{name}/ is the model repository's ({files} files){', in place of the sample' if replaced else ''}."


if __name__ == "__main__":
    sys.exit(main())
