"""What the split by hashes of rows takes of data preparation's processor time."""

from __future__ import annotations

import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from benchmarks import data
from benchmarks.figures import Section, Spread, at_most, interleaved, ratio
from benchmarks.options import Options
from common.request import parse_request
from data_preparation import preparation
from data_preparation.reading import SourceFile
from data_preparation.row_codes import RowCodes
from data_preparation.splitting import Splitter

if TYPE_CHECKING:
    import pyarrow as pa

LIMIT = 0.1
WORK: dict[str, tuple[type, str]] = {
    "hash the rows": (RowCodes, "write"),
    "find repeated rows and the threshold": (Splitter, "__init__"),
    "tell test rows": (Splitter, "test_mask"),
}
"""All that the split does: none of them calls another."""


@dataclass(frozen=True)
class Preparation:
    """The processor seconds of one preparation, and those of them that are the split's work, by what it does."""

    seconds: float
    work: dict[str, float]

    @property
    def share(self) -> float:
        """Of the split's work in all."""
        return sum(self.work.values()) / self.seconds


def measure(options: Options) -> Section:
    """Return the split's share of data preparation, timed within it and by leaving it out."""
    section = Section(f"The split by hashes of rows: {options.rows:,} rows, 30 mixed columns")
    path = data.mixed(options.rows)
    contestants: dict[str, Callable[[int], Preparation]] = {
        "with": lambda _: _prepare(path, _timed),
        "without": lambda _: _prepare(path, _left_out),
    }
    for warm_up in contestants.values():
        warm_up(0)
    # A median of shares this small takes more rounds than one of whole runs.
    measured = interleaved(2 * options.repeats + 1, contestants)
    whole, rest = measured["with"], measured["without"]
    share = Spread.of([each.share for each in whole])
    section.goals.append(at_most("the split / data preparation, processor time", share, LIMIT))
    difference = ratio([each.seconds for each in whole], [each.seconds for each in rest])
    section.tables.append(
        (
            ("", "processor seconds"),
            [
                ("data preparation", Spread.of([each.seconds for each in whole]).text()),
                *((f"of that, {name}", Spread.of([each.work[name] for each in whole]).text()) for name in WORK),
                ("rows drawn at random instead, nothing hashed", Spread.of([each.seconds for each in rest]).text()),
                ("**with the split / without**", difference.text()),
            ],
        )
    )
    section.notes.append(
        "Without S3: files of this machine. The split's work is timed within the preparation, by the clock of its "
        f"thread; leaving it out is the check on that. {len(whole)} rounds."
    )
    section.data = {"shares": [each.share for each in whole]}
    return section


def _prepare(path: Path, work: Callable[[dict[str, float]], Any]) -> Preparation:
    request = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": data.TARGET})
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder, work(seconds):
        started = time.process_time()
        preparation.prepare([SourceFile(path.name, path)], request, Path(folder))
        return Preparation(time.process_time() - started, dict(seconds))


@contextmanager
def _timed(seconds: dict[str, float]) -> Iterator[None]:
    with ExitStack() as patches:
        for name, (of, method) in WORK.items():
            patches.enter_context(mock.patch.object(of, method, _timing(getattr(of, method), seconds, name)))
        yield


def _timing(method: Callable[..., Any], seconds: dict[str, float], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        started = time.thread_time()
        try:
            return method(*arguments, **named)
        finally:
            seconds[name] += time.thread_time() - started

    return call


@contextmanager
def _left_out(_seconds: dict[str, float]) -> Iterator[None]:
    with (
        mock.patch.object(RowCodes, "write", _count),
        mock.patch.object(preparation, "Splitter", _Drawn),
    ):
        yield


def _count(codes: RowCodes, batch: pa.RecordBatch) -> None:
    codes.rows += batch.num_rows


class _Drawn:
    """A splitter that knows nothing of the rows."""

    test_part, first_time = 0, None

    def __init__(self, *_arguments: Any) -> None:
        self._random = np.random.default_rng(0)

    def test_mask(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        drawn: npt.NDArray[np.bool_] = self._random.random(batch.num_rows) < 0.2
        return drawn
