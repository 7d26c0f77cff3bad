"""The champion: what the registry says of it, its files, and the comparison with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from common.errors import DamagedFileError, UntrustedModelError
from common.metric_table import LOWER_IS_BETTER, PLAIN, Scoring
from common.registry_item import from_item
from common.request import TrainingRequest
from common.storage import download, pinned, read_bytes, read_json
from common.training_rows import KnownRows, TrainingRows
from model_evaluation.apart import ApartPredictions
from model_evaluation.decision import Comparison
from model_evaluation.evaluation import (
    HeldOut,
    Scores,
    UnusableChampionError,
    compare_on,
    measure_champion,
    own_interval,
)
from model_evaluation.fairness import fair_rows

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SUSPICIOUS_DEVIATIONS = 3
"""By how many standard errors a champion may be better here than on its own test part without a word."""


# A version that is gone has codes of its own, and so has a delete marker's.
_GONE = frozenset(
    {
        *("403", "404", "405", "AccessDenied", "InvalidArgument", "MethodNotAllowed"),
        *("NoSuchBucket", "NoSuchKey", "NoSuchVersion"),
    }
)


@dataclass(frozen=True)
class Champion:
    """The champion, as far as it is known before it is loaded.

    Attributes
    ----------
    version
        Its version.
    entry
        What the registry says of it.
    known
        Finds out which of this run's test rows it was trained on.
    unusable
        Why it cannot be compared; empty where nothing is known against it.
    scoring
        The positive class and the quantile of its own run.
    info
        What describes its model (`model.json`); empty where that could not be read.
    """

    version: str
    entry: Mapping[str, Any] = field(default_factory=dict)
    known: KnownRows | None = None
    unusable: str = ""
    scoring: Scoring = PLAIN
    info: Mapping[str, Any] = field(default_factory=dict)


def find_champion(s3: S3Client, given: Mapping[str, Any] | None, request: TrainingRequest) -> Champion | None:
    """Return the champion that a run is compared with, or None where there is none.

    Parameters
    ----------
    s3
        An S3 client.
    given
        `version`, and `item`, its entry in the registry in DynamoDB's own JSON.
    request
        With every choice made.
    """
    if given is None:
        return None
    version, item = given["version"], given.get("item")
    if item is None:
        return Champion(version, unusable="the registry does not hold it")
    entry = from_item(item)
    if entry["target"] != request.target:
        return Champion(version, entry, unusable=f'it predicts "{entry["target"]}", not "{request.target}"')
    if "training_rows_uri" not in entry or "sha256" not in entry:
        return Champion(
            version, entry, unusable="it is from a version of this project that kept no record of its files"
        )
    try:
        with _unreadable_is_unusable():
            info = read_json(s3, pinned(entry, "info"))
            content = read_bytes(s3, pinned(entry, "training_rows"))
            rows, scoring = TrainingRows.read(content, info["training_rows"]), Scoring.of(info["request"])
    except UnusableChampionError as error:
        return Champion(version, entry, unusable=str(error))
    return Champion(version, entry, KnownRows(rows), scoring=scoring, info=info)


@dataclass(frozen=True)
class Candidate:
    """The challenger, as a champion is compared with it.

    Attributes
    ----------
    known
        Which of the test rows it was trained on.
    scores, part
        What it made of the test part, and the test part.
    request
        With every choice made.
    data_fingerprint
        Of the data set.
    """

    known: KnownRows
    scores: Scores
    part: HeldOut
    request: TrainingRequest
    data_fingerprint: str


def fetch_model(s3: S3Client, champion: Champion | None, path: Path) -> Champion | None:
    """Copy the champion's model to a file, and return the champion, now unusable if there is no such model."""
    if champion is None or champion.unusable:
        return champion
    try:
        with _unreadable_is_unusable():
            download(s3, pinned(champion.entry, "model"), path)
    except UnusableChampionError as error:
        return replace(champion, unusable=str(error))
    return champion


def compare(champion: Champion, candidate: Candidate, predicted: ApartPredictions | None) -> Comparison:
    """Compare the challenger with the champion; one that cannot be loaded or applied is reported, not raised.

    Parameters
    ----------
    champion
        The champion, whose `known` has seen the test rows.
    candidate
        The challenger.
    predicted
        What the champion predicts of the test part, under way; None for one that is unusable already.
    """
    if predicted is None or champion.known is None:
        return Comparison(champion.version, "unusable", champion.unusable)
    try:
        part = candidate.part
        scoring = candidate.request.scoring
        old = measure_champion(predicted.result(), candidate.scores, part.target, part.weights, scoring)
    except UnusableChampionError as error:
        return Comparison(champion.version, error.status, str(error))
    fairness = fair_rows(candidate.known, champion.known, part.weights)
    comparison = Comparison(
        champion.version,
        "scored",
        metrics=old.metrics,
        fairness=fairness,
        same_data=champion.entry.get("data_fingerprint") == candidate.data_fingerprint,
        doubt=_doubt(champion, old, candidate),
    )
    metric = str(candidate.request.metric)
    if not fairness.possible:
        return replace(comparison, status="unfair", reason=fairness.words())
    if candidate.scores.metrics[metric] is None:
        return replace(comparison, status="unfair", reason=f"the challenger's {metric} is undefined.")
    difference = compare_on(fairness.counted, candidate.scores, old, part, candidate.request)
    if not math.isfinite(difference.value) or not math.isfinite(difference.loss):
        return replace(comparison, status="unfair", reason=f"{metric} is undefined on the rows that count.")
    return replace(comparison, improvement=difference)


@contextmanager
def _unreadable_is_unusable() -> Iterator[None]:
    """Say of what keeps the champion's files from being read that the champion is unusable."""
    try:
        yield
    except (UntrustedModelError, DamagedFileError) as error:
        raise UnusableChampionError(f"its file may not be loaded ({error})") from error
    except (KeyError, ValueError, TypeError) as error:
        raise UnusableChampionError(f"its description cannot be read ({type(error).__name__}: {error})") from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # Without the right to list the bucket, S3 answers 403 for an object that is gone.
        if code not in _GONE:
            raise
        raise UnusableChampionError(f"its file cannot be read ({code})") from error


def _doubt(champion: Champion, old: Scores, candidate: Candidate) -> str | None:
    """Return a doubt about a champion that is much better here than it was where it was promoted.

    Rows that were corrected since are other rows, so that the record of training rows does not know them.
    """
    metric = str(candidate.request.metric)
    same = champion.entry.get("metric") == metric and champion.scoring.agrees_with(candidate.request.scoring, metric)
    before = champion.entry.get("value") if same else None
    here = old.metrics[metric]
    if before is None or here is None:
        return None
    better = (before - here) if metric in LOWER_IS_BETTER else (here - before)
    if better <= 0:
        return None
    interval = own_interval(old, candidate.part, candidate.request)
    if interval is None or interval.deviation is None or better <= SUSPICIOUS_DEVIATIONS * interval.deviation:
        return None
    return (
        f"The champion's {metric} is {here:.4g} here and was {before:.4g} on its own test part: it may have been "
        "trained on these rows before they were corrected. A split_key keeps a row where it is, whatever is corrected."
    )
