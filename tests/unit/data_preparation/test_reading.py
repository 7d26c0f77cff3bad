"""Reading: the kind of each column, whatever the format, and what is said of files that cannot be read."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidDatasetError
from data_preparation import parquet_reading, text_reading
from data_preparation.columns import Columns
from data_preparation.notation import ARROW_TYPES, Kind
from data_preparation.reading import SourceFile, open_table, read_columns
from table_reading import read, values

Write = Callable[..., SourceFile]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes bytes as a source file."""

    def write_file(content: bytes, name: str = "data.csv") -> SourceFile:
        (tmp_path / name).write_bytes(content)
        return SourceFile(name, tmp_path / name)

    return write_file


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-2", ""], "integer"),
        (["1", "2.5", "NA"], "float"),
        (["1", "99999999999999999999"], "float"),
        ([" 1", "2 "], "integer"),
        (["inf", "-Infinity"], "float"),
        (["true", "FALSE"], "boolean"),
        (["2024-01-31", "2024-01-31 10:00:00", "2024-01-31T10:00:00.5"], "timestamp"),
        (["2024-01-31T10:00:00Z", "2024-01-31T10:00:00+01:00"], "timestamp"),
        (["a", "1"], "text"),
        (["true", "1.5"], "text"),
        (["true", "1"], "text"),
        (["2024-01-31 10:00:00", "2024-01-31T10:00:00Z", "2024-01-31T10:00:00+0100"], "timestamp"),
        (["", "null", "NaN"], "null"),
        (["-9223372036854775807", "9223372036854775807", "-"], "integer"),
        (["-9223372036854775808", "9223372036854775807", "-"], "float"),
    ],
)
def test_the_narrowest_kind_that_holds_all_values_is_found(write: Write, texts: list[str], kind: Kind) -> None:
    columns, batches = read(write(("x,y\n" + "".join(f"{text},1\n" for text in texts)).encode()))
    assert columns.kinds == {"x": kind, "y": "integer"}
    assert batches[0].schema.field("x").type == ARROW_TYPES[kind]


@pytest.mark.parametrize("code", ["0x10", "0X1f", "007", "-007"])
def test_codes_are_no_whole_numbers(write: Write, code: str) -> None:
    """A cast of pyarrow takes 0x10 for 16."""
    columns, batches = read(write(f"x,y\n{code},1\n5,1\n{code},1\n".encode()))
    assert columns.kinds["x"] == "text"
    assert values(batches, "x") == [code, "5", code]


def test_a_late_value_widens_the_kind(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 64)
    file, columns = write(b"x\n" + b"1\n" * 100 + b"0.5\n"), Columns()
    with open_table(file) as table:
        batches = list(table.batches(columns))
        assert batches[0].schema.field("x").type == pa.int64()
        assert batches[-1].schema.field("x").type == pa.float64()
        assert not columns.end()
    columns, batches = read(file)
    assert columns.kinds == {"x": "float"}
    assert {batch.schema.field("x").type for batch in batches} == {pa.float64()}


# 20241231 and 20241231235959 are days.
INTEGERS = st.integers(-(2**63), 2**63 - 1).filter(lambda number: not 18_000_101 <= number <= 22_001_231_235_959)


