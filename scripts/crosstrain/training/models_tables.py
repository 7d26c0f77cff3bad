"""What `models.py` prints of its documents."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from crosstrain.training.models import Document
from crosstrain.training.tables import pairs_table


def list_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of all models, or the versions of one."""
    documents = document.get("models", [document])
    if len(documents) == 1:
        yield from _version_tables(documents[0])
        return
    table = Table("model", "champion", "metric", "champion's data", "versions")
    table.columns[1].no_wrap = True
    for each in documents:
        item = next((item for item in each["versions"] if item["version"] == each["champion"]), None)
        what = ("none", "", "") if item is None else (item["version"], _metric(item), _data(item))
        table.add_row(each["model_name"], *what, f"{len(each['versions']):,}")
    yield table
    waiting = [each["model_name"] for each in documents if each["waiting"]]
    if waiting:
        yield f"Waiting for approval: versions of {', '.join(waiting)}."
    yield "The versions of one of them: models.py list --model-name NAME"


def _metric(item: Mapping[str, Any]) -> str:
    return f"{item['metric']} {_number(item.get('value'))}"


def _data(item: Mapping[str, Any]) -> str:
    """Return what a version predicts, and from which file or folder."""
    return f"{item['target']}\nin {item['dataset_uri'].rstrip('/').rpartition('/')[2]}"


def _version_tables(document: Document) -> Iterable[Table | str]:
    # Several lines for each version: one has no room at 80 columns for all that tells versions apart.
    table = _lines_table(
        f"Versions of {document['model_name']}", "version\nrecorded", "decision\nmetric", "model\ndata"
    )
    for item in document["versions"]:
        is_champion = item["version"] == document["champion"]
        trial = document["challenger"]
        is_tried = trial is not None and trial["version"] == item["version"]
        table.add_row(
            f"{item['version']}\n{_short_time(item['recorded_at'])}",
            f"{'champion' if is_champion else _trial(trial) if is_tried else item['decision']}\n{_metric(item)}",
            f"{item['estimator']} of {_data(item)}, {item['rows']['train']:,} train rows",
            style="bold" if is_champion else None,
        )
    yield table
    if document["rollbacks"]:
        rollbacks = _lines_table("Rollbacks", "from\nto", "rolled back", "reason\nby or execution")
        for item in document["rollbacks"]:
            # Rollbacks of earlier versions of this project name who claimed to make them.
            when, by = _short_time(item["recorded_at"]), item.get("execution") or item["by"]
            rollbacks.add_row(f"{item['from_version']}\n{item['to_version']}", when, f"{item['reason']}\n{by}")
        yield rollbacks
    if document["canaries"]:
        canaries = _lines_table("Canaries", "champion\nchallenger", "what\nwhen", "reason\nexecution")
        for item in document["canaries"]:
            share = f" {item['challenger_share']} %" if "challenger_share" in item else ""
            how = f"{item['action']}{' shadow' if item.get('shadow') else share}"
            canaries.add_row(
                f"{item['champion_version']}\n{item['challenger_version']}",
                f"{how}\n{_short_time(item['recorded_at'])}",
                f"{item['reason']}\n{item['execution']}",
            )
        yield canaries
    yield from _waiting_tables(document)


def _trial(trial: Mapping[str, Any]) -> str:
    """Return how a challenger is tried."""
    return "challenger, shadow" if trial["shadow"] else f"challenger, {trial['share']} %"


def _waiting_tables(document: Document) -> Iterable[Table | str]:
    if not document["waiting"]:
        return
    table = _lines_table("Waiting for approval", "version\nuntil", "metric", "reason\nreport")
    for item in document["waiting"]:
        metric = f"{item['metric']} {_number(item['value'])}"
        table.add_row(
            f"{item['version']}\n{_short_time(item['until'])}", metric, f"{item['reason']}\n{item['report_uri']}"
        )
    yield table
    yield f"To answer: models.py approve {document['model_name']} VERSION, or refuse."


def _lines_table(title: str, *headers: str) -> Table:
    """Return a table of cells of several lines, of which the first is never folded."""
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column(headers[0], no_wrap=True)
    for header in headers[1:]:
        table.add_column(header, overflow="fold")
    return table


