"""What data preparation would understand of data files, without training: their dialect, and what each column is."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table as Printed

from common.conversion import without_infinities
from common.errors import InvalidDatasetError
from common.request import TrainingRequest, parse_request
from common.validation import did_you_mean
from crosstrain.command import BadInputError
from crosstrain.training.data_files import find_data_files
from data_preparation.column_checks import common_kinds
from data_preparation.columns import MAX_READINGS, Columns, Wishes, merged
from data_preparation.decisions import Decision
from data_preparation.doubts import doubts_of, told_of_free_text, told_of_last_row, told_of_missing
from data_preparation.findings import role_of
from data_preparation.formats import EmptyFileError
from data_preparation.notation import Kind
from data_preparation.profiling import ColumnSummary
from data_preparation.reading import SourceFile, Table, open_table

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES = 32 << 20
"""How much of a data set is looked at: about what a second is enough for."""
SAMPLE_ROWS = 3
_NO_TARGET = "no target is named"


class _File:
    """One file as it was understood."""

    def __init__(self, table: Table, columns: Columns, summaries: dict[str, ColumnSummary], rows: int) -> None:
        self.name, self.dialect = table.file.name, table.dialect
        self.told, self.unusable = (*table.told, *columns.told), table.unusable
        self.columns, self.summaries, self.rows = columns, summaries, rows
        self.sample: Mapping[str, list[Any]] = {}
        self.is_whole = True


def inspect(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is understood of the files that the options name.

    Returns
    -------
    dict
        `files` with `name`, `format` and the number of `rows` that were looked at; `told` of them; and for each of the
        `columns`: `name`, `kind`, `written`, `role`, `use`, `missing`, `sample`, `told`, `doubts` and, where it is
        dropped, the `reason`. `is_whole` is false where the data set is too large to be looked at as a whole.

    Raises
    ------
    BadInputError, InvalidRequestError, InvalidDatasetError
        If the files or the options cannot be used.
    """
    found = find_data_files(options.data)
    request = _request(options)
    decided: dict[str, Decision] = {}
    for _ in range(MAX_READINGS):
        files, told = _read(found, request, decided)
        if not (changed := merged([file.columns for file in files])):
            break
        decided.update(changed)
    _check_target(options.target, files)
    summaries = _merged(files)
    return {
        "files": [{"name": file.name, "format": file.dialect, "rows": file.rows} for file in files],
        "is_whole": all(file.is_whole for file in files),
        "ignored_files": found.ignored,
        "told": list(dict.fromkeys([*told, *(each for file in files for each in file.told)])),
        "columns": [*_described(files, summaries, request, options.target, decided), *_unusable(files, request)],
    }


def _request(options: argparse.Namespace) -> TrainingRequest:
    """Return a request with the options; without a target, the one that it needs stands for none."""
    fields = {name: value for name in ("read", "columns") if (value := getattr(options, name)) is not None}
    return parse_request({"dataset_uri": "s3://bucket/inspected", "target": options.target or _NO_TARGET, **fields})


def _read(
    files: Sequence[SourceFile], request: TrainingRequest, decided: Mapping[str, Decision]
) -> tuple[list[_File], list[str]]:
    read, empty, left = list[_File](), list[EmptyFileError](), MOST_BYTES
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            if left <= 0:
                read[-1].is_whole = False
                break
            try:
                with open_table(file, request.read, Path(folder)) as table:
                    read.append(_settled(table, request, decided, left))
            except EmptyFileError as error:
                empty.append(error)
            left -= file.path.stat().st_size
    if not read:
        raise InvalidDatasetError(str(empty[0]))
    return read, [f"{error} It is left out." for error in empty]


def _settled(table: Table, request: TrainingRequest, decided: Mapping[str, Decision], most_bytes: int) -> _File:
    names = [name for name in table.columns if request.columns.get(name) != "ignore"]
    columns = Columns(Wishes.of_request(request), decided)
    for _ in columns.readings(table.file.name):
        file = _once(table, names, columns, most_bytes)
    if not file.rows:
        raise EmptyFileError(f'"{table.file.name}" has a header but no rows.')
    last = told_of_last_row(table.file.name, file.summaries) if file.is_whole else ()
    file.told = (*table.told, *columns.told, *table.told_of_rows, *last)
    return file


def _once(table: Table, names: Sequence[str], columns: Columns, most_bytes: int) -> _File:
    file = _File(table, columns, {}, 0)
    seen = 0
    for batch in table.batches(columns, names, encode_texts=True):
        for name in names:
            _add(file.summaries, name, columns.kinds[name], batch[name])
        file.rows += batch.num_rows
        file.sample = file.sample or {name: _shown(batch[name]) for name in names}
        seen += batch.nbytes
        if seen > most_bytes:
            file.is_whole = False
            break
    return file


