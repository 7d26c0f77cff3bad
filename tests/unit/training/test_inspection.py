"""What `make inspect` shows is what a run would do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import crosstrain
from common.request import parse_request
from crosstrain.training import inspection
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from inspect_data import main

EXPORTS = Path(__file__).parents[2] / "exports"
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "name", ["euro.csv", "date_excel.csv", "zip.csv", "na_dash.csv", "pq_list.parquet", "footer.csv", "currency.csv"]
)
def test_it_says_what_the_profile_of_a_run_says(name: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["--data", str(EXPORTS / name), "--target", "price", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    request = parse_request({"dataset_uri": "s3://bucket/x", "target": "price"})
    profile = prepare([SourceFile(name, EXPORTS / name)], request, tmp_path).profile
    assert shown["files"] == [
        {"name": name, "format": profile["read"]["dialect"], "rows": profile["rows"]["in"]},
    ]
    assert shown["is_whole"]
    assert shown["told"] == profile["read"]["told"]
    for key in ("name", "kind", "role", "use"):
        assert [column[key] for column in shown["columns"]] == [column[key] for column in profile["columns"]], key
    for column, described in zip(shown["columns"], profile["columns"], strict=True):
        assert column["missing"] == described["nulls"]
        assert column["written"] == described.get("notation", {}).get("style", "")
        assert column["told"] == described.get("told", [])
        assert column["doubts"] == described.get("doubts", [])


def test_the_table_shows_what_was_understood_and_what_is_doubtful(capsys: Capture) -> None:
    assert main(["--data", str(EXPORTS / "thousands_repeats.csv"), "--target", "price"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "UTF-8 text, separated by commas, 300 rows" in out
    assert "1,234.5" in out
    assert 'doubt: "income" has a comma before three digits' in out


def test_what_a_run_would_refuse_is_unclear(capsys: Capture) -> None:
    assert main(["--data", str(EXPORTS / "date_onebad.csv")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "unclear" in out
    assert "that in row 8 is none" in out


def test_a_folder_is_one_data_set(capsys: Capture) -> None:
    options = ["--data", str(EXPORTS / "folder_extra"), "--read", '{"unite": true}', "--json"]
    assert main(options) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(file["name"], file["rows"]) for file in shown["files"]] == [("2023.csv", 100), ("2024.csv", 100)]


def test_a_large_file_is_looked_at_in_part(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MOST_BYTES", 1000)
    monkeypatch.setattr("data_preparation.text_reading.BLOCK_BYTES", 2000)
    assert main(["--data", str(EXPORTS / "duplicates.csv")]) == 0
    assert "rows looked at, not all of them" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere.csv"], '"nowhere.csv" does not exist.'),
        (["--data", str(EXPORTS / "euro.csv"), "--target", "prise"], 'Did you mean "price"?'),
        (["--data", str(EXPORTS / "euro.csv"), "--read", '{"seperator": ";"}'], 'Did you mean "separator"?'),
    ],
)
def test_what_cannot_be_used_is_one_sentence(options: list[str], message: str, capsys: Capture) -> None:
    assert main(options) == 2
    assert message in capsys.readouterr().err


def test_python_has_it_too() -> None:
    shown = crosstrain.inspect(EXPORTS / "euro.csv", "price", columns={"city": "ignore"})
    assert {column["name"]: column["use"] for column in shown["columns"]} == {
        "amount": "feature",
        "price": "target",
        "city": "dropped",
    }
