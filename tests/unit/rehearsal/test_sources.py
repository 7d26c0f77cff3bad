"""Sources are those of HEAD or of the working tree, and reach a build as they are."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.rehearsal.codepipeline.artifacts import digest_of, pack, unpack
from crosstrain.rehearsal.codepipeline.sources import Repository
from git_repositories import commit_all, git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    git(tmp_path, "init", "--quiet", str(folder))
    for name, text in {"run.sh": "#!/bin/sh\n", "functions/a.py": "a = 1\n", ".gitignore": "ignored\n"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("functions/a.py")
    commit_all(folder, "Begin")
    return folder


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return {name for name in opened.namelist() if not name.endswith("/")}


def test_head_is_what_is_committed(repository: Path, tmp_path: Path) -> None:
    (repository / "functions" / "a.py").write_text("a = 2\n")
    revision = Repository(repository).fetch(tmp_path / "head.zip")

    assert revision.commit == git(repository, "rev-parse", "HEAD")
    assert revision.variables["CommitMessage"] == "Begin"
    with zipfile.ZipFile(tmp_path / "head.zip") as archive:
        assert archive.read("functions/a.py") == b"a = 1\n"


def test_the_working_tree_is_all_files_but_ignored_ones_and_stays_as_it_is(repository: Path, tmp_path: Path) -> None:
    (repository / "functions" / "a.py").write_text("a = 2\n")
    (repository / "new.py").write_text("new = 1\n")
    (repository / "ignored").write_text("")
    (repository / "run.sh").unlink()
    before = git(repository, "status", "--porcelain"), git(repository, "count-objects")

    first = Repository(repository, worktree=True).fetch(tmp_path / "first.zip")
    second = Repository(repository, worktree=True).fetch(tmp_path / "second.zip")

    assert names(tmp_path / "first.zip") == {".gitignore", "functions/a.py", "new.py", "link"}
    assert first.commit == second.commit != git(repository, "rev-parse", "HEAD")
    assert digest_of(tmp_path / "first.zip") == digest_of(tmp_path / "second.zip")
    assert (git(repository, "status", "--porcelain"), git(repository, "count-objects")) == before


def test_any_commit_can_be_fetched_and_a_missing_one_is_named(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    (repository / "functions" / "a.py").write_text("a = 2\n")
    commit_all(repository, "Go on")

    assert Repository(repository, revision="HEAD~1").fetch(tmp_path / "first.zip").commit == first
    with pytest.raises(BadInputError, match="has no commit v9"):
        Repository(repository, revision="v9").fetch(tmp_path / "none.zip")


def test_an_empty_repository_says_so(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", str(tmp_path / "empty"))
    with pytest.raises(BadInputError, match="has no commit HEAD: make one"):
        Repository(tmp_path / "empty").fetch(tmp_path / "none.zip")


def test_a_hook_of_another_repository_does_not_decide_which_one_is_meant(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet", str(tmp_path / "other"))
    head = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert Repository(repository).fetch(tmp_path / "head.zip").commit == head


def test_what_is_not_in_head_is_counted_and_what_would_be_in_the_tree_is_known(repository: Path) -> None:
    assert Repository(repository).uncommitted() == 0
    (repository / "new.py").write_text("new = 1\n")
    (repository / "ignored").write_text("")
    assert Repository(repository).uncommitted() == 1
    assert Repository(repository).contains(repository / "out")
    assert not Repository(repository).contains(repository / "ignored")
    assert not Repository(repository).contains(repository.parent / "out")


def test_a_working_tree_without_changes_is_head(repository: Path, tmp_path: Path) -> None:
    revision = Repository(repository, worktree=True).fetch(tmp_path / "tree.zip")
    assert revision.commit == git(repository, "rev-parse", "HEAD")


def test_a_part_of_a_repository_may_be_all_that_is_fetched(repository: Path, tmp_path: Path) -> None:
    Repository(repository, paths=("functions",)).fetch(tmp_path / "part.zip")
    assert names(tmp_path / "part.zip") == {"functions/a.py"}
    with pytest.raises(BadInputError, match="notebooks"):
        Repository(repository, paths=("notebooks",)).fetch(tmp_path / "none.zip")


def test_modes_and_links_survive_and_times_do_not_count(repository: Path, tmp_path: Path) -> None:
    Repository(repository).fetch(tmp_path / "head.zip")
    unpack(tmp_path / "head.zip", tmp_path / "build")

    assert stat.S_IMODE((tmp_path / "build" / "run.sh").stat().st_mode) & 0o100
    assert not stat.S_IMODE((tmp_path / "build" / "functions" / "a.py").stat().st_mode) & 0o100
    assert (tmp_path / "build" / "link").is_symlink()
    files = [(name, tmp_path / "build" / name) for name in ("run.sh", "functions/a.py")]
    pack(files, tmp_path / "one.zip")
    (tmp_path / "build" / "run.sh").touch()
    pack(files, tmp_path / "two.zip")
    assert digest_of(tmp_path / "one.zip") == digest_of(tmp_path / "two.zip")
    (tmp_path / "build" / "run.sh").chmod(0o644)
    pack(files, tmp_path / "three.zip")
    assert digest_of(tmp_path / "three.zip") != digest_of(tmp_path / "one.zip")


def test_an_artifact_cannot_write_outside_of_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(OperationFailedError, match=r"\.\./outside"):
        unpack(tmp_path / "evil.zip", tmp_path / "inside")
    assert not (tmp_path / "outside").exists()
