"""Holds captured rows of one version against those that it was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.conversion import Profile, feature_columns
from common.distributions import Distribution
from common.errors import InvalidRequestError, first_few
from common.words import rows_in_words
from scoring.capture import ROW, VERSION
from scoring.captured import MOST_ROWS, Line, features_of, predictions_of
from scoring.counts import Counts
from scoring.drift import compare
from scoring.private import Private

_TOGETHER = 10_000
"""How many rows are counted at a time: most requests have one."""


@dataclass
class Watched:
    """The counts of one version's rows, and what was not counted.

    Attributes
    ----------
    counts
        Of the rows.
    private
        The features that are not looked at.
    other_versions
        Rows by the version that predicted, of other ones.
    incomplete
        Rows that were captured without a feature, which was private then.
    left_out
        Requests that were not read, for there are too many.
    """

    counts: Counts
    private: list[str]
    other_versions: Counter[str] = field(default_factory=Counter)
    incomplete: int = 0
    left_out: int = 0

    @property
    def told(self) -> list[str]:
        """A sentence for each thing that the comparison was made without."""
        versions = first_few(f"{rows_in_words(rows)} of {name}" for name, rows in self.other_versions.most_common())
        sentences = {
            f"Not compared, for they are private: {first_few(self.private)}.": self.private,
            f"Rows that another version predicted are left out: {versions}.": self.other_versions,
            f"{rows_in_words(self.incomplete)}, captured when other columns were private, left out.": self.incomplete,
            f"There are more requests than one run reads: {self.left_out:,} of them, drawn by chance, are left out.": (
                self.left_out
            ),
        }
        return [sentence for sentence, is_so in sentences.items() if is_so]

    def document(self) -> dict[str, Any]:
        """Return the comparison, and what it was made without."""
        return {
            **compare(self.counts),
            "private": self.private,
            "other_versions": dict(self.other_versions),
            "incomplete": self.incomplete,
            "left_out": self.left_out,
            "told": self.told,
        }


def watch(
    requests: Iterable[Sequence[Line]],
    version: str,
    profile: Profile,
    predictions: Distribution | None,
    private: Private,
) -> Watched:
    """Count the captured rows of a version.

    Parameters
    ----------
    requests
        The lines of each.
    version
        Whose rows are counted.
    profile
        Of its training data.
    predictions
        How its predictions of the test part are distributed, if that is known.
    private
        The columns that are not looked at, even where they were captured.

    Raises
    ------
    InvalidRequestError
        If every feature is private.
    NothingToCompareError
        If the profile has no distributions.
    """
    names = [column["name"] for column in feature_columns(profile)]
    seen = without(profile, private)
    watched = Watched(Counts(seen, predictions), [name for name in names if name in private])
    features = frozenset(watched.counts.columns)
    if not features:
        raise InvalidRequestError("Every column of the model is private, so there is nothing to watch.")
    for lines in _together(requests, watched, version, features):
        of = [] if predictions is None else [predictions["of"]]
        watched.counts.add(features_of(lines, seen), predictions_of(lines, of) if of else None)
    return watched


def without(profile: Profile, private: Private) -> Profile:
    """Return a profile that does not know of features that are private."""
    columns = [each for each in profile["columns"] if each["use"] != "feature" or each["name"] not in private]
    return {**profile, "columns": columns}


def _together(
    requests: Iterable[Sequence[Line]], watched: Watched, version: str, features: frozenset[str]
) -> Iterator[list[Line]]:
    """Yield the lines that count, many at a time; the others are noted."""
    waiting: list[Line] = []
    rows = 0
    for lines in requests:
        if rows >= MOST_ROWS:
            watched.left_out += 1
            continue
        rows += len(lines)
        waiting += (line for line in lines if _counts(line, watched, version, features))
        if len(waiting) >= _TOGETHER:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _counts(line: Mapping[str, Any], watched: Watched, version: str, features: frozenset[str]) -> bool:
    if line[VERSION] != version:
        watched.other_versions[line[VERSION]] += 1
        return False
    if not features <= line[ROW].keys():
        watched.incomplete += 1
        return False
    return True
