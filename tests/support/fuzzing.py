"""Cases of the fuzz: each is made of a seed and its number alone, and run in a process that has limits.

`python fuzzing.py KIND SEED FIRST END` runs cases and prints the number of each before it begins, so that whoever reads
it knows which one ended the process; `python fuzzing.py KIND SEED NUMBER` shows the one error of a case.
"""

from __future__ import annotations

import argparse
import bz2
import copy
import dataclasses
import faulthandler
import functools
import gzip
import io
import json
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import (
    DamagedFileError,
    InvalidDatasetError,
    InvalidRequestError,
    InvalidRowsError,
    UntrustedModelError,
)
from common.frames import load_part
from common.model_file import save_model
from common.request import TrainingRequest, parse_request
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.prediction import Model
from crosstrain.training.scored_files import score_files
from data_preparation.columns import Columns, Wishes
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit
from parquet_edits import edited_footer, edited_page, footer, numbers, page
from table_reading import read

MEMORY_MB = 1769
ADDRESS_BYTES = 6 << 30
"""The most that a process may ask for, whether or not it uses it; threads reserve some of it."""
CASE_SECONDS = 20
NAMED = (
    BadInputError, DamagedFileError, InvalidDatasetError, InvalidRequestError, InvalidRowsError, OperationFailedError,
    UntrustedModelError,
)  # fmt: skip

Random = np.random.Generator
Case = Callable[[Random, Path], None]

CELLS = (
    "", "NA", "1", "0", "-7", "+5", "2.5", " 3 ", "1e3", "1e999", "-1e-320", "inf", "nan", "0x1F", "007", "true",
    "FALSE", "x", "=SUM(A1)", "é", "\U0001f600", '"', '""', '"a,b"', '"a\nb"', "2024-01-31", "2024-01-31T10:00:00Z",
    "2024-02-30",
    "9999-12-31 23:59:59", "0001-01-01", "9223372036854775807", "-9223372036854775808", "18446744073709551616",
    "1" * 400, "z" * 3000, "\0", "\ufeff", "train", "test",
)  # fmt: skip
NUMBERS = (0, 1, -1, 7, 127, 128, 255, 2**15, 2**31 - 1, -(2**31), 2**32, 2**40, 2**45, 2**62, 2**63 - 1, -(2**63))


def pick(random: Random, choices: Any) -> Any:
    """Return one of the choices, as it is."""
    return choices[int(random.integers(len(choices)))]


# Bytes


def mutated(random: Random, content: bytes) -> bytes:
    """Return bytes with a few of them changed, moved, repeated or gone."""
    changed = bytearray(content)
    for _ in range(int(pick(random, (1, 1, 1, 2, 5, 20)))):
        if not changed:
            break
        at = int(random.integers(len(changed)))
        end = min(len(changed), at + int(pick(random, (1, 4, 16, 200))))
        match int(random.integers(7)):
            case 0 | 1:
                changed[at] ^= 1 << int(random.integers(8))
            case 2:
                changed[at:end] = bytes(random.integers(0, 256, end - at, dtype=np.uint8))
            case 3:
                changed[at:end] = bytes([int(pick(random, (0, 255, 44, 10, 34)))]) * (end - at)
            case 4:
                del changed[at:end]
            case 5:
                changed[at:at] = changed[at:end]
            case 6:
                del changed[at if random.random() < 0.2 else len(changed) - (end - at) :]
    return bytes(changed)


# Data sets


def frame(random: Random, rows: int) -> pd.DataFrame:
    """Return rows that can be trained on; `mark` tells them apart."""
    return pd.DataFrame(
        {
            "mark": np.arange(rows) + 0.25,
            "count": random.integers(0, 40, rows),
            "kind": random.choice(["x", "y", "z"], rows),
            "flag": random.choice([True, False], rows),
            "when": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "part": random.choice(["train", "test"], rows),
            "y": random.normal(size=rows).round(3),
            "label": random.choice(["a", "b"], rows),
        }
    )


