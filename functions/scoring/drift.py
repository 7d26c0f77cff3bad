"""Says which columns of scored rows are distributed otherwise than those that a model was trained on.

Of each column up to three questions are asked: whether its values fall into the cells as training's do, whether as many
are missing, and whether more are new than chance brings. Each is a test of two samples, for training's rows are one,
too. All tests of a batch are one family (Benjamini and Hochberg), so that of a hundred batches in which nothing has
changed one alarms, however many columns there are; and a difference has to be as large as somebody would care about,
for in a million rows any is significant.

References
----------
B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index", The Journal of Risk Model
Validation 14, 2020: without a drift the index is about a chi-square times 1/n + 1/m.
W. Cochran, "Some methods for strengthening the common chi-square tests", Biometrics 10, 1954: the expected counts.
Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57,
1995.
I. Good, "The population frequencies of species and the estimation of population parameters", Biometrika 40, 1953: of
what occurs once follows how much is new in other rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.special import betainc
from scipy.stats import chi2, false_discovery_control, hypergeom

from common.errors import first_few
from scoring.counts import ColumnCounts, Counts

ALPHA = 0.01
"""Of batches in which nothing has changed this share alarms at most."""
LEAST_PSI = 0.05
"""A population stability index below it is no drift, however sure it is: a shift by 0.22 standard deviations has it."""
LEAST_SHARE = 0.01
"""By how much the share of missing values has to have changed, or that of new ones to be above what chance brings."""
LEAST_ROWS = 30
"""Fewer rows are not compared."""
LEAST_EXPECTED = 5
"""How many rows a cell has to have in the smaller sample, were both alike; those of fewer are put together."""
SHOWN = 20
"""Of so many columns, the most moved ones, a document holds both distributions."""

Floats = npt.NDArray[np.float64]
Document = dict[str, Any]


@dataclass(frozen=True)
class _Compared:
    """What two samples of one column tell.

    Attributes
    ----------
    psi, js
        The population stability index, and the Jensen-Shannon distance to the base of 2, from 0 to 1; None where one of
        the samples has no value.
    cells
        How many cells were compared.
    scale
        1/n + 1/m of the two samples' values.
    missing
        The share now, and in training.
    unseen
        The share now, and what chance brings; None where training's distribution does not tell.
    p_values
        Of the questions that were asked: `values`, `missing`, `unseen`.
    """

    psi: float | None
    js: float | None
    cells: int
    scale: float
    missing: tuple[float, float]
    unseen: tuple[float, float] | None
    p_values: Mapping[str, float]


def compare(counts: Counts) -> Document:
    """Return which columns of counted rows, and whether their predictions, are distributed otherwise than training's.

    Parameters
    ----------
    counts
        Of the rows.

    Returns
    -------
    dict
        In types of JSON: `rows`; `columns`, the most moved ones first, each with `name`, `psi`, `js`, `threshold` (the
        index from which it counts), `p`, `missing` and `unseen` (`share`, `was` or `expected`, and `p`), whether it has
        `drifted`, and `why`; of the first `SHOWN` the `distribution`, in training and now. The `prediction` is such an
        entry, or None. Whether the whole has `drifted`, and the `reason` in one sentence. Each p is adjusted for the
        number of comparisons, and counts up to `ALPHA`.
    """
    if counts.rows < LEAST_ROWS:
        reason = f"{counts.rows:,} rows are too few to be compared with training's: {LEAST_ROWS} are needed."
        return {"rows": counts.rows, "columns": [], "prediction": None, "drifted": False, "reason": reason}
    watched = list(counts.columns.items())
    if counts.prediction is not None:
        watched.append((counts.prediction.distribution["of"], counts.prediction))
    told = told_of(watched)
    prediction = None if counts.prediction is None else told.pop()
    columns = sorted(told, key=_moved)
    for column in columns[:SHOWN]:
        name = column["name"]
        column["distribution"] = _both(counts.columns[name], counts.roles[name])
    if prediction is not None and counts.prediction is not None:
        prediction["distribution"] = _both(counts.prediction, "numeric")
    drifted = [each for each in columns if each["drifted"]]
    return {
        "rows": counts.rows,
        "columns": columns,
        "prediction": prediction,
        "drifted": bool(drifted) or bool(prediction and prediction["drifted"]),
        "reason": _reason(len(columns), drifted, prediction),
    }


def in_short(document: Mapping[str, Any]) -> Document:
    """Return what is kept of a document to be shown beside later ones: `rows`, `drifted`, and the largest index.

    Returns
    -------
    dict
        With `psi`, the largest index of a column; the `name` of that; and the index from which it counts, `threshold`.
        They are None where nothing was compared.
    """
    compared = [column for column in document["columns"] if column["threshold"] is not None]
    most: Mapping[str, Any] = max(compared, key=lambda column: float(column["psi"]), default={})
    largest = {key: most.get(key) for key in ("psi", "name", "threshold")}
    return {"rows": document["rows"], "drifted": document["drifted"], **largest}


def told_of(watched: Iterable[tuple[str, ColumnCounts]]) -> list[Document]:
    """Return what a document says of columns, by name and counts; all of them are one family of tests."""
    names, counts = zip(*watched, strict=True)
    compared = [_compared(each) for each in counts]
    adjusted = _adjusted(compared)
    tests = sum(map(len, adjusted))
    return [_told(name, each, p, tests) for name, each, p in zip(names, compared, adjusted, strict=True)]


def _compared(counts: ColumnCounts) -> _Compared:
    was, now = counts.reference, counts.cells
    n, m = int(now.sum()), int(was.sum())
    rows, training_rows = counts.rows, int(counts.distribution["rows"])
    missing = int(counts.distribution["missing"])
    p_values = {"missing": _p_of_shares(missing, training_rows, counts.missing, rows)}
    psi, js, cells = None, None, 0
    if n and m:
        merged = _merged(was, now, in_order="edges" in counts.distribution)
        psi, js, cells = _index(*merged), float(jensenshannon(*merged, base=2)), len(merged[0])
        if cells > 1:
            p_values["values"] = _p_of_cells(*merged)
    unseen = None
    if counts.unseen is not None:
        # Of numbers the least and the largest one would be new, were they left out.
        once, twice = int(counts.distribution.get("once", 2)), int(counts.distribution.get("twice", 0))
        unseen = counts.unseen / max(1, rows - counts.missing), once / max(1, training_rows - missing)
        p_values["unseen"] = _p_of_unseen(counts.unseen, n, training_rows - missing, once, twice)
    scale = 1 / n + 1 / m if n and m else 0.0
    return _Compared(psi, js, cells, scale, (counts.missing / max(1, rows), missing / training_rows), unseen, p_values)


def _merged(was: npt.NDArray[np.int64], now: npt.NDArray[np.int64], *, in_order: bool) -> tuple[Floats, Floats]:
    """Return the counts of cells that are large enough: neighbours together, or of categories the rarest."""
    pooled, n, m = was + now, int(now.sum()), int(was.sum())
    least = LEAST_EXPECTED * (n + m) / min(n, m)
    order = np.arange(len(pooled)) if in_order else np.argsort(pooled, kind="stable")
    groups, held, group = np.zeros(len(pooled), np.intp), 0, 0
    for place in order.tolist():
        if held >= least:
            held, group = 0, group + 1
        groups[place] = group
        held += int(pooled[place])
    if held < least and group:
        groups[groups == group] = group - 1
        group -= 1
    old, new = (np.bincount(groups, each, group + 1).astype(np.float64) for each in (was, now))
    return old, new


def _index(was: Floats, now: Floats) -> float:
    """Return the population stability index; half a row more in each cell keeps it finite."""
    old, new = ((each + 0.5) / (each.sum() + 0.5 * len(each)) for each in (was, now))
    return float(((new - old) * np.log(new / old)).sum())


def _p_of_cells(was: Floats, now: Floats) -> float:
    """Return the p-value of Pearson's test that two samples are of one distribution; no cell is empty in both."""
    pooled, n, m = was + now, now.sum(), was.sum()
    statistic = (pooled * (now / pooled - n / (n + m)) ** 2).sum() * (n + m) ** 2 / (n * m)
    return float(chi2.sf(statistic, len(was) - 1))


