"""Predictions that can be joined to what was scored: kept columns, folders, stdin, and the place of each line."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_preparation import text_reading
from data_preparation.preparation import PreparedData
from predict import main
from scoring import blank_lines, fitted

TrainOn = Callable[..., tuple[PreparedData, Path]]
ROWS = 120


def rows(labels: list[Any] | None = None) -> pd.DataFrame:
    """Return rows of numbers and texts with a target."""
    random = np.random.default_rng(3)
    data = pd.DataFrame({"amount": random.normal(10, 3, ROWS).round(2), "kind": random.choice(["x", "01"], ROWS)})
    places = pd.qcut(data["amount"], len(labels or [0]), labels=False)
    data["y"] = data["amount"] if labels is None else [labels[place] for place in places]
    return data


@pytest.fixture
def predict(train_on: TrainOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Train a regression, and return a function that scores with it in an empty folder."""
    monkeypatch.chdir(tmp_path)
    train_on(rows(), "regression")

    def run(*arguments: str) -> int:
        return main([*arguments, "--from", "out", "--trust"])

    return run


Predict = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def text(name: str) -> list[list[str]]:
    """Return the lines of a CSV file that needs no quotes."""
    return [line.split(",") for line in Path(name).read_text().splitlines()]


def with_ids() -> pd.DataFrame:
    data = rows().drop(columns="y")
    data.insert(0, "id", [f"{number:04}" for number in range(ROWS)])
    data["day"] = pd.date_range("2024-01-01", periods=ROWS).strftime("%d.%m.%Y")
    return data


def test_kept_columns_stand_beside_their_predictions_as_they_were(
    predict: Predict, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    data = with_ids().assign(note=["NA", "", 'a "b", c', "two\nlines", "-5", "1e3"] * 20)
    data.to_csv("rows.csv", index=False)
    assert predict("rows.csv", "--out", "whole.csv") == 0
    assert 'does not use it: "id", "day", "note"' in capsys.readouterr().err
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(fitted, "BATCH_ROWS", 7)
    assert predict("rows.csv", "--keep", "note,id,kind", "--out", "p.csv") == 0
    assert 'does not use it: "day"' in capsys.readouterr().err
    found = pd.read_csv("p.csv", dtype=str, keep_default_na=False)
    assert list(found) == ["note", "id", "kind", "prediction"]
    pd.testing.assert_frame_equal(found[["note", "id", "kind"]], data[["note", "id", "kind"]], check_dtype=False)
    np.testing.assert_allclose(found["prediction"].astype(float), pd.read_csv("whole.csv")["prediction"], rtol=1e-12)
    # Quotes are around what needs them alone.
    assert '"' not in Path("p.csv").read_text().splitlines()[1]


def test_parquet_columns_keep_their_types(predict: Predict) -> None:
    data = with_ids().assign(
        id=np.arange(ROWS, dtype="uint64") + 2**63,
        kind=lambda frame: frame["kind"].astype("category"),
        at=pd.date_range("2024-01-01", periods=ROWS, freq="1ns"),
        tags=[["a"]] * ROWS,
    )
    data.to_parquet("rows.parquet", index=False)
    assert predict("rows.parquet", "--keep-all", "--out", "p.parquet") == 0
    found = pq.read_table("p.parquet")
    assert found.column_names == ["id", "amount", "kind", "day", "at", "tags", "prediction"]
    assert found["id"].to_pylist() == list(data["id"])
    assert found["at"].type == pa.timestamp("ns")
    assert predict("rows.parquet", "--keep", "id,at", "--out", "p.csv") == 0
    assert text("p.csv")[1][:2] == [str(2**63), "2024-01-01 00:00:00.000000000"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rows.csv", "--keep", "id,dey"], '"rows.csv" does not have the columns to keep: "dey" is missing. Did you'),
        (["twice.csv", "--keep-all"], 'The column "prediction" of "twice.csv" cannot be kept'),
        (["lists.parquet", "--keep", "tags"], 'The column "tags" is of the type list'),
        (["mixed", "--keep", "id", "--out", "p.parquet"], 'is of the type int64 in "a.parquet" and string in "b.csv"'),
        (["mixed", "--keep", "day"], '"a.parquet" does not have the columns to keep: "day" is missing.'),
        (["mixed", "--out", "mixed/p.csv"], '"mixed/p.csv" is in the folder to score'),
        (["empty"], '"empty" is a folder without a data file'),
        (["rows.csv", "--keep", "["], "is not JSON"),
    ],
)
def test_what_cannot_be_kept_is_told_in_one_sentence(
    predict: Predict, capsys: Capture, arguments: list[str], message: str
) -> None:
    data = with_ids()
    data.to_csv("rows.csv", index=False)
    data.assign(prediction=1).to_csv("twice.csv", index=False)
    data.assign(tags=[["a"]] * ROWS).to_parquet("lists.parquet")
    Path("empty").mkdir()
    Path("mixed").mkdir()
    data.assign(id=range(ROWS)).drop(columns="day").to_parquet("mixed/a.parquet")
    data.to_csv("mixed/b.csv", index=False)
    try:
        code = predict(*arguments)
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert not list(Path().glob("p.*"))