REQUESTS: tuple[dict[str, Any], ...] = (
    {"target": "y"},
    {"target": "label"},
    {"target": "y", "split_column": "part"},
    {"target": "label", "split_key": ["kind", "count"]},
    {"target": "y", "split_time": "when"},
    {"target": "count", "problem": "classification"},
    {"target": "y", "training_fraction": 0.3},
    {"target": "label", "training_fraction": 0.6},
)


def check_prepared(file: SourceFile, request: TrainingRequest, folder: Path) -> None:
    """Prepare a data set; where that succeeds, each row that has a target is in one part, once."""
    prepared = prepare([file], request, folder)
    rows = prepared.profile["rows"]
    assert rows["in"] == rows["used"] + rows["dropped"] + rows["left_out"], rows
    assert rows["used"] == rows["train"] + rows["test"], rows
    parts = [pq.read_table(path) for path in (prepared.train, prepared.test)]
    assert [part.num_rows for part in parts] == [rows["train"], rows["test"]]
    json.dumps(prepared.profile, allow_nan=False, ensure_ascii=False).encode()
    features = {each["name"] for each in prepared.profile["columns"] if each["use"] == "feature"}
    columns, batches = read(file, Columns(Wishes(request.read, request.columns, request.target)))
    assert sum(batch.num_rows for batch in batches) == rows["in"]
    for name in features & {name for name, kind in columns.kinds.items() if kind in ("integer", "float", "text")}:
        expected: Counter[Any] = Counter()
        for batch in batches:
            target = batch[request.target].to_pylist()
            usable = [value is not None and abs_is_finite(value) for value in target]
            type_ = parts[0][name].type
            type_ = pa.string() if pa.types.is_dictionary(type_) else type_
            expected.update(comparable(v) for v, u in zip(batch[name].to_pylist(), usable, strict=True) if u)
        found = Counter(comparable(value) for part in parts for value in part[name].to_pylist())
        whole = not rows["left_out"]
        assert found == expected if whole else found <= expected, f"the parts hold other values of {name} than the file"


def abs_is_finite(value: Any) -> bool:
    """Return whether a value counts as a target."""
    return not isinstance(value, float) or abs(value) <= float(np.finfo(np.float32).max)


