"""Input of the command that cannot be used: one sentence, before anything starts."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

import rehearse
from git_repositories import commit_all, git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with one commit, which has no template yet."""
    folder = tmp_path / "repository"
    git(tmp_path, "init", "--quiet", str(folder))
    (folder / "README.md").write_text("Nothing yet.")
    commit_all(folder, "Begin")
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return the one sentence with which the command refuses its options."""
    assert rehearse.main(options) == 2
    written = capsys.readouterr()
    assert len(written.err.strip().splitlines()) == 1
    assert written.out == ""
    return written.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--approve", "ask"], "--approve yes or --approve no"),
        (["--approve", "yes", "--accounts", "12"], "account ids of 12 digits"),
        (["--approve", "yes", "--parameter", "Colour"], "NAME=VALUE"),
        (["--approve", "yes", "--model", "/nonexistent"], "/nonexistent"),
        (["--approve", "yes", "--since", "v9"], "has no commit v9"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_starts(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    everywhere = ["--no-images", "--project", str(repository), "--out", str(tmp_path / "out")]
    assert message in refusal(capsys, *everywhere, *options)


def test_a_folder_without_commits_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    git(tmp_path, "init", "--quiet", str(empty))
    options = ["--no-images", "--approve", "yes", "--project", str(empty), "--out", str(tmp_path / "out")]
    assert f"The repository {empty} has no commit HEAD" in refusal(capsys, *options)


def test_two_rehearsals_do_not_share_a_folder(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = ["--no-images", "--approve", "yes", "--project", str(repository), "--out", str(tmp_path)]
        assert f"Another rehearsal works in {tmp_path}" in refusal(capsys, *options)


def test_without_an_engine_it_offers_to_go_on_without_images(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    options = ["--approve", "yes", "--project", str(repository), "--out", str(tmp_path / "out")]
    assert "--no-images" in refusal(capsys, *options)