def _add(summaries: dict[str, ColumnSummary], name: str, kind: Kind, column: pa.Array) -> None:
    if name not in summaries or summaries[name].kind != kind:
        # Such a column is read again.
        summaries[name] = ColumnSummary.of(name, kind)
    finite, _ = without_infinities(column)
    summaries[name].add(finite)


def _shown(column: pa.Array) -> list[str]:
    """Return the first values that are there, as text."""
    values = (value.as_py() for value in column if value.is_valid)
    return [str(value)[:40].removesuffix(" 00:00:00") for value in islice(values, SAMPLE_ROWS)]


def _merged(files: Sequence[_File]) -> dict[str, ColumnSummary]:
    kinds = common_kinds([(file.name, {name: each.kind for name, each in file.summaries.items()}) for file in files])
    summaries = {name: ColumnSummary.of(name, kind) for name, kind in kinds.items()}
    for file in files:
        for name, summary in file.summaries.items():
            summaries[name].merge(summary)
    return summaries


def _check_target(target: str | None, files: Sequence[_File]) -> None:
    names = list(files[0].summaries)
    if target is not None and target not in names:
        raise BadInputError(f'The target "{target}" is not a column of the data set.{did_you_mean(target, names)}')


def _described(
    files: Sequence[_File],
    summaries: Mapping[str, ColumnSummary],
    request: TrainingRequest,
    target: str | None,
    decided: Mapping[str, Decision],
) -> Iterator[dict[str, Any]]:
    for name, summary in summaries.items():
        columns = [file.columns[name] for file in files if name in file.summaries]
        decision = decided.get(name) or next((each.decision for each in columns if each.decision), None)
        role, reason = role_of(summary, request)
        told, doubts = (decision.told, decision.doubts) if decision else ((), ())
        problem = [decision.problem] if decision and decision.problem else []
        use = "unclear" if problem else "target" if name == target else "dropped" if reason else "feature"
        yield {
            "name": name,
            "kind": summary.kind,
            "written": columns[0].notation.style,
            "role": role,
            "use": use,
            "missing": summary.nulls,
            "sample": next((file.sample[name] for file in files if file.sample.get(name)), []),
            "told": [
                *told,
                *told_of_missing(name, columns, request),
                *(told_of_free_text(summary, request) if (role, use) == ("text", "feature") else ()),
            ],
            "doubts": list(dict.fromkeys([*problem, *doubts, *doubts_of(summary)])),
            **({"reason": reason} if use == "dropped" else {}),
        }


def _unusable(files: Sequence[_File], request: TrainingRequest) -> Iterator[dict[str, Any]]:
    reasons = {name: reason for file in files for name, reason in file.unusable.items()}
    reasons |= {name: "the request says so" for name, kind in request.columns.items() if kind == "ignore"}
    for name, reason in reasons.items():
        yield {"name": name, "kind": "null", "written": "", "role": "left out", "use": "dropped", "missing": 0,
               "sample": [], "told": [], "doubts": [], "reason": reason}  # fmt: skip


def printed(document: Mapping[str, Any]) -> Printed:
    """Return the table that people read."""
    table = Printed(title=_title(document), title_justify="left", title_style="bold")
    for heading in ("column", "kind", "written as", "use", "missing", "sample"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "missing" else "left")
    for column in document["columns"]:
        use = f"dropped: {column['reason']}" if column["use"] == "dropped" else column["use"]
        role = column["role"] if column["role"] != "numeric" else column["kind"]
        missing = f"{column['missing']:,}" if column["missing"] else ""
        table.add_row(column["name"], role, column["written"], use, missing, ", ".join(column["sample"]))
    return table


def _title(document: Mapping[str, Any]) -> str:
    files = document["files"]
    rows = sum(file["rows"] for file in files)
    looked = "rows" if document["is_whole"] else "rows looked at, not all of them"
    first = files[0]
    others = f" and {len(files) - 1:,} more files" if len(files) > 1 else ""
    return f"{first['name']}{others}: {first['format']}, {rows:,} {looked}"


def sentences(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is told and what is doubtful, each with the word for which of both it is."""
    for sentence in document["told"]:
        yield "note", sentence
    if document["ignored_files"]:
        yield "note", f"no data by their names, and ignored: {', '.join(document['ignored_files'][:10])}"
    for column in document["columns"]:
        for sentence in column["told"]:
            yield "note", sentence
    for column in document["columns"]:
        for sentence in column["doubts"]:
            yield "doubt", sentence