@given(st.lists(st.one_of(st.none(), INTEGERS), min_size=1))
def test_integers_are_read_as_they_are(tmp_path_factory: pytest.TempPathFactory, numbers: list[int | None]) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_text("x,y\n" + "".join(f"{'' if number is None else number},1\n" for number in numbers))
    columns, batches = read(SourceFile("data.csv", path))
    notation = columns["x"].notation
    assert notation.kind == ("null" if set(numbers) == {None} else "integer")
    assert values(batches, "x") == [None if number is None else number - notation.offset for number in numbers]


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_floats_are_read_as_they_are(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_text("x,y\n" + "".join(f"{number!r},1\n" for number in numbers))
    columns, batches = read(SourceFile("data.csv", path))
    assert columns.kinds["x"] == "float"
    assert values(batches, "x") == numbers


def test_quoted_newlines_commas_and_empty_names_are_read(write: Write) -> None:
    columns, batches = read(write('\ufeff,"a\nb",é "q"\n0,"x\ny, z",1\n'.encode()))
    assert list(columns.kinds) == ["Unnamed: 0", "a\nb", 'é "q"']
    assert batches[0].to_pylist() == [{"Unnamed: 0": 0, "a\nb": "x\ny, z", 'é "q"': 1}]


def test_gzip_is_read_by_name(write: Write) -> None:
    _, batches = read(write(gzip.compress(b"x,y\n1,2\n"), "data.csv.gz"))
    assert batches[0].to_pylist() == [{"x": 1, "y": 2}]


def test_parquet_types_become_kinds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "unsigned": pa.array([1, None], pa.uint64()),
            "small": pa.array([1, 2], pa.int8()),
            "decimal": pa.array([decimal.Decimal("1.5"), None]),
            "half": pa.array([1.5, 2.5], pa.float32()),
            "date": pa.array([dt.date(2020, 1, 1), None]),
            "zoned": pa.array([0, 1], pa.timestamp("ns", "Europe/Berlin")),
            "category": pa.array(["a", "b"]).dictionary_encode(),
            "large": pa.array(["a", "b"], pa.large_string()),
            "flag": [True, None],
            "nothing": pa.nulls(2),
        }
    )
    pq.write_table(table, tmp_path / "data.parquet")
    columns, batches = read(SourceFile("data.parquet", tmp_path / "data.parquet"))
    assert columns.kinds == {
        "unsigned": "float",
        "small": "integer",
        "decimal": "float",
        "half": "float",
        "date": "timestamp",
        "zoned": "timestamp",
        "category": "text",
        "large": "text",
        "flag": "boolean",
        "nothing": "null",
    }
    assert batches[0].schema.types == [ARROW_TYPES[kind] for kind in columns.kinds.values()]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "data.csv", "is empty"),
        (b"\n\n", "data.csv", "is empty"),
        (b"a,b\n1,2\n3\n", "data.csv", "Row #3: Expected 2 columns, got 1"),
        (b"a,b\n1,2\n3,4\n3,4,5\n", "data.csv", "Row #4: Expected 2 columns, got 3"),
        (b"a,b\n1,2\n" + b"3,4,5\n" * 3, "data.csv", "has 2 names in its header and 3 values in its rows"),
        (b"a\0,b\n1,2\n", "data.csv", "has zero bytes"),
        (b"a,b\n" + b"1,x\n" * 99_999 + b"1,\0\n", "data.csv", "has zero bytes"),
        (b"a,b,a\n1,2,3\n", "data.csv", 'more than one column named "a"'),
        (b'a,b\n1,2\n3,"x\n4,5\n6,7\n', "data.csv", "a quote that is opened in line 3 or below and never closed"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-9], "data.csv.gz", "cannot be decompressed"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 999_999, mtime=0)[:-9], "data.csv.gz", "cannot be decompressed"),
        (b"PAR1" + b"a,b\n1,2\n", "data.parquet", "cannot be read as Parquet"),
        (b"", "data.parquet", "is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(write: Write, content: bytes, name: str, message: str) -> None:
    with pytest.raises(InvalidDatasetError) as caught:
        read(write(content, name))
    assert f'"{name}"' in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("é,b\n1,ü\n".encode("latin-1"), "data.csv"),
        ("é,b\n1,ü\n".encode("utf-16"), "data.csv"),
        ("é,b\n1,ü\n".encode(), "data.csv.gz"),
        ("é;b\n1;ü\n".encode(), "data.txt"),
        ("é,b\n1,ü\n".encode(), "data.parquet"),
    ],
)
def test_encodings_separators_and_formats_are_found_and_told(write: Write, content: bytes, name: str) -> None:
    file = write(content, name)
    with open_table(file) as table:
        assert len(table.told) == 1
    assert values(read(file)[1], "é") == [1]
    assert values(read(file)[1], "b") == ["ü"]


@pytest.mark.parametrize("last", ['6" pipe', '"6"" pipe"', '"two\nlines"'])
def test_a_quote_within_a_value_leaves_none_open(write: Write, last: str) -> None:
    _, batches = read(write(f'a,b\n1,6" x\n2,y\n3,{last}\n'.encode()))
    assert values(batches, "a") == [1, 2, 3]


