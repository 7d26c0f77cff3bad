"""What a Parquet file says of its own size is held against the file and the memory before pyarrow takes any by it."""

from __future__ import annotations

import decimal
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import InvalidDatasetError
from data_preparation import parquet_pages
from data_preparation.reading import SourceFile, open_table
from parquet_edits import edited_footer, edited_page, page
from table_reading import read

ROWS = 2000
HUGE = 2**31 - 1


def table() -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "text": random.choice([f"text {number}" for number in range(300)], ROWS),
            "count": random.integers(0, 50, ROWS),
            "exact": pa.array([decimal.Decimal("1.25"), decimal.Decimal("2.5")] * (ROWS // 2), pa.decimal128(30, 2)),
            "y": random.normal(size=ROWS),
        }
    )


@pytest.fixture(scope="module")
def content() -> bytes:
    file = io.BytesIO()
    pq.write_table(table(), file)
    return file.getvalue()


def rows_read(folder: Path, content: bytes) -> int:
    (folder / "data.parquet").write_bytes(content)
    file = SourceFile("data.parquet", folder / "data.parquet")
    return sum(batch.num_rows for batch in read(file, encode_texts=True)[1])


SIZES: dict[str, tuple[tuple[int, ...], bool, int, str]] = {
    "a dictionary that is packed in more bytes than there are": ((3,), True, HUGE, "says to have 2,147,483,647 bytes"),
    "a dictionary of fewer than no bytes": ((2,), True, -1, "says to have"),
    "a dictionary of more values than bytes": ((7, 1), True, HUGE, "says to hold 2,147,483,647 values in"),
    "a dictionary of fewer than no values": ((7, 1), True, -5, "says to hold -5 values"),
    "a page that is packed in more bytes than there are": ((3,), False, HUGE, "says to have 2,147,483,647 bytes"),
    "a page of more values than rows": ((5, 1), False, HUGE, "has pages of 2,147,483,647 values"),
    "a page of fewer values than rows": ((5, 1), False, 3, "has pages|page header|says to have"),
    "a page of fewer than no values": ((5, 1), False, -5, "says to hold -5 values"),
}


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("what", SIZES)
def test_a_page_that_says_what_cannot_be_is_named(tmp_path: Path, content: bytes, what: str, column: int) -> None:
    path, dictionary, value, message = SIZES[what]
    changed = edited_page(content, page(content, column, dictionary=dictionary), path, value)
    with pytest.raises(
        InvalidDatasetError, match=rf'^"data\.parquet" cannot be read as Parquet: column "\w+" .*{message}'
    ):
        rows_read(tmp_path, changed)


