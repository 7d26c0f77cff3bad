"""What measured rates, list prices and limits say of more rows than one machine can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import rounded
from benchmarks.prices import price_by_name
from benchmarks.scale_routes import Routes, Way
from common.capacity import LARGEST_TASK_MB
from data_preparation.piece_plan import LEAST_PIECE_BYTES, MOST_PIECES
from data_preparation.splitting import MAX_TEST_ROWS

ROWS = (10**7, 10**8, 10**9, 10**10)
CSV_BYTES_PER_ROW = 253
"""Of the benchmark's 30 mixed columns and their target."""
AT_ONCE = 40
"""The most that the template's PiecesAtOnce may say: https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html"""
PREPARATION_MB = 3008
TASK_VCPU = 16
SHARES = (1.0, 0.1, 0.01)
"""Of the training rows: the first of them that the fit takes."""
MORE_OF_SEVERAL = 1.29
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
    share
        The request's `training_fraction`: 1 wherever a fit takes all rows.
    hours, dollars
        Of the whole run.
    """

    rows: int
    estimator: str
    pieces: int
    way: str
    share: float
    hours: float
    dollars: float


def estimates(seconds_per_row: Mapping[str, float], routes: Routes, estimators: Iterable[str]) -> list[Estimate]:
    """Return what runs take by rows and estimator.

    Parameters
    ----------
    seconds_per_row
        Processor seconds of each way that was measured, at its largest number of rows.
    routes, estimators
        Where trainings go, and of what.
    """
    return [_estimate(rows, estimator, seconds_per_row, routes) for rows in ROWS for estimator in estimators]


def _estimate(rows: int, estimator: str, seconds_per_row: Mapping[str, float], routes: Routes) -> Estimate:
    count = min(MOST_PIECES, max(1, rows * CSV_BYTES_PER_ROW // LEAST_PIECE_BYTES))
    calls, alone = (rows * seconds_per_row[name] for name in ("a piece's calls", "calls before and after"))
    test = min(rows // 5, MAX_TEST_ROWS)
    ways = ((share, routes.way(estimator, round((rows - test) * share))) for share in SHARES)
    share, way = next((share, way) for share, way in ways if way.memory_mb)
    fit = (rows - test) * share * seconds_per_row[f"training of {estimator}"]
    # The spare one grows trees like the others.
    fit *= MORE_OF_SEVERAL / way.workers if way.workers else 1
    evaluated = test * 5 * seconds_per_row[f"evaluation of {estimator}"]
    seconds = calls / min(count, AT_ONCE) + alone + fit + evaluated
    functions = (calls + alone + evaluated) * PREPARATION_MB / 1024 * price_by_name()["lambda_gb_second"]
    return Estimate(rows, estimator, count, way.words, share, seconds / 3600, functions + fit * _dollars_a_second(way))


def table(made: Sequence[Estimate]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the estimates as a table of a section."""
    lines: list[tuple[str, ...]] = [
        (
            f"{each.rows:,}",
            each.estimator,
            f"{each.pieces:,} pieces",
            each.way,
            f"{each.share:g}",
            rounded(each.hours, 2),
            f"${rounded(each.dollars, 2)}",
        )
        for each in made
    ]
    return ("rows", "estimator", "preparation", "training", "training_fraction", "hours", "dollars"), lines


def _dollars_a_second(way: Way) -> float:
    """Return what a second of a training costs, with the workers."""
    price = price_by_name()
    if way.words == "the function":
        return way.memory_mb / 1024 * price["lambda_gb_second"]

    def task(vcpus: float, memory_mb: float) -> float:
        return (vcpus * price["fargate_vcpu_hour"] + memory_mb / 1024 * price["fargate_gb_hour"]) / 3600

    return task(way.vcpus, way.memory_mb) + way.workers * task(TASK_VCPU, LARGEST_TASK_MB)


def notes() -> str:
    """Return what the estimates rest on."""
    return (
        "The last table is on paper: processor seconds per row as measured here at the largest number of rows, as if "
        f"all but the calls for pieces were done on one core (a task has {TASK_VCPU}: hours are an upper bound); "
        f"pieces of 1 GiB, {MOST_PIECES:,} at most, {AT_ONCE} at a time, which needs as many calls of Lambda's quota "
        "(1,000, ten in a new account) and no more than 80 requests to S3 at once (3,500 writes and 5,500 reads a "
        "second and prefix: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html); 14 "
        f"events a piece of the 25,000 of an execution; {MAX_TEST_ROWS:,} test rows at most; ten trees; where no task "
        "takes all rows, of a tenth or a hundredth of them, for which a request has to ask. A task of 16 vCPUs takes "
        "a raised quota in a new account "
        "(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html)."
    )
