"""What the split needs of each row, kept on disk beside the rows while a data set is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import InvalidDatasetError
from common.hashing import Hashes, label_codes, mix, row_hashes, seed_of

CHUNK_ROWS = 1 << 18
_SIGN = np.uint64(1 << 63)


class RowCodes:
    """Hashes of the rows of one file on disk: 16 bytes a row, and 8 more for a split by key or time.

    The first column is the hash of the row, the second that of its label, and the third that of its key, or its time as
    a number that sorts as times do.

    Parameters
    ----------
    path
        Where they are kept.
    hashed
        The columns that a row is told apart by.
    target
        The label.
    seed
        Of the split.
    key, time
        The columns of the key, and that of the time, for a split by either.
    """

    def __init__(
        self,
        path: Path,
        *,
        hashed: Sequence[str],
        target: str,
        seed: int,
        key: Sequence[str] = (),
        time: str | None = None,
    ) -> None:
        self._path, self._hashed, self._target, self._key, self._time = path, hashed, target, key, time
        self._seed = seed_of(f"crosstrain-split-1:{seed}")
        self._width = 3 if key or time else 2
        self.rows = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self.rows = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch's rows (`of`)."""
        self.of(batch).tofile(self._file)
        self.rows += batch.num_rows

    def of(self, batch: pa.RecordBatch) -> Hashes:
        """Return the codes of a batch's rows, in which NaN and infinities are nulls; shape (rows, columns).

        Raises
        ------
        InvalidDatasetError
            If the column of the time holds neither times nor numbers.
        """
        codes = np.empty((batch.num_rows, self._width), np.uint64)
        codes[:, 0] = mix(row_hashes(batch, self._hashed) ^ self._seed)
        codes[:, 1] = label_codes(batch[self._target])
        if self._key:
            codes[:, 2] = mix(row_hashes(batch, self._key, exact=self._key) ^ self._seed)
        if self._time:
            codes[:, 2] = _in_time(self._time, batch[self._time])
        return codes

    def chunks(self) -> Iterator[Hashes]:
        """Yield the codes in order, arrays of shape (rows, columns)."""
        with self._path.open("rb") as file:
            while len(read := np.fromfile(file, np.uint64, CHUNK_ROWS * self._width)):
                yield read.reshape(-1, self._width)

    def found(self) -> Self:
        """Count the rows of codes that were written before, by another call, and return itself."""
        self.rows = self._path.stat().st_size // (8 * self._width)
        return self

    def delete(self) -> None:
        """Free the disk."""
        self._path.unlink()


def _in_time(name: str, column: pa.Array) -> Hashes:
    """Return times or numbers as whole numbers that sort as they do; those that are missing are the first."""
    missing = np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)
    if pa.types.is_timestamp(column.type):
        values: npt.NDArray[np.int64] = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()
        codes = values.view(np.uint64) ^ _SIGN
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        floats = pc.fill_null(pc.cast(column, pa.float64(), safe=False), 0).to_numpy() + 0.0
        bits = floats.view(np.uint64)
        # Negative numbers sort the other way round: https://www.h-schmidt.net/FloatConverter/IEEE754.html
        codes = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    elif pa.types.is_null(column.type):
        codes = np.zeros(len(column), np.uint64)
    else:
        raise InvalidDatasetError(
            f'The time column "{name}" holds neither times nor numbers: write times as 2026-11-28T12:00:00.'
        )
    return np.where(missing, np.uint64(0), codes)


def time_of(code: np.uint64, *, is_time: bool) -> Any:
    """Return the time that a code stands for, as ISO 8601 in UTC, or the number.

    Parameters
    ----------
    code
        As `RowCodes` keeps it.
    is_time
        Whether the column holds times.
    """
    array = np.array([code], np.uint64)
    if is_time:
        return str((array ^ _SIGN).view(np.int64)[0].astype("datetime64[us]")) + "Z"
    bits = np.where(array & _SIGN, array ^ _SIGN, ~array)
    return float(bits.view(np.float64)[0])
