"""Files as people export them: each is read as its clean twin, or refused in a sentence that names the way out.

The files in tests/exports hold about the same table in different clothes. A twin is made of the file by what a careful
person would do to it in an editor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from common.errors import InvalidDatasetError
from common.frames import load_part
from common.metrics import metrics_of, predict
from common.request import TrainingRequest, parse_request
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit

EXPORTS = Path(__file__).parents[2] / "exports"
CLEAN = (EXPORTS / "upper.CSV").read_text()
SALES = {"amount": "float", "city": "text", "price": "float"}

Twin = Callable[[str], str]


def clean(_text: str) -> str:
    """Return the table that most files hold."""
    return CLEAN


def same(text: str) -> str:
    return text


def without_groups(text: str) -> str:
    """Whole numbers without commas and quotes, money without its sign."""
    return re.sub(r'"\$?([\d,]+(?:\.\d+)?)"', lambda found: found[1].replace(",", ""), text)


def blank(marker: str) -> Twin:
    return lambda text: re.sub(rf"^{re.escape(marker)}(?=,)", "", text, flags=re.MULTILINE)


def replaced(pattern: str, by: str) -> Twin:
    return lambda text: re.sub(pattern, by, text, flags=re.MULTILINE)


@dataclass(frozen=True)
class Read:
    """What a file is to be read as; the twin's parts hold the very same values."""

    twin: Twin
    kinds: Mapping[str, str]
    rows: int = 200
    target: str = "price"
    dropped: tuple[str, ...] = ()
    says: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


DATES = {"when": "timestamp", "city": "text", "price": "float"}
INCOME = {"income": "integer", "city": "text", "price": "float"}

