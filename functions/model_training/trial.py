"""What is to be tried in a search, and what became of it: what a plan and the trials hand each other as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

OUT_OF_TIME = "OutOfTime"
"""What the error of a trial begins with that has used up its seconds."""
ENDED_PROCESS = ("Runtime.ExitError", "JobDiedError")
"""What Lambda, or the process that waits for a task's, calls it where a trial's process ended, which it does by itself
where the time is over."""
MOST_CHARACTERS = 300
"""How much of an error is handed on; the trial's document has all of it."""


@dataclass(frozen=True)
class Trial:
    """What is to be tried.

    Attributes
    ----------
    number
        From 0.
    estimator, hyperparameters
        As a request has them.
    rows
        How many rows of the training part it is tried on.
    seconds
        After how many processor seconds it is given up.
    """

    number: int
    estimator: str
    hyperparameters: Mapping[str, Any]
    rows: int
    seconds: float


@dataclass(frozen=True)
class Tried:
    """What became of a trial.

    Attributes
    ----------
    number, estimator, hyperparameters
        Those of the trial.
    score, deviation
        The metric's mean over the folds, and the standard deviation of the folds; None where it failed.
    seconds, fit_seconds
        Processor seconds of all of it, and of the longest fit.
    fitted_rows
        How many rows that fit had.
    error
        Why it failed.
    uri
        Of the document with each fold.
    outputs
        `uri` and `sha256` of what was predicted of the rows that each fold holds out; None where it failed.
    rows, folds
        How many rows the trial was made on, and how many folds of them.
    compute
        What it ran on (`common.capacity.compute`); None for a function whose process ended.
    """

    number: int
    estimator: str
    hyperparameters: Mapping[str, Any]
    score: float | None = None
    deviation: float | None = None
    seconds: float = 0.0
    fit_seconds: float = 0.0
    fitted_rows: int = 0
    error: str | None = None
    uri: str | None = None
    outputs: Mapping[str, str] | None = None
    rows: int = 0
    folds: int = 0
    compute: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return what a trial or, in place of one whose process ended, the state machine has handed on."""
        tried = cls(**document)
        if not (tried.error or "").startswith(ENDED_PROCESS):
            return tried
        return replace(tried, error=f"{tried.error} (it took more time or memory than a trial has)")
