"""One rehearsal from end to end: what the command's options say, in a folder that nobody else works in."""

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

from crosstrain.command import BadInputError, parse_pairs
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.codepipeline.sources import Repository
from crosstrain.rehearsal.environment import TEMPLATES, Environment, Folders, open_environment
from crosstrain.rehearsal.images.backends import Images, LocalProcesses, open_containers
from crosstrain.rehearsal.report import summary, timeline, view
from crosstrain.rehearsal.report.records import RehearsalRecord
from crosstrain.rehearsal.runner import Approve, Rehearsal

if TYPE_CHECKING:
    from rich.console import Console

# What the model repository holds where one repository of this machine stands for both.
_MODEL_PATHS = ("functions", "notebooks")
_LOOK_SECONDS = 0.2


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
    ids, parameters = Accounts.parse(options.accounts), parse_pairs(options.parameter, "--parameter")
    infrastructure = Repository(options.project.resolve(), options.worktree)
    model = Repository(options.model.resolve(), options.worktree) if options.model else _model(infrastructure)
    deployed = Repository(infrastructure.folder, revision=options.since) if options.since else infrastructure
    out = options.out.resolve()
    if options.worktree and any(each.contains(out) for each in (infrastructure, model)):
        raise BadInputError(f"{out} would be part of the files that are rehearsed: say another folder with --out.")
    left_out = list(_left_out(options, infrastructure, model))
    folders = Folders(out / "work", out / "cache")
    with alone_in(out), tempfile.TemporaryDirectory(prefix="crosstrain-templates-") as templates:
        # What is wrong with the sources shows before anything starts.
        fetch_templates(deployed, Path(templates))
        with (
            open_images(options, folders, ids, console) as images,
            open_environment(ids, images, folders, fresh=options.fresh) as environment,
        ):
            known = folders.cache / f"{images.kind}.json"
            environment.set_up(Path(templates), parameters)
            environment.restore_images(known)
            shown: list[view.View] = []
            approve = _approver(options.approve, console, shown, environment)
            rehearsal = Rehearsal(environment, infrastructure, model, approve=approve, out=out)
            for sentence in left_out:
                rehearsal.note(sentence)
            record = _run(rehearsal, console, shown, out)
            environment.save_images(known)
    return record


def _run(rehearsal: Rehearsal, console: Console, shown: list[view.View], out: Path) -> RehearsalRecord:
    """Run a rehearsal with a view of it, and write down what became of it, however it ends."""
    record = rehearsal.prepare()
    try:
        with view.live(record, console) as opened:
            shown.append(opened)
            rehearsal.run()
    finally:
        summary.write_json(record, out / "rehearsal.json")
        timeline.write_timeline(record, out / "timeline.html")
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
        for name in TEMPLATES:
            if name in opened.namelist():
                opened.extract(name, folder)


def _left_out(options: argparse.Namespace, *repositories: Repository) -> Iterator[str]:
    """Yield what the chosen sources leave out of the rehearsal."""
    if not options.since:
        yield "The delivery stack was made new; --since COMMIT updates that of a commit."
    yield "The training stacks were created, not updated."
    if options.worktree:
        return
    for folder in {each.folder for each in repositories}:
        if count := Repository(folder).uncommitted():
            yield f"{count} changed files of {folder} are not in HEAD: --worktree takes them too."


def _model(infrastructure: Repository) -> Repository:
    return Repository(infrastructure.folder, infrastructure.worktree, _MODEL_PATHS)


def _approver(answer: str, console: Console, shown: Sequence[view.View], environment: Environment) -> Approve:
    """Return what asks for an approval, in a thread that ends when the rehearsal is stopped."""

    def approve(text: str) -> bool:
        if answer != "ask":
            return answer == "yes"
        with shown[0].pause():
            console.print(text, markup=False)
            console.print("Approve? [y/N] ", markup=False, end="")
            while not environment.stopped:
                if select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]:
                    return sys.stdin.readline().strip().lower() in ("y", "yes")
        return False

    return approve