def comparable(value: Any) -> Any:
    """Return what is left of a value in a part."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(np.float32(value)) if abs_is_finite(float(value)) else None
    return value


def odd_csv(random: Random) -> bytes:
    """Return a CSV file of odd cells, most of it with as many values in each row."""
    columns = int(random.integers(1, 6))
    names = [*(f"c{place}" for place in range(columns - 1)), "y"]
    kept = [[pick(random, CELLS) for _ in range(int(random.integers(1, 5)))] for _ in names]
    rows = [[pick(random, cells) for cells in kept] for _ in range(int(random.integers(0, 60)))]
    for row in rows:
        row[-1] = row[-1] if random.random() < 0.1 else str(random.integers(0, 99))
    newline = pick(random, ("\n", "\n", "\r\n", "\r"))
    return newline.join(",".join(row) for row in [names, *rows]).encode()


@functools.cache
def csv_base(rows: int) -> bytes:
    """Return a good CSV file."""
    return frame(np.random.default_rng(rows), rows).to_csv(index=False).encode()


def csv_case(random: Random, folder: Path) -> None:
    """Prepare a CSV file that is odd, or was damaged."""
    name, content = "data.csv", odd_csv(random)
    request = {"target": "y"}
    if random.random() < 0.5:
        content, request = mutated(random, csv_base(int(pick(random, (12, 40, 90))))), pick(random, REQUESTS)
    elif random.random() < 0.3:
        content = mutated(random, content)
    if random.random() < 0.1:
        name, content = "data.csv.gz", gzip.compress(content, 1, mtime=0)
        content = mutated(random, content) if random.random() < 0.7 else content
    prepare_content(folder, name, content, request)


def prepare_content(folder: Path, name: str, content: bytes, request: Mapping[str, Any]) -> None:
    """Prepare a file of that content."""
    (folder / name).write_bytes(content)
    document = {"dataset_uri": "s3://bucket/data", "search_trials": 0, **request}
    check_prepared(SourceFile(name, folder / name), parse_request(document), folder)


@functools.cache
def parquet_bases() -> tuple[bytes, ...]:
    """Return good Parquet files in the ways in which writers write."""
    data = frame(np.random.default_rng(0), 60)
    odd = data.assign(
        kind=data["kind"].astype("category"), count=data["count"].astype("uint8"), y=data["y"].astype("float32")
    )
    odd["flag"] = odd["flag"].astype("boolean")
    odd.loc[3:9, ["mark", "flag"]] = None
    options: tuple[dict[str, Any], ...] = (
        {},
        {"compression": "none", "use_dictionary": False},
        {"compression": "none", "write_page_checksum": True},
        {"compression": "zstd", "data_page_version": "2.0"},
        {"compression": "none", "data_page_version": "2.0", "store_schema": False},
        {"compression": "gzip", "row_group_size": 25, "data_page_size": 64},
        {"compression": "lz4", "version": "1.0"},
        {"use_dictionary": False, "compression": "none", "column_encoding": {
            "kind": "DELTA_BYTE_ARRAY", "label": "DELTA_LENGTH_BYTE_ARRAY", "count": "DELTA_BINARY_PACKED",
            "mark": "BYTE_STREAM_SPLIT",
        }},
    )  # fmt: skip
    files = []
    for table in (pa.Table.from_pandas(data), pa.Table.from_pandas(odd)):
        for each in options:
            chosen = dict(each)
            if table["kind"].type != pa.large_string() and table["kind"].type != pa.string():
                chosen.pop("column_encoding", None)
            file = io.BytesIO()
            pq.write_table(table, file, **chosen)
            files.append(file.getvalue())
    return tuple(files)


def edited_parquet(random: Random, content: bytes) -> bytes:
    """Return a Parquet file in which one number, of the footer or of a page's header, is another one."""
    value = int(pick(random, NUMBERS)) if random.random() < 0.7 else int(random.integers(-100, 5000))
    if random.random() < 0.5:
        chosen = pick(random, numbers(content, footer(content)))
        return edited_footer(content, lambda path, _: value if path == chosen.path else None)
    column = int(random.integers(pq.ParquetFile(io.BytesIO(content)).metadata.num_columns))
    try:
        at = page(content, column, dictionary=random.random() < 0.4)
        return edited_page(content, at, pick(random, numbers(content, at)).path, value)
    except (TypeError, OSError, pa.ArrowException):
        # There is no dictionary.
        return mutated(random, content)


def parquet_case(random: Random, folder: Path) -> None:
    """Prepare a Parquet file that was damaged, or whose numbers lie."""
    content = pick(random, parquet_bases())
    match int(random.integers(4)):
        case 0:
            content = mutated(random, content)
        case 1:
            # In the pages, for few of the changes elsewhere get past the footer.
            at = footer(content)
            content = mutated_in_place(random, content[:at]) + content[at:]
        case _:
            content = edited_parquet(random, content)
    prepare_content(folder, "data.parquet", content, pick(random, REQUESTS))


@functools.cache
def format_bases() -> tuple[tuple[str, bytes], ...]:
    """Return good files of the other formats, and of text in each compression."""
    data, text = frame(np.random.default_rng(1), 40), csv_base(40)
    lines, array = (data.to_json(orient="records", lines=each, date_format="iso").encode() for each in (True, False))
    archive, workbook = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("data.csv", text)
    data.to_excel(workbook, index=False)
    return (
        ("data.jsonl", lines),
        ("data.json", array),
        ("data.jsonl.bz2", bz2.compress(lines)),
        ("data.csv.zst", pa.compress(text, codec="zstd", asbytes=True)),
        ("data.csv.zip", archive.getvalue()),
        ("data.xlsx", workbook.getvalue()),
        ("data.parquet.gz", gzip.compress(parquet_bases()[0], mtime=0)),
    )


