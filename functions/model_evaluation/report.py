"""Renders the report of one evaluation: a single HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from sklearn import metrics

from common.adjustment_words import adjustment_in_words
from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE, OF_POSITIVE_CLASS, Scoring
from common.metrics import Codes, Predictions, Weights, class_codes, multipliers_of
from model_evaluation import figures
from model_evaluation.evaluation import HeldOut
from model_evaluation.figures import CURVE_CLASSES, SCATTER_ROWS, Curve
from model_evaluation.importance import REPEATS, Importance, permutation_importance
from model_evaluation.searched import searched
from model_evaluation.svg import Numbers
from model_evaluation.words import number

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

TEMPLATE = "report.html.j2"

# What bounds the size of a report, whatever the data set is.
CONFUSION_CLASSES = 12
CALIBRATION_BINS = 10
FEW_ROWS = 10
"""A calibration bin with fewer rows is drawn hollow: its share says little."""
SHOWN_FEATURES = 20
EQUAL_FEATURES = 0.01
"""From which share of the test rows on equal features in the training part are worth a word."""
IGNORED, SENTENCES = 10, 200
"""How many ignored files and how many sentences about the data the report shows."""
PROFILE_COLUMNS = 500
NAME_WIDTH = 300
VALUE_WIDTH = 40
LABEL_WIDTH = 20


@dataclass(frozen=True)
class ReportData:
    """What a report tells of: the documents of one run, its model, and the test part with what was predicted for it.

    Attributes
    ----------
    evaluation, profile, model
        The documents `evaluation.json`, `profile.json` and `model.json`.
    pipeline
        The challenger.
    features
        The test part's features, shape (rows, features).
    target
        The test part's target, shape (rows,).
    predictions
        For regression the predicted values, shape (rows,); for classification the probabilities, shape
        (rows, classes), in the order of `pipeline.classes_`.
    weights
        How much each row of the test part counts, shape (rows,); None for all alike.
    """

    evaluation: Mapping[str, Any]
    profile: Mapping[str, Any]
    model: Mapping[str, Any]
    pipeline: Pipeline
    features: pd.DataFrame
    target: npt.NDArray[Any]
    predictions: npt.NDArray[Any]
    weights: Weights = None


@dataclass(frozen=True)
class Picture:
    """A figure: its title, the SVG element, what it shows in numbers (the text alternative), and how it was made."""

    title: str
    svg: str
    finding: str
    note: str


@dataclass(frozen=True)
class Confusion:
    """How often each class was predicted for each: counts and shares of the actual class, both (classes, classes).

    Weighted rows are counted by their weights.
    """

    labels: list[str]
    counts: Sequence[Sequence[float]]
    shares: list[list[float]]
    finding: str
    note: str


def render_report(data: ReportData) -> str:
    """Return the report as one HTML document.

    The same data gives the same document, to the last byte.

    Parameters
    ----------
    data
        Of one evaluation.

    Returns
    -------
    str
        HTML with inline style and inline SVG. Whatever comes from the data set is escaped.
    """
    classification = data.evaluation["problem"] == "classification"
    pictures, confusion, notes = _classification(data) if classification else (_regression(data), None, [])
    metrics, seed = data.evaluation["metrics"], data.model["request"]["seed"]
    # What the test part leaves undefined measures nothing.
    metric = next(name for name in (data.evaluation["metric"], *metrics) if metrics[name] is not None)
    part = HeldOut(data.features, data.target, data.weights)
    scoring = Scoring.of(data.model["request"])
    importance = permutation_importance(data.pipeline, part, data.predictions, metric, seed, scoring)
    return _template().render(
        evaluation=data.evaluation,
        profile=data.profile,
        model=data.model,
        comparison=_comparison(data.evaluation),
        improvement=_improvement(data.evaluation),
        scored_by=_scored_by(data),
        measured_by=metric,
        weighted_by=next((each["name"] for each in data.profile["columns"] if each["use"] == "weight"), None),
        split=_split(data.profile),
        warnings=_warnings(data.evaluation, data.profile),
        pictures=pictures,
        confusion=confusion,
        notes=notes,
        importance=importance,
        importance_picture=_importance_picture(importance, metric),
        importance_rows=_importance_rows(importance),
        repeats=REPEATS,
        seed=seed,
        told=_told(data.profile),
        search=searched(data.model),
        adjusted=" ".join(
            adjustment_in_words(
                data.model.get("adjustment"), _second_class(data.model), data.evaluation.get("prediction_interval")
            )
        ),
        columns=[_profile_row(column, data.profile) for column in data.profile["columns"][:PROFILE_COLUMNS]],
        lineage=_lineage(data),
    )


@functools.cache
def _template() -> Template:
    """Return the page's template, which a warm worker compiles once."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, name=lambda text: shorten(text, NAME_WIDTH))
    return environment.get_template(TEMPLATE)