READ: Mapping[str, Read] = {
    # Separators, encodings, what stands above and below, formats.
    "bom.csv": Read(clean, SALES),
    "comment_top.csv": Read(clean, SALES, says="2 lines above the header"),
    "cp1252.csv": Read(replaced("^\ufeff", ""), SALES, says="Windows-1252"),
    "euro.csv": Read(clean, SALES, says="separated by semicolons"),
    "euro_bom.csv": Read(clean, SALES, says="separated by semicolons"),
    "folder_empty": Read(clean, SALES, says='"b.csv" has no rows'),
    "folder_hdr": Read(clean, SALES, says='"b.csv" has no rows'),
    "folder_extra": Read(same, {**SALES, "channel": "text"}, options={"read": {"unite": True}}, dropped=("channel",)),
    "footer.csv": Read(clean, SALES, says="one row of totals"),
    "footer3.csv": Read(clean, SALES, says="remarks below its rows"),
    "lines.jsonl": Read(clean, SALES),
    "noheader.csv": Read(clean, SALES, options={"read": {"header": ["amount", "city", "price"]}}),
    "pipe.csv": Read(clean, SALES),
    "quoted_numbers.csv": Read(clean, SALES),
    "ragged_short.csv": Read(clean, SALES, options={"read": {"skip_footer": 1}}),
    "space_names.csv": Read(clean, SALES, says="a space after each separator"),
    "tab.csv": Read(clean, SALES),
    "tab.tsv": Read(clean, SALES),
    "tab.txt": Read(clean, SALES),
    "trailing_comma.csv": Read(clean, {**SALES, "Unnamed: 3": "null"}, dropped=("Unnamed: 3",)),
    "trailing_comma_rows.csv": Read(clean, {**SALES, "Unnamed: 3": "null"}, dropped=("Unnamed: 3",)),
    "upper.CSV": Read(clean, SALES),
    "utf16.csv": Read(clean, SALES, says="UTF-16"),
    "zipped.csv.zip": Read(clean, SALES),
    # Numbers.
    "big53.csv": Read(
        same,
        {"big": "integer", "x": "float", "price": "float"},
        says="is subtracted from each",
    ),
    "bigint64.csv": Read(
        same,
        {"big": "integer", "x": "float", "price": "float"},
        says="is subtracted from each",
    ),
    "codes_e.csv": Read(same, {"code": "text", "x": "float", "price": "float"}, says="as codes"),
    "currency.csv": Read(without_groups, {"cost": "float", "city": "text", "price": "float"}, 300, says="money"),
    "currency_target.csv": Read(without_groups, SALES, 300, says="money"),
    "duplicates.csv": Read(same, SALES, 2000),
    "percent.csv": Read(replaced(" %", ""), {"share": "integer", "city": "text", "price": "float"}, 300, says="12 %"),
    "thousands.csv": Read(without_groups, INCOME, 300),
    "thousands_1500.csv": Read(without_groups, INCOME, 1500),
    "thousands_repeats.csv": Read(without_groups, INCOME, 300, says="may mean decimals"),
    "thousands_target.csv": Read(without_groups, {**SALES, "price": "integer"}, 300),
    "zip.csv": Read(same, {"zip": "text", "x": "float", "price": "float"}, 300, says="zeros in front"),
    # Missing values.
    "country_NA.csv": Read(
        same,
        {"country": "text", "x": "float", "price": "float"},
        300,
        options={"columns": {"country": "category"}},
    ),
    "na_NA.csv": Read(blank("NA"), SALES, says='"NA"'),
    "na_dash.csv": Read(blank("-"), SALES, says='"-"'),
    "na_dash60.csv": Read(blank("-"), SALES, says='"-"'),
    "na_div0.csv": Read(blank("#DIV/0!"), SALES, says='"#DIV/0!"'),
    "na_dot.csv": Read(blank("."), SALES, says='"."'),
    "na_m999.csv": Read(blank("-999"), SALES, options={"read": {"na_values": ["-999"]}}),
    "na_missing.csv": Read(blank("missing"), SALES, says='"missing"'),
    "na_mysqlN.csv": Read(blank("\\N"), SALES, says='"\\N"'),
    "na_none_lower.csv": Read(blank("none"), SALES, says='"none"'),
    "na_question.csv": Read(blank("?"), SALES, says='"?"'),
    "na_question60.csv": Read(blank("?"), SALES, says='"?"'),
    "na_space.csv": Read(blank(" "), SALES),
    # Times.
    "date_compact.csv": Read(replaced(r"^(\d{4})(\d\d)(\d\d)", r"\1-\2-\3"), DATES, 300, says="20241231"),
    "date_dmy.csv": Read(replaced(r"^(\d\d)/(\d\d)/(\d{4})", r"\3-\2-\1"), DATES, 300),
    "date_excel.csv": Read(
        lambda text: re.sub(r"^\d{5}", lambda found: str(np_day(int(found[0]) - 25_569)), text, flags=re.MULTILINE),
        DATES,
        300,
        says="as Excel counts them",
    ),
    "date_german.csv": Read(replaced(r"^(\d\d)\.(\d\d)\.(\d{4})", r"\3-\2-\1"), DATES, 300),
    "date_month.csv": Read(replaced(r"^(\d{4}-\d\d),", r"\1-01,"), DATES, 300),
    "date_onebad.csv": Read(
        replaced(r"^2021-02-30|^\d{4}-13-\d\d|^0000-00-00|^[^\d\nw][^,]*(?=,)", ""),
        DATES,
        300,
        options={"columns": {"when": "date"}},
    ),
    "date_oneunknown.csv": Read(replaced("^unknown", ""), DATES, 300, says='"unknown"'),
    "date_tz.csv": Read(replaced(r"23:59:59\+02:00", "21:59:59"), DATES, 300),
    "date_tz_utcname.csv": Read(replaced(" UTC", ""), DATES, 300),
    "time_of_day.csv": Read(
        lambda text: re.sub(
            r"^(\d\d):(\d\d)", lambda found: f"{int(found[1]) * 3600 + int(found[2]) * 60}.0", text, flags=re.MULTILINE
        ),
        {"at": "float", "city": "text", "price": "float"},
        300,
        says="read as seconds",
    ),
    # Booleans and labels.
    "bool_YN.csv": Read(same, {"x": "float", "y2": "float", "target": "text"}, target="target"),
    "bool_yesno.csv": Read(same, {"x": "float", "y2": "float", "target": "text"}, target="target"),
    "boolf_yesno.csv": Read(
        lambda text: replaced("^no", "false")(replaced("^yes", "true")(text)),
        {"flag": "boolean", "y2": "float", "price": "float"},
    ),
    "yes_trailing.csv": Read(
        replaced(" ,", ","),
        {"x": "float", "ok": "text", "z": "float"},
        target="ok",
        options={"read": {"trim": True}},
    ),
    # What is as it seems to be, and told where it may not be what is wanted.
    "constant_but_one.csv": Read(same, {"x": "float", "target": "integer"}, 100, target="target"),
    "imbalance.csv": Read(same, {"x": "float", "z": "float", "fraud": "integer"}, 3000, target="fraud"),
    "int_target_25.csv": Read(same, {"x": "float", "score": "integer"}, target="score"),
    "leak_id.csv": Read(same, {"order_no": "integer", "x": "float", "churn": "text"}, 300, target="churn"),
    "perfect_copy.csv": Read(same, {**SALES, "price_eur": "float"}),
    "split_01.csv": Read(same, {**SALES, "part": "integer"}),
    "split_upper.csv": Read(same, {**SALES, "part": "text"}),
    "highcard.csv": Read(same, {"user": "text", "x": "float", "price": "float"}, 20_000),
    "freetext.csv": Read(
        same, {"review": "text", "len": "float", "stars": "float"}, 1200, "stars", says="is read as free text"
    ),
    # Parquet.
    "pq_binary.parquet": Read(same, {"amount": "float", "price": "float", "blob": "null"}, dropped=("blob",)),
    "pq_decimal.parquet": Read(clean, SALES),
    "pq_dicttarget.parquet": Read(same, {"label": "text", "amount": "float"}, target="label"),
    "pq_duration.parquet": Read(same, {"dur": "float", "amount": "float", "price": "float"}),
    "pq_intcat.parquet": Read(same, {"x": "float", "intcat": "text", "price": "float"}),
    "pq_list.parquet": Read(same, {"amount": "float", "price": "float", "tags": "null"}, dropped=("tags",)),
    "pq_struct.parquet": Read(same, {"amount": "float", "price": "float", "geo": "null"}, dropped=("geo",)),
    "pq_textnumbers.parquet": Read(same, {"amount": "float", "code": "text", "price": "float"}),
    "pq_tz.parquet": Read(same, {"ts": "timestamp", "amount": "float", "price": "float"}),
}
REFUSED: Mapping[str, str] = {
    "date_onebad.csv": """that in row 8 is none. .* COLUMNS='{"when": "date"}'""",
    "dup_header.csv": 'more than one column named "amount"',
    "euro_unquoted.csv": "decimal commas, which nothing tells from the commas between values. Save it with semicolons",
    "folder_extra": """different columns: "channel" .* READ='{"unite": true}'""",
    "folder_type": """Column "amount" mixes types: text in "b.csv".* COLUMNS='{"amount": "number"}'""",
    "noheader.csv": "first line looks like a row",
    "ragged_short.csv": """Row #202: Expected 3 columns, got 2.* READ='{"skip_footer": 1}'""",
}


