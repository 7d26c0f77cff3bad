"""Which rows a model was trained on, in ten bits a row, so that what it knows does not count in a comparison.

References
----------
B. Bloom, "Space/time trade-offs in hash coding with allowable errors", Communications of the ACM 13, 1970.
A. Kirsch and M. Mitzenmacher, "Less hashing, same performance: building a better Bloom filter", ESA 2006.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from common.conversion import Profile, feature_columns
from common.errors import UntrustedModelError
from common.hashing import Hashes, column_hashes, mix, row_hashes

if TYPE_CHECKING:
    import pyarrow as pa

BITS_PER_ROW = 10
HASHES = 7
"""With ten bits a row seven hashes are best: 0.82 % of all rows that were never added are taken for known."""
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Columns:
    """What a model's rows are told apart by: its features and its target.

    Attributes
    ----------
    features
        The features, of which those in `times` are seconds that float32 could not tell apart.
    times
        The features that are times.
    target
        The target.
    """

    features: tuple[str, ...]
    times: tuple[str, ...]
    target: str

    @classmethod
    def of(cls, profile: Profile) -> Self:
        """Return those of a run's profile."""
        columns = feature_columns(profile)
        times = tuple(column["name"] for column in columns if column["role"] == "timestamp")
        return cls(tuple(column["name"] for column in columns), times, profile["target"])

    def hashes(self, batch: pa.RecordBatch) -> tuple[Hashes, Hashes]:
        """Return the hashes of a prepared part's rows: of features and target, and of the features alone."""
        features = row_hashes(batch, self.features, exact=self.times)
        target = (
            np.uint64(0) if self.target not in batch.schema.names else column_hashes(self.target, batch[self.target])
        )
        return mix(features + target), mix(features)


class RowRecorder:
    """Records a training part's rows, batch by batch: of none of them more is kept than the bits of the filters.

    Parameters
    ----------
    columns
        What the rows are told apart by.
    rows
        How many there will be.
    """

    def __init__(self, columns: Columns, rows: int) -> None:
        self.columns = columns
        self._flags = _flags_for(rows), _flags_for(rows)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in some more rows."""
        for flags, hashes in zip(self._flags, self.columns.hashes(batch), strict=True):
            _raise_flags(flags, hashes)

    def training_rows(self) -> TrainingRows:
        """Return what is to be kept of the rows."""
        return TrainingRows(self.columns, *(BloomFilter(np.packbits(flags)) for flags in self._flags))


class BloomFilter:
    """A set of hashes that never forgets one and takes few others for known.

    Parameters
    ----------
    bits : numpy.ndarray
        Of dtype uint8, eight bits each.
    """

    def __init__(self, bits: npt.NDArray[np.uint8]) -> None:
        self._bits = bits

    def contains(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Return which hashes were added, with 0.82 % of the others among them, shape (hashes,)."""
        found = np.ones(len(hashes), np.bool_)
        for places in _places(hashes, len(self._bits) * 8):
            found &= (self._bits[places >> 3] >> (7 - (places & 7)).astype(np.uint8)) & 1 == 1
        return found

    def mistakes(self) -> float:
        """Return the share of hashes that were never added and are taken for known."""
        filled = float(np.unpackbits(self._bits).mean())
        return filled**HASHES

    def __bytes__(self) -> bytes:
        return self._bits.tobytes()


@dataclass(frozen=True)
class TrainingRows:
    """The rows that a model was trained on, and their features."""

    columns: Columns
    rows: BloomFilter
    features: BloomFilter

    def description(self) -> dict[str, Any]:
        """Return what `model.json` says of the file."""
        return {
            "features": list(self.columns.features),
            "times": list(self.columns.times),
            "target": self.columns.target,
            "bytes": len(bytes(self.rows)),
            "hashes": HASHES,
        }

    def __bytes__(self) -> bytes:
        return bytes(self.rows) + bytes(self.features)

    @classmethod
    def read(cls, content: bytes, description: Mapping[str, Any]) -> Self:
        """Return the rows of a file, by what `model.json` says of it.

        Raises
        ------
        UntrustedModelError
            If the file is not what is said of it.
        """
        size = int(description["bytes"])
        if len(content) != 2 * size or size < 8 or description["hashes"] != HASHES:
            raise UntrustedModelError("The record of a model's training rows is not what its description says.")
        columns = Columns(tuple(description["features"]), tuple(description["times"]), str(description["target"]))
        bits = np.frombuffer(content, np.uint8)
        return cls(columns, BloomFilter(bits[:size]), BloomFilter(bits[size:]))


def _flags_for(rows: int) -> npt.NDArray[np.bool_]:
    return np.zeros(max(8, -(-rows * BITS_PER_ROW // 8)) * 8, np.bool_)


def _raise_flags(flags: npt.NDArray[np.bool_], hashes: Hashes) -> None:
    for places in _places(hashes, len(flags)):
        flags[places] = True


class KnownRows:
    """Finds out which of a part's rows a model was trained on, batch by batch: two bytes a row are kept.

    Parameters
    ----------
    training
        The rows that the model was trained on.
    """

    def __init__(self, training: TrainingRows) -> None:
        self.training = training
        self._pieces: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in some more rows of the part."""
        rows, features = self.training.columns.hashes(batch)
        self._pieces.append((self.training.rows.contains(rows), self.training.features.contains(features)))

    @property
    def rows(self) -> npt.NDArray[np.bool_]:
        """Which rows were among those of training, about (`BloomFilter`), shape (rows,)."""
        return self._whole(0)

    @property
    def features(self) -> npt.NDArray[np.bool_]:
        """Which rows have the features of one of training, about, shape (rows,)."""
        return self._whole(1)

    def _whole(self, place: int) -> npt.NDArray[np.bool_]:
        return np.concatenate([np.empty(0, np.bool_), *(piece[place] for piece in self._pieces)])


def _places(hashes: Hashes, bits: int) -> Iterable[npt.NDArray[np.intp]]:
    """Yield the places of the bits that stand for each hash, one array of shape (hashes,) for each of `HASHES`."""
    # An odd step, so that the places of one hash differ.
    step = mix(hashes) | np.uint64(1)
    for number in range(HASHES):
        high = (hashes + np.uint64(number) * step) >> _HALF
        yield ((high * np.uint64(bits)) >> _HALF).astype(np.intp)