@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_that_the_memory_cannot_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, *, dictionary: bool
) -> None:
    """Unpacked to 2 GB each, as they say, pages of four columns are more than a function has."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
    changed = edited_page(content, page(content, 3, dictionary=dictionary), (2,), HUGE)
    with pytest.raises(InvalidDatasetError, match=r"takes 2,0\d\d MB, and there is room for 707 MB: write it with sm"):
        rows_read(tmp_path, changed)


def everywhere(*fields: int) -> Callable[[tuple[int | str, ...], int], bool]:
    """Return what finds a number of the footer by the numbers in its path, whatever the place in a list."""
    return lambda path, _: tuple(each for each in path if isinstance(each, int)) == fields


FOOTERS: dict[str, tuple[tuple[int, ...], int]] = {
    "rows": ((3,), 2**40),
    "fewer than no rows": ((3,), -5),
    "rows of a row group": ((4, 3), 2**40),
    "values of a chunk": ((4, 1, 3, 5), 2**40),
    "fewer than no values": ((4, 1, 3, 5), -5),
    "bytes of a chunk": ((4, 1, 3, 7), 2**45),
    "fewer than no bytes": ((4, 1, 3, 7), -(2**45)),
    "the place of a dictionary": ((4, 1, 3, 11), 2**45),
    "the length of each value": ((2, 2), 2**20),
}


@pytest.mark.parametrize("what", FOOTERS)
def test_a_footer_that_says_what_cannot_be_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    """The length of a decimal made pyarrow ask for 3.3 TB."""
    fields, value = FOOTERS[what]
    found = everywhere(*fields)
    with pytest.raises(InvalidDatasetError, match=r'"data\.parquet"'):
        rows_read(tmp_path, edited_footer(content, lambda path, old: value if found(path, old) else None))


def test_a_column_whose_length_the_schema_does_not_take_is_left_out(tmp_path: Path, content: bytes) -> None:
    found, path = everywhere(2, 2), tmp_path / "data.parquet"
    path.write_bytes(edited_footer(content, lambda path, old: HUGE if found(path, old) else None))
    with open_table(SourceFile(path.name, path)) as table:
        assert len(table.unusable) == 1
        assert set(table.columns).isdisjoint(table.unusable)
    columns, _ = read(SourceFile(path.name, path))
    assert list(columns.kinds) == table.columns


def test_rows_that_are_nowhere_are_not_read(tmp_path: Path, content: bytes) -> None:
    fields = [everywhere(3), everywhere(4, 3), everywhere(4, 1, 3, 5)]
    changed = edited_footer(content, lambda path, old: 2**40 if any(each(path, old) for each in fields) else None)
    with pytest.raises(InvalidDatasetError, match="column"):
        rows_read(tmp_path, changed)
    with open_table(SourceFile("data.parquet", tmp_path / "data.parquet")) as table:
        assert table.rows == 2**40


@pytest.mark.parametrize("options", [{"version": "1.0"}, {"data_page_version": "2.0"}, {"use_dictionary": False}])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_what_writers_write_is_read(tmp_path: Path, compression: str, options: dict[str, object]) -> None:
    file = io.BytesIO()
    pq.write_table(table(), file, compression=compression, row_group_size=700, data_page_size=900, **options)
    assert rows_read(tmp_path, file.getvalue()) == ROWS


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
@pytest.mark.parametrize("texts", [["x" * 5000], ["x" * 5000, None, "y"], ["x" * 100_000, *["y"] * 3000]])
def test_a_batch_holds_so_much_text_and_no_more(tmp_path: Path, encoding: str, texts: list[str | None]) -> None:
    path = tmp_path / "data.parquet"
    wanted = (texts * (6_000 // len(texts) + 1))[:6000]
    pq.write_table(
        pa.table({"a": wanted}), path, use_dictionary=False, column_encoding={"a": encoding}, data_page_size=1 << 16
    )
    _, batches = read(SourceFile(path.name, path))
    assert [value for batch in batches for value in batch["a"].to_pylist()] == wanted
    assert max(batch.nbytes for batch in batches) <= 3 * parquet_pages.TEXT_BYTES


def test_a_long_text_in_many_rows_stays_one_text(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 1_000_000]))
    for store_schema in (True, False):
        pq.write_table(pa.table({"a": texts}), path, store_schema=store_schema)
        _, batches = read(SourceFile(path.name, path), encode_texts=True)
        assert sum(batch.num_rows for batch in batches) == 1_000_000
        assert max(len(batch["a"].dictionary) for batch in batches) == 1


def test_a_dictionary_of_more_texts_than_rows_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_preparation.parquet_reading.BATCH_VALUES", 1)
    path = tmp_path / "data.parquet"
    wanted = [f"text {number % 2500}" for number in range(5000)] + [None]
    pq.write_table(pa.table({"a": wanted}), path)
    _, batches = read(SourceFile(path.name, path), encode_texts=True)
    assert [value for batch in batches for value in batch["a"].to_pylist()] == wanted
    assert all(len(batch["a"].dictionary) <= batch.num_rows for batch in batches)


def test_small_row_groups_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    wanted = [f"text {number % 90}" if number % 7 else None for number in range(5000)]
    pq.write_table(pa.table({"a": wanted, "b": range(5000)}), path, row_group_size=50)
    _, (batch,) = read(SourceFile(path.name, path), encode_texts=True)
    assert batch["a"].to_pylist() == wanted
    assert len(batch["a"].dictionary) == 90


def test_a_text_that_is_too_long_is_named_by_its_column(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    for use_dictionary in (True, False):
        pq.write_table(pa.table({"a": ["secret" * 1_000_000]}), path, use_dictionary=use_dictionary)
        with pytest.raises(InvalidDatasetError, match=r'Column "a" of "data\.parquet" holds a text of 5 MB') as caught:
            read(SourceFile(path.name, path))
        assert "secret" not in str(caught.value)


def test_texts_that_are_no_utf8_are_named_by_their_column(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    for use_dictionary in (True, False):
        pq.write_table(pa.table({"a": ["secret"] * 9}), path, use_dictionary=use_dictionary, compression="none")
        path.write_bytes(path.read_bytes().replace(b"secret", b"secre\xff"))
        with pytest.raises(InvalidDatasetError, match=r'Column "a" of "data\.parquet" holds texts that are not UTF-8'):
            read(SourceFile(path.name, path))


@pytest.mark.slow
@pytest.mark.parametrize("dictionary", [True, False])
def test_texts_of_5_kb_in_100000_rows_are_prepared_in_a_functions_memory(tmp_path: Path, *, dictionary: bool) -> None:
    """A file of a few MB took 1.5 GB."""
    path = tmp_path / "data.parquet"
    text = np.random.default_rng(0).integers(97, 123, 4990, dtype=np.uint8).tobytes().decode()
    with pq.ParquetWriter(
        path,
        pa.schema({"t": pa.string(), "a": pa.int64(), "y": pa.int64()}),
        compression="zstd",
        use_dictionary=dictionary,
    ) as writer:
        for begin in range(0, 100_000, 10_000):
            numbers = range(begin, begin + 10_000)
            texts = [f"{number:06}{text}" for number in numbers]
            writer.write_table(pa.table({"t": texts, "a": [each % 7 for each in numbers], "y": list(numbers)}))
    assert path.stat().st_size < 10 << 20
    program = (
        "import sys; from pathlib import Path; import common\n"
        "from common.request import parse_request\n"
        "from data_preparation.preparation import prepare; from data_preparation.reading import SourceFile\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"
        "request = parse_request({'dataset_uri': 's3://bucket/x', 'target': 'y'})\n"
        "path = Path(sys.argv[1])\n"
        "rows = prepare([SourceFile(path.name, path)], request, path.parent).profile['rows']\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]\n"
        "print(rows['used'], peak)"
    )
    functions = Path(__file__).parents[3] / "functions"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={"PYTHONPATH": str(functions), "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"},
        capture_output=True,
        text=True,
        check=True,
    )
    rows, peak = map(int, done.stdout.split())
    assert rows == 100_000
    assert peak < 900 << 10
