"""How often batches alarm in which nothing has changed, and which shifts of one column are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.figures import Goal, Section
from benchmarks.options import Options
from common.conversion import numbers
from common.distributions import of_numbers, of_texts, text_codes
from scoring.counts import ColumnCounts
from scoring.drift import ALPHA, LEAST_PSI, told_of

COLUMNS = 10
TRAINING_ROWS = (300, 20_000)
"""Of more rows, 20,000 are drawn."""
ROWS = (100, 1000, 100_000)
SHIFTS = (0.1, 0.2, 0.3, 0.5, 1.0, 3.0)
"""In standard deviations, of one normal column of ten."""
FALSE_ALARMS, FOUND = 0.05, 0.95
SURE_SHIFT, SURE_ROWS = 3.0, 1000

Draw = Callable[[np.random.Generator, int], pa.Array]


def _numbers(draw: Callable[[np.random.Generator, int], npt.NDArray[np.float64]]) -> Draw:
    return lambda random, rows: pa.array(draw(random, rows))


def _texts(shares: npt.NDArray[np.float64]) -> Draw:
    names = pa.array([str(place) for place in range(len(shares))])
    ends = np.cumsum(shares / shares.sum())

    def draw(random: np.random.Generator, rows: int) -> pa.Array:
        codes = np.searchsorted(ends[:-1], random.random(rows))
        return pa.DictionaryArray.from_arrays(codes.astype(np.int32), names)

    return draw


NORMAL = _numbers(lambda random, rows: random.normal(size=rows))
DRAWS: Mapping[str, Draw] = {
    "normal": NORMAL,
    "log-normal, sigma 2": _numbers(lambda random, rows: random.lognormal(sigma=2, size=rows)),
    "Cauchy": _numbers(lambda random, rows: random.standard_cauchy(rows)),
    "nine tenths zeros": _numbers(lambda random, rows: (random.random(rows) > 0.9) * random.exponential(size=rows)),
    "Poisson of 3": _numbers(lambda random, rows: random.poisson(3, rows).astype(np.float64)),
    "40 equal whole numbers": _numbers(lambda random, rows: random.integers(0, 40, rows).astype(np.float64)),
    "normal, 5 % missing": lambda random, rows: pa.array(random.normal(size=rows), mask=random.random(rows) < 0.05),
    "3 texts": _texts(np.array([0.7, 0.25, 0.05])),
    "1,000 texts, Zipf": _texts(1 / np.arange(1, 1001) ** 1.2),
    "300 equal texts": _texts(np.ones(300)),
    "5,000 equal texts": _texts(np.ones(5000)),
    "one text and 200 rare ones": _texts(np.append(0.98, np.full(200, 0.0001))),
}


def measure(options: Options) -> Section:
    """Return the shares of batches of ten columns that alarm."""
    section = Section(f"Drift: batches of {COLUMNS} columns")
    repeats = 20 if options.quick else 200
    alarms, worst = [], 0.0
    for name, draw in DRAWS.items():
        cells = []
        for training_rows in TRAINING_ROWS:
            for rows in ROWS:
                # So many rows take their time, and tell much of a batch each.
                rounds = repeats if rows <= SURE_ROWS else max(5, repeats // 4)
                share = _share(draw, training_rows, rows, rounds)
                worst = max(worst, share)
                cells.append(f"{100 * share:.1f}")
        alarms.append((name, *cells))
    heads = [f"{rows:,} rows, {training_rows:,} of training" for training_rows in TRAINING_ROWS for rows in ROWS]
    section.tables.append((("undisturbed batches that alarm, %", *heads), alarms))
    section.goals.append(
        Goal(
            "undisturbed batches that alarm, the worst of all cases",
            f"{100 * worst:.1f} %",
            f"≤ {FALSE_ALARMS:.0%}",
            worst <= FALSE_ALARMS,
        )
    )
    found = []
    for training_rows in TRAINING_ROWS:
        for rows in ROWS[:2]:
            shares = [_share(NORMAL, training_rows, rows, repeats // 4, shift) for shift in SHIFTS]
            found.append((f"{rows:,} rows, {training_rows:,} of training", *(f"{100 * each:.0f}" for each in shares)))
            if rows == SURE_ROWS:
                what = (
                    f"shifts by {SURE_SHIFT:g} standard deviations found, {rows:,} rows, {training_rows:,} of training"
                )
                sure = shares[SHIFTS.index(SURE_SHIFT)]
                section.goals.append(Goal(what, f"{100 * sure:.0f} %", f"≥ {FOUND:.0%}", sure >= FOUND))
    section.tables.append((("found, %, of shifts in standard deviations", *map(str, SHIFTS)), found))
    section.notes.append(
        f"A batch alarms if any of its {COLUMNS} columns has changed, at {ALPHA:.0%} and from a PSI of {LEAST_PSI} on. "
        f"{repeats} batches for each figure, a quarter of that where there are 100,000 rows or a shift, each "
        "with training rows of its own."
    )
    return section


def _share(draw: Draw, training_rows: int, rows: int, repeats: int, shift: float = 0.0) -> float:
    """Return the share of batches that alarm; of a shifted one, that its first column has changed."""
    found = 0
    for seed in range(repeats):
        random = np.random.default_rng([seed, training_rows, rows])
        watched = []
        for place in range(COLUMNS):
            training, now = draw(random, training_rows), draw(random, rows)
            if place == 0 and shift:
                now = pc.add(now, shift)
            watched.append((str(place), _counted(training, now)))
        told = told_of(watched)
        found += told[0]["drifted"] if shift else any(column["drifted"] for column in told)
    return found / repeats


def _counted(training: pa.Array, now: pa.Array) -> ColumnCounts:
    if pa.types.is_dictionary(training.type):
        counts = ColumnCounts(of_texts(text_codes(training), None))
    else:
        counts = ColumnCounts(of_numbers(numbers(training)))
    counts.add(now)
    return counts
