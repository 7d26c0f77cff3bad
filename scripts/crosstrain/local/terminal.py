"""Keeps an embedded AWS with the training stack running, and writes what leads other terminals to it."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.yamlhelper import yaml_parse

from crosstrain.command import BadInputError
from crosstrain.files import PROJECT
from crosstrain.local.server import open_training_stack
from crosstrain.training.progress import Progress
from crosstrain.training.stack import STACK_VARIABLE

if TYPE_CHECKING:
    from rich.console import Console

# What a terminal may hold for the AWS of everyday work, and what would come before the settings that are printed.
FOREIGN = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CA_BUNDLE",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    *(f"AWS_ENDPOINT_URL_{service}" for service in ("CLOUDFORMATION", "DYNAMODB", "LAMBDA", "S3", "SFN", "STS")),
)


def serve(env_file: Path | None, errors: Console, overrides: Sequence[str] = ()) -> None:
    """Start the embedded AWS, deploy the training stack, say how to reach it, and keep it until it is stopped.

    Parameters
    ----------
    env_file : Path, optional
        A file to write the shell lines to as well, while it serves.
    errors
        The console for what is not a shell line.
    overrides
        Parameters of the stack, each as NAME=VALUE.

    Raises
    ------
    BadInputError
        If the file is there already or cannot be written, or a parameter is none.
    LocalAwsError
        If the embedded AWS or the deployment fails, or the embedded AWS ends by itself.
    """
    if env_file is not None:
        _check_env_file(env_file)
    parameters = parse_overrides(overrides)
    with ExitStack() as resources:
        stack = resources.enter_context(open_training_stack(Progress(errors), parameters))
        lines = shell_lines({**stack.aws.settings(stack.data_scientist), STACK_VARIABLE: stack.name})
        if env_file is not None:
            resources.enter_context(_written(env_file, lines))
        # From here on to be stopped is not to fail.
        with suppress(KeyboardInterrupt, SystemExit):
            print(lines, end="", flush=True)
            _explain_use(env_file, errors)
            stack.aws.wait()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Whoever presses Ctrl-C twice is to find nothing left, either.
            signal.signal(number, signal.SIG_IGN)
    errors.print("Stopped; nothing is left running.")


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """Return parameters by name.

    Raises
    ------
    BadInputError
        If one is no NAME=VALUE, or the template has no parameter of its name.
    """
    known = yaml_parse((PROJECT / "template.yaml").read_text(encoding="utf-8"))["Parameters"]
    values: dict[str, str] = {}
    for word in words:
        name, is_there, value = word.partition("=")
        if not is_there:
            raise BadInputError(f'"{word}" is no parameter: write NAME=VALUE.')
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f" (is {near[0]} meant?)" if near else ""
            raise BadInputError(f'template.yaml has no parameter "{name}"{meant}.')
        values[name] = value
    return values


def shell_lines(settings: Mapping[str, str]) -> str:
    """Return the settings as lines for a POSIX shell, each value quoted where it needs to be.

    Examples
    --------
    >>> print(shell_lines({"NAME": "two words"}).splitlines()[-1])
    export NAME='two words'
    """
    lines = [f"unset {' '.join(name for name in FOREIGN if name not in settings)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    return "".join(f"{line}\n" for line in lines)


def _explain_use(env_file: Path | None, errors: Console) -> None:
    # With a folder: without one `.` looks for the file where commands are.
    how = f"run `. {shlex.quote(str(env_file.absolute()))}`" if env_file is not None else "paste the lines above"
    errors.print(
        f"Ready. In another terminal {how}; then work with the stack there: scripts/models.py list, for example. "
        "Data and models stay until Ctrl-C stops it here. Start it again after an edit: it runs the code as it was.",
        markup=False,
    )


def _check_env_file(path: Path) -> None:
    # It is removed in the end, and so must not be somebody's.
    if path.exists() or path.is_symlink():
        raise BadInputError(f'"{path}" exists already: remove it, or name another file.')
    if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise BadInputError(f'"{path}" cannot be written: it is in no folder that may be written to.')


@contextmanager
def _written(path: Path, text: str) -> Iterator[None]:
    """Write a file that nobody else may read, for the time of a `with` block."""
    with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        try:
            file.write(text)
            file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)