def np_day(days: int) -> Any:
    import numpy as np  # noqa: PLC0415 (for one twin)

    return np.datetime64(days, "D")


def files_of(path: Path) -> list[SourceFile]:
    if path.is_file():
        return [SourceFile(path.name, path)]
    return [SourceFile(each.name, each) for each in sorted(path.glob("*.csv"))]


def request_of(target: str, options: Mapping[str, Any]) -> TrainingRequest:
    return parse_request({"dataset_uri": "s3://bucket/data.csv", "target": target, "search_trials": 0, **options})


def prepared(files: list[SourceFile], request: TrainingRequest, folder: Path) -> PreparedData:
    folder.mkdir()
    return prepare(files, request, folder)


def test_each_export_has_a_case() -> None:
    assert {path.name for path in EXPORTS.iterdir()} == {*READ, *REFUSED, "folder_readme"}


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_an_export_is_read_as_its_clean_twin(name: str, tmp_path: Path) -> None:
    case = READ[name]
    result = prepared(files_of(EXPORTS / name), request_of(case.target, case.options), tmp_path / "export")
    profile = result.profile
    assert profile["rows"]["in"] == profile["rows"]["used"] == case.rows
    assert {column["name"]: column["kind"] for column in profile["columns"]} == case.kinds
    assert {column["name"] for column in profile["columns"] if column["use"] == "dropped"} == set(case.dropped)
    assert case.says in "\n".join(told(profile))

    if case.twin is not same:
        compare(result, case, name, tmp_path)


def compare(result: PreparedData, case: Read, name: str, folder: Path) -> None:
    path, export = folder / "twin.csv", EXPORTS / name
    readable = export.suffix in (".csv", ".CSV") and name != "utf16.csv"
    encoding = "cp1252" if name == "cp1252.csv" else "utf-8-sig"
    path.write_text(case.twin(export.read_text(encoding) if readable else ""))
    columns = {name.strip(): kind for name, kind in case.options.get("columns", {}).items() if kind == "category"}
    twin = prepared(files_of(path), request_of(case.target, {"columns": columns}), folder / "twin")
    for part in ("train", "test"):
        values, clean_values = (pq.read_table(getattr(each, part)) for each in (result, twin))
        assert [column.to_pylist() for column in values.columns] == [
            column.to_pylist() for column in clean_values.columns
        ]
    assert rmse(result) == rmse(twin)


def rmse(result: PreparedData) -> float | None:
    """Return the metric of the request's model on the test part."""
    train, target = load_part(result.train, result.profile)
    model = fit(build_pipeline(result.request, result.profile), train, target).pipeline
    test, truth = load_part(result.test, result.profile)
    metrics, _ = metrics_of(predict(model, test, str(result.request.problem)), truth)
    return metrics[str(result.request.metric)]


def told(profile: Mapping[str, Any]) -> list[str]:
    of_columns = [each for column in profile["columns"] for key in ("told", "doubts") for each in column.get(key, ())]
    return [*profile["read"]["told"], *of_columns]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match=re.sub(r"([{}])", r"\\\1", REFUSED[name])):
        prepare(files_of(EXPORTS / name), request_of("price", {}), tmp_path)