def _p_of_shares(was: int, of_was: int, now: int, of_now: int) -> float:
    """Return the p-value of both samples having the same share, exactly (Fisher) where few rows have it."""
    table = np.array([[was, of_was - was], [now, of_now - now]], np.float64)
    both = table.sum(axis=0)
    if both.min() == 0:
        return 1.0
    if both.min() * min(of_was, of_now) >= LEAST_EXPECTED * (of_was + of_now):
        return _p_of_cells(*table)
    found = hypergeom(of_was + of_now, was + now, of_now)
    return min(1.0, 2 * float(min(found.cdf(now), found.sf(now - 1))))


def _p_of_unseen(unseen: int, rows: int, training_rows: int, once: int, twice: int) -> float:
    """Return the p-value of so many new values, if what training has not seen is as likely as what it has seen once.

    That is known with an error, so the number is a negative binomial one.

    References
    ----------
    W. Esty, "A normal limit law for a nonparametric estimator of the coverage of a random sample", The Annals of
    Statistics 11, 1983: the variance of the error is (once + 2 twice) / rows^2.
    """
    if not unseen or not training_rows:
        return 1.0
    likely = max(once, 1)
    shape = likely**2 / (likely + 2 * twice)
    return float(betainc(unseen, shape, rows / (rows + training_rows * shape / likely)))