@given(
    st.lists(
        st.sampled_from(["", "1", "0", "-7", "2.5", "true", "FALSE", "2024-01-31", "2024-01-31T10:00:00Z", "x", " 3 "]),
        min_size=1,
        max_size=60,
    ),
    # A block holds the longest row at least.
    st.integers(min_value=64, max_value=200),
)
def test_the_kind_does_not_depend_on_the_block_size(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], block: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_text("x,y\n" + "".join(f"{text},1\n" for text in texts))
    whole, whole_batches = read(SourceFile("data.csv", path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_reading, "BLOCK_BYTES", block)
        pieces, batches = read(SourceFile("data.csv", path))
    assert pieces.notations == whole.notations
    assert values(batches, "x") == values(whole_batches, "x")


def test_only_the_columns_that_are_wanted_are_looked_at(tmp_path: Path, write: Write) -> None:
    pq.write_table(pa.table({"a": [1], "nested": [[1]], "b": [2]}), tmp_path / "data.parquet")
    _, (batch,) = read(SourceFile("data.parquet", tmp_path / "data.parquet"), wanted=["b", "a"])
    assert batch.to_pylist() == [{"a": 1, "b": 2}]
    columns, (batch,) = read(write(b"a,b,c\n1,2,x\n"), wanted=["c", "a"])
    assert batch.to_pylist() == [{"a": 1, "c": "x"}]
    assert columns.kinds == {"a": "integer", "c": "text"}


def test_a_whole_number_beyond_the_floats_is_read_as_the_nearest(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([2**64 - 1], pa.uint64())}), tmp_path / "data.parquet")
    _, batches = read(SourceFile("data.parquet", tmp_path / "data.parquet"))
    assert batches[0]["a"].to_pylist() == [float(2**64)]


def test_columns_are_known_without_reading_rows(write: Write, tmp_path: Path) -> None:
    assert read_columns(write(b"a,b\n1,2\n")) == ["a", "b"]
    pq.write_table(pa.table({"x": [1]}), tmp_path / "data.parquet")
    assert read_columns(SourceFile("data.parquet", tmp_path / "data.parquet")) == ["x"]