def format_case(random: Random, folder: Path) -> None:
    """Prepare a damaged file of another format, or one under another's name."""
    name, content = pick(random, format_bases())
    content = mutated(random, content) if random.random() < 0.9 else content
    if random.random() < 0.2:
        name, _ = pick(random, format_bases())
    (folder / "source").write_bytes(content)
    prepare(
        [SourceFile(name, folder / "source")],
        parse_request({"dataset_uri": "s3://bucket/data", "target": "y", "search_trials": 0}),
        folder,
    )


def mutated_in_place(random: Random, content: bytes) -> bytes:
    """Return as many bytes with some of them changed."""
    changed = bytearray(content)
    for at in random.integers(4, len(changed), int(pick(random, (1, 1, 2, 8)))):
        changed[at] = changed[at] ^ (1 << int(random.integers(8))) if random.random() < 0.6 else pick(random, (0, 255))
    return bytes(changed)


# Requests


def odd_value(random: Random, depth: int = 0) -> Any:
    """Return what JSON may hold, and what Python reads as JSON."""
    choices: tuple[Any, ...] = (
        None, True, False, 0, 1, -1, 2**31, 2**32, 2**63, 10**400, 10**5000, 0.5, 1e308, -1e308, 5e-324, float("nan"),
        float("inf"), "", "y", "ridge", "rmse", "auto", "s3://bucket/x", "\ud800", "a\nb", "x" * 5000, "\0", "train",
    )  # fmt: skip
    match int(random.integers(8)) if depth < 3 else 9:
        case 0:
            return [odd_value(random, depth + 1) for _ in range(int(random.integers(4)))]
        case 1:
            return {
                str(odd_value(random, 3))[:50]: odd_value(random, depth + 1) for _ in range(int(random.integers(4)))
            }
        case 2:
            nested: Any = 1
            for _ in range(int(pick(random, (5, 300, 3000)))):
                nested = [nested] if random.random() < 0.5 else {"a": nested}
            return nested
        case _:
            return pick(random, choices[:10] + choices[11:]) if depth == 3 else pick(random, choices)


HYPERPARAMETERS = (
    "alpha",
    "max_iter",
    "C",
    "n_estimators",
    "max_depth",
    "max_features",
    "solver",
    "tol",
    "x",
    "\ud800",
)


