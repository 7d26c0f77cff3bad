"""Look at the models that a deployed stack has trained, follow one back to its data, move a champion, and answer.

The stack is named by `--stack` or by CROSSTRAIN_STACK, which `make local-aws` prints. It exits with 0 for success, 1
for a failed operation (somebody else has moved the champion meanwhile, say), 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from crosstrain.command import OperationFailedError, result_console, run_command
from crosstrain.training.models import (
    Document,
    Models,
    champion,
    compare,
    lineage,
    list_models,
    promote,
    roll_back,
    show,
    stop_canary,
    verify,
)
from crosstrain.training.models_tables import (
    answer_tables,
    canary_tables,
    compare_tables,
    export_tables,
    item_tables,
    lineage_tables,
    list_tables,
    page_tables,
    retrain_tables,
    rollback_tables,
    verify_tables,
)
from crosstrain.training.requests import approve, refuse, retrain
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


def _page(models: Models, **options: Any) -> Document:
    """Write the page; templates and NumPy, which it needs, the other answers do without."""
    from crosstrain.training.models_page import write_page  # noqa: PLC0415 - see above

    drift = drift_of_champions(models.registry, options.get("model_name"))
    return write_page(models, **options, drift=drift)


def _export(models: Models, mlflow: str, model: str | None) -> Document:
    """Export a version; what that needs, scikit-learn among it, the other answers do without."""
    from crosstrain.training.mlflow_export import export  # noqa: PLC0415 - see above

    return export(models, mlflow, model)


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

    add("list", "list all models, or the versions of one", listed, answer=list_models, tables=list_tables)
    shown = add("show", "show a version", any_model, answer=show, tables=item_tables)
    shown.add_argument("version")
    add("champion", "show the champion of a model", one_model, answer=champion, tables=item_tables)
    compared = add("compare", "compare two versions", any_model, answer=compare, tables=compare_tables)
    compared.add_argument("first")
    compared.add_argument("second")
    add(
        "verify",
        "read all files of a model's versions, and say which are not those that were recorded",
        one_model,
        answer=verify,
        tables=verify_tables,
    )
    traced = add(
        "lineage", "follow a version back to its data and its code", any_model, answer=lineage, tables=lineage_tables
    )
    traced.add_argument("version")
    page = add("page", "write a page of all models, to look at in a browser", None, answer=_page, tables=page_tables)
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
    exported = add("export", "write a version as MLflow reads it", None, answer=_export, tables=export_tables)
    exported.add_argument("--mlflow", required=True, metavar="DIR", help="a new folder, or an empty one")
    exported.add_argument(
        "model", nargs="?", metavar="MODEL[@VERSION]", help="a model, and which version (the only model, its champion)"
    )
    _add_moves(add)
    return parser


def _add_moves(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands that change what is used."""
    rolled_back = add(
        "rollback", "make an earlier version the champion again", None, answer=roll_back, tables=rollback_tables
    )
    rolled_back.add_argument("model_name")
    rolled_back.add_argument("--to", metavar="VERSION", help="a version that was promoted once (the champion before)")
    rolled_back.add_argument("--reason", default="", help="why, for whoever looks later")
    promoted = add(
        "promote", "try a version beside the champion, or promote it then", None, answer=promote, tables=canary_tables
    )
    promoted.add_argument("model_name")
    promoted.add_argument("version")
    how = promoted.add_mutually_exclusive_group()
    how.add_argument("--share", type=int, metavar="N", help="the per cent of rows that it answers, from 1 to 99")
    how.add_argument("--shadow", action="store_true", help="it predicts all rows, and answers none")
    promoted.add_argument("--reason", default="", help="why, for whoever looks later")
    stopped = add("stop-canary", "end the trial of a challenger", None, answer=stop_canary, tables=canary_tables)
    stopped.add_argument("model_name")
    stopped.add_argument("--reason", default="", help="why, for whoever looks later")
    retrained = add(
        "retrain",
        "train a model again by the request of its champion's run",
        None,
        answer=retrain,
        tables=retrain_tables,
    )
    retrained.add_argument("model_name")
    retrained.add_argument("--data", metavar="URI", help="other data, a file or a folder in S3 (those of the request)")
    retrained.add_argument("--reason", default="", help="why, for whoever looks later")
    for name, help_, answer in (
        ("approve", "approve the promotion of a version that waits for it", approve),
        ("refuse", "refuse the promotion of a version that waits for approval", refuse),
    ):
        answered = add(name, help_, None, answer=answer, tables=answer_tables)
        answered.add_argument("model_name")
        answered.add_argument("version")
        answered.add_argument("--reason", default="", help="why, for whoever looks later")


if __name__ == "__main__":
    sys.exit(main())
