"""Look at the models that a deployed stack has trained, follow one back to its data and code, and roll back.

The stack is named by `--stack` or by CROSSTRAIN_STACK, which `make local-aws` prints. It exits with 0 for success, 1
for a failed operation (somebody else has moved the champion meanwhile, say), 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from crosstrain.command import OperationFailedError, result_console, run_command
from crosstrain.training.models import (
    Document,
    Models,
    champion,
    compare,
    lineage,
    list_models,
    roll_back,
    show,
    verify,
)
from crosstrain.training.scored_batches import drift_of_champions
from crosstrain.training.stack import find_stack

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    # What is left are the parameters of the answering function, by their names.
    parameters = vars(_parser().parse_args(arguments))
    stack_name, as_json, answer, tables = (parameters.pop(name) for name in ("stack", "json", "answer", "tables"))

    def work(_errors: Console) -> None:
        document = answer(Models.of(find_stack(stack_name)), **parameters)
        if as_json:
            print(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            result_console().print(*tables(document), sep="\n")
        if document.get("sound") is False:
            raise OperationFailedError("Files are not those that were recorded: see above.")

    return run_command(work)


def _list_tables(document: Document) -> Iterable[Table | str]:
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
        table.add_row(
            f"{item['version']}\n{_short_time(item['recorded_at'])}",
            f"{'champion' if is_champion else item['decision']}\n{_metric(item)}",
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


def _lines_table(title: str, *headers: str) -> Table:
    """Return a table of cells of several lines, of which the first is never folded."""
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column(headers[0], no_wrap=True)
    for header in headers[1:]:
        table.add_column(header, overflow="fold")
    return table


def _item_tables(document: Document) -> Iterable[Table | str]:
    first = ["model_name", "version", "champion", "promoted_at", "previous_champion", "decision", "reason"]
    names = [name for name in first if name in document]
    names += sorted(document.keys() - {*names, "entry"})
    yield _pairs((name, _text(document[name])) for name in names)


def _compare_tables(document: Document) -> Iterable[Table | str]:
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


def _rollback_tables(document: Document) -> Iterable[Table | str]:
    yield (
        f"{document['to_version']} is the champion of {document['model_name']} again, in place of "
        f"{document['from_version']}."
    )


def _verify_tables(document: Document) -> Iterable[Table | str]:
    table = Table("version", "file", "state")
    for each in document["files"]:
        if each["state"] != "as recorded":
            table.add_row(each["version"], each["uri"], each["state"], style="bold")
    if table.row_count:
        yield table
    of = f"{len(document['files'])} files of {document['model_name']}"
    yield f"All {of} are as recorded." if document["sound"] else f"{table.row_count} of {of} are not as recorded."


def _lineage_tables(document: Document) -> Iterable[Table | str]:
    rows = [("model", document["model_name"]), ("version", document["version"])]
    for name, link in document["links"].items():
        rows.append(
            (
                name.replace("_", " "),
                _text(link["value"]) if link["missing"] is None else f"missing ({link['missing']})",
            )
        )
    rows += [("contradiction", each) for each in document["contradictions"]]
    yield _pairs(rows)


def _page(models: Models, **options: Any) -> Document:
    """Write the page; templates and NumPy, which it needs, the other answers do without."""
    from crosstrain.training.models_page import write_page  # noqa: PLC0415 - see above

    drift = drift_of_champions(models.registry, options.get("model_name"))
    return write_page(models, **options, drift=drift)


def _page_tables(document: Document) -> Iterable[Table | str]:
    left_out = [
        f"{document[f'{kind}_left_out']:,} {kind}" for kind in ("models", "versions") if document[f"{kind}_left_out"]
    ]
    yield f"{document['file']}: {document['models']:,} models, {document['versions']:,} versions."
    if left_out:
        yield f"Left out, for the page would be too long: {' and '.join(left_out)}. --limit says how many there may be."


def _export(models: Models, mlflow: str, model: str | None) -> Document:
    """Export a version; what that needs, scikit-learn among it, the other answers do without."""
    from crosstrain.training.mlflow_export import export  # noqa: PLC0415 - see above

    return export(models, mlflow, model)


def _export_tables(document: Document) -> Iterable[Table | str]:
    decision = {"promote": "promoted", "reject": "rejected"}[document["decision"]]
    yield f"{document['version']} of {document['model_name']} ({decision}) as MLflow loads it:"
    yield _pairs(
        [
            ("in Python", f"mlflow.pyfunc.load_model({document['model']!r})"),
            (
                "its run",
                f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {shlex.quote(document['tracking'])}",
            ),
        ]
    )


def _pairs(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    return table


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


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--stack", help="the deployed stack (the one that CROSSTRAIN_STACK names)")
    shared.add_argument("--json", action="store_true", help="print a JSON document instead of tables")
    one_model = argparse.ArgumentParser(add_help=False)
    one_model.add_argument("--model-name", help="the name of the model (the only model's)")
    listed = argparse.ArgumentParser(add_help=False)
    listed.add_argument("--model-name", help="the name of the model whose versions to list (the only model's)")
    any_model = argparse.ArgumentParser(add_help=False)
    any_model.add_argument("--model-name", help="needed where models of different names have a version of this id")
    parser = argparse.ArgumentParser(prog="models.py", description="Look at the models of a stack, and roll back.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help_: str, parent: argparse.ArgumentParser | None, **defaults: Any) -> argparse.ArgumentParser:
        parents = [shared] if parent is None else [shared, parent]
        command = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.", parents=parents)
        command.set_defaults(**defaults)
        return command

    add("list", "list all models, or the versions of one", listed, answer=list_models, tables=_list_tables)
    shown = add("show", "show a version", any_model, answer=show, tables=_item_tables)
    shown.add_argument("version")
    add("champion", "show the champion of a model", one_model, answer=champion, tables=_item_tables)
    compared = add("compare", "compare two versions", any_model, answer=compare, tables=_compare_tables)
    compared.add_argument("first")
    compared.add_argument("second")
    rolled_back = add(
        "rollback", "make an earlier version the champion again", None, answer=roll_back, tables=_rollback_tables
    )
    rolled_back.add_argument("model_name")
    rolled_back.add_argument("--to", metavar="VERSION", help="a version that was promoted once (the champion before)")
    rolled_back.add_argument("--reason", default="", help="why, for whoever looks later")
    add(
        "verify",
        "read all files of a model's versions, and say which are not those that were recorded",
        one_model,
        answer=verify,
        tables=_verify_tables,
    )
    traced = add(
        "lineage", "follow a version back to its data and its code", any_model, answer=lineage, tables=_lineage_tables
    )
    traced.add_argument("version")
    page = add("page", "write a page of all models, to look at in a browser", None, answer=_page, tables=_page_tables)
    page.add_argument("--output", default="models.html", metavar="FILE", help="the file (%(default)s)")
    page.add_argument("--model-name", help="the name of the only model to show (all)")
    page.add_argument(
        "--limit",
        type=int,
        default=30,
        metavar="N",
        help="how many models, and of each how many versions and changes of its champion there may be (%(default)s)",
    )
    page.add_argument(
        "--reports", default="out", metavar="DIR", help="results of runs, whose reports are linked (%(default)s)"
    )
    exported = add("export", "write a version as MLflow reads it", None, answer=_export, tables=_export_tables)
    exported.add_argument("--mlflow", required=True, metavar="DIR", help="a new folder, or an empty one")
    exported.add_argument(
        "model", nargs="?", metavar="MODEL[@VERSION]", help="a model, and which version (the only model, its champion)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
