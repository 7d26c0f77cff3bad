"""What the names of files tell."""

from __future__ import annotations

import pytest

from common.errors import InvalidDatasetError
from data_preparation.file_names import data_names, hive_columns, is_data_name, no_data_name


@pytest.mark.parametrize(
    "name",
    [
        "a.csv", "A.CSV", "a.tsv", "a.tab", "a.txt", "a.psv", "a.dat", "a.jsonl", "a.ndjson", "a.json", "a.xlsx",
        "a.xls", "a.ods", "a.parquet", "a.pq", "a.csv.gz", "a.json.ZIP", "a.xlsx.zst", "a.parquet.bz2", "a.b.csv",
        "year=2024/_month=1/part-0.parquet", "nested/a.csv", "readmes.csv", "licensees.csv", "a b.csv",
    ],
)  # fmt: skip
def test_data_are_known_by_their_extensions_in_any_case(name: str) -> None:
    assert is_data_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "README.txt", "readme.csv", "README", "LICENSE", "LICENSE.txt", "licence.txt", ".DS_Store",
        "_SUCCESS", "_metadata.parquet", ".a.csv", "a.pdf", "a.csv.crc", "csv", ".csv", "a.gz", "a.zip", "a",
        "_delta_log/0.json", ".ipynb_checkpoints/a.csv", "_temporary/0/a.parquet", "a.csv.gz.gz",
    ],
)  # fmt: skip
def test_what_lies_beside_data_is_none(name: str) -> None:
    assert not is_data_name(name)


def test_a_folder_is_told_apart_into_data_and_what_is_ignored() -> None:
    assert data_names(["b.csv", "README.md", "a.csv", "_SUCCESS"]) == (["a.csv", "b.csv"], ["README.md", "_SUCCESS"])
    assert no_data_name(["a.pdf"]).endswith('; ignored: "a.pdf"')
    assert "ignored" not in no_data_name([])


def test_a_folder_whose_log_says_which_files_count_is_refused() -> None:
    with pytest.raises(InvalidDatasetError, match="holds a Delta table"):
        data_names(["table/a.parquet", "table/_delta_log/0.json"])


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("part.parquet", {}),
        ("nested/part.parquet", {}),
        ("year=2024/month=01/part.parquet", {"year": "2024", "month": "01"}),
        ("city=K%C3%B6ln%2FBonn/a=b=c/x.csv", {"city": "Köln/Bonn", "a": "b=c"}),
        ("a=__HIVE_DEFAULT_PARTITION__/b=/x.csv", {"a": None, "b": ""}),
        ("set/year=2024/x=1.csv", {"year": "2024"}),
    ],
)
def test_the_folders_of_a_partition_are_columns(name: str, columns: dict[str, str | None]) -> None:
    assert hive_columns(name) == columns