def test_a_folder_is_scored_in_the_order_of_its_names(predict: Predict, capsys: Capture) -> None:
    data = with_ids()
    Path("parts/b").mkdir(parents=True)
    (Path("parts") / "_SUCCESS").touch()
    data[80:].to_csv("parts/c.csv.gz", index=False)
    data[40:80].to_csv("parts/b/1.csv", index=False)
    data[:40].to_parquet("parts/a.parquet")
    assert predict("parts", "--keep", "id", "--out", "p.csv") == 0
    assert f"{ROWS} rows scored" in capsys.readouterr().err
    assert [line[0] for line in text("p.csv")[1:]] == list(data["id"])


def in_german(data: pd.DataFrame) -> str:
    """Return rows as a German spreadsheet writes them."""
    return data.to_csv(sep=";", decimal=",", index=False)


CLOTHES = {
    "german.csv": lambda data: in_german(data).encode(),
    "tabs.tsv": lambda data: data.to_csv(sep="\t", index=False).encode("utf-16"),
    "lines.jsonl": lambda data: data.to_json(orient="records", lines=True).encode(),
    "zipped.csv.gz": lambda data: gzip.compress(data.to_csv(index=False).encode()),
    "padded.csv": lambda data: data.assign(kind=data["kind"].str.upper() + " ").to_csv(index=False).encode(),
}


@pytest.mark.parametrize("name", CLOTHES)
def test_the_same_rows_in_other_clothes_have_the_same_predictions(predict: Predict, name: str, capsys: Capture) -> None:
    data = with_ids()
    data.to_csv("plain.csv", index=False)
    Path(name).write_bytes(CLOTHES[name](data))
    assert predict("plain.csv", "--out", "expected.csv") == 0
    assert predict(name, "--out", "p.csv") == 0
    assert text("p.csv") == text("expected.csv")
    if name == "padded.csv":
        told = f"values written otherwise than in training, and taken for the same: {ROWS} in"
        assert told in capsys.readouterr().err


def test_blank_lines_keep_their_place_in_any_dialect(predict: Predict, capsys: Capture) -> None:
    lines = in_german(with_ids()).splitlines()
    rows = [*lines[:3], "", *lines[3:]]
    Path("rows.csv").write_text("Export of today\n\n" + "\n".join(rows) + "\n", encoding="utf-16")
    assert predict("rows.csv", "--keep", "id", "--out", "p.csv") == 0
    assert "blank lines, each of which has a row without a prediction: 1" in capsys.readouterr().err
    assert [line[0] for line in text("p.csv")[1:5]] == ["0000", "0001", "", "0002"]


def test_how_the_files_are_written_may_be_said(predict: Predict) -> None:
    data = with_ids()
    data.to_csv("plain.csv", index=False)
    data.to_csv("rows.csv", index=False, header=False)
    names = json.dumps({"header": list(data.columns)})
    assert predict("plain.csv", "--out", "expected.csv") == 0
    assert predict("rows.csv", "--read", names, "--out", "p.csv") == 0
    assert text("p.csv") == text("expected.csv")


def test_files_of_other_formats_are_scored_with_what_is_found_told(predict: Predict, capsys: Capture) -> None:
    data = with_ids()
    Path("parts").mkdir()
    data[:40].to_json("parts/a.jsonl.gz", orient="records", lines=True, date_format="iso")
    data[40:80].to_excel("parts/b.xlsx", index=False)
    Path("parts/b.xlsx").rename("parts/b.csv")
    data[80:].to_csv("parts/c.csv.zip", index=False)
    Path("parts/d.csv").touch()
    Path("parts/notes.md").touch()
    assert predict("parts", "--keep", "id", "--out", "p.csv") == 0
    err = capsys.readouterr().err
    assert f"{ROWS} rows scored" in err
    for told in (
        '"notes.md" is no data by its name, and is ignored',
        '"b.csv" is an Excel workbook, whatever its name says.',
        '"d.csv" has no rows, and is left out.',
    ):
        assert told in err
    assert [line[0] for line in text("p.csv")[1:]] == list(data["id"])