def _adjusted(compared: Iterable[_Compared]) -> list[dict[str, float]]:
    """Return the p-values as they are to be held against `ALPHA`, whatever their number."""
    every = [each.p_values for each in compared]
    p_values = iter(false_discovery_control([p for each in every for p in each.values()]).tolist())
    return [{question: next(p_values) for question in each} for each in every]


def _told(name: str, compared: _Compared, p: Mapping[str, float], tests: int) -> Document:
    """Return what a document says of one column."""
    threshold = None
    if compared.cells > 1:
        threshold = max(LEAST_PSI, float(chi2.isf(ALPHA / tests, compared.cells - 1)) * compared.scale)
    unseen = None
    if compared.unseen is not None:
        unseen = {"share": compared.unseen[0], "expected": compared.unseen[1], "p": p["unseen"]}
    why = list(_why(compared, {question for question, each in p.items() if each <= ALPHA}))
    return {
        "name": name,
        "psi": compared.psi,
        "js": compared.js,
        "threshold": threshold,
        "p": p.get("values"),
        "missing": {"share": compared.missing[0], "was": compared.missing[1], "p": p["missing"]},
        "unseen": unseen,
        "drifted": bool(why),
        "why": "; ".join(why) or None,
    }


def _why(compared: _Compared, sure: set[str]) -> Iterable[str]:
    """Yield what is sure and large enough."""
    if "values" in sure and compared.psi is not None and compared.psi >= LEAST_PSI:
        yield f"distributed otherwise, PSI {compared.psi:.2g}"
    now, was = compared.missing
    if "missing" in sure and abs(now - was) >= LEAST_SHARE:
        yield f"{now:.1%} missing instead of {was:.1%}"
    if "unseen" in sure and compared.unseen is not None and compared.unseen[0] - compared.unseen[1] >= LEAST_SHARE:
        yield f"{compared.unseen[0]:.1%} values that training has not seen"


def _moved(column: Document) -> tuple[bool, float]:
    """Return what columns are sorted by: the drifted ones first, and of them the most moved."""
    changes = [abs(column["missing"]["share"] - column["missing"]["was"]), (column["unseen"] or {}).get("share", 0.0)]
    return not column["drifted"], -max(column["psi"] or 0.0, *changes)


def _both(counts: ColumnCounts, role: str) -> Document:
    """Return the shares of the cells in training and now; `values` is None where the profile names none."""
    was, now = ((each / max(1, each.sum())).tolist() for each in (counts.reference, counts.cells))
    of = {key: counts.distribution[key] for key in ("edges", "values") if key in counts.distribution}
    return {"role": role, **of, "was": was, "now": now}


def _reason(columns: int, drifted: list[Document], prediction: Document | None) -> str:
    """Return in one sentence what has changed."""
    what = []
    if drifted:
        named = first_few(f'"{each["name"]}" ({each["why"]})' for each in drifted)
        verb = "has" if len(drifted) == 1 else "have"
        what.append(f"{len(drifted):,} of {columns:,} columns {verb} changed: {named}")
    if prediction and prediction["drifted"]:
        what.append(f"the predictions have changed ({prediction['why']})")
    if what:
        return f"Since training {'; and '.join(what)}."
    watched = f"{columns:,} columns{' and the predictions' if prediction else ''}"
    return f"Nothing of {watched} has changed by more than chance, or by as much as counts."