# Words and numbers


def shorten(text: Any, width: int) -> str:
    """Return a text that takes at most `width` columns, with an ellipsis where it was cut.

    Control characters, and those that turn the direction of writing around, become visible as the replacement
    character; a wide character (Chinese, Japanese, Korean) takes two columns.

    Examples
    --------
    >>> shorten("a long name", 6)
    'a lon…'
    """
    start = ["\N{REPLACEMENT CHARACTER}" if _unsafe(each) else each for each in str(text)[: width + 1]]
    ends = np.cumsum([2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in start])
    fits = len(start) == 0 or ends[-1] <= width
    return "".join(start) if fits else "".join(start[: int(np.sum(ends < width))]) + "…"


def _unsafe(character: str) -> bool:
    turning = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return turning or unicodedata.category(character) in ("Cc", "Cs")


def _label(value: Any) -> str:
    """Return a class label as the data set has it: labels that are whole numbers may be stored as floats."""
    plain = value.item() if isinstance(value, np.generic) else value
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def _second_class(model: Mapping[str, Any]) -> str:
    """Return what the second of two classes is called."""
    return shorten(_label((model.get("classes") or ["", ""])[-1]), VALUE_WIDTH)


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


# Challenger against champion


def _comparison(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each metric; the difference says in words who is better."""
    champion = evaluation.get("champion") or {}
    rows = []
    for name, value in evaluation["metrics"].items():
        other = (champion.get("metrics") or {}).get(name)
        rows.append(
            {
                "name": name,
                "decides": name == evaluation["metric"],
                "direction": "lower is better" if name in LOWER_IS_BETTER else "higher is better",
                "meaning": METRIC_TABLE[name].meaning,
                "value": number(value),
                "undefined": evaluation["undefined"].get(name),
                "champion": number(other),
                "difference": _difference(name, value, other),
            }
        )
    return rows


def _scored_by(data: ReportData) -> str:
    """Return which class, or which quantile, those of the metrics are of that have to know."""
    request = data.model["request"]
    if data.evaluation["problem"] == "regression":
        return f"pinball is of the quantile {number(request['quantile'])}, as the request's quantile says."
    names, label = _in_words(OF_POSITIVE_CLASS), request["pos_label"]
    if label is None:
        return f"{names} are of one class: the request's pos_label says which one, against all others."
    chosen = "as the request's pos_label says"
    if "pos_label" in data.profile["left_open"]:
        chosen = "the rarer of two; the request's pos_label says another one"
    return f'{names} are of the class "{shorten(_label(label), VALUE_WIDTH)}", {chosen}.'


def _in_words(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _difference(metric: str, value: float | None, other: float | None) -> str:
    if value is None or other is None:
        return "cannot be compared"
    gain = other - value if metric in LOWER_IS_BETTER else value - other
    if gain == 0:
        return "= equal"
    return f"▲ {number(gain)} better" if gain > 0 else f"▼ {number(-gain)} worse"


def _improvement(evaluation: Mapping[str, Any]) -> str | None:
    """Return the sentences on the improvement and its interval, or None where there is none."""
    found = (evaluation.get("champion") or {}).get("improvement")
    if found is None:
        return None
    low, high = found["low"], found["high"]
    of = f"{found['rows']:,} of the {evaluation['rows']:,} test rows, those that count"
    if low is None:
        return (
            f"{found['metric']} is {_gain(found['value'])}, without an interval: the models differ on "
            f"{found['different']:,} of {of}, too few for one."
        )
    verdict = "The interval includes 0: on these rows neither model is clearly the better one."
    if low > 0:
        verdict = "The whole interval is above 0: the challenger is better."
    elif high < 0:
        verdict = "The whole interval is below 0: the challenger is worse."
    return (
        f"{found['metric']} is {_gain(found['value'])} "
        f"({found['confidence']:.0%} interval {number(low)} to {number(high)}; positive: the challenger is better). "
        f"{verdict} Method: {found['method']}, {found['resamples']:,} resamples of {of}, seed {found['seed']}."
    )


def _split(profile: Mapping[str, Any]) -> str:
    """Return in words how the rows were split."""
    split = profile["split"]
    columns = ", ".join(shorten(name, NAME_WIDTH) for name in split["columns"])
    ways = {
        "rows": f"by what each row holds, seed {split['seed']}",
        "key": f"rows of equal {columns} together, seed {split['seed']}",
        "time": f"the last rows by {columns}, from {split.get('first_time')}",
        "column": f"as the column {columns} says",
    }
    origin = f", as the run of champion {split['inherited_from']}" if split["inherited_from"] else ""
    return f"{ways[split['by']]}{origin}; {split['test_share']:.1%} of the rows are the test part {split['test_part']}"


def _warnings(evaluation: Mapping[str, Any], profile: Mapping[str, Any]) -> list[str]:
    """Return what may make the model look better here than it is."""
    told = [*evaluation["doubts"], *(each["text"] for each in evaluation["suspicions"])]
    equal = evaluation["rows_with_equal_features"]
    split = profile["split"]
    if equal > EQUAL_FEATURES * evaluation["rows"] and split["by"] == "rows":
        told.append(
            f"About {_rows(equal)} of the test part {'has' if equal == 1 else 'have'} the same features as a training "
            "row. Where they are one and the same thing that was recorded twice, name by split_key what rows belong to."
        )
    if split["missing_columns"]:
        missing = ", ".join(shorten(name, NAME_WIDTH) for name in split["missing_columns"][:5])
        told.append(f"The champion's run was split by columns that these data lack: {missing}. Rows have moved.")
    return told


def _gain(value: float) -> str:
    if value == 0:
        return "equal"
    return f"{'better' if value > 0 else 'worse'} by {number(abs(value))}"


# What the figures show


def _regression(data: ReportData) -> list[Picture]:
    actual = np.asarray(data.target, dtype=np.float64)
    predicted = np.asarray(data.predictions, dtype=np.float64)
    return [
        _predicted_against_actual(actual, predicted, data.model["target"], data.weights),
        _residuals_against_predicted(actual - predicted, predicted, data.weights),
        _residual_histogram(actual - predicted, data.weights),
    ]


def _quantile(values: Numbers, share: float, weights: Weights) -> float:
    if weights is None:
        return float(np.quantile(values, share))
    # By weights NumPy does not look between two rows.
    return float(np.quantile(values, share, weights=weights, method="inverted_cdf"))


def _moments(values: Numbers, weights: Weights) -> tuple[float, float]:
    """Return mean and standard deviation."""
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _predicted_against_actual(actual: Numbers, predicted: Numbers, target: str, weights: Weights) -> Picture:
    error = np.abs(actual - predicted)
    svg, fullest = figures.predicted_against_actual(actual, predicted, shorten(target, VALUE_WIDTH))
    return Picture(
        "Predicted against actual",
        svg,
        f"Predictions run from {number(predicted.min())} to {number(predicted.max())} where the actual values run "
        f"from {number(actual.min())} to {number(actual.max())}. Half of them are off by at most "
        f"{number(_quantile(error, 0.5, weights))}, nine in ten by at most {number(_quantile(error, 0.9, weights))}.",
        f"{_density_note(len(actual), fullest)} On the dashed line a prediction is right.",
    )


def _residuals_against_predicted(residuals: Numbers, predicted: Numbers, weights: Weights) -> Picture:
    svg, fullest = figures.residuals_against_predicted(residuals, predicted)
    order = np.argsort(predicted, kind="stable")
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    below, above = (_moments(residuals[rows], None if weights is None else weights[rows]) for rows in halves)
    return Picture(
        "Residuals against predicted",
        svg,
        f"The mean residual is {number(below[0])} in the lower half of the predictions and "
        f"{number(above[0])} in the upper half; their standard deviations are {number(below[1])} and "
        f"{number(above[1])}.",
        _density_note(len(residuals), fullest),
    )


def _density_note(rows: int, fullest: int | None) -> str:
    if fullest is None:
        return "One point for each test row."
    return (
        f"All {_rows(rows)}, counted in squares: the stronger the colour the more rows (log scale), "
        f"{fullest:,} at the most."
    )


def _residual_histogram(residuals: Numbers, weights: Weights) -> Picture:
    # Among many rows a few far residuals would leave one bar of the rest.
    tail = 0.005 if len(residuals) > SCATTER_ROWS else 0
    low, high = (float(each) for each in np.quantile(residuals, [tail, 1 - tail]))
    beyond = int(np.sum((residuals < low) | (residuals > high)))
    bins = int(np.clip(np.sqrt(len(residuals)), 5, 40))
    mean, deviation = _moments(residuals, weights)
    return Picture(
        "Distribution of the residuals",
        figures.residual_histogram(np.clip(residuals, low, high), bins, weights),
        f"The residuals have mean {number(mean)} and standard deviation {number(deviation)}; "
        f"they run from {number(residuals.min())} to {number(residuals.max())}.",
        f"{_rows(len(residuals)).capitalize()} in {bins} bins"
        + (f"; the outermost bins hold the {_rows(beyond)} beyond the axis, too." if beyond else "."),
    )


def _classification(data: ReportData) -> tuple[list[Picture], Confusion, list[str]]:
    """Return the curves, the confusion matrix, and what could not be drawn and why."""
    classes = list(data.pipeline.classes_)
    actual, unseen = class_codes(data.pipeline.classes_, data.target)
    labels = [_label(each) for each in [*classes, *unseen]]
    decisive = Predictions(data.predictions, data.pipeline.classes_, multipliers_of(data.pipeline)).decisive
    confusion = _confusion(actual, decisive.argmax(axis=1), labels, data.weights)
    counts = np.bincount(actual, minlength=len(labels))
    # For two classes one curve says it all; a class that is absent, or alone, has none.
    positive = Scoring.of(data.model["request"]).positive(data.pipeline.classes_.tolist())
    single = 1 if positive is None else positive
    candidates = [single] if len(classes) == 2 else np.argsort(-counts[: len(classes)], kind="stable").tolist()
    drawable = [code for code in candidates if 0 < counts[code] < len(actual)]
    if not drawable:
        return [], confusion, ["ROC, precision-recall and calibration need at least two classes in the test part."]
    chosen = drawable[:CURVE_CLASSES]
    scored = [(shorten(labels[code], LABEL_WIDTH), actual == code, data.predictions[:, code]) for code in chosen]
    notes = [
        f'The curves are of the class "{shorten(labels[single], VALUE_WIDTH)}".'
        if len(classes) == 2
        else f"The curves are one-versus-rest, of {_of_all(len(chosen), len(classes))}."
    ]
    weights = data.weights
    return [_roc(scored, weights), _precision_recall(scored, weights), _calibration(scored, weights)], confusion, notes


def _of_all(chosen: int, classes: int) -> str:
    return f"all {classes} classes" if chosen == classes else f"the {chosen} most frequent of {classes} classes"


# The name of a class, which rows are of it, and their probabilities of it; both of shape (rows,).
ScoredClass = tuple[str, npt.NDArray[np.bool_], Numbers]


def _roc(scored: Sequence[ScoredClass], weights: Weights) -> Picture:
    curves = []
    for name, truth, scores in scored:
        x, y, _ = metrics.roc_curve(truth, scores, sample_weight=weights)
        curves.append(Curve(name, x, y, float(metrics.auc(x, y))))
    return Picture(
        "ROC",
        figures.roc(curves),
        f"Area under the curve: {_values_of(curves)}.",
        "The thin diagonal is a guess (0.5).",
    )


def _precision_recall(scored: Sequence[ScoredClass], weights: Weights) -> Picture:
    curves = []
    for name, truth, scores in scored:
        precision, recall, _ = metrics.precision_recall_curve(truth, scores, sample_weight=weights)
        average = float(metrics.average_precision_score(truth, scores, sample_weight=weights))
        curves.append(Curve(name, recall[::-1], precision[::-1], average))
    shares = _listed((name, float(np.average(truth, weights=weights))) for name, truth, _ in scored)
    return Picture(
        "Precision and recall",
        figures.precision_recall(curves),
        f"Average precision: {_values_of(curves)}.",
        f"A guess has the precision of the class's share of the rows: {shares}.",
    )


def _calibration(scored: Sequence[ScoredClass], weights: Weights) -> Picture:
    curves, few = [], []
    for name, truth, scores in scored:
        mean, share, rows, total = _calibration_bins(truth, scores, weights)
        # The expected calibration error: the bins' gaps, weighted by their rows.
        curves.append(Curve(name, mean, share, float(np.average(np.abs(mean - share), weights=total))))
        few.append(rows < FEW_ROWS)
    return Picture(
        "Calibration",
        figures.calibration(curves, few),
        f"Expected calibration error: {_values_of(curves)}.",
        f"{CALIBRATION_BINS} bins of equal width; hollow ones hold fewer than {FEW_ROWS} rows. On the thin diagonal a "
        "probability means what it says.",
    )


def _calibration_bins(
    truth: npt.NDArray[np.bool_], scores: Numbers, weights: Weights
) -> tuple[Numbers, Numbers, Codes, Numbers]:
    """Return mean probability, share of the class, number of rows and their weight, of each bin that holds any."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    held = rows > 0
    by = np.ones(len(bins)) if weights is None else weights
    total, of_scores, of_truth = (
        np.asarray(np.bincount(bins, by * each, CALIBRATION_BINS)[held], np.float64)
        for each in (np.ones(len(bins)), scores, truth)
    )
    return of_scores / total, of_truth / total, rows[held], total


def _values_of(curves: Iterable[Curve]) -> str:
    return _listed((curve.name, curve.value) for curve in curves)


def _listed(values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{value:.3f} ({name})" for name, value in values)


def _importance_picture(importance: Importance, metric: str) -> Picture:
    names = importance.names[:SHOWN_FEATURES]
    mean, spread = (part[: len(names)] for part in (importance.losses.mean(axis=1), importance.losses.std(axis=1)))
    change = "increase" if metric in LOWER_IS_BETTER else "decrease"
    labels = [shorten(name, LABEL_WIDTH) for name in names]
    first = ", ".join(
        f"{shorten(name, VALUE_WIDTH)} {number(value)}" for name, value in list(zip(names, mean, strict=True))[:3]
    )
    return Picture(
        "Permutation importance",
        figures.importance_bars(labels, mean, spread, f"{change} of {metric} when shuffled"),
        f"Mean {change} of {metric} when one feature is shuffled, the largest first: {first}.",
        "Bars are means, the thin lines one standard deviation of the repeats to each side.",
    )


# Tables


def _confusion(actual: Codes, predicted: Codes, labels: Sequence[str], weights: Weights) -> Confusion:
    size = len(labels)
    table = np.bincount(actual * size + predicted, weights, size * size).reshape(size, size)
    note = "Rows are the actual class, columns the predicted one; ✓ marks what is right."
    right, total = np.trace(table), table.sum()
    off = table.copy()
    np.fill_diagonal(off, 0)
    row, column = divmod(int(off.argmax()), size)
    if weights is None:
        finding, most = f"{right:,} of {_rows(total)} are right ({right / total:.1%}).", _rows(off.max())
    else:
        finding, most = f"{right / total:.1%} of the weight is right.", f"{off.max() / total:.1%} of the weight"
        note += " Rows are counted by their weights."
    if off.max():
        finding += f' Most often "{shorten(labels[row], VALUE_WIDTH)}" is taken for '
        finding += f'"{shorten(labels[column], VALUE_WIDTH)}" ({most}).'
    shown = [shorten(label, VALUE_WIDTH) for label in labels]
    if size > CONFUSION_CLASSES:
        kept = np.sort(np.argsort(-(table.sum(axis=0) + table.sum(axis=1)), kind="stable")[: CONFUSION_CLASSES - 1])
        groups = np.full(size, len(kept))
        groups[kept] = np.arange(len(kept))
        merged = np.zeros((len(kept) + 1, len(kept) + 1), dtype=table.dtype)
        np.add.at(merged, (groups[:, None], groups[None, :]), table)
        table, shown = merged, [*(shown[code] for code in kept), f"{size - len(kept)} other classes"]
        note += f" The {len(kept)} most frequent classes have their own row; the others are one."
    totals = table.sum(axis=1, keepdims=True)
    shares = table / np.where(totals > 0, totals, 1)
    return Confusion(shown, table.tolist(), shares.tolist(), finding, note)


def _importance_rows(importance: Importance) -> list[tuple[str, str, str]]:
    """Return name, mean and standard deviation of the features that are shown."""
    return [
        (name, number(values.mean()), number(values.std()))
        for name, values in zip(importance.names[:SHOWN_FEATURES], importance.losses, strict=False)
    ]


def _told(profile: Mapping[str, Any]) -> list[str]:
    """Return what was found out about files and columns, what is doubtful first."""
    doubts, told = (
        [sentence for column in profile["columns"] for sentence in column.get(key, ())] for key in ("doubts", "told")
    )
    ignored = profile.get("ignored_files")
    files = [f"No data by their names, and ignored: {', '.join(ignored[:IGNORED])}."] if ignored else []
    return [*doubts, *profile["read"]["told"], *files, *told][:SENTENCES]


def _profile_row(column: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, str]:
    nulls, used = column["nulls"], profile["rows"]["used"]
    return {
        "name": shorten(column["name"], NAME_WIDTH),
        "role": column["role"],
        "written": column.get("notation", {}).get("style", ""),
        "use": column["use"] + (f": {column['reason']}" if column.get("reason") else ""),
        "dtype": column["dtype"] or f"{column['kind']}, not handed over",
        "nulls": f"{nulls:,} ({nulls / used:.1%})" if nulls else "0",
        "infinities": f"{column['infinities']:,}",
        "values": _values(column),
    }


def _values(column: Mapping[str, Any]) -> str:
    if "min" in column:
        moments = [f"{name} {number(column[name])}" for name in ("mean", "std") if name in column]
        return ", ".join([f"{number(column['min'])} to {number(column['max'])}", *moments])
    if "distinct" not in column:
        return "none"
    top = [f"{shorten(each['value'], VALUE_WIDTH)} ({each['rows']:,})" for each in column.get("top", ())[:5]]
    more = [] if len(top) == column["distinct"] else ["…"]
    return f"{number(column['distinct'])} different" + (f": {', '.join(top + more)}" if top else "")


def _lineage(data: ReportData) -> list[tuple[str, str | None]]:
    """Return what the model comes from, None where a document does not tell."""
    return [
        ("Run", data.evaluation["run_id"]),
        ("Evaluated at", data.evaluation.get("evaluated_at")),
        ("Data set", data.model["request"]["dataset_uri"]),
        ("Fingerprint of the data (SHA-256)", data.evaluation["data_fingerprint"]),
        ("Model file", data.evaluation["model_uri"]),
        ("Image digest of data preparation", data.profile.get("image_digest")),
        ("Image digest of model training", data.model.get("image_digest")),
        ("Release", data.model.get("release")),
        ("Commit", data.model.get("commit")),
    ]
