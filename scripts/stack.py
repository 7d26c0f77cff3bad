"""What the commands share that work with a deployed stack: how it is found, and how they end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import boto3
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from common.errors import InvalidDatasetError, InvalidRequestError, UntrustedModelError

if TYPE_CHECKING:
    from rich.console import Console

STACK_VARIABLE = "CROSSTRAIN_STACK"
# Where no terminal says how wide it is: nothing that reads a file or a pipe needs lines to be folded at 80.
_WIDTH_OF_NO_TERMINAL = 160


class BadInputError(Exception):
    """Something that the user has to change."""


class OperationFailedError(Exception):
    """What was asked for can be done, but it failed."""


@dataclass(frozen=True)
class DeployedStack:
    """A stack that is deployed to AWS, or to the embedded AWS, and a session that reaches it.

    Attributes
    ----------
    name : str
        The name of the stack.
    outputs : mapping
        The outputs of the stack.
    session : boto3.Session
        Makes clients with the user's own settings.
    """

    name: str
    outputs: Mapping[str, str]
    session: boto3.Session

    def output(self, key: str) -> str:
        """Return the value of an output.

        Raises
        ------
        BadInputError
            If the stack has no such output.
        """
        if key not in self.outputs:
            raise BadInputError(
                f'The stack "{self.name}" has no output {key}: it is no training stack, or one of an older template, '
                "which has to be deployed again."
            )
        return self.outputs[key]


def find_stack(name: str | None) -> DeployedStack:
    """Return a deployed stack by its name or, without one, the stack that `CROSSTRAIN_STACK` names.

    Raises
    ------
    BadInputError
        If no stack is named, there is none of this name, or the user's settings do not reach AWS.
    """
    chosen = name or os.environ.get(STACK_VARIABLE)
    if not chosen:
        raise BadInputError(
            "No stack is named: say --stack NAME for a stack on AWS, or keep `make local-aws` running in another "
            f"terminal and set here what it prints, {STACK_VARIABLE} included."
        )
    try:
        session = boto3.Session()
        stacks = session.client("cloudformation").describe_stacks(StackName=chosen)["Stacks"]
    except BotoCoreError as error:
        raise BadInputError(f"AWS cannot be called: {str(error).rstrip('.')}. {_way_out(error)}") from error
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            raise BadInputError(f'There is no stack "{chosen}" in this account and region: deploy it first.') from error
        raise
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stacks[0].get("Outputs", [])}
    return DeployedStack(chosen, outputs, session)


def run_command(work: Callable[[Console], None]) -> int:
    """Do a command's work as `run_silent_command` does, with a console for what is worth telling besides the result.

    Parameters
    ----------
    work
        Takes the console of stderr.
    """
    errors = _error_console()
    return run_silent_command(lambda: work(errors))


def run_silent_command(work: Callable[[], None]) -> int:
    """Do a command's work, tell its errors on stderr in one sentence, and return its exit code.

    Returns
    -------
    int
        0 for success, 1 for a failed operation, 2 for input that cannot be used, 130 for Ctrl-C.
    """
    signal.signal(signal.SIGTERM, terminate)
    try:
        work()
        sys.stdout.flush()
    except (BadInputError, InvalidRequestError, InvalidDatasetError) as error:
        _error_console().print(f"error: {error}", markup=False, style="red")
        return 2
    except (OperationFailedError, UntrustedModelError, ClientError, BotoCoreError, Boto3Error) as error:
        _error_console().print(f"error: {error}", markup=False, style="red")
        return 1
    except BrokenPipeError:
        # Whoever reads the output (`| head`) has enough of it; at exit Python would flush to the closed pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _error_console().print("Stopped; nothing is left running.")
        return 130
    return 0


def result_console() -> Console:
    """Return the console for a command's result, which takes every text as it is."""
    from rich.console import Console  # noqa: PLC0415 - as in _error_console

    width = None if sys.stdout.isatty() else _WIDTH_OF_NO_TERMINAL
    return Console(highlight=False, markup=False, width=width)


def terminate(_signal: int, _frame: object) -> NoReturn:
    """End the process on a signal as on Ctrl-C: everything that is open is closed."""
    raise SystemExit(128 + signal.SIGTERM)


def _error_console() -> Console:
    # The import is a tenth of the time of a command that has nothing to tell.
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, soft_wrap=True, highlight=False)


def _way_out(error: BotoCoreError) -> str:
    if isinstance(error, HTTPClientError | NoConnectionError) and "AWS_ENDPOINT_URL" in os.environ:
        return "AWS_ENDPOINT_URL is set: see whether `make local-aws` is still running, and set what it prints."
    return "Set AWS_PROFILE and AWS_REGION."
