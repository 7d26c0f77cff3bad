"""A challenger beside the champion: which rows it answers, how far it differs, and that its failures reach nobody.

The champion scores every row first, whatever becomes of the challenger: what is refused, and what callers are warned
of, is the champion's, and a challenger that fails leaves its answers.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.hashing import Hashes, mix, seed_of
from scoring import measures
from scoring.answers import PREDICTION, most_rows
from scoring.champion import Challenger
from scoring.private import log_without_text

ERRORS, ROWS, DIFFERENCE = "ChallengerErrors", "ChallengerRows", "ChallengerDifference"
"""What CloudWatch has of challengers. The template's alarm is on the errors, and the state machine that ends a canary
looks which version they are of."""
VERSION = "version"

Answers = Sequence[Mapping[str, Any] | None]

logger = logging.getLogger(__name__)


def is_of_challenger(hashes: Hashes, version: str, share: int) -> npt.NDArray[np.bool_]:
    """Return which rows a challenger answers.

    Parameters
    ----------
    hashes
        Of the rows, shape (rows,), by `common.hashing.row_hashes`: of the values alone, so that each worker, and each
        format of a request, sends a row to the same side.
    version
        The challenger: another one has other rows. Of a larger share the rows of a smaller one are part.
    share
        The per cent of rows, from 1 to 99.

    Returns
    -------
    numpy.ndarray
        Shape (rows,).
    """
    drawn = mix(hashes + seed_of(f"canary:{version}"))
    chosen: npt.NDArray[np.bool_] = drawn < np.uint64(share * 2**64 // 100)
    return chosen


def answer(
    found: Answers, hashes: Hashes, challenger: Challenger, predict: Callable[[], Answers], stack: str
) -> Answers:
    """Return the champion's answers, with those of the challenger in place of its share.

    Parameters
    ----------
    found
        The champion's; None for a blank line.
    hashes
        Of the rows that are no blank lines.
    challenger
        The challenger.
    predict
        Returns its answers for the same rows; called if it has a row to answer, or is in the shadow.
    stack
        The name of the stack, which the metrics are of.
    """
    chosen = iter([] if challenger.share is None else is_of_challenger(hashes, challenger.version, challenger.share))
    is_its = [each is not None and bool(next(chosen, False)) for each in found]
    if challenger.share is not None and not any(is_its):
        return found
    begin = time.monotonic()
    try:
        others = _checked(predict(), found, challenger)
        difference = _difference(found, others, is_number=challenger.loaded.model.classes is None)
    except Exception as error:  # noqa: BLE001 (whatever it is, the champion has answered)
        log_without_text(logger, "challenger failed", error, version=challenger.version)
        count_error(stack, challenger.loaded.model_name, challenger.version)
        return found
    rows = sum(is_its) if challenger.share is not None else len(hashes)
    told = {VERSION: challenger.version, "rows": rows, "difference": difference}
    logger.info("challenger scored", extra={**told, "seconds": round(time.monotonic() - begin, 4)})
    measured = {ROWS: rows, DIFFERENCE: difference}
    measures.put_of_both(stack, challenger.loaded.model_name, challenger.version, measured)
    if challenger.share is None:
        return found
    return [
        {**(other or {}), VERSION: challenger.version} if its else own
        for own, other, its in zip(found, others, is_its, strict=True)
    ]


def count_error(stack: str, model_name: str, version: str) -> None:
    """Count a challenger that could not be loaded, or failed at rows of a request."""
    measures.put_of_both(stack, model_name, version, {ERRORS: 1})


def _checked(others: Answers, found: Answers, challenger: Challenger) -> Answers:
    """Refuse answers that do not stand for the champion's, or make the whole longer than an answer may be."""
    if [each is None for each in others] != [each is None for each in found]:
        raise ValueError("The challenger has read other rows than the champion.")
    if len(found) > most_rows(challenger.loaded.model):
        raise ValueError(f"The challenger's answers for {len(found):,} rows would be too long.")
    return others


def _difference(found: Answers, others: Answers, *, is_number: bool) -> float | None:
    """Return how far two models differ: by how much on average, or in which share of the labels; None if unknown."""
    pairs = [
        (a[PREDICTION], b[PREDICTION]) for a, b in zip(found, others, strict=True) if a is not None and b is not None
    ]
    if not pairs:
        return None
    each = (abs(a - b) if is_number else float(a != b) for a, b in pairs)
    mean = sum(each) / len(pairs)
    return mean if math.isfinite(mean) else None
