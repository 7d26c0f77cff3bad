"""Puts predictions where they are to be: whole or not at all."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosstrain.command import OperationFailedError, reason_of

OUT_SUFFIXES = (".csv", ".parquet")


@contextmanager
def delivered(out: Path | None) -> Iterator[Path]:
    """Yield a path to write to; what was written there is moved to `out`, or copied to stdout, if all went well.

    Raises
    ------
    OperationFailedError
        If it cannot be written, as on a full disk.
    """
    try:
        with tempfile.TemporaryDirectory(dir=out.parent if out else None, prefix=".incoming-") as folder:
            path = Path(folder) / (out.name if out else "predictions.csv")
            yield path
            if out is not None:
                path.replace(out)
                return
            with path.open("rb") as written:
                shutil.copyfileobj(written, sys.stdout.buffer)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OperationFailedError(
            f"The predictions cannot be written to {out or 'stdout'} ({reason_of(error)}); nothing is left of them."
        ) from error
