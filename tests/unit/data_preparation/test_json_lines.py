"""JSON objects as rows of CSV."""

from __future__ import annotations

import io
import json
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidDatasetError
from data_preparation import json_lines
from data_preparation.formats import EmptyFileError
from data_preparation.json_lines import write_json_as_csv


def rows(content: str | bytes, folder: Path) -> tuple[str, list[str]]:
    """Return the CSV that a file becomes, and what is told."""
    encoded = content.encode() if isinstance(content, str) else content
    target = folder / "target.csv"
    told = write_json_as_csv("data.jsonl", lambda: io.BytesIO(encoded), target)
    return target.read_bytes().decode(), told


def test_columns_are_all_keys_in_the_order_in_which_they_appear(tmp_path: Path) -> None:
    written, told = rows('{"b": 1, "a": 2}\n\n{"c": 3, "a": null}\n{"a": 4}\n', tmp_path)
    assert written == "b,a,c\n1,2,\n,,3\n,4,\n"
    assert told == []


def test_values_are_as_they_are_written(tmp_path: Path) -> None:
    numbers = ["12345678901234567890", "1.50", "3E2", "-0.0", "1e400", "NaN"]
    written, _ = rows(
        "{" + ", ".join(f'"{name}": {number}' for name, number in zip("abcdef", numbers, strict=True)) + "}", tmp_path
    )
    assert written == "a,b,c,d,e,f\n" + ",".join(numbers) + "\n"
    written, _ = rows('{"t": true, "f": false, "n": null, "e": "", "m": "NA", "z": "007"}', tmp_path)
    assert written == 't,f,n,e,m,z\ntrue,false,,"","NA",007\n'
    written, _ = rows(json.dumps({"q": 'a"b', "c": "a,b", "l": "a\nb", "r": "a\rb", "k,1": " x "}), tmp_path)
    assert written == 'q,c,l,r,"k,1"\n"a""b","a,b","a\nb","a\rb", x \n'


def test_objects_and_lists_are_left_out_and_told_wherever_they_first_appear(tmp_path: Path) -> None:
    written, told = rows('{"a": 1, "b": 2, "c": []}\n{"a": 3, "b": {"x": 1}}\n', tmp_path)
    assert written == "a\n1\n3\n"
    assert told == ['columns of "data.jsonl" are left out, for they hold objects or lists: "b", "c"']
    with pytest.raises(InvalidDatasetError, match="holds no values in its objects but objects and lists"):
        rows('{"data": [{"a": 1}]}', tmp_path)


def test_a_row_without_a_value_is_no_blank_line(tmp_path: Path) -> None:
    assert rows('{"a": 1}\n{"a": null}\n{}\n', tmp_path)[0] == 'a\n1\n""\n""\n'


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_as_lines_are(indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [
        {"a": index, "text": "ö]},{" * (index % 7), "more" if index == 50 else "a": index} for index in range(99)
    ]
    lines, _ = rows("\n".join(map(json.dumps, objects)), tmp_path)
    # Wherever a piece of it ends.
    for chunk in (10, 17, 1 << 20):
        monkeypatch.setattr(json_lines, "_CHUNK", chunk)
        assert rows("\ufeff \n" + json.dumps(objects, indent=indent, ensure_ascii=False) + "\n", tmp_path)[0] == lines


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(_TEXTS, st.none() | st.booleans() | st.integers() | _TEXTS, min_size=1), min_size=1))
def test_lines_and_an_array_are_the_same_table(objects: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines, _ = rows("\n".join(json.dumps(each) for each in objects), Path(folder))
        array, _ = rows(json.dumps(objects, ensure_ascii=False), Path(folder))
    assert lines == array


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n[1]\n', 'Line 2 is no JSON object in "data.jsonl"'),
        ('{"a": 1}\n\n{"a": secret}\n', "Line 3 is no JSON object"),
        ('{"a": 1} {"a": 2}\n', "Line 1 is no JSON object"),
        ('{\n  "a": 1\n}\n', "one on each line or all of them in one array"),
        ('{"a": ' + "[" * 100_000, "Line 1 is no JSON object"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "is not UTF-8"),
        ('{"a": "x"}\n'.encode("utf-16"), "is not UTF-8"),
        ('[{"a": 1}, 2]', "Element 2 of the array is no JSON object"),
        ('[{"a": 1}, {"a": secret}]', "Element 2 of the array is no JSON object"),
        ('[{"a": 1}, {"a": 2', "Element 2 of the array is no JSON object"),
        ('[{"a": 1}, ]', "Element 2 of the array is no JSON object"),
        ('[{"a": 1}', "ends after 1 elements without a bracket"),
        ('[{"a": 1}] [{"a": 2}]', "Something follows the array"),
        ('[{"a": ' + "[" * 100_000, "Element 1 of the array is no JSON object"),
    ],
)
def test_what_is_no_object_is_named_by_its_place_without_what_it_holds(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidDatasetError) as caught:
        rows(content, tmp_path)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "[ ]\n", "\n \n"])
def test_no_object_at_all_is_an_empty_file(content: str, tmp_path: Path) -> None:
    with pytest.raises(EmptyFileError, match="holds no JSON object"):
        rows(content, tmp_path)


@pytest.mark.parametrize(
    ("form", "where"), [("{}\n{}\n", "Line 2"), ("[{}, {}]", "Element 2 of the array"), ("[{}, {}", "Element 2")]
)
def test_an_object_has_a_size_that_it_may_not_exceed(
    form: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "MAX_OBJECT_BYTES", 1000)
    monkeypatch.setattr(json_lines, "_CHUNK", 100)
    content = form.replace("{}", '{"a": 1}', 1).replace("{}", '{"a": "' + "x" * 2000 + '"}')
    with pytest.raises(InvalidDatasetError, match=f"{where}.* is longer than 0 MB"):
        rows(content, tmp_path)


def test_keys_that_are_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="more than 10,000 different keys"):
        rows("".join(f'{{"{index}": 1}}\n' for index in range(10_001)), tmp_path)


@pytest.mark.parametrize("array", [False, True])
def test_memory_does_not_grow_with_the_file(array: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_CHUNK", 1 << 14)
    source = tmp_path / "source"
    lines = [json.dumps({"a": index, "text": "x" * 1000}) for index in range(5000)]
    source.write_text("[" + ",\n".join(lines) + "]" if array else "\n".join(lines))
    tracemalloc.start()
    write_json_as_csv("data.json", lambda: source.open("rb"), tmp_path / "target.csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The file has 5 MB.
    assert peak < 500_000
