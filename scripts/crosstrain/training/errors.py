"""The errors of functions/, for the commands that use its code on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import InvalidDatasetError, InvalidRequestError, InvalidRowsError, UntrustedModelError
from crosstrain.command import BadInputError, OperationFailedError


@contextmanager
def errors_of_functions() -> Iterator[None]:
    """Turn what the functions' own code raises into errors of a command.

    Raises
    ------
    BadInputError
        For a request or data that cannot be used.
    OperationFailedError
        For a model that may not be loaded.
    """
    try:
        yield
    except (InvalidRequestError, InvalidDatasetError, InvalidRowsError) as error:
        raise BadInputError(str(error)) from error
    except UntrustedModelError as error:
        raise OperationFailedError(str(error)) from error
