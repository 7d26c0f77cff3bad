"""Preparation in pieces: the same rows, split and profile as in one call, whatever the cut."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from common.errors import InvalidDatasetError, InvalidRequestError
from common.request import parse_request
from data_preparation import parquet_pages, pieces, preparation, splitting, text_reading
from data_preparation.decisions import Decision
from data_preparation.documents import packed, unpacked
from data_preparation.file_parts import part_of
from data_preparation.notation import Notation
from data_preparation.parquet_reading import RowGroups
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from prepared_in_pieces import prepare_in_pieces

Both = Callable[..., PreparedData]


@pytest.fixture
def both(tmp_path: Path) -> Both:
    """Return a function that prepares files in one call and in pieces, and insists that the results are the same."""

    def compare(contents: Sequence[pd.DataFrame | bytes], cuts: Sequence[int], **fields: Any) -> PreparedData:
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        result = compared(place, contents, cuts, fields)
        assert isinstance(result, PreparedData), result
        return result

    return compare


def compared(
    place: Path, contents: Sequence[pd.DataFrame | bytes], cuts: Sequence[int], fields: dict[str, Any]
) -> PreparedData | str:
    """Prepare files in one call and in pieces; return the result of both, or what both say of files that are none."""
    blocks = fields.pop("blocks", None)
    suffix, champion = fields.pop("suffix", ".csv"), fields.pop("champion", None)
    files = written(place / "files", contents, suffix)
    request = parse_request({"dataset_uri": "s3://bucket/data/", "target": "y", "search_trials": 0, **fields})
    edges = [0, *cuts, len(files)]
    cut = [files[begin:end] for begin, end in itertools.pairwise(edges)] if blocks is None else in_parts(files, blocks)
    ways = {
        "one": lambda folder: prepare(files, request, folder, champion),
        "pieces": lambda folder: prepare_in_pieces(cut, request, folder, champion),
    }
    results = dict[str, PreparedData | str]()
    for name, way in ways.items():
        (place / name).mkdir()
        try:
            results[name] = way(place / name)
        except (InvalidDatasetError, InvalidRequestError) as error:
            # The state machine knows errors by their names.
            results[name] = f"{type(error).__name__}: {error}"
    one, other = results["one"], results["pieces"]
    if isinstance(one, str) or isinstance(other, str):
        # Of a part it is said, too, that it is one.
        assert one == (other.partition(" It is cut into pieces")[0] if isinstance(other, str) else other)
        return str(one)
    assert json.dumps(other.profile) == json.dumps(one.profile)
    assert other.request == one.request
    for mine, theirs in ((one.train, other.train), (one.test, other.test)):
        assert mine.read_bytes() == theirs.read_bytes()
    return one


def in_parts(files: list[SourceFile], blocks: int) -> list[Any]:
    """Cut each file into parts of so many blocks, or sections of row groups."""
    found: list[Any] = []
    for file in files:
        if file.path.suffix == ".parquet":
            found += [file.fingerprint(), *parts_of_groups(file, blocks)]
            continue
        content, size = file.path.read_bytes(), file.path.stat().st_size
        found.append(file.fingerprint())
        step = blocks * text_reading.BLOCK_BYTES
        for begin in range(0, size, step):
            folder = Path(tempfile.mkdtemp(dir=file.path.parent.parent))

            def copy(at: int, end: int, target: BinaryIO, content: bytes = content) -> None:
                target.write(content[at:end])

            found.append([part_of(file.name, size, begin, min(size, begin + step), copy, folder)])
    return found


def parts_of_groups(file: SourceFile, number: int) -> list[list[SourceFile]]:
    with file.path.open("rb") as stream:
        groups = parquet_pages.row_groups(stream)
    found, parts = parquet_pages.sections(groups), list[list[SourceFile]]()
    for at in range(0, len(found), number):
        held = range(found[at].start, found[at : at + number][-1].stop)
        segment = RowGroups(held, held.start == 0, held.stop == len(groups), partial(file.path.open, "rb"))
        parts.append([SourceFile(file.name, file.path, segment)])
    return parts


def written(folder: Path, contents: Sequence[pd.DataFrame | bytes], suffix: str) -> list[SourceFile]:
    folder.mkdir()
    files = []
    for number, content in enumerate(contents):
        path = folder / f"part-{number:03}{suffix}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif suffix == ".parquet":
            content.to_parquet(path, index=False)
        else:
            content.to_csv(path, index=False)
        files.append(SourceFile(path.name, path))
    return files


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": random.normal(1e6, 3, rows),
            "few": random.integers(0, 3, rows),
            "part_id": random.integers(0, 10**9, rows),
            "c": np.array(["x", "y", "z", None])[random.integers(0, 4, rows)],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 10**6, rows), unit="s"),
            "flag": random.choice([True, False], rows),
            "note": [f"text {number}" for number in random.integers(0, rows, rows)],
            "y": random.normal(size=rows),
        }
    )


def parts(data: pd.DataFrame, files: int) -> list[pd.DataFrame]:
    edges = np.linspace(0, len(data), files + 1).astype(int)
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"target": "c"},
        {"split_key": ["few", "c"]},
        {"split_time": "day"},
        {"weight_column": "few"},
        {"columns": {"few": "category", "note": "ignore"}, "split_seed": 7},
        {"target": "few", "problem": "classification", "training_fraction": 0.5},
        {"split_time": "day", "training_fraction": 0.3},
    ],
)
def test_the_results_are_the_same_however_rows_are_split(both: Both, suffix: str, fields: dict[str, Any]) -> None:
    both(parts(table(300), 7), [1, 4, 5], suffix=suffix, **fields)


def test_a_column_says_which_rows_are_tested(both: Both) -> None:
    data = table(90).assign(part=["train", "test", "train"] * 30)
    both(parts(data, 5), [2], split_column="part")
    both(parts(data, 5), [2], split_column="part", training_fraction=0.5)


CELLS = {
    "whole": st.integers(-1000, 1000).map(str),
    "large": st.integers(2**53, 2**62).map(str),
    "decimal": st.floats(-1e6, 1e6, allow_nan=False).map(repr),
    "tiny": st.floats(1e-300, 1e-290).map(repr),
    "percent": st.integers(0, 100).map("{} %".format),
    "german": st.floats(0, 1e6).map(lambda value: f"{value:.2f}".replace(".", ",")),
    "day": st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1)).map(str),
    "slashes": st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)).map("{:%d/%m/%Y}".format),
    "compact": st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)).map("{:%Y%m%d}".format),
    "word": st.sampled_from(["red", "green", " blue", "NA", "Total", "yes", "no"]),
    "code": st.integers(0, 99).map("{:04}".format),
    "flag": st.sampled_from(["true", "false", "TRUE"]),
    "text": st.text("abc ;,\"\n'", max_size=8),
    "none": st.sampled_from(["", "NA", "-", "null"]),
}


@st.composite
def columns_of_cells(draw: st.DrawFn, rows: int) -> list[str]:
    """Draw a column: of one kind, or of two that meet somewhere, with missing values in between."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2))
    turn = draw(st.integers(0, rows))
    cells = [draw(CELLS[kinds[0 if at < turn else -1]]) for at in range(rows)]
    missing = draw(st.sampled_from([None, "", "NA", "-"]))
    return cells if missing is None else [missing if draw(st.integers(0, 5)) == 0 else cell for cell in cells]


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[list[bytes], list[int], dict[str, Any]]:
    """Draw files of delimited text, where pieces are cut, and a request."""
    rows = draw(st.integers(20, 40))
    table = [draw(columns_of_cells(rows)) for _ in range(draw(st.integers(1, 3)))]
    names = [f"x{number}" for number in range(len(table))]
    is_class = draw(st.booleans())
    target = [str(draw(st.integers(0, 2)) if is_class else draw(st.integers(0, 10**6)) / 4) for _ in range(rows)]
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    edges = [0, *sorted(draw(st.lists(st.integers(0, rows), max_size=4))), rows]
    files = []
    for begin, end in itertools.pairwise(edges):
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=separator, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
        writer.writerow([*names, "y"])
        writer.writerows(zip(*(column[begin:end] for column in table), target[begin:end], strict=True))
        files.append(text.getvalue().encode())
    cuts = sorted(draw(st.lists(st.integers(0, len(files)), max_size=3)))
    fields: dict[str, Any] = {"problem": draw(st.sampled_from(["auto", "regression"]))}
    fields["training_fraction"] = draw(st.sampled_from([1, 0.5]))
    if draw(st.booleans()):
        fields["split_key"] = ["x0"]
    elif draw(st.booleans()):
        fields["columns"] = {"x0": draw(st.sampled_from(["category", "number", "text", "date", "ignore"]))}
    return files, cuts, fields


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=data_sets())
def test_whatever_the_files_hold_pieces_tell_and_make_the_same(
    tmp_path: Path, data: tuple[list[bytes], list[int], dict[str, Any]]
) -> None:
    """Errors, too, are those of one call."""
    contents, cuts, fields = data
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    event("refused" if isinstance(compared(place, contents, cuts, fields), str) else "prepared")


