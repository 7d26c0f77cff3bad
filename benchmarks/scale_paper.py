"""What measured rates, list prices and limits say of more rows than one machine can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from benchmarks.figures import rounded
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


def paper(
    seconds_per_row: Mapping[str, float], prices: Mapping[str, Any]
) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """Return a table of hours and dollars by rows and estimator, and the notes that say what it rests on.

    Parameters
    ----------
    seconds_per_row
        Of each way that was measured, at its largest number of rows.
    prices
        `benchmarks/prices.json`.
    """
    gb_second = float(prices["lambda_gb_second"]["price"])
    lines = []
    for rows in ROWS:
        in_pieces = rows * seconds_per_row["preparation, in pieces"]
        count = min(MOST_PIECES, max(1, rows * CSV_BYTES_PER_ROW // LEAST_PIECE_BYTES))
        prepared = in_pieces / min(count, AT_ONCE)
        test = min(rows // 5, MAX_TEST_ROWS)
        for estimator in BYTES_PER_ROW:
            way, machines, dollars_a_second = _way(estimator, rows - test, seconds_per_row, prices)
            fit = (rows - test) * seconds_per_row[f"training of {estimator}"] / machines
            fit *= MORE_OF_SEVERAL if machines > 1 else 1
            evaluated = test * 5 * seconds_per_row[f"evaluation of {estimator}"]
            dollars = (in_pieces + evaluated) * PREPARATION_MB / 1024 * gb_second + fit * machines * dollars_a_second
            lines.append(
                (
                    f"{rows:,}",
                    estimator,
                    f"{count:,} pieces",
                    way,
                    rounded((prepared + fit + evaluated) / 3600, 2),
                    f"${rounded(dollars, 2)}",
                )
            )
    return ("rows", "estimator", "preparation", "training", "hours", "dollars"), lines, _notes()


def _way(
    estimator: str, rows: int, seconds_per_row: Mapping[str, float], prices: Mapping[str, Any]
) -> tuple[str, int, float]:
    """Return where a fit goes in words, on how many machines, and what a second of one costs in dollars."""
    needed = rows * BYTES_PER_ROW[estimator] / 2**20
    if needed < FUNCTION_MB and rows * seconds_per_row[f"training of {estimator}"] < FUNCTION_SECONDS:
        return "a function", 1, FUNCTION_MB / 1024 * float(prices["lambda_gb_second"]["price"])
    hour = float(prices["fargate_vcpu_hour"]["price"]) * TASK_VCPU
    hour += float(prices["fargate_gb_hour"]["price"]) * LARGEST_TASK_MB / 1024
    machines = math.ceil(needed / LARGEST_TASK_MB)
    if machines == 1:
        return "a task", 1, hour / 3600
    if estimator == "xgboost":
        return f"{machines + 1} tasks", machines, (machines + 1) / machines * hour / 3600
    return "**refused**: more than a task holds", 1, hour / 3600


def _notes() -> list[str]:
    told = (
        "The last table is on paper: seconds per row as measured here at the largest number of rows, on two cores, of "
        f"which a task has {TASK_VCPU} (more cores are not counted, so hours are an upper bound); pieces of 1 GiB, "
        f"{MOST_PIECES:,} at most, {AT_ONCE} at a time, which needs as many calls of Lambda's quota (1,000, ten in a "
        "new account) and no more than 80 requests to S3 at once (3,500 writes and 5,500 reads a second and prefix: "
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html); 14 events a piece of the "
        f"25,000 of an execution; {MAX_TEST_ROWS:,} test rows at most; ten trees. A task of 16 vCPUs takes a raised "
        "quota in a new account (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html). "
        "What a task takes to put parts together beyond a call's time is not counted: 2.5 hours for 10^10 rows at 35 "
        "million values a second, the fewest that were measured."
    )
    return [told]