def test_stdin_is_scored(predict: Predict, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_ids()
    stdin = SimpleNamespace(buffer=io.BytesIO(data.to_csv(index=False).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert predict("-", "--keep", "id", "--out", "p.csv") == 0
    assert len(text("p.csv")) == ROWS + 1
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert predict("-") == 2
    assert '"stdin" is empty' in capfd.readouterr().err


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_blank_line_keeps_its_place(
    predict: Predict, capsys: Capture, monkeypatch: pytest.MonkeyPatch, ending: str, name: str, size: int
) -> None:
    monkeypatch.setattr(fitted, "BATCH_ROWS", size)
    monkeypatch.setattr(blank_lines, "_PIECE", 3)
    body = ["", "id,amount,kind", "", "a,1,x", "b,2,x", "", "", '"c', "", 'd",3,01', "e,4,x", "", ""]
    content = ending.join(body).encode()
    Path(name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert predict(name, "--keep", "id", "--out", "p.parquet") == 0
    found = pd.read_parquet("p.parquet")
    inside = ending * 2
    assert [None if pd.isna(each) else each for each in found["id"]] == [
        None, "a", "b", None, None, f"c{inside}d", "e"
    ]  # fmt: skip
    assert list(found["prediction"].isna()) == [True, False, False, True, True, False, False]
    err = capsys.readouterr().err
    assert "blank lines, each of which has a row without a prediction: 3" in err
    assert "4 rows scored" in err
    assert predict(name, "--out", "p.csv") == 0
    assert [line == "" for line in Path("p.csv").read_text().splitlines()[1:]] == list(found["prediction"].isna())


def test_quotes_that_leave_open_where_a_blank_line_is_are_told(predict: Predict, capsys: Capture) -> None:
    Path("rows.csv").write_text('id,amount,kind\n5" disk,1,x\n\nb,2,x\n')
    assert predict("rows.csv") == 2
    assert '"rows.csv" has blank lines, and quotes that leave open where' in capsys.readouterr().err


def test_missing_values_and_unseen_categories_are_counted_in_one_line(
    predict: Predict, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted, "BATCH_ROWS", 2)
    Path("rows.csv").write_text("amount,kind\n1,x\n,new\n,\n4,\nnan,other\n")
    assert predict("rows.csv") == 0
    assert (
        'categories that training has not seen: 2 in "kind"; missing values: 3 in "amount", 2 in "kind"; '
        "rows without any value: 1\n"
    ) in capsys.readouterr().err
    Path("rows.csv").write_text("amount,kind\n1,x\n")
    assert predict("rows.csv") == 0
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize(
    ("labels", "kinds"),
    [(["01", "1"], ["01", "1"]), ([True, False], ["true", "false"]), (["true", "yes"], ["true", "yes"])],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_come_back_as_they_went_in(
    train_on: TrainOn, tmp_path: Path, labels: list[Any], kinds: list[str], suffix: str
) -> None:
    data = rows(labels)
    # Only Parquet says of texts that look like numbers that they are texts.
    _, folder = train_on(data, "classification", as_parquet=True)
    data.to_parquet(tmp_path / "rows.parquet")
    out = tmp_path / f"p.{suffix}"
    assert main([str(tmp_path / "rows.parquet"), "--from", str(folder), "--trust", "--out", str(out)]) == 0
    if suffix == "parquet":
        assert set(pd.read_parquet(out)["prediction"]) == set(labels)
    else:
        assert set(pd.read_csv(out, dtype=str)["prediction"]) == set(kinds)


@pytest.mark.parametrize(
    "labels", [["01", "02"], ["TRUE", "FALSE"], ["True", "False"], ["Y", "N"], ["None", "NA"], [1, 2]]
)
def test_labels_of_a_text_file_come_back_as_they_went_in(train_on: TrainOn, tmp_path: Path, labels: list[Any]) -> None:
    data = rows(labels)
    _, folder = train_on(data, "classification")
    data.to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "p.csv"
    assert main([str(tmp_path / "rows.csv"), "--from", str(folder), "--trust", "--out", str(out)]) == 0
    assert {line[0] for line in text(str(out))[1:]} == set(map(str, labels))


def test_a_kept_text_that_is_a_formula_runs_in_no_spreadsheet(predict: Predict, capsys: Capture) -> None:
    notes = ["=1+1", "@x", "-5", "+4.5e3", "-x", "plain"]
    frame = with_ids().head(6).assign(**{"=note": notes}).drop(columns="day")
    frame.to_csv("rows.csv", index=False)
    frame.astype({"=note": "category"}).to_parquet("rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        assert predict(name, "--keep", "=note", "--out", "p.csv") == 0
        assert [line[0] for line in text("p.csv")] == ["'=note", "'=1+1", "'@x", "-5", "+4.5e3", "'-x", "plain"]
        assert "for formulas, and that have an apostrophe before them: 4 (" in capsys.readouterr().err
    assert predict("rows.csv", "--keep", "=note", "--keep-formulas", "--out", "p.csv") == 0
    assert [line[0] for line in text("p.csv")] == ["=note", *notes]


@pytest.mark.parametrize("decision", ["promote", "reject"])
def test_the_run_and_its_decision_are_told(
    train_on: TrainOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, decision: str
) -> None:
    monkeypatch.chdir(tmp_path)
    train_on(rows(), "regression", decision=decision)
    rows().drop(columns="y").to_csv("rows.csv", index=False)
    assert main(["rows.csv", "--from", "out", "--trust"]) == 0
    err = capsys.readouterr().err
    assert f"rows scored with out (run run-1, {decision}{'e' * (decision == 'reject')}d".replace("eed", "ed") in err
    assert ("warning: The model out was rejected: It is worse." in err) == (decision == "reject")