def request_case(random: Random, _: Path) -> None:
    """Parse a request of which some fields are odd; what is taken is written and read again as the same."""
    document: Any = {"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, **pick(random, REQUESTS)}
    for _ in range(int(random.integers(1, 4))):
        name = pick(random, (*TrainingRequest.model_fields, "tagret", "\ud800", ""))
        document[name] = odd_value(random)
    if random.random() < 0.4:
        document["estimator"] = pick(
            random, ("ridge", "random_forest", "logistic_regression", "hist_gradient_boosting")
        )
        document["hyperparameters"] = {pick(random, HYPERPARAMETERS): odd_value(random) for _ in range(2)}
    if random.random() < 0.05:
        document = odd_value(random)
    request = parse_request(document)
    assert parse_request(json.loads(json.dumps(request.model_dump(), allow_nan=False).encode())) == request


# Models


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model's file, its profile, and rows to score."""

    content: bytes
    profile: bytes
    rows: bytes


@functools.cache
def models() -> tuple[Trained, ...]:
    """Return a small model of each kind."""
    found = []
    for target, estimator, hyperparameters in (
        ("y", "ridge", {}),
        ("label", "logistic_regression", {}),
        ("y", "random_forest", {"n_estimators": 2, "max_depth": 3}),
        ("y", "hist_gradient_boosting", {"max_iter": 2, "max_leaf_nodes": 4}),
        ("label", "hist_gradient_boosting", {"max_iter": 2, "max_leaf_nodes": 4}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            found.append(trained(Path(folder), target, estimator, hyperparameters))
    return tuple(found)


def trained(folder: Path, target: str, estimator: str, hyperparameters: dict[str, Any]) -> Trained:
    """Train a model."""
    data = frame(np.random.default_rng(1), 80)
    data.to_csv(folder / "data.csv", index=False)
    request = {"target": target, "estimator": estimator, "hyperparameters": hyperparameters}
    prepared: PreparedData = prepare(
        [SourceFile("data.csv", folder / "data.csv")],
        parse_request({"dataset_uri": "s3://bucket/data.csv", "search_trials": 0, **request}),
        folder,
    )
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    content = save_model(model.pipeline, folder / "model.skops").read_bytes()
    return Trained(content, json.dumps(prepared.profile).encode(), data[:20].to_csv(index=False).encode())


def edited_model(random: Random, content: bytes) -> bytes:
    """Return a model file with a change inside: arrays that are another's, or bytes or nodes that are different."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    arrays = [name for name in members if name != "schema.json"]
    match int(random.integers(4)):
        case 0:
            one, other = pick(random, arrays), pick(random, arrays)
            members[one], members[other] = members[other], members[one]
        case 1:
            name = pick(random, arrays)
            members[name] = mutated_in_place(random, members[name])
        case 2:
            name = pick(random, arrays)
            members[name] = mutated(random, members[name])
        case 3:
            schema = json.loads(members["schema.json"])
            for _ in range(int(random.integers(1, 4))):
                change_node(random, schema)
            members["schema.json"] = json.dumps(schema).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, each in members.items():
            archive.writestr(name, each)
    return file.getvalue()


def change_node(random: Random, schema: Any) -> None:
    """Change a node of a schema: a value that is odd, gone, or another node's."""
    places: list[tuple[Any, Any]] = []
    left = [schema]
    while left:
        node = left.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                left.append(node[key])
    node, key = pick(random, places)
    match int(random.integers(3)):
        case 0:
            node[key] = pick(random, (None, "", "0", "-1", "1e999", "true", 10**6, -5, [], {}, "nan", '"a"', 2**63))
        case 1:
            del node[key]
        case 2:
            other, place = pick(random, places)
            node[key] = copy.deepcopy(other[place])


def model_case(random: Random, folder: Path) -> None:
    """Load a model whose file was damaged or edited, and score rows with it."""
    model = pick(random, models())
    content = mutated(random, model.content) if random.random() < 0.3 else edited_model(random, model.content)
    (folder / "model.skops").write_bytes(content)
    profile = mutated(random, model.profile) if random.random() < 0.1 else model.profile
    (folder / "profile.json").write_bytes(profile)
    (folder / "rows.csv").write_bytes(model.rows)
    loaded = Model.load(folder)
    file = SourceFile("rows.csv", folder / "rows.csv")
    loaded.check_columns(file.name, frame(np.random.default_rng(1), 1).columns)
    assert score_files(loaded, [file], folder / "predictions.csv").rows == 20


CASES: Mapping[str, Case] = {
    "csv": csv_case,
    "parquet": parquet_case,
    "format": format_case,
    "request": request_case,
    "model": model_case,
}


def run(kind: str, seed: int, number: int) -> str | None:
    """Run a case in a folder of its own, and return what is wrong, if anything is."""
    random = np.random.default_rng([seed, number, *kind.encode()])
    folder = Path(tempfile.mkdtemp())
    signal.alarm(CASE_SECONDS)
    try:
        CASES[kind](random, folder)
    except NAMED as error:
        message = str(error)
        message.encode()
        return f"its message has more than one line: {message!r}" if len(message.splitlines()) > 1 else None
    except BaseException:  # noqa: BLE001 (that is what is looked for)
        return traceback.format_exc()
    finally:
        signal.alarm(0)
        shutil.rmtree(folder)
    return None


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=CASES)
    parser.add_argument("seed", type=int)
    parser.add_argument("first", type=int)
    parser.add_argument("end", type=int, nargs="?")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    for number in range(options.first, options.end or options.first + 1):
        print(json.dumps({"case": number}), flush=True)
        if wrong := run(options.kind, options.seed, number):
            print(json.dumps({"case": number, "wrong": wrong}), flush=True)
    # Not what getrusage says: that counts the process that started this one, until it became this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"peak_kb": int(peak.split()[1])}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
