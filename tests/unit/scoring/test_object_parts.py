"""An object that is scored in parts has the predictions that it has whole, or says why it cannot be cut."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import InvalidDatasetError
from data_preparation.file_names import hive_columns
from scoring import batch_plan, object_parts

from .batch_runs import Runs, frame

if TYPE_CHECKING:
    import pandas as pd

MOST = 700
"""How many bytes a part has in these tests: a few dozen rows."""


@pytest.fixture
def cut(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Return runs whose objects are cut into small parts."""
    monkeypatch.setattr(batch_plan, "PART_BYTES", MOST)
    # The total of small objects would make parts larger.
    monkeypatch.setattr(batch_plan, "MOST_PARTS", 10**9)
    return runs


def both(runs: Runs, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> tuple[Any, Any, int]:
    """Score an object whole and in parts; return what the manifests say, and how many pieces there were."""
    runs.put(f"data/in/{name}", content)
    told = []
    for run_id, most in (("whole", 1 << 30), ("parts", MOST)):
        monkeypatch.setattr(batch_plan, "PART_BYTES", most)
        planned = runs.plan(runs.request(**fields), run_id)
        for piece in planned["pieces"]:
            runs.call("score_piece", run_id, plan=planned["plan"], piece=piece)
        runs.compare(planned, run_id)
        told.append(runs.json("manifest.json", run_id)["objects"][0])
    return told[0], told[1], len(planned["pieces"])


def assert_same(runs: Runs, whole: dict[str, Any], parts: dict[str, Any], output: str) -> None:
    """Assert that both runs have written the same rows, and told the same of them."""
    for each in (whole, parts):
        each.pop("predictions")
    assert parts == whole
    for document in ("drift.json",):
        one, other = (runs.json(document, run_id) for run_id in ("whole", "parts"))
        # Sums of predictions in another order have another last digit.
        assert json.dumps(other, default=str)[:200] == json.dumps(one, default=str)[:200]
        assert [each["drifted"] for each in other["columns"]] == [each["drifted"] for each in one["columns"]]
    one, other = (runs.table(output, run_id) for run_id in ("whole", "parts"))
    assert other.schema == one.schema
    for name in one.schema.names:
        if pa.types.is_floating(one[name].type):
            np.testing.assert_allclose(other[name].to_numpy(), one[name].to_numpy(), rtol=1e-12)
        else:
            assert other[name].to_pylist() == one[name].to_pylist()


def table(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    data = frame(seed=seed, rows=rows).drop(columns="y").assign(id=[f"{each:05}" for each in range(rows)])
    data.loc[random.random(rows) < 0.1, "size"] = np.nan
    data.loc[random.random(rows) < 0.1, "kind"] = "castle"
    return data[["id", "size", "kind"]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_text_that_is_cut_has_the_predictions_of_the_whole(
    cut: Runs, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    end = ["\n", "\r\n", "\r"][seed % 3]
    data = table(int(random.integers(80, 200)), seed)
    text = data.to_csv(index=False, sep=",;\t"[seed % 3], lineterminator=end, quoting=1 if seed == 4 else 0)
    if seed in {1, 2}:
        # Blank lines keep their places, wherever they are cut.
        lines = text.split(end)
        for _ in range(12):
            lines.insert(int(random.integers(1, len(lines))), "")
        text = end.join(lines)
    if seed == 5:
        text = text.rstrip(end)
    output = ["parquet", "csv"][seed % 2]
    whole, parts, pieces = both(
        cut, "a.csv", text.encode(["utf-8", "utf-8-sig"][seed == 3]), monkeypatch, keep=["id"], output_format=output
    )
    assert pieces > 2
    assert whole["state"] == "scored"
    assert_same(cut, whole, parts, f"predictions/a.{output}")
    assert any(key.startswith("scoring/parts/parts/") for key in cut.written())


@pytest.mark.slow
@pytest.mark.parametrize("output", ["parquet", "csv"])
def test_a_parquet_file_is_cut_between_row_groups(cut: Runs, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    table(300, 1).to_parquet(content, index=False, row_group_size=40)
    whole, parts, pieces = both(
        cut, "day=3/a.parquet", content.getvalue(), monkeypatch, keep=["id", "day"], output_format=output
    )
    assert 2 < pieces <= 8
    assert_same(cut, whole, parts, f"predictions/day=3/a.{output}")
    written = cut.table(f"predictions/day=3/a.{output}", "parts")
    assert hive_columns("day=3/a") == {"day": "3"}
    assert len(written) == 300


def test_a_quoted_line_break_is_scored_whole_wherever_it_is(cut: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    data = table(150, 2)
    data.loc[[20, 60, 61, 149], "id"] = "two\nlines"
    whole, parts, pieces = both(cut, "a.csv", data.to_csv(index=False).encode(), monkeypatch, keep=["id"])
    assert pieces > 2
    assert_same(cut, whole, parts, "predictions/a.parquet")


@pytest.mark.slow
@pytest.mark.parametrize(("place", "at"), [("first", 17), ("last", 5), ("last", 40), ("stray", 5)])
def test_a_cut_within_quotes_is_noticed(place: str, at: int, cut: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in quotes look like rows of their own to whoever begins among them."""
    header, *rows = table(120, 3).dropna().to_csv(index=False).splitlines()
    if place == "stray":
        # Of an even number of quotes none looks unclosed.
        for each in (0, 50):
            rows[each] = f'0"{rows[each]}'
    inside = rows[at : at + 40]
    if place == "first":
        quoted = '"' + "\n".join(inside) + '",3.0,flat'
    else:
        # Each line has as many values as a row, the one that closes the quote, too.
        begin, _, kind = inside[0].rpartition(",")
        quoted = f'{begin},"{kind}\n' + "\n".join(inside[1:]) + '"'
    text = "\n".join([header, *rows[:at], quoted, *rows[at + 40 :]])
    whole, parts, pieces = both(cut, "a.csv", text.encode(), monkeypatch, keep=["id"])
    assert pieces > 2
    assert (whole["state"], whole["rows"]) == ("scored", len(rows) - 39)
    assert_same(cut, whole, parts, "predictions/a.parquet")


def test_a_stray_quote_is_no_reason_to_lose_rows(cut: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    data = table(150, 4).assign(note='5" pipe')
    text = "\n".join(",".join(map(str, row)) for row in [data.columns, *data.dropna().itertuples(index=False)])
    whole, parts, pieces = both(cut, "a.csv", text.encode(), monkeypatch, keep=["note"])
    assert pieces > 2
    assert_same(cut, whole, parts, "predictions/a.parquet")


def test_what_only_a_late_row_tells_counts_for_all(cut: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers with a comma, and letters of another encoding: an early part alone would not know."""
    data = table(150, 5)
    text = data.to_csv(index=False, sep=";")
    lines = text.splitlines()
    lines[140] = lines[140].replace(".", ",", 1)
    for content in ("\n".join(lines).encode(), text.replace("00140", "00é40").encode("cp1252")):
        whole, parts, pieces = both(cut, "a.csv", content, monkeypatch, keep=["id"])
        assert pieces > 2
        if whole["state"] == "scored":
            assert_same(cut, whole, parts, "predictions/a.parquet")
        else:
            assert parts["state"] == whole["state"]
            assert parts["reason"].startswith(whole["reason"])
        for key in cut.written():
            cut.s3.delete_object(Bucket=cut.shop.bucket, Key=key)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", "gzip"),
        ("a.csv", "utf-16"),
        ("a.jsonl", "json"),
        ("a.parquet", "one group"),
        ("a.csv", "¦"),
        ("a.parquet", "damaged"),
    ],
)
def test_what_cannot_be_cut_is_one_piece(cut: Runs, name: str, content: str) -> None:
    data = table(200, 6)
    packed = io.BytesIO()
    data.to_parquet(packed, index=False)
    contents = {
        "gzip": pa.compress(data.to_csv(index=False).encode() * 9, "gzip", asbytes=True),
        "utf-16": data.to_csv(index=False).encode("utf-16"),
        "json": data.to_json(orient="records", lines=True).encode(),
        "one group": packed.getvalue(),
        "¦": data.to_csv(index=False, sep="¦").encode(),
        "damaged": packed.getvalue()[:-9],
    }
    cut.put(f"data/in/{name}", contents[content])
    assert len(contents[content]) > MOST
    assert cut.plan(cut.request())["pieces"] == [0]


def test_objects_beside_one_that_is_cut_keep_their_order(cut: Runs) -> None:
    for name, rows in {"a": 10, "b": 150, "c": 12, "d": 160, "e": 9}.items():
        cut.put(f"data/in/{name}.csv", table(rows, 7))
    result = cut.score(cut.request())
    assert (result["rows"], result["objects"]["scored"]) == (341, 5)
    manifest = cut.json("manifest.json")
    assert [(each["name"], each["rows"]) for each in manifest["objects"]] == [
        ("a.csv", 10), ("b.csv", 150), ("c.csv", 12), ("d.csv", 160), ("e.csv", 9),
    ]  # fmt: skip
    assert cut.json("drift.json")["rows"] == 341


def test_a_part_that_failed_is_the_objects_failure_and_no_others(cut: Runs) -> None:
    cut.put("data/in/a.csv", table(10, 8))
    cut.put("data/in/b.csv", table(150, 8))
    planned = cut.plan(cut.request())
    *others, last = planned["pieces"]
    for piece in others:
        cut.call("score_piece", plan=planned["plan"], piece=piece)
    result = cut.compare(planned, failed=[{"piece": last, "error": "Runtime.OutOfMemory: more"}])
    assert result["objects"] == {"scored": 1, "empty": 0, "failed": 1}
    assert cut.json("manifest.json")["objects"][1]["reason"] == "Runtime.OutOfMemory: more"


def test_calls_that_are_repeated_in_any_order_write_one_file(cut: Runs) -> None:
    cut.put("data/in/a.csv", table(150, 9))
    planned = cut.plan(cut.request())
    for piece in [*planned["pieces"][::-1], *planned["pieces"]]:
        cut.call("score_piece", plan=planned["plan"], piece=piece)
    # One that was cut off between its own document and the object's.
    cut.s3.delete_object(Bucket=cut.shop.bucket, Key="scoring/batch-1/pieces/object-0.json")
    cut.call("score_piece", plan=planned["plan"], piece=planned["pieces"][0])
    assert cut.compare(planned)["rows"] == 150
    versions = cut.s3.list_object_versions(Bucket=cut.shop.bucket, Prefix="scoring/batch-1/predictions/")["Versions"]
    assert len(versions) == 1


def test_an_object_that_is_replaced_between_its_parts_is_noticed(cut: Runs) -> None:
    cut.put("data/in/a.csv", table(150, 10))
    planned = cut.plan(cut.request())
    cut.call("score_piece", plan=planned["plan"], piece=0)
    cut.put("data/in/a.csv", table(150, 11))
    for piece in planned["pieces"][1:]:
        cut.call("score_piece", plan=planned["plan"], piece=piece)
    with pytest.raises(InvalidDatasetError, match="was replaced while the data set was read"):
        cut.compare(planned)


def test_an_object_that_neither_fits_nor_can_be_cut_says_both(cut: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    data = table(150, 12)
    data.loc[60, "id"] = "two\nlines"
    cut.put("data/in/a.csv", data)
    planned = cut.plan(cut.request())
    monkeypatch.setattr("data_preparation.objects.shutil.disk_usage", lambda _: type("Usage", (), {"free": MOST * 2}))
    for piece in planned["pieces"]:
        cut.call("score_piece", plan=planned["plan"], piece=piece)
    with pytest.raises(InvalidDatasetError, match="temporary disk 0 MB") as caught:
        cut.compare(planned)
    assert "has values of several lines: save it as Parquet, or bring it as several files." in str(caught.value)


def test_parts_of_all_objects_are_bounded(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_plan, "PART_BYTES", 100)
    monkeypatch.setattr(batch_plan, "MOST_PARTS", 8)
    for number in range(7):
        runs.put(f"data/in/{number}.csv", table(20 + 40 * number, number))
    plan = runs.plan(runs.request())
    assert len(plan["pieces"]) <= 7 + 8 + 4
    assert runs.score(runs.request())["objects"]["scored"] == 7


def test_a_lines_end_is_found_wherever_the_window_ends(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"a,b\r\n1,2\r\n\r\n\r\n3,4\r\n5,6"
    uri = runs.put("data/in/a.csv", text)
    etag = runs.s3.head_object(Bucket=runs.shop.bucket, Key="data/in/a.csv")["ETag"]
    source = object_parts.SourceObject(uri, "a.csv", len(text), etag)
    expected = [object_parts._line_end(runs.s3, source, at) for at in range(len(text))]
    assert set(expected) == {5, 10, 19, len(text)}
    for window in (1, 2, 3, 7):
        monkeypatch.setattr(object_parts, "_WINDOW_BYTES", window)
        assert [object_parts._line_end(runs.s3, source, at) for at in range(len(text))] == expected


def test_a_file_of_parts_is_one_that_pandas_reads(cut: Runs) -> None:
    cut.put("data/in/a.csv", table(150, 13))
    cut.score(cut.request(keep="all"))
    read = pq.read_table(io.BytesIO(cut.read("predictions/a.parquet"))).to_pandas()
    assert read["id"].tolist() == [f"{each:05}" for each in range(150)]
    assert read["prediction"].notna().all()