def parquet(rows: pa.Table, rows_of_group: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, row_group_size=rows_of_group)
    return sink.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{}, {"target": "c"}, {"split_time": "day"}, {"columns": {"few": "category"}, "split_seed": 7}]
)
def test_one_parquet_file_in_parts_is_read_as_it_is_as_a_whole(
    both: Both, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(parquet_pages, "SECTION_VALUES", 200)
    content = parquet(pa.Table.from_pandas(table(500), preserve_index=False), 17)
    for sections in (1, 3):
        both([content], [], blocks=sections, suffix=".parquet", **fields)


TYPED: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "whole": (pa.int64(), st.integers(-(2**60), 2**60)),
    "small": (pa.int8(), st.integers(0, 3)),
    "float": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats(-1e300, 1e300, allow_subnormal=False)),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1))),
    "time": (pa.timestamp("us"), st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1))),  # noqa: DTZ001
    "category": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b", " c", "NA", "7"])),
    "nothing": (pa.null(), st.none()),
    **{f"text of {name}": (pa.string(), cells) for name, cells in CELLS.items()},
}


@st.composite
def one_parquet_file(draw: st.DrawFn) -> tuple[bytes, int, int, dict[str, Any]]:
    """Draw a file of columns with types and texts, its values and groups in a section and a part, and a request."""
    rows = draw(st.integers(20, 60))
    columns: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 3))):
        type_, values = TYPED[draw(st.sampled_from(sorted(TYPED)))]
        is_missing = draw(st.booleans())
        drawn = [None if is_missing and draw(st.integers(0, 5)) == 0 else draw(values) for _ in range(rows)]
        columns[f"x{number}"] = pa.array(drawn, type_)
    columns["y"] = pa.array([draw(st.integers(0, 10**6)) / 4 for _ in range(rows)])
    fields: dict[str, Any] = {"split_key": ["x0"]} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        fields["columns"] = {"x0": draw(st.sampled_from(["category", "number", "text", "date", "ignore"]))}
        fields.pop("split_key", None)
    content = parquet(pa.table(columns), draw(st.integers(3, 30)))
    return content, draw(st.integers(1, 100)), draw(st.integers(1, 3)), fields


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=one_parquet_file())
def test_whatever_a_parquet_file_holds_parts_of_it_tell_and_make_the_same(
    tmp_path: Path, data: tuple[bytes, int, int, dict[str, Any]]
) -> None:
    content, values, number, fields = data
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(parquet_pages, "SECTION_VALUES", values)
        result = compared(place, [content], [], {"blocks": number, "suffix": ".parquet", **fields})
        event("refused" if isinstance(result, str) else "prepared")


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "fields", [{}, {"target": "c"}, {"split_time": "day"}, {"columns": {"few": "category"}, "split_seed": 7}]
)
def test_one_file_in_parts_is_read_as_it_is_as_a_whole(
    both: Both, monkeypatch: pytest.MonkeyPatch, ends: str, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1024)
    content = table(150).to_csv(index=False, lineterminator=ends).encode()
    for blocks in (1, 3):
        both([content], [], blocks=blocks, **fields)