def item_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of a version or a champion."""
    first = [
        "model_name",
        "version",
        "champion",
        "promoted_at",
        "previous_champion",
        "challenger",
        "decision",
        "reason",
    ]
    names = [name for name in first if name in document]
    names += sorted(document.keys() - {*names, "entry"})
    yield pairs_table((name, _text(document[name])) for name in names)


def compare_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of a comparison of two versions."""
    metrics = Table("metric", *document["versions"], "difference", "better")
    for name, row in document["metrics"].items():
        better = "" if row["better"] is None else document["versions"][row["better"]]
        metrics.add_row(name, *map(_number, row["values"]), _number(row["difference"]), better)
    yield metrics
    yield document["test_rows"]
    if document["differences"]:
        differences = Table("they differ in", *document["versions"])
        for name, pair in document["differences"].items():
            differences.add_row(name, *map(_text, pair))
        yield differences


def rollback_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of a rollback."""
    yield (
        f"{document['to_version']} is the champion of {document['model_name']} again, in place of "
        f"{document['from_version']}."
    )


def canary_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of a move of a challenger."""
    version, of = document["challenger_version"], f"of {document['model_name']}"
    match document["action"]:
        case "promote":
            yield f"{version} is the champion {of}, in place of {document['champion_version']}."
        case "end":
            yield f"{version} is no longer the challenger {of}: {document['champion_version']} answers all rows."
        case _ if document.get("shadow"):
            yield f"{version} is in the shadow of the champion {of}, {document['champion_version']}."
        case _:
            yield (
                f"{version} is the challenger {of}, and answers {document['challenger_share']} % of the rows of "
                f"{document['champion_version']}."
            )


def retrain_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of a retraining."""
    yield (
        f"{document['model_name']} is trained again, by the request of {document['retrained_from']}, "
        f"in the run {document['run_id']}."
    )


def answer_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of an answer to what waited."""
    answered = "approved" if document["approved"] else "refused"
    yield (
        f"{document['version']} of {document['model_name']} is {answered}; the run goes on, and "
        f"models.py show {document['version']} tells what became of it."
    )


def verify_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of files that are not as they were recorded."""
    table = Table("version", "file", "state")
    for each in document["files"]:
        if each["state"] != "as recorded":
            table.add_row(each["version"], each["uri"], each["state"], style="bold")
    if table.row_count:
        yield table
    of = f"{len(document['files'])} files of {document['model_name']}"
    yield f"All {of} are as recorded." if document["sound"] else f"{table.row_count} of {of} are not as recorded."


def lineage_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of where a version comes from."""
    rows = [("model", document["model_name"]), ("version", document["version"])]
    for name, link in document["links"].items():
        rows.append(
            (
                name.replace("_", " "),
                _text(link["value"]) if link["missing"] is None else f"missing ({link['missing']})",
            )
        )
    rows += [("contradiction", each) for each in document["contradictions"]]
    yield pairs_table(rows)


def page_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of the page that was written."""
    left_out = [
        f"{document[f'{kind}_left_out']:,} {kind}" for kind in ("models", "versions") if document[f"{kind}_left_out"]
    ]
    yield f"{document['file']}: {document['models']:,} models, {document['versions']:,} versions."
    if left_out:
        yield f"Left out, for the page would be too long: {' and '.join(left_out)}. --limit says how many there may be."


def export_tables(document: Document) -> Iterable[Table | str]:
    """Return what to print of an exported version."""
    decision = {"promote": "promoted", "reject": "rejected"}[document["decision"]]
    yield f"{document['version']} of {document['model_name']} ({decision}) as MLflow loads it:"
    yield pairs_table(
        [
            ("in Python", f"mlflow.pyfunc.load_model({document['model']!r})"),
            (
                "its run",
                f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {shlex.quote(document['tracking'])}",
            ),
        ]
    )


def _text(value: Any) -> str:
    """Return a value as lines of text."""
    if value is None or value == {}:
        return "none"
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return "\n".join(
            ", ".join(map(_text, each.values())) if isinstance(each, Mapping) else _text(each) for each in value
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _number(value) if isinstance(value, int | float) else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _short_time(text: str) -> str:
    return text[:19].replace("T", " ")
