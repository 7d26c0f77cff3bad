"""Which local files are data."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosstrain.command import BadInputError
from crosstrain.training.data_files import find_data_files


def test_a_folder_is_searched_as_data_preparation_does_it(tmp_path: Path) -> None:
    for name in ("b.CSV", "year=2024/a.jsonl.gz", "README.txt", "_SUCCESS", ".git/a.csv", "about.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_data_files(str(tmp_path))
    assert [(file.name, file.path) for file in found] == [
        ("b.CSV", tmp_path / "b.CSV"),
        ("year=2024/a.jsonl.gz", tmp_path / "year=2024/a.jsonl.gz"),
    ]
    assert found.ignored == [".git/a.csv", "README.txt", "_SUCCESS", "about.pdf"]


def test_a_file_that_is_named_is_taken_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "_export").touch()
    found = find_data_files(str(tmp_path / "_export"))
    assert [file.name for file in found] == ["_export"]
    assert found.ignored == []


def test_a_folder_of_other_files_is_refused_with_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "about.pdf").touch()
    with pytest.raises(BadInputError, match=r'without a data file: .*; ignored: "about.pdf"'):
        find_data_files(str(tmp_path))