@pytest.mark.slow
def test_what_a_late_part_tells_of_a_column_holds_for_all(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 4096)
    data = table(300)
    data["late"] = [str(number) for number in range(290)] + ["1,5"] * 10
    data["codes"] = [str(number) for number in range(100, 390)] + ["007"] * 10
    data["empty"] = [""] * 200 + ["3"] * 100
    data["days"] = [f"{1 + number % 28:02}/{1 + number % 12:02}/2024" for number in range(300)]
    data.loc[299, "few"] = -1
    both([data.to_csv(index=False).encode(), data.to_csv(index=False).encode()], [], blocks=2)


def test_a_total_at_the_end_of_a_file_in_parts_is_left_out(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1024)
    data = table(100)[["c", "a", "y"]].fillna("x")
    content = data.to_csv(index=False) + f"Total,{data['a'].sum()},{data['y'].sum()}\n"
    result = both([content.encode()], [], blocks=1)
    assert result.profile["rows"]["in"] == 100


def test_quotes_in_parts_are_no_harm_and_line_ends_within_them_are_named(
    tmp_path: Path, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 512)
    rows = [f'"a, ""b"" {number % 5}",5" pipe,{number}\n' for number in range(100)]
    both([("t,p,y\n" + "".join(rows)).encode()], [], blocks=1)
    # Most line ends are within quotes.
    text = "word\n" * 20
    rows = [f'"{text}",{number}\n' for number in range(100)]
    content = ("t,y\n" + "".join(rows)).encode()
    with pytest.raises(InvalidDatasetError, match="line ends, which must not be within quotes: write it as several"):
        prepare_in_pieces(
            in_parts(written(tmp_path / "files", [content], ".csv"), 1),
            parse_request({"dataset_uri": "s3://bucket/data/", "target": "y"}),
            tmp_path,
        )


