"""The repositories that the pipeline's sources fetch, as git has them on this machine."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crosstrain.command import BadInputError


@dataclass(frozen=True)
class Revision:
    """One state of a repository.

    Attributes
    ----------
    commit : str
        Its id.
    variables : mapping
        The output variables of its source action.
    """

    commit: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Repository:
    """A git repository that stands for one of the pipeline's.

    Attributes
    ----------
    folder : Path
        Where it is checked out.
    worktree : bool
        Whether the files are taken as they are in the folder, committed or not, instead of those of HEAD.
    paths : tuple of str
        The part of the repository that the pipeline's holds; empty for all of it.
    revision : str
        Any name that git has for a commit.
    """

    folder: Path
    worktree: bool = False
    paths: tuple[str, ...] = ()
    revision: str = "HEAD"

    def fetch(self, archive: Path) -> Revision:
        """Write the repository's files as a zip, as a source action hands them on, and return what they are.

        Raises
        ------
        BadInputError
            If the folder is no git repository with a commit, or lacks one of the paths.
        """
        with tempfile.TemporaryDirectory(prefix="crosstrain-objects-") as objects:
            environment = self._scratch(Path(objects))
            commit = self._commit(environment)
            self._git(["archive", "--format=zip", f"--output={archive}", commit, *self.paths], environment)
            author, committer, message = self._git(["show", "-s", "--format=%aI%n%cI%n%s", commit], environment).split(
                "\n", 2
            )
        variables = {"AuthorDate": author, "CommitterDate": committer, "CommitMessage": message, "CommitId": commit}
        return Revision(commit, variables)

    def uncommitted(self) -> int:
        """Return how many files of the folder are not as in HEAD."""
        return len(self._git(["status", "--porcelain"], _own_environment()).splitlines())

    def contains(self, path: Path) -> bool:
        """Return whether a path would be among the files of the working tree."""
        inside = path.is_relative_to(self._git(["rev-parse", "--show-toplevel"], _own_environment()))
        return inside and not self._git(["check-ignore", "--", str(path)], _own_environment(), failing=True)

    def _commit(self, environment: Mapping[str, str]) -> str:
        """Return HEAD or, where files differ from it, a commit of the files as they are."""
        head = self._git(["rev-parse", "--verify", "--quiet", f"{self.revision}^{{commit}}"], environment, failing=True)
        if not head:
            raise BadInputError(
                f"The repository {self.folder} has no commit {self.revision}: make one, or name another."
            )
        if not self.worktree:
            return head
        self._git(["read-tree", "HEAD"], environment)
        self._git(["add", "--all"], environment)
        tree = self._git(["write-tree"], environment)
        if tree == self._git(["rev-parse", "HEAD^{tree}"], environment):
            return head
        # With HEAD's own time, the same files are the same commit whenever it is made.
        when = self._git(["show", "-s", "--format=%cI", "HEAD"], environment)
        names = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _somebody(when)}
        command = ["commit-tree", tree, "-p", "HEAD", "-m", "The files of the working tree"]
        return self._git(command, {**environment, **names})

    def _scratch(self, objects: Path) -> dict[str, str]:
        """Return an environment in which git changes neither the repository's index nor its objects."""
        environment = _own_environment()
        own = Path(self._git(["rev-parse", "--git-path", "objects"], environment))
        (objects / "objects").mkdir()
        return {
            **environment,
            "GIT_INDEX_FILE": str(objects / "index"),
            "GIT_OBJECT_DIRECTORY": str(objects / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str((self.folder / own).resolve()),
        }

    def _git(self, arguments: list[str], environment: Mapping[str, str], *, failing: bool = False) -> str:
        """Return what git prints; where it may fail, what it has printed until then."""
        command = ["git", "-C", str(self.folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        except subprocess.CalledProcessError as error:
            if failing and error.returncode == 1:
                return str(error.stdout.strip())
            message = error.stderr.strip().splitlines()[-1:] or [f"git {arguments[0]} failed"]
            raise BadInputError(f"The repository {self.folder} cannot be read: {message[0]}.") from error
        except OSError as error:
            raise BadInputError(f"git cannot be run: {error}.") from error
        return done.stdout.strip()


def _own_environment() -> dict[str, str]:
    """Return an environment in which the folder alone says which repository is meant, also in one of git's hooks."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _somebody(when: str) -> list[tuple[str, str]]:
    return [("NAME", "rehearsal"), ("EMAIL", "rehearsal@localhost"), ("DATE", when)]
