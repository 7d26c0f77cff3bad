"""Rehearse the whole delivery on this machine: the pipeline that pipeline.yaml declares, in three emulated accounts.

Sources, builds, change sets, system tests and the approval go by the declaration, each with the rights that AWS would
give it. What failed comes first, with its cause; rehearsal.json, timeline.html and a log of each action are below
`--out`. It exits with 0 if all went well, 1 if an action failed, 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import fcntl
import select
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rehearsal import accounts, summary, timeline, view
from rehearsal.accounts import Accounts
from rehearsal.images import Images, LocalProcesses, open_containers
from rehearsal.records import RehearsalRecord
from rehearsal.runner import Approve, Rehearsal
from rehearsal.sources import Repository
from rehearsal.world import Folders, World, open_world
from stack import BadInputError, result_console, run_command

if TYPE_CHECKING:
    from rich.console import Console

ROOT = Path(__file__).parents[1]
# What the model repository holds where one repository of this machine stands for both.
_MODEL_PATHS = ("functions", "notebooks")
_LOOK_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    failed: list[RehearsalRecord] = []

    def work(console: Console) -> None:
        record = rehearse(options, console)
        summary.print_summary(record, result_console())
        failed.extend([record] if record.failed else [])

    return run_command(work) or len(failed)


def rehearse(options: argparse.Namespace, console: Console) -> RehearsalRecord:
    """Rehearse the delivery as the options say, and return what became of it.

    Raises
    ------
    BadInputError
        If something cannot be rehearsed.
    OperationFailedError
        If the accounts cannot be set up.
    """
    if options.approve == "ask" and not sys.stdin.isatty():
        raise BadInputError("There is no terminal to ask for the approval: say --approve yes or --approve no.")
    ids = Accounts.parse(options.accounts)
    infrastructure = Repository(options.project.resolve(), options.worktree)
    model = Repository(options.model.resolve(), options.worktree) if options.model else _model(infrastructure)
    deployed = Repository(infrastructure.folder, revision=options.since) if options.since else infrastructure
    out = options.out.resolve()
    if options.worktree and any(each.contains(out) for each in (infrastructure, model)):
        raise BadInputError(f"{out} would be part of the files that are rehearsed: say another folder with --out.")
    folders = Folders(out / "work", out / "cache")
    with (
        alone_in(out),
        open_images(options, folders, ids, console) as images,
        open_world(ids, images, folders, fresh=options.fresh) as world,
    ):
        known = folders.cache / f"{images.kind}.json"
        with tempfile.TemporaryDirectory(prefix="crosstrain-templates-") as folder:
            fetch_templates(deployed, Path(folder))
            world.set_up(Path(folder), _pairs(options.parameter))
        world.restore_images(known)
        asking: list[view.View] = []
        approve = _approver(options.approve, console, asking, world)
        rehearsal = Rehearsal(world, infrastructure, model, approve=approve, out=out)
        for sentence in _left_out(options, infrastructure, model):
            rehearsal.note(sentence)
        record = rehearsal.prepare()
        try:
            with view.live(record, console) as shown:
                asking.append(shown)
                rehearsal.run()
        finally:
            summary.write_json(record, out / "rehearsal.json")
            timeline.write_timeline(record, out / "timeline.html")
        world.save_images(known)
    return record


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep a folder to this process.

    Raises
    ------
    BadInputError
        If another process has it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise BadInputError(f"{folder} cannot be written to: {error}. Say another folder with --out.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInputError(f"Another rehearsal works in {folder}: wait for it, or say --out.") from error
        # Whatever is there afterwards is of this rehearsal.
        for name in ("rehearsal.json", "timeline.html"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "logs", ignore_errors=True)
        yield


@contextmanager
def open_images(options: argparse.Namespace, folders: Folders, ids: Accounts, console: Console) -> Iterator[Images]:
    """Yield what functions run from: containers, or processes with `--no-images`."""
    if options.no_images:
        yield LocalProcesses(folders.cache / "images")
        return
    with open_containers(folders.work / "engine", ids.tools, console.print) as images:
        yield images


def fetch_templates(repository: Repository, folder: Path) -> None:
    """Fetch what people deploy by hand, from the repository that the pipeline delivers."""
    archive = folder / "infrastructure.zip"
    repository.fetch(archive)
    with zipfile.ZipFile(archive) as opened:
        for name in ("pipeline.yaml", "target-account.yaml"):
            if name in opened.namelist():
                opened.extract(name, folder)


def _left_out(options: argparse.Namespace, *repositories: Repository) -> Iterator[str]:
    """Yield what the chosen sources leave out of the rehearsal."""
    if not options.since:
        yield "The delivery stack and the roles were made new; --since COMMIT updates those of a commit."
    yield "The training stacks were created, not updated."
    if options.worktree:
        return
    for folder in {each.folder for each in repositories}:
        if count := Repository(folder).uncommitted():
            yield f"{count} changed files of {folder} are not in HEAD: --worktree takes them too."


def _model(infrastructure: Repository) -> Repository:
    return Repository(infrastructure.folder, infrastructure.worktree, _MODEL_PATHS)


def _approver(answer: str, console: Console, shown: Sequence[view.View], world: World) -> Approve:
    """Return what asks for an approval, in a thread that ends when the rehearsal is stopped."""

    def approve(text: str) -> bool:
        if answer != "ask":
            return answer == "yes"
        with shown[0].pause():
            console.print(text, markup=False)
            console.print("Approve? [y/N] ", markup=False, end="")
            while not world.stopped:
                if select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]:
                    return sys.stdin.readline().strip().lower() in ("y", "yes")
        return False

    return approve


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [word for word, (name, separator, _) in zip(words, pairs, strict=True) if not (name and separator)]:
        raise BadInputError(f"--parameter takes NAME=VALUE, not {', '.join(wrong)}.")
    return {name: value for name, _, value in pairs}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--project", type=Path, default=ROOT, help="the infrastructure repository (default: this one)")
    parser.add_argument("--model", type=Path, help="the model repository (default: functions/ and notebooks/ of it)")
    parser.add_argument("--worktree", action="store_true", help="take the files as they are, not those of HEAD")
    parser.add_argument(
        "--since", metavar="COMMIT", help="the commit that the delivery stack and the roles are deployed from at first"
    )
    parser.add_argument(
        "--accounts",
        default=accounts.DEFAULT,
        metavar="TOOLS,TEST,PROD",
        help="the accounts; fewer than three ids, and the last one stands for the others (default: %(default)s)",
    )
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter of pipeline.yaml"
    )
    parser.add_argument("--approve", choices=("yes", "no", "ask"), default="ask", help="default: %(default)s")
    parser.add_argument("--no-images", action="store_true", help="run functions as processes, not as containers")
    parser.add_argument("--fresh", action="store_true", help="verify again what has been verified before")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "rehearsal", help="default: out/rehearsal")
    return parser


if __name__ == "__main__":
    sys.exit(main())