@st.composite
def one_file(draw: st.DrawFn) -> tuple[bytes, int, dict[str, Any]]:
    """Draw a file of which no value holds a line end, into how many blocks it is cut, and a request."""
    rows = draw(st.integers(20, 60))
    table = [[cell.replace("\n", "") for cell in draw(columns_of_cells(rows))] for _ in range(draw(st.integers(1, 3)))]
    target = [str(draw(st.integers(0, 10**6)) / 4) for _ in range(rows)]
    text = io.StringIO(newline="")
    ends, separator = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from([",", ";", "\t"]))
    writer = csv.writer(text, delimiter=separator, lineterminator=ends)
    writer.writerow([*(f"x{number}" for number in range(len(table))), "y"])
    writer.writerows(zip(*table, target, strict=True))
    fields: dict[str, Any] = {"split_key": ["x0"]} if draw(st.booleans()) else {}
    return text.getvalue().encode(), draw(st.integers(1, 3)), fields


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=one_file())
def test_whatever_a_file_holds_parts_of_it_tell_and_make_the_same(
    tmp_path: Path, data: tuple[bytes, int, dict[str, Any]]
) -> None:
    content, blocks, fields = data
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(text_reading, "BLOCK_BYTES", 256)
        event(
            "refused" if isinstance(compared(place, [content], [], {**fields, "blocks": blocks}), str) else "prepared"
        )


def test_beyond_what_is_counted_exactly_the_share_is_kept_whatever_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "EXACT_ROWS", 1000)
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1 << 14)
    data = table(4000).assign(few=1)[["few", "c", "flag", "y"]]
    data["y"] = np.arange(4000) % 2
    request = parse_request({"dataset_uri": "s3://bucket/data/", "target": "y", "test_fraction": 0.3})
    files = written(tmp_path / "files", [data[:2500], data[2500:]], ".csv")
    results = []
    for name, cut in (("one", [files]), ("two", [files[:1], files[1:]]), ("parts", in_parts(files, 1))):
        (tmp_path / name).mkdir()
        results.append(prepare_in_pieces(cut, request, tmp_path / name))
    first, *others = results
    # Of the same few rows again and again, too.
    assert 0.25 < first.profile["split"]["test_share"] < 0.35
    for other in others:
        assert other.test.read_bytes() == first.test.read_bytes()
        assert json.dumps(other.profile) == json.dumps(first.profile)


def test_more_rows_than_are_counted_exactly_cannot_be_split_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "EXACT_ROWS", 50)
    request = parse_request({"dataset_uri": "s3://bucket/data/", "target": "y", "split_time": "day"})
    files = written(tmp_path / "files", [table(100)], ".csv")
    with pytest.raises(InvalidDatasetError, match="100 rows are more than the 50 that can be split by time"):
        prepare_in_pieces([files], request, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"split_key": ["part_id"]}, {"split_time": "day"}, {"target": "c"}])
def test_a_test_part_has_a_limit_which_is_told(
    both: Both, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(splitting, "MAX_TEST_ROWS", 20)
    monkeypatch.setattr(preparation, "MAX_TEST_ROWS", 20)
    result = both(parts(table(300), 3), [1], **fields)
    assert result.profile["rows"]["test"] == pytest.approx(20, abs=2)
    assert any(each.startswith("The test part holds 20 rows and not 0.2 of") for each in result.profile["read"]["told"])


def test_files_of_different_columns_and_empty_ones_are_united(both: Both) -> None:
    whole, header = parts(table(200), 3), b"y,zz\n"
    result = both([b"", header, whole[0], whole[1].assign(more=1.5), b" \n", whole[2]], [1, 3], read={"unite": True})
    assert result.profile["columns"][-1]["name"] == "more"
    assert sum("has no rows" in each for each in result.profile["read"]["told"]) == 3


def test_a_champions_split_is_inherited(both: Both) -> None:
    split = {"by": "key", "columns": ["few"], "seed": 3}
    result = both(parts(table(200), 3), [2], champion={"version": "v1", "target": "y", "split": split})
    assert result.profile["split"]["inherited_from"] == "v1"


def test_a_document_gives_back_what_was_packed_and_nothing_else() -> None:
    values = [None, True, 2**60, -0.0, float("inf"), "ä\ud7ff", [1], (1, "a"), {"b", "a"}, frozenset({1}), {1.5: "x"}]
    values += [
        Counter({True: 2}),
        pa.scalar(-1, pa.timestamp("us")).as_py(),
        Decision(Notation("float", unit="%"), told=("a",), is_code=True),
    ]
    assert unpacked(packed(values)) == values
    assert packed({"b", "a", "c"}) == packed({"c", "a", "b"})
    hashes = np.array([0, 2**64 - 1], np.uint64)
    np.testing.assert_array_equal(unpacked(packed(hashes)), hashes)
    for forged in ({"Popen": {}}, {"Path": {"x": 1}}, {"__class__": {}}):
        with pytest.raises(KeyError):
            unpacked(gzip.compress(json.dumps(forged).encode()))
