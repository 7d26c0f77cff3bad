"""What measured rates, list prices and limits say of more rows than one machine can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import rounded
from benchmarks.prices import price_by_name
from common.capacity import LARGEST_TASK_MB
from data_preparation.piece_plan import LEAST_PIECE_BYTES, MOST_PIECES
from data_preparation.splitting import MAX_TEST_ROWS

ROWS = (10**7, 10**8, 10**9, 10**10)
CSV_BYTES_PER_ROW = 253
"""Of the benchmark's 30 mixed columns and their target."""
AT_ONCE = 40
"""The most that the template's PiecesAtOnce may say: https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html"""
FUNCTION_SECONDS, FUNCTION_MB, PREPARATION_MB = 900, 10_240, 3008
TASK_VCPU = 16
BYTES_PER_ROW: Mapping[str, int] = {"ridge": 60, "xgboost": 30 * 4}
"""What is checked before a fit of 30 columns (functions/model_training/memory.py)."""
MORE_OF_SEVERAL = 1.35
"""How much more processor time several machines took than one (docs/scale.md)."""


@dataclass(frozen=True)
class Estimate:
    """What a run of so many rows takes, on paper.

    Attributes
    ----------
    pieces
        In which the data are prepared.
    way
        Where the fit runs, in words.
    hours, dollars
        Of the whole run.
    """

    rows: int
    estimator: str
    pieces: int
    way: str
    hours: float
    dollars: float


def estimates(seconds_per_row: Mapping[str, float]) -> list[Estimate]:
    """Return what runs take by rows and estimator.

    Parameters
    ----------
    seconds_per_row
        Processor seconds of each way that was measured, at its largest number of rows.
    """
    price = price_by_name()
    made = []
    for rows in ROWS:
        count = min(MOST_PIECES, max(1, rows * CSV_BYTES_PER_ROW // LEAST_PIECE_BYTES))
        calls, alone = (rows * seconds_per_row[name] for name in ("a piece's calls", "calls before and after"))
        test = min(rows // 5, MAX_TEST_ROWS)
        for estimator in BYTES_PER_ROW:
            way, machines, dollars_a_second = _way(estimator, rows - test, seconds_per_row, price)
            fit = (rows - test) * seconds_per_row[f"training of {estimator}"] / machines
            fit *= MORE_OF_SEVERAL if machines > 1 else 1
            evaluated = test * 5 * seconds_per_row[f"evaluation of {estimator}"]
            seconds = calls / min(count, AT_ONCE) + alone + fit + evaluated
            dollars = (calls + alone + evaluated) * PREPARATION_MB / 1024 * price[
                "lambda_gb_second"
            ] + fit * machines * dollars_a_second
            made.append(Estimate(rows, estimator, count, way, seconds / 3600, dollars))
    return made


def table(made: Sequence[Estimate]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the estimates as a table of a section."""
    lines: list[tuple[str, ...]] = [
        (
            f"{each.rows:,}",
            each.estimator,
            f"{each.pieces:,} pieces",
            each.way,
            rounded(each.hours, 2),
            f"${rounded(each.dollars, 2)}",
        )
        for each in made
    ]
    return ("rows", "estimator", "preparation", "training", "hours", "dollars"), lines


def _way(
    estimator: str, rows: int, seconds_per_row: Mapping[str, float], price: Mapping[str, float]
) -> tuple[str, int, float]:
    """Return where a fit goes in words, on how many machines, and what a second of one costs in dollars."""
    needed = rows * BYTES_PER_ROW[estimator] / 2**20
    if needed < FUNCTION_MB and rows * seconds_per_row[f"training of {estimator}"] < FUNCTION_SECONDS:
        return "a function", 1, FUNCTION_MB / 1024 * price["lambda_gb_second"]
    hour = price["fargate_vcpu_hour"] * TASK_VCPU
    hour += price["fargate_gb_hour"] * LARGEST_TASK_MB / 1024
    machines = math.ceil(needed / LARGEST_TASK_MB)
    if machines == 1:
        return "a task", 1, hour / 3600
    if estimator == "xgboost":
        return f"{machines + 1} tasks", machines, (machines + 1) / machines * hour / 3600
    return "**refused**: more than a task holds", 1, hour / 3600


def notes() -> str:
    """Return what the estimates rest on."""
    return (
        "The last table is on paper: processor seconds per row as measured here at the largest number of rows, as if "
        f"all but the calls for pieces were done on one core (a task has {TASK_VCPU}: hours are an upper bound); "
        f"pieces of 1 GiB, {MOST_PIECES:,} at most, {AT_ONCE} at a time, which needs as many calls of Lambda's quota "
        "(1,000, ten in a new account) and no more than 80 requests to S3 at once (3,500 writes and 5,500 reads a "
        "second and prefix: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html); 14 "
        f"events a piece of the 25,000 of an execution; {MAX_TEST_ROWS:,} test rows at most; ten "
        "trees. A task of 16 vCPUs takes a raised quota in a new account "
        "(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html)."
    )
