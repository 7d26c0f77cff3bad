"""What is known of a data set once all of its rows were read: the problem, and what becomes of each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from common.conversion import TEXTS
from common.errors import InvalidDatasetError, first_few
from common.request import TrainingRequest
from data_preparation.decisions import Decision
from data_preparation.notation import Kind
from data_preparation.profiling import (
    MAX_CATEGORIES,
    ColumnSummary,
    Role,
    feature_type,
    infer_role,
)
from data_preparation.scanning import Reading, Scan
from data_preparation.splitting import PARTS

MIN_ROWS = 10
MAX_LABEL_CHARACTERS = 256
"""A class is handed to scikit-learn with each row, in as much room as the longest one takes."""
MAX_CLASSES_OF_NUMBERS = 20
"""Where the problem is `auto`, whole numbers with at most this many different values are class labels."""


@dataclass(frozen=True)
class PartColumn:
    """What becomes of a column: its summary, its role, how it is used, and the type that it is handed over in."""

    summary: ColumnSummary
    role: Role
    use: str
    reason: str | None
    type: pa.DataType | None


@dataclass(frozen=True)
class Findings:
    """What is known of a data set once all of its rows were read.

    Attributes
    ----------
    request
        With its open choices made.
    left_open
        Which these were.
    kinds, summaries
        Of all columns, over all files.
    columns
        What becomes of each.
    decisions
        How each column is read for which there was anything to decide.
    rows_in, rows_used
        How many rows there are, and how many have a target.
    """

    request: TrainingRequest
    left_open: list[str]
    kinds: Mapping[str, Kind]
    summaries: Mapping[str, ColumnSummary]
    columns: list[PartColumn]
    decisions: Mapping[str, Decision]
    rows_in: int
    rows_used: int

    @property
    def target(self) -> ColumnSummary:
        """The summary of the target."""
        return self.summaries[self.request.target]

    @property
    def kept(self) -> list[PartColumn]:
        """The columns that the parts hold."""
        return [column for column in self.columns if column.type is not None]

    @property
    def watched(self) -> list[str]:
        """The columns of which the profile says how they are distributed."""
        return [column.summary.name for column in self.columns if column.use in ("feature", "target")]


def findings(
    scans: Sequence[Scan], kinds: Mapping[str, Kind], summaries: Mapping[str, ColumnSummary], reading: Reading
) -> Findings:
    """Make the choices that a request leaves open, and say what becomes of each column.

    Raises
    ------
    InvalidDatasetError
        If the data cannot be trained on.
    InvalidRequestError
        If the estimator or the metric does not fit the problem that the target poses.
    """
    request = reading.request
    rows_in = sum(scan.rows for scan in scans)
    parts_seen = _parts_seen(summaries, request)
    decisions = _decisions(scans, reading)
    _check_decisions(decisions)
    if request.weight_column is not None:
        _check_weights(summaries[request.weight_column])
    rows_used = _check_target(summaries[request.target], request, rows_in)
    problem = _problem(summaries[request.target], request)
    left_open = _left_open(request, problem)
    request = request.resolve(problem, summaries[request.target].counts)
    columns = _assign_columns(summaries, request, parts_seen)
    return Findings(request, left_open, kinds, summaries, columns, decisions, rows_in, rows_used)


def _parts_seen(summaries: Mapping[str, ColumnSummary], request: TrainingRequest) -> set[str]:
    """Return the values of the split column; none, if there is no such column."""
    if not request.split_column:
        return set()
    split = summaries[request.split_column]
    values = {str(value) for value in split.counts or ()} | ({"a missing value"} if split.nulls else set())
    if split.counts is None or values - set(PARTS):
        others = len(values - set(PARTS)) if split.counts is not None else MAX_CATEGORIES
        raise InvalidDatasetError(
            f'The split column "{request.split_column}" may hold "train" and "test" only, and holds '
            f"{others:,} other value{'s' if others > 1 else ''}{', missing ones among them' if split.nulls else ''}."
        )
    return values


def _check_target(target: ColumnSummary, request: TrainingRequest, rows_in: int) -> int:
    """Return the number of usable rows, those with a target."""
    if target.values == 0:
        raise InvalidDatasetError(f'The target "{request.target}" has no value in any of the {rows_in:,} rows.')
    if target.values < MIN_ROWS:
        raise InvalidDatasetError(
            f"The data set has {target.values} usable rows of {rows_in:,}; at least {MIN_ROWS} are needed."
        )
    if infer_role(target)[0] == "constant":
        raise InvalidDatasetError(
            f'The target "{request.target}" has the same value in all {target.values:,} usable rows: '
            "there is nothing to learn."
        )
    if target.kind == "timestamp":
        raise InvalidDatasetError(
            f'The target "{request.target}" holds timestamps: turn them into numbers, such as days since a date.'
        )
    return target.values


def _problem(target: ColumnSummary, request: TrainingRequest) -> str:
    """Return the problem that is asked for or, for `auto`, that the other choices or the target's values imply."""
    labels = target.kind in ("text", "boolean")
    problem, *others = request.fitting_problems()
    if others:
        different = len(target.counts) if target.counts is not None else target.values
        few = different <= min(MAX_CLASSES_OF_NUMBERS, target.values // 2)
        problem = "classification" if labels or (few and target.integral) else "regression"
    if problem == "regression" and target.kind == "text":
        raise InvalidDatasetError(
            f'The target "{request.target}" holds {target.kind}, and regression needs numbers: '
            "choose another target or the problem classification."
        )
    if problem == "classification" and (target.counts is None or target.values < 2 * len(target.counts)):
        many = f"more than {MAX_CATEGORIES:,}" if target.counts is None else f"{len(target.counts):,}"
        way_out = "another target" if labels else "another target or the problem regression"
        raise InvalidDatasetError(
            f'The target "{request.target}" has {many} different values in {target.values:,} rows, too many for '
            f"classification: choose {way_out}."
        )
    if (
        problem == "classification"
        and target.kind == "text"
        and max(map(len, target.counts or ())) > MAX_LABEL_CHARACTERS
    ):
        raise InvalidDatasetError(
            f'The target "{request.target}" has labels of more than {MAX_LABEL_CHARACTERS} characters: name the '
            "classes in fewer."
        )
    return problem


def _check_decisions(decisions: Mapping[str, Decision]) -> None:
    """Refuse columns in which values are of different sorts, unless the request says what they are."""
    problems = [decision.problem for decision in decisions.values() if decision.problem is not None]
    if problems:
        raise InvalidDatasetError(first_few(problems, " "))


def _decisions(scans: Sequence[Scan], reading: Reading) -> dict[str, Decision]:
    """Return how each column is read for which there was anything to decide."""
    of_files = {
        name: decision for scan in reversed(scans) for name in scan.names if (decision := scan.columns[name].decision)
    }
    return {**of_files, **reading.decided}


def _left_open(request: TrainingRequest, problem: str) -> list[str]:
    """Return which choices the request leaves open: `problem`, `metric`, `search`, `pos_label` of a classification."""
    left = ["problem"] if len(request.fitting_problems()) > 1 else []
    left += ["metric"] if request.metric is None else []
    is_default = request.estimator == "auto" and request.search_trials is None and request.search_seconds is None
    left += ["search"] if is_default else []
    return [*left, *(["pos_label"] if problem == "classification" and request.pos_label is None else [])]


def _assign_columns(
    summaries: Mapping[str, ColumnSummary], request: TrainingRequest, parts_seen: set[str]
) -> list[PartColumn]:
    columns = []
    for name, summary in summaries.items():
        role, reason = role_of(summary, request)
        if name == request.target:
            columns.append(PartColumn(summary, role, "target", None, _target_type(summary, request)))
        elif parts_seen and name == request.split_column:
            columns.append(PartColumn(summary, role, "split", None, None))
        elif name == request.weight_column:
            columns.append(PartColumn(summary, role, "weight", None, pa.float64()))
        elif reason is not None:
            columns.append(PartColumn(summary, role, "dropped", reason, None))
        else:
            columns.append(PartColumn(summary, role, "feature", None, feature_type(summary, role)))
    if not any(column.use == "feature" for column in columns):
        dropped = first_few((f'"{c.summary.name}": {c.reason}' for c in columns if c.use == "dropped"), "; ")
        raise InvalidDatasetError(f"No column is left to train on ({dropped or 'there is no other column'}).")
    return columns


def role_of(summary: ColumnSummary, request: TrainingRequest) -> tuple[Role, str | None]:
    """Return a column's role and why it cannot be trained on, by what the request says that it is or by its values."""
    asked = request.columns.get(summary.name)
    if asked == "identifier":
        return "identifier", "the request says that it is an identifier"
    if asked == "text" and summary.kind == "text" and infer_role(summary)[0] != "constant":
        return "text", None
    free_texts = asked != "category" and request.features != "plain"
    role, reason = infer_role(summary, free_texts=free_texts)
    # What has an identifier's name is a number all the same, if the request says so.
    return ("numeric", None) if asked == "number" and role == "identifier" else (role, reason)


def _check_weights(weights: ColumnSummary) -> None:
    """Refuse weights that are no numbers or below 0; of the rows that have a target and no weight of 0."""
    if weights.values == 0:
        raise InvalidDatasetError(f'No row has a target, and in the weight column "{weights.name}" a number above 0.')
    if weights.kind not in ("integer", "float") or weights.minimum < 0:
        raise InvalidDatasetError(f'The weight column "{weights.name}" may hold numbers from 0 on only, and does not.')


def _target_type(target: ColumnSummary, request: TrainingRequest) -> pa.DataType:
    """Return float64 for numbers, but for class labels that no float holds; texts and booleans stay what they are."""
    if target.kind == "text":
        return TEXTS
    if request.problem == "classification":
        if target.kind == "boolean":
            return pa.bool_()
        if target.kind == "integer" and max(abs(target.minimum), abs(target.maximum)) > 2**53:
            return pa.int64()
    return pa.float64()
