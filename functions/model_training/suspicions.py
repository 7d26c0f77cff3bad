"""What looks wrong with the data or the choices, though a model can be made of them: told, and never acted on.

A feature that holds the answer makes a model look perfect until it is used. Whether it does nobody can tell from values
alone, for a feature may be good: so what is found is said, with the way out, and what was asked for is done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from common.conversion import Profile, described_rows, feature_columns, free_texts
from common.errors import first_few
from common.request import TrainingRequest
from common.threads import few_threads

if TYPE_CHECKING:
    import pandas as pd

    from common.frames import PartFile

MOST_ROWS, MOST_VALUES = 10_000, 2_000_000
"""How much is looked at: a draw of the training rows."""
LEAST_ROWS = 100
"""Of fewer rows anything may be chance."""
LEAST_OF_CLASS = 20
"""Of fewer rows of a class, or that differ from all others, these may be told by chance."""
MOST_CLASSES = 20
HOLDS_THE_ANSWER = 0.99
"""From this r² of ranks, or area under the ROC curve, on, one feature alone may hold the target."""
IS_THE_ANSWER = 0.9999
"""From this r² on, several features together do."""
MOST_TOGETHER = 100
ORDERS = {"regression": 0.1, "classification": 0.65}
"""How well a number that counts rows has to tell the target, in the same measures."""
CHANCE = 1e-4
"""How improbable that has to be by chance."""
COUNTED = 5.0
"""How many repetitions numbers that were drawn from a range have to show, for those that show none to be counted."""
BINS = 64
MOST_WHOLE_NUMBERS = 50
MAJORITY = 0.9
_SHARE = 0.01

Numbers = npt.NDArray[np.float64]


class Suspicions:
    """What of the training part is looked at, drawn before the model's own fit consumes it.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data.
    features, target
        The training part, of shape (rows, features) and (rows,).
    """

    def __init__(
        self, request: TrainingRequest, profile: Profile, features: pd.DataFrame | PartFile, target: npt.NDArray[Any]
    ) -> None:
        self._problem, self._profile = str(request.problem), profile
        self._of_choices = [*_of_problem(request, profile, target), *_of_metric(request, profile)]
        size = min(MOST_ROWS, MOST_VALUES // max(1, len(features.columns)), len(target))
        self._outputs: Numbers | None = None
        if size < LEAST_ROWS:
            return
        rows = np.random.default_rng(request.seed).permutation(len(target))[:size]
        self._outputs = _outputs(target[rows], self._problem)
        # Free texts, of which each row has its own, are in no bins.
        self._sample, self._target = features.take(rows).drop(columns=free_texts(profile)), target[rows]
        # What repeats in the draw already is not looked at in all rows.
        self._counting = [
            name
            for name in _whole_numbers(profile)
            if len(np.unique(self._sample[name].to_numpy())) == size and _counts_rows(features[name].to_numpy())
        ]

    def found(self) -> list[dict[str, Any]]:
        """Return what is suspected.

        Returns
        -------
        list of dict
            `about` (`leakage`, `order`, `problem` or `metric`), the `columns` that are meant, and in `text` what is
            suspected and what to do about it.
        """
        outputs, problem = self._outputs, self._problem
        if outputs is None or not outputs.shape[1]:
            return self._of_choices
        # This runs beside the fit, which would take a warning of NumPy's for its own.
        with few_threads(), np.errstate(all="ignore"):
            sample = self._sample
            strength = {name: _strength(_codes(sample[name]), outputs, problem) for name in sample.columns}
            order = [
                name
                for name in self._counting
                if strength[name] > ORDERS[problem] and _chance(sample[name].to_numpy(), outputs) < CHANCE
            ]
            alone = sorted(
                (name for name in sample.columns if strength[name] > HOLDS_THE_ANSWER and name not in order),
                key=lambda name: -strength[name],
            )
            told = [*_in_words_order(order), *_in_words_alone(alone, strength, problem)]
            if problem == "regression":
                others = [name for name in sample.columns if name not in alone]
                told += _in_words_together(_together(self._profile, sample[others], self._target))
        return [*told, *self._of_choices]


# What one feature tells


def _outputs(target: npt.NDArray[Any], problem: str) -> Numbers:
    """Return what is to be told: ranks, of shape (rows, 1), or whether a row is of each class that has enough rows."""
    classes, codes, counts = np.unique(target, return_inverse=True, return_counts=True)
    if problem == "regression":
        # By ranks, a single outlier makes no fit, and the logarithm of a target is as good as the target.
        ranks: Numbers = np.asarray(stats.rankdata(target), dtype=np.float64).reshape(-1, 1)
        return ranks if len(target) - counts.max() >= LEAST_OF_CLASS else np.empty((len(target), 0))
    frequent = np.argsort(-counts, kind="stable")[: MOST_CLASSES if len(classes) > 2 else 1]
    # Of two classes either says all, if the other one has enough rows, too.
    enough = frequent[np.minimum(counts, len(target) - counts)[frequent] >= LEAST_OF_CLASS]
    return np.asarray(codes[:, None] == enough[None, :], dtype=np.float64)


def _codes(column: pd.Series[Any]) -> npt.NDArray[np.intp]:
    """Return the bin of each value: of a text its own, of a number one of equally many rows; 0 for a missing one."""
    if column.dtype == "category":
        return np.asarray(column.cat.codes, dtype=np.intp) + 1
    values = column.to_numpy()
    known = values[~np.isnan(values)]
    if not len(known):
        return np.zeros(len(values), np.intp)
    bins = min(BINS, len(known) // 6)
    edges = np.unique(np.quantile(known, np.arange(1, bins) / max(1, bins), method="lower"))
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="left"))


def _strength(codes: npt.NDArray[np.intp], outputs: Numbers, problem: str) -> float:
    """Return how well a feature tells the target, or the rows that have a value of it, if it tells these better."""
    whole, known = _told_by(codes, outputs, problem), codes > 0
    if known.all() or known.sum() < LEAST_ROWS:
        return whole
    most_frequent = max(np.unique(output[known], return_counts=True)[1].max() for output in outputs.T)
    if known.sum() - most_frequent < LEAST_OF_CLASS:
        return whole
    return max(whole, _told_by(codes[known], outputs[known], problem))


def _told_by(codes: npt.NDArray[np.intp], outputs: Numbers, problem: str) -> float:
    """Return how well the means of bins tell the other half of the rows: r² of ranks, or the least area of a class."""
    _, codes = np.unique(codes, return_inverse=True)
    bins = int(codes.max()) + 1
    # Of each bin every other row, so that none is without a mean.
    half = np.zeros(len(codes), np.bool_)
    half[np.argsort(codes, kind="stable")[::2]] = True
    rows = np.bincount(codes[half], minlength=bins)
    held_out = np.bincount(codes[~half], minlength=bins)
    found = []
    for output in outputs.T:
        mean = output[half].mean()
        sums = np.bincount(codes[half], output[half], bins)
        means = np.where(rows > 0, sums / np.maximum(rows, 1), mean)
        if problem == "regression":
            truth = output[~half]
            found.append(1 - ((truth - means[codes[~half]]) ** 2).sum() / max(((truth - truth.mean()) ** 2).sum(), 1.0))
        else:
            found.append(_area(means, np.bincount(codes[~half], output[~half], bins), held_out))
    return float(min(found) if problem == "classification" else found[0])


def _area(scores: Numbers, positive: npt.NDArray[Any], rows: npt.NDArray[Any]) -> float:
    """Return the area under the ROC curve, where rows of one bin have one score."""
    _, place = np.unique(scores, return_inverse=True)
    ones = np.bincount(place, positive)
    zeros = np.bincount(place, rows - positive)
    if not ones.sum() or not zeros.sum():
        return 0.5
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / (ones.sum() * zeros.sum()))


def _in_words_alone(names: Sequence[str], strength: Mapping[str, float], problem: str) -> list[dict[str, Any]]:
    if not names:
        return []
    measure = "r2 of ranks" if problem == "regression" else "roc_auc"
    told = first_few(f'"{name}" ({measure} {strength[name]:.3f})' for name in names)
    say = "tells" if len(names) == 1 else "tell, each,"
    text = f"{told} alone {say} the target of rows that were held out. {_way_out(names)}"
    return [{"about": "leakage", "columns": list(names), "text": text}]


def _way_out(names: Sequence[str]) -> str:
    may, it_is = ("It", "it is") if len(names) == 1 else ("They", "they are")
    return (
        f"{may} may hold the answer: leave {'it' if len(names) == 1 else 'them'} out by COLUMNS='{_ignored(names)}' if "
        f"{it_is} not known when a prediction is made."
    )


def _ignored(names: Sequence[str]) -> str:
    shown = json.dumps(dict.fromkeys(names[:5], "ignore"), ensure_ascii=False)
    return shown if len(names) <= 5 else f"{shown[:-1]}, …}}"


# What several features tell together


def _together(profile: Profile, sample: pd.DataFrame, target: npt.NDArray[Any]) -> list[str]:
    """Return the fewest numbers of which the target is a sum, each times a factor; none if it is not."""
    numeric = {column["name"] for column in feature_columns(profile) if column["role"] != "categorical"}
    names = [name for name in sample.columns if name in numeric]
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = target - target.mean()
    if not names or not np.isfinite(wanted).all() or not wanted.any():
        return []
    values = _standardised(sample[names])
    # Those that have something to do with the target, where there are too many; a sum has something of each part.
    likely = np.argsort(-np.abs(values.T @ (wanted / np.abs(wanted).max())), kind="stable")
    likely = np.sort(likely[: min(MOST_TOGETHER, len(target) // 10)])
    factors, quality = _least_squares(values[:, likely], wanted)
    if quality <= IS_THE_ANSWER:
        return []
    shares = np.abs(factors) / np.abs(factors).sum()
    largest = np.argsort(-shares, kind="stable")
    few = largest[: np.count_nonzero(shares >= _SHARE)]
    if _least_squares(values[:, likely[few]], wanted)[1] <= IS_THE_ANSWER:
        few = largest
    return [names[each] for each in likely[few]]


def _standardised(frame: pd.DataFrame) -> Numbers:
    values = np.column_stack([frame[name].to_numpy(dtype=np.float64) for name in frame.columns])
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, values, 0.0).sum(axis=0) / counts
    centred = np.where(known, values - means, 0.0)
    deviations = np.sqrt((centred**2).sum(axis=0) / len(values))
    standardised: Numbers = centred / np.where(deviations > 0, deviations, 1.0)
    return standardised


def _least_squares(values: Numbers, wanted: Numbers) -> tuple[Numbers, float]:
    """Return the factors by one half of the rows, and r² on the other."""
    half = np.arange(len(wanted)) % 2 == 0
    scale = np.abs(wanted).max()
    factors = np.linalg.lstsq(values[half], wanted[half] / scale, rcond=1e-10)[0]
    truth = wanted[~half] / scale
    centred = ((truth - truth.mean()) ** 2).sum()
    if not centred > 0:
        return factors, 0.0
    return factors, float(1 - ((truth - values[~half] @ factors) ** 2).sum() / centred)


def _in_words_together(names: Sequence[str]) -> list[dict[str, Any]]:
    if not names:
        return []
    quoted = first_few(f'"{name}"' for name in names)
    how = "times a factor" if len(names) == 1 else "added up, each times a factor"
    text = f"{quoted} {how}, {'is' if len(names) == 1 else 'are'} the target. {_way_out(names)}"
    return [{"about": "leakage", "columns": list(names), "text": text}]


# Numbers that count rows


def _whole_numbers(profile: Profile) -> list[str]:
    """Return the features that hold a whole number in each row; none for a split by time.

    Then the test part is what comes later, and the order of the rows gives nothing away.
    """
    return [
        column["name"]
        for column in feature_columns(profile)
        if column["role"] == "numeric" and column["kind"] == "integer" and not column["nulls"]
        if profile["split"]["by"] != "time"
    ]


def _counts_rows(values: npt.NDArray[Any]) -> bool:
    """Return whether numbers never repeat and seem to count: they lie closer than chance leaves them, or sorted."""
    steps = np.diff(np.sort(values))
    if not (steps > 0).all():
        return False
    # Of so many numbers that are drawn from this range, so many pairs are equal.
    repetitions = len(values) ** 2 / 2 / (float(values.max()) - float(values.min()) + 1)
    in_order = np.diff(values)
    return bool(repetitions > COUNTED or (in_order > 0).all() or (in_order < 0).all())


def _chance(values: npt.NDArray[Any], outputs: Numbers) -> float:
    """Return how probable it is that the target differs so much from one tenth of the numbers to the next by chance.

    References
    ----------
    W. Kruskal and W. Wallis, "Use of ranks in one-criterion variance analysis", JASA 47, 1952.
    """
    order = np.argsort(values, kind="stable")
    probable = [stats.kruskal(*np.array_split(output[order], 10)).pvalue for output in outputs.T]
    return float(min(probable) * len(probable))


def _in_words_order(names: Sequence[str]) -> list[dict[str, Any]]:
    if not names:
        return []
    quoted, one = first_few(f'"{name}"' for name in names), len(names) == 1
    text = (
        f"{quoted} never {'repeats and orders' if one else 'repeat and order'} the target: a row number, or the order "
        f"in time? Leave {'it' if one else 'them'} out by COLUMNS='{_ignored(names)}', or say split_time "
        f'"{names[0]}" if the model is to predict what comes later.'
    )
    return [{"about": "order", "columns": list(names), "text": text}]


# What was chosen


def _of_problem(request: TrainingRequest, profile: Profile, target: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """Say which problem was chosen for a target that numbers and classes may be meant by."""
    different = _different_whole_numbers(target) if "problem" in profile["left_open"] else 0
    # Two are a yes and a no.
    if not 2 < different <= MOST_WHOLE_NUMBERS:
        return []
    as_, other = ("numbers", "classes"), "classification"
    if request.problem == "classification":
        as_, other = ("classes", "numbers"), "regression"
    text = (
        f'"{request.target}" holds whole numbers, {different} different ones in the training part, and is taken for '
        f"{as_[0]} ({request.problem}). PROBLEM={other} takes them for {as_[1]}."
    )
    return [{"about": "problem", "columns": [request.target], "text": text}]


def _different_whole_numbers(target: npt.NDArray[Any]) -> int:
    """Return how many different values a target has, if all are whole numbers and not too many; else 0."""
    if target.dtype.kind not in "if" or len(np.unique(target[:MOST_ROWS])) > MOST_WHOLE_NUMBERS:
        return 0
    values = np.unique(target)
    return 0 if (values != np.floor(values)).any() else len(values)


def _of_metric(request: TrainingRequest, profile: Profile) -> list[dict[str, Any]]:
    """Say that accuracy, chosen by nobody, is reached by a guess where nearly all rows are of one class."""
    if request.metric != "accuracy" or "metric" not in profile["left_open"]:
        return []
    share = max(each["rows"] for each in profile["classes"]) / described_rows(profile)
    if share <= MAJORITY:
        return []
    text = (
        f'{share:.1%} of the rows are of one class of "{request.target}", so whoever guesses it always has that '
        "accuracy. METRIC=roc_auc tells how well the classes are told apart, METRIC=balanced_accuracy and "
        "METRIC=f1_macro count all of them alike"
    )
    # Of more than two, somebody has to say which one is to be found.
    text += (
        ", METRIC=average_precision tells how well the rarer one is found." if request.pos_label is not None else "."
    )
    return [{"about": "metric", "columns": [request.target], "text": text}]