CELLS = st.one_of(
    st.sampled_from(
        ["", "NA", "1", "0", "-7", "+5", "2.5", " 3 ", "\t4", "1e3", "0x1F", "007", "inf", "-Infinity", "NAN"]
    ),
    st.sampled_from(["true", "FALSE", "tRue", " true", "T", "yes", "x", '"quoted, text"', "1_000", "\u00a05"]),
    st.sampled_from(["2024-01-31", "2024-01-31 10:00", "2024-01-31T10:00:00.123456789", "2024-01-31T10:00:00Z"]),
    st.sampled_from(["2024-01-31T10:00:00+01:00", "2024-01-31T10:00:00+0100", "12:30", "2024-02-30"]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
)


@given(
    st.lists(CELLS, min_size=1, max_size=3, unique=True).flatmap(lambda cells: st.lists(st.sampled_from(cells))),
    st.lists(CELLS, max_size=5),
)
def test_the_converters_read_what_strings_say(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], later: list[str]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_text("x,y\n" + "".join(f"{value},1\n" for value in [*first, *later]))
    file = SourceFile("data.csv", path)
    with pytest.MonkeyPatch.context() as patch:
        # The sample is one or two rows, so that converters meet what they do not take.
        patch.setattr(text_reading, "SAMPLE_BYTES", 64)
        converted = settled(file)
        patch.setattr(text_reading, "_type", lambda *_: pa.string())
        strings = settled(file)
    assert repr(converted) == repr(strings)


def settled(file: SourceFile) -> tuple[dict[str, Kind], list[object]]:
    """Return the kinds and the values of x."""
    columns, batches = read(file, encode_texts=True)
    return columns.kinds, values(batches, "x")


def test_a_row_may_be_longer_than_the_sample(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_reading, "SAMPLE_BYTES", 32)
    columns, batches = read(write(b"x,y\n1,2\n" + b"t" * 1000 + b",3\n"))
    assert columns.kinds == {"x": "text", "y": "integer"}
    assert values(batches, "y") == [2, 3]


WORDS = "HIV positive since 2019"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (f"a,b\n1,2\n3,{WORDS},5\n", "data.csv"),
        (f'a,b\n1,2\n"{WORDS},5\n', "data.csv"),
        (f'a,b\n1,2\n3,"{WORDS},5\n4,5\n', "data.csv"),
        (f"a,a\n{WORDS},5\n", "data.csv"),
        ("PAR1" + WORDS, "data.parquet"),
        ('{"a": "' + WORDS, "data.json"),
    ],
)
def test_what_a_file_holds_is_in_no_message(tmp_path: Path, content: str, name: str) -> None:
    """A message goes to six events of the history, to the event bus and to a mail."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InvalidDatasetError) as caught:
        read(SourceFile(name, path))
    assert "positive" not in str(caught.value)


def test_a_flipped_bit_of_a_parquet_file_never_passes_as_a_value(tmp_path: Path) -> None:
    """Where the writer has made checksums; without them 112 of 150 such files were read as if nothing were wrong."""
    random = np.random.default_rng(0)
    table = pa.table(
        {"a": random.normal(size=500), "b": random.integers(0, 9, 500), "c": random.choice(list("xyz"), 500)}
    )
    path = tmp_path / "data.parquet"
    pq.write_table(table, path, write_page_checksum=True)
    content, expected, refused = path.read_bytes(), table.to_pylist(), 0
    for place in random.integers(4, len(content), 150):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            found = [row for batch in read(SourceFile(path.name, path))[1] for row in batch.to_pylist()]
        except InvalidDatasetError:
            refused += 1
        else:
            # What is not a page, such as a statistic that nobody reads here, may change.
            assert [list(row.values()) for row in found] == [list(row.values()) for row in expected]
    assert refused > 75


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": pa.array([[1], [2]], pa.list_(pa.int64()))}),
        pa.table({"a": pa.array([{"b": 1}], pa.struct([("b", pa.int64())]))}),
        pa.table({"a": pa.array([b"x"], pa.binary())}),
    ],
)
def test_parquet_types_that_cannot_be_trained_on_are_left_out(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(table.append_column("b", pa.array(range(table.num_rows))), path)
    with open_table(SourceFile(path.name, path)) as opened:
        assert opened.columns == ["b"]
        assert opened.unusable["a"].startswith(f"its type is {str(table['a'].type)[:4]}")
    columns, (batch,) = read(SourceFile(path.name, path))
    assert columns.kinds == {"b": "integer"}
    assert batch.schema.names == ["b"]


def test_times_of_the_clock_and_durations_are_seconds(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    table = {"a": pa.array([90], pa.duration("s")), "b": pa.array([1500], pa.time32("ms"))}
    pq.write_table(pa.table(table), path)
    _, (batch,) = read(SourceFile(path.name, path))
    assert batch.to_pylist() == [{"a": 90.0, "b": 1.5}]


def test_a_parquet_column_with_a_zero_byte_in_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a\0b": [1]}), path)
    with pytest.raises(InvalidDatasetError, match="a zero byte in its name"):
        read_columns(SourceFile(path.name, path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.parquet"])
def test_more_columns_than_a_run_bears_are_counted_before_they_are_read(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """To read the header of 100,000 took 1.3 GB."""
    monkeypatch.setattr(text_reading.TextFile, "_open", lambda *_, **__: pytest.fail("pyarrow was asked"))
    names = [f"c{number}" for number in range(parquet_reading.MAX_COLUMNS + 1)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({each: [1] for each in names}), sink)
    text = (",".join(names) + "\n" + ",".join("1" for _ in names) + "\n").encode()
    content = {"data.csv": text, "data.csv.gz": gzip.compress(text), "data.parquet": sink.getvalue().to_pybytes()}
    file = write(content[name], name)
    for look in (read_columns, read):
        with pytest.raises(InvalidDatasetError, match=rf'"{name}" has more than 10,000 columns, more than a run bears'):
            look(file)


def test_commas_and_lines_in_quotes_are_no_columns(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_reading, "MAX_COLUMNS", 3)
    assert read_columns(write(b'\n"a,,,,,\n""q"",,,,",b,c\n1,2,"3,,,,,,"\n'))[1:] == ["b", "c"]
    with pytest.raises(InvalidDatasetError, match="has more than 3 columns"):
        read_columns(write(b"a,b,c,d\n1,2,3,4\n"))
