"""Serves a model's champion on this machine, by the function that a stack has for it."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.credentials import Credentials

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.local.batches import open_with_model
from crosstrain.local.front import Front
from crosstrain.local.server import REGION
from crosstrain.training.endpoint import URL, Endpoint
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.folder_models import name_in
from crosstrain.training.progress import Progress
from crosstrain.training.stack import find_stack

if TYPE_CHECKING:
    from rich.console import Console


def serve(options: argparse.Namespace, errors: Console) -> None:
    """Serve until Ctrl-C.

    Raises
    ------
    BadInputError
        If there is no such stack or folder, the stack serves no model or another one, or the port is taken.
    OperationFailedError
        If the embedded AWS or the endpoint fails.
    """
    with _opened(options, errors) as endpoint, Front(endpoint, options.port) as front:
        answer = endpoint.ask("GET", "/openapi.json")
        document = json.loads(answer.body) if answer.headers.get("content-type") == "application/json" else {}
        if answer.status != 200:
            raise OperationFailedError(document.get("error") or document.get("Message") or "The endpoint has failed.")
        _check_name(options.model_name, document["info"]["title"])
        _explain(front.address, document, errors)
        with suppress(KeyboardInterrupt, SystemExit):
            front.serve_forever()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Whoever presses Ctrl-C twice is to find nothing left, either.
            signal.signal(number, signal.SIG_IGN)
    errors.print("Stopped; nothing is left running.")


@contextmanager
def _opened(options: argparse.Namespace, errors: Console) -> Iterator[Endpoint]:
    if options.folder is None:
        yield Endpoint.of(find_stack(options.stack))
        return
    if options.stack or not options.trust:
        raise BadInputError(
            f'Nobody vouches for the model in "{options.folder}": say --trust if you know where it comes from, and '
            "leave the stack out; or leave the folder out for the champion of a stack."
        )
    folder, progress = Path(options.folder), Progress(errors)
    name = name_in(folder)
    with ExitStack() as resources:
        with errors_of_functions():
            stack = resources.enter_context(open_with_model(progress, folder, name))
        key = stack.data_scientist
        credentials = Credentials(key.access_key_id, key.secret_access_key)
        yield Endpoint(stack.outputs[URL], credentials, REGION, stack.aws.endpoint_url)


def _check_name(asked: str | None, served: str) -> None:
    if asked not in (None, served):
        raise BadInputError(f'The stack serves "{served}", not "{asked}": deploy it with ServeModel={asked}.')


def _explain(address: str, document: dict[str, Any], errors: Console) -> None:
    example = document["components"]["schemas"]["Row"]["example"]
    body = shlex.quote(json.dumps({"rows": [example]}))
    print(address, flush=True)
    errors.print(
        f"The champion is served here, with a form to try it, until Ctrl-C. From another terminal:\n"
        f"curl {address}/predictions -H 'Content-Type: application/json' -d {body}",
        markup=False,
        soft_wrap=True,
    )
