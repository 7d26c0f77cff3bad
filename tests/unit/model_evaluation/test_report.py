"""The report: every section with the right numbers, for every problem and champion, and nothing of the data run."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

import free_texts
from common.metric_table import METRIC_TABLE
from common.words import number, rounded, share_of, shorten
from data_preparation.preparation import PreparedData
from model_evaluation import effects
from model_evaluation.analysis import ReportData
from model_evaluation.evaluation import HeldOut
from model_evaluation.importance import permutation_importance
from model_evaluation.report import render_report
from reports import report_data

Make = Callable[..., PreparedData]

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
TURN = "\N{RIGHT-TO-LEFT OVERRIDE}"
HOSTILE = [
    SCRIPT,
    IMAGE,
    "$x_1$",
    "$\\frac{1}{",
    f"größe 日本語 {TURN} \N{PILE OF POO}",
    "n" * 300,
    "' onload='alert(1)",
    "a &lt; b",
    'id="x"',
]
CHAMPION = {
    "version": "7",
    "status": "scored",
    "reason": None,
    "metrics": {"rmse": 0.75, "mae": 0.5, "r2": 0.9},
    "improvement": {
        "metric": "rmse",
        "value": 0.25,
        "low": 0.125,
        "high": 0.375,
        "confidence": 0.95,
        "method": "paired bootstrap, expanded percentile",
        "rows": 60,
        "different": 60,
        "resamples": 1000,
        "seed": 42,
    },
}


@dataclass
class Page(HTMLParser):
    """What a parser makes of a report: texts, and elements with their attributes."""

    html: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All texts, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        """Return the attributes of each element of that name."""
        return (attributes for name, attributes in self.elements if name == tag)

    @property
    def alternatives(self) -> dict[str, str]:
        """The text alternatives of the figures, by their titles."""
        labels = [each["aria-label"] or "" for each in self.all("div") if each.get("role") == "img"]
        return dict(label.split(". ", 1) for label in labels)


def labelled(labels: list[Any], rows: int = 200, **columns: Any) -> pd.DataFrame:
    """Return a frame of two features, one of which tells the label roughly."""
    random = np.random.default_rng(0)
    codes = random.integers(0, len(labels), rows)
    return pd.DataFrame(
        {"signal": codes + random.normal(0, 0.7, rows), "noise": random.normal(size=rows), **columns}
    ).assign(y=[labels[code] for code in codes])


def page_of(data: ReportData) -> Page:
    html = render_report(data)
    assert len(html) < 1_500_000
    assert render_report(data) == html, "the same data must give the same report"
    page = Page(html)
    identifiers = [each["id"] for _, each in page.elements if "id" in each]
    assert len(identifiers) == len(set(identifiers))
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    assert used <= set(identifiers)
    assert not {"script", "img", "link", "iframe", "foreignobject"} & {tag for tag, _ in page.elements}
    assert not [each for _, each in page.elements if any(name.startswith("on") for name in each)]
    return page


@pytest.mark.parametrize("decision", ["promote", "reject"])
def test_how_good_the_model_is_comes_first_and_then_the_decision_with_its_reason(
    prepared_data: Make, decision: str
) -> None:
    page = page_of(report_data(prepared_data("regression"), decision=decision, threshold=2.5))
    word = "✔ Promote" if decision == "promote" else "✖ Reject"
    body = page.text[page.text.index("Evaluation of ridge") :]
    assert body.startswith(
        "Evaluation of ridge (regression) for y default Version run-1. To predict the number y of rows"
    )
    quality, _, decided = body.partition(f" {word} The reason in words. ")
    assert "rmse on the test part" in quality
    assert decided.startswith("What the decision rests on")
    assert "Threshold of the request 2.5" in body
    assert next(page.all("html"))["lang"] == "en"
    assert [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)][:2] == [1, 2]
    policy = next(each for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_headings_and_tables_can_be_read_aloud(prepared_data: Make) -> None:
    page = page_of(report_data(prepared_data("classification")))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(each.get("scope") in ("row", "col") for each in page.all("th"))
    assert len(list(page.all("caption"))) == len(list(page.all("table")))
    assert len(page.alternatives) == len(list(page.all("figure"))) == len(list(page.all("svg"))) == 11


def test_a_scored_champion_is_compared_metric_by_metric(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"), metrics={"rmse": 0.5, "mae": 0.75, "r2": 0.9}, champion=CHAMPION)
    page = page_of(data)
    told = page.text.partition("All metrics on the")[2]
    interval = data.evaluation["interval"]
    width = interval["high"] - interval["low"]
    low, high = (rounded(interval[end], width) for end in ("low", "high"))
    rmse, mae, r2 = (METRIC_TABLE[name].meaning for name in ("rmse", "mae", "r2"))
    assert f"rmse decides lower is better: {rmse} 0.50 (95 % interval {low} to {high}) 0.75 ▲ 0.25 better" in told
    assert f"mae lower is better: {mae} 0.75 0.50 ▼ 0.25 worse" in told
    assert f"r2 higher is better: {r2} 0.900 0.900 = equal" in told
    assert "pinball is of the quantile 0.5, as the request's quantile says." in page.text
    assert (
        "rmse is better by 0.25 (95 % interval 0.12 to 0.38; positive: the challenger is better). The whole interval "
        "is above 0: the challenger is better. Method: paired bootstrap, expanded percentile, 1,000 resamples of 60 of "
        "the 60 test rows, those that count, seed 42." in page.text
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "said", "verdict"),
    [
        (0.25, -0.1, 0.4, "rmse is better by 0.25 (", "neither model is clearly the better one"),
        (0, -0.1, 0.1, "rmse is equal (", "neither model is clearly the better one"),
        (-1.2, -2, -0.4, "rmse is worse by 1.2 (95 % interval -2.0 to -0.4;", "the challenger is worse"),
    ],
)
def test_the_improvement_and_its_interval_are_put_into_words(
    prepared_data: Make, value: float, low: float, high: float, said: str, verdict: str
) -> None:
    improvement = {**CHAMPION["improvement"], "value": value, "low": low, "high": high}  # type: ignore[dict-item]
    page = page_of(report_data(prepared_data("regression"), champion={**CHAMPION, "improvement": improvement}))
    assert said in page.text
    assert verdict in page.text


def test_a_champion_without_an_interval_or_a_metric_is_told(prepared_data: Make) -> None:
    champion = {**CHAMPION, "improvement": None, "metrics": {"rmse": 0.75, "mae": None}}
    page = page_of(report_data(prepared_data("regression"), champion=champion))
    assert "The interval of the improvement over champion 7 is missing" in page.text
    assert "undefined cannot be compared" in page.text


def test_a_champion_that_could_not_be_scored_is_told_with_why(prepared_data: Make) -> None:
    champion = {"version": "7", "status": "unusable", "reason": f"no {SCRIPT}", "metrics": None, "improvement": None}
    page = page_of(report_data(prepared_data("regression"), champion=champion))
    assert f"There is no comparison with champion 7: no {SCRIPT}" in page.text
    assert "Champion 7 (could not be scored)" in page.text


def test_a_difference_of_too_few_rows_is_told_without_an_interval(prepared_data: Make) -> None:
    few = {**CHAMPION["improvement"], "low": None, "high": None, "different": 4}  # type: ignore[dict-item]
    page = page_of(report_data(prepared_data("regression"), champion={**CHAMPION, "improvement": few}))
    assert "without an interval: the models differ on 4 of 60 of the 60 test rows, those that count" in page.text


def test_what_makes_a_model_look_better_than_it_is_is_told(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"), rows_with_equal_features=12, comparisons=25)
    split = {**data.profile["split"], "missing_columns": ["went"]}
    page = page_of(replace(data, profile={**data.profile, "split": split}))
    assert "About 12 rows of the test part have the same features as a training row" in page.text
    assert "The champion's run was split by columns that these data lack: went. Rows have moved." in page.text
    assert "Models compared on these rows so far 25" in page.text
    assert "⚠" not in page_of(replace(data, evaluation={**data.evaluation, "rows_with_equal_features": 0})).text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "by what each row holds, seed 0; 20.0% of the rows are the test part"),
        ({"split_key": ["kind", "flag"], "split_seed": 4}, "rows of equal kind, flag together, seed 4;"),
        ({"split_time": "when"}, "the last rows by when, from 2024-01-1"),
    ],
)
def test_the_split_is_told(prepared_data: Make, fields: dict[str, Any], words: str) -> None:
    assert words in page_of(report_data(prepared_data("regression", **fields))).text


def test_an_undefined_metric_decides_and_another_one_measures_importance(prepared_data: Make) -> None:
    data = report_data(prepared_data("classification", metric="log_loss"), decision="reject", rule="undefined")
    assert data.evaluation["value"] is None
    page = page_of(data)
    assert "log_loss undefined On 60 rows of the test part: so it is." in page.text
    assert "By how much accuracy gets worse" in page.text


def test_no_champion_is_told(prepared_data: Make) -> None:
    prepared = prepared_data("regression")
    for evaluation in ({}, {"champion": None}):
        assert "There is no champion" in page_of(report_data(prepared, **evaluation)).text


def test_regression_figures_tell_the_errors(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"))
    page = page_of(data)
    residuals = data.target - data.predictions
    width = 4 * residuals.std() / np.sqrt(len(residuals))
    half, most = (rounded(np.quantile(np.abs(residuals), share), width) for share in (0.5, 0.9))
    assert f"off by at most {half}, nine in ten by at most {most}." in page.alternatives["Predicted against actual"]
    lower = residuals[np.argsort(data.predictions, kind="stable")[:30]]
    assert f"is {rounded(lower.mean(), width)} in the lower half" in page.alternatives["Residuals against predicted"]
    moments = (rounded(each, width) for each in (residuals.mean(), residuals.std()))
    assert "have mean {} and standard deviation {}".format(*moments) in page.text
    assert "One point for each test row." in page.text


def test_many_rows_are_counted_not_drawn(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=20_000)
    data = report_data(prepared_data("regression", pd.DataFrame({"x": x, "y": x + random.normal(size=20_000)})))
    page = page_of(data)
    assert "All 4,000 rows, counted in squares" in page.text
    assert "the outermost bins hold the 40 rows beyond the axis, too" in page.text
    assert "measured on 2,000 of 4,000 test rows" in page.text


@pytest.mark.parametrize("labels", [["low", "high"], [False, True], [0, 1]])
def test_two_classes_have_one_curve_each(prepared_data: Make, labels: list[Any]) -> None:
    frame = labelled(labels)
    data = report_data(prepared_data("classification", frame))
    page = page_of(data)
    classes = data.pipeline.classes_
    # The rarer one is the positive one.
    rarer = min(labels, key=list(frame["y"]).count)
    truth, positive = data.target == rarer, data.predictions[:, classes.tolist().index(rarer)]
    name = str(rarer)
    assert f'The curves are of the class "{name}".' in page.text
    assert f'average_precision are of the class "{name}", the rarer of two; the request' in page.text
    area = metrics.roc_auc_score(truth, positive)
    assert page.alternatives["ROC"] == f"Area under the curve: {area:.3f} ({name})."
    precision = metrics.average_precision_score(truth, positive)
    assert page.alternatives["Precision and recall"] == f"Average precision: {precision:.3f} ({name})."
    table = metrics.confusion_matrix(data.target, classes[data.predictions.argmax(axis=1)])
    (a, b), (c, d) = table
    first, second = (str(label) for label in sorted(labels))
    assert f"{first} ✓ {a} {100 * a / (a + b):.1f} % {b} {100 * b / (a + b):.1f} %" in page.text
    assert f"{second} {c} {100 * c / (c + d):.1f} % ✓ {d} {100 * d / (c + d):.1f} %" in page.text
    assert f"{a + d} of 40 rows are right ({(a + d) / 40:.1%})." in page.text
    assert f"log_loss lower is better: {METRIC_TABLE['log_loss'].meaning} undefined: so it is" in page.text


def test_a_positive_class_that_is_asked_for_is_told(prepared_data: Make) -> None:
    page = page_of(report_data(prepared_data("classification", labelled(["a", "b", "c"]), pos_label="b")))
    names = "f1, precision, recall and average_precision"
    assert f'{names} are of the class "b", as the request\'s pos_label says.' in page.text


def test_each_class_is_told_apart_the_most_frequent_one_first(prepared_data: Make) -> None:
    frame = labelled(["a", "b", "c"], 400)
    frame = frame[(frame["y"] != "c") | (frame.index % 3 == 0)]
    data = report_data(prepared_data("classification", frame))
    told = page_of(data).text.partition("Of each class Class Test rows Precision Recall f1 ")[2]
    predicted = data.pipeline.classes_[data.predictions.argmax(axis=1)]
    labels, counts = np.unique(data.target, return_counts=True)
    scores = metrics.precision_recall_fscore_support(data.target, predicted, labels=labels)
    for code in np.argsort(-counts, kind="stable"):
        rows = int(counts[code])
        taken = int(np.sum(predicted == labels[code]))
        precision, recall, f1 = (float(each[code]) for each in scores[:3])
        row = (
            f"{labels[code]} {rows} {share_of(precision, taken)} {share_of(recall, rows)} {share_of(f1, rows + taken)} "
        )
        assert told.startswith(row)
        told = told.removeprefix(row)


def test_the_gain_is_of_the_positive_class_among_the_most_probable_rows(prepared_data: Make) -> None:
    data = report_data(prepared_data("classification", labelled(["a", "b", "c"], 500), pos_label="b"))
    scores = data.predictions[:, list(data.pipeline.classes_).index("b")]
    order, truth = np.argsort(-scores), data.target == "b"
    first, second = (truth[order[: int(share * len(order))]].sum() / truth.sum() for share in (0.1, 0.2))
    lift = f"{first / 0.1:.1f} and {second / 0.2:.1f} times what a guess finds (lift)."
    assert page_of(data).alternatives["Gain and lift"] == (
        f"By the probability of b, the first 10% of the rows hold {first:.0%} of the class and the first 20% "
        f"of the rows hold {second:.0%} of the class: {lift}"
    )


def test_many_classes_without_a_positive_one_have_no_gain(prepared_data: Make) -> None:
    assert (
        "Gain and lift"
        not in page_of(report_data(prepared_data("classification", labelled(["a", "b", "c"])))).alternatives
    )


def test_the_target_is_told_beside_what_is_predicted_and_all_rows(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"))
    told = page_of(data).alternatives["Distribution of the target"]
    width = 4 * data.target.std() / np.sqrt(60)
    column = next(each for each in data.profile["columns"] if each["use"] == "target")
    assert f"has mean {rounded(data.target.mean(), width)} and" in told
    assert f"in all 300 rows, those of training among them, mean {rounded(column['mean'], width)}, standard" in told
    assert f"predictions have mean {rounded(data.predictions.mean(), width)} and" in told


def test_the_classes_shares_are_told(prepared_data: Make) -> None:
    data = report_data(prepared_data("classification", labelled(["a", "b"])))
    share = np.mean(data.target == "a")
    assert f"a {share:.1%}" in page_of(data).alternatives["Distribution of the classes"]


def test_effects_are_told_by_their_extremes_in_words(prepared_data: Make) -> None:
    page = page_of(report_data(prepared_data("regression")))
    assert "The mean predicted y if all rows had the same value of one feature" in page.text
    assert re.fullmatch(r"From [\d.]+ at [yz] to [\d.]+ at x\.", page.alternatives["kind"])
    assert re.fullmatch(r"From [\d.]+ at (true|false) to [\d.]+ at (true|false)\.", page.alternatives["flag"])
    assert re.fullmatch(r"From [\d.]+ at 2024-\d\d-\d\d to [\d.]+ at 2024-\d\d-\d\d\.", page.alternatives["when"])


def test_effects_on_a_class_are_on_the_probability_of_the_positive_one(prepared_data: Make) -> None:
    page = page_of(report_data(prepared_data("classification", labelled(["no", "yes"]), pos_label="no")))
    assert "The mean probability of no if all rows" in page.text


def test_effects_that_take_too_long_are_said_to_be_missing(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "MOST_COST", 1)
    page = page_of(report_data(prepared_data("regression")))
    assert "They are not shown: with so many features or classes a prediction takes too long." in page.text


def test_weak_groups_are_told_with_how_many_were_looked_at(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=1000), "city": random.choice(["Ulm", "Bonn", "Trier"], 1000)})
    noise = random.normal(size=1000)
    weak = report_data(
        prepared_data("regression", frame.assign(y=frame["x"] + noise * np.where(frame["city"] == "Ulm", 4, 1)))
    )
    page = page_of(weak)
    assert "On 1 of the 7 groups of rows that were looked at, the model is worse than on the other rows" in page.text
    assert "On one group of rows the model is worse than on the others, beyond chance (city: Ulm)." in page.text
    rows = int((weak.features["city"] == "Ulm").sum())
    assert re.search(rf"city: Ulm {rows} [\d.]+ \([\d.]+ to [\d.]+\) [\d.]+ ▼ worse", page.text)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (600, "groups of rows that were looked at is the model clearly worse than on the other rows."),
        (100, "No group was looked at: no categorical column and no important number has two groups of 30 test rows"),
    ],
)
def test_where_no_group_is_weak_that_is_said(prepared_data: Make, rows: int, said: str) -> None:
    random = np.random.default_rng(0)
    x, noise = random.normal(size=(2, rows))
    assert said in page_of(report_data(prepared_data("regression", pd.DataFrame({"x": x, "y": x + noise})))).text


def test_warnings_stand_near_the_top_and_all_of_them_where_they_are_many(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"))
    many = replace(data, model={**data.model, "warnings": [f"warning {each}" for each in range(9)]})
    page = page_of(many)
    top, _, below = page.text.partition("What the decision rests on")
    assert [each in top for each in ("warning 4", "warning 5")] == [True, False]
    assert "4 more of these, and all of them together" in top
    assert "warning 8" in below
    assert any(each.get("href") == "#warnings" for each in page.all("a"))


def test_without_a_positive_class_the_way_to_one_is_told(prepared_data: Make) -> None:
    page = page_of(report_data(prepared_data("classification", labelled(["a", "b", "c"]))))
    assert "average_precision are of one class: the request's pos_label says which one, against all" in page.text


def test_many_classes_are_capped_and_that_is_said(prepared_data: Make) -> None:
    data = report_data(prepared_data("classification", labelled([f"c{code:02}" for code in range(15)], 600)))
    page = page_of(data)
    assert "The curves are one-versus-rest, of the 6 most frequent of 15 classes." in page.text
    assert "4 other classes" in page.text
    counts = np.array(
        [int(text.replace("✓ ", "")) for text in re.findall(r"<td style=[^>]*>([^<]*)<small>", render_report(data))]
    ).reshape(12, 12)
    assert counts.sum() == 120
    # What is left of the joined classes' rows and columns is counted once.
    classes = data.pipeline.classes_[data.predictions.argmax(axis=1)]
    table = metrics.confusion_matrix(data.target, classes)
    kept = np.sort(np.argsort(-(table.sum(axis=0) + table.sum(axis=1)), kind="stable")[:11])
    np.testing.assert_array_equal(counts[:11, :11], table[np.ix_(kept, kept)])
    np.testing.assert_array_equal(counts[:11, 11], table[kept].sum(axis=1) - table[np.ix_(kept, kept)].sum(axis=1))


def test_a_class_that_training_never_saw_has_a_row(prepared_data: Make) -> None:
    frame = labelled(["a", "b", "c"]).assign(split=lambda data: np.where(data["y"] == "c", "test", "train"))
    frame.loc[:40, "split"] = "test"
    frame = frame[(frame["y"] != "c") | (frame["split"] == "test")]
    data = report_data(prepared_data("classification", frame, split_column="split"))
    page = page_of(data)
    unseen = int(np.sum(data.target == "c"))
    assert unseen
    right = int(np.sum(data.pipeline.predict(data.features) == data.target))
    assert f"{right} of {len(data.target)} rows are right" in page.text
    assert re.search(r"c \d+ [\d.]+ % \d+ [\d.]+ % ✓ 0 0.0 %", page.text)


def test_a_test_part_of_one_class_has_no_curves(prepared_data: Make) -> None:
    frame = labelled(["a", "b"]).assign(split="train")
    frame.loc[frame.index[frame["y"] == "b"][:10], "split"] = "test"
    page = page_of(report_data(prepared_data("classification", frame, split_column="split")))
    assert "need at least two classes in the test part" in page.text
    assert not {"ROC", "Precision and recall", "Calibration", "Gain and lift"} & page.alternatives.keys()


def test_importance_is_told_in_the_metrics_direction_with_its_sample(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"))
    page = page_of(data)
    part = HeldOut(data.features, data.target)
    first = permutation_importance(data.pipeline, part, data.predictions, metric="rmse", seed=42)
    assert first.names[0] == "amount"
    mean = rounded(first.losses[0].mean(), 4 * first.losses[0].std())
    shown = f"Mean increase of rmse when one feature is shuffled, the largest first: amount {mean},"
    assert page.alternatives["Permutation importance"].startswith(shown)
    assert "measured on 60 of 60 test rows (a seeded sample), mean of 5 repeats, seed 42" in page.text
    higher = replace(data, evaluation={**data.evaluation, "metric": "r2"})
    assert "Mean decrease of r2" in page_of(higher).text


def test_what_is_measured_and_shown_of_many_features_is_told(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 60)), columns=[f"f{index}" for index in range(60)])
    data = report_data(prepared_data("regression", frame.assign(y=frame["f50"] + 2 * frame["f9"])))
    page = page_of(data)
    assert "Of 60 features, the 30 that move the predictions most were measured." in page.text
    assert "The 20 most important ones are shown." in page.text


def test_the_profile_and_the_fit_are_told(prepared_data: Make) -> None:
    frame = labelled(["a", "b"], code="EUR", kind=["x", "y", None, "x"] * 50, customer_id=np.arange(200))
    frame.loc[:1, "signal"] = np.inf
    data = report_data(prepared_data("classification", frame))
    data = replace(data, model={**data.model, "warnings": [f"it did not converge {SCRIPT}"]})
    page = page_of(data)
    column = next(each for each in data.profile["columns"] if each["name"] == "signal")
    mean = rounded(column["mean"], 4 * column["std"] / np.sqrt(198))
    values = f"{number(column['min'])} to {number(column['max'])}, mean {mean}"
    assert f"signal numeric feature {column['dtype']} 2 (1.0%) 2 {values}" in page.text
    assert "kind categorical feature category 50 (25.0%) 0 2 different: x (100), y (50)" in page.text
    assert "code constant dropped: it has one value only text, not handed over" in page.text
    assert "customer_id identifier dropped: it has an identifier's name and no number twice" in page.text
    assert "In Used Dropped Left out Train Test 200 200 0 0 160 40" in page.text
    assert f"it did not converge {SCRIPT}" in page.text
    assert "max_iter 1000" in page.text
    assert f"scikit-learn {data.model['versions']['scikit-learn']}" in page.text


def test_what_is_suspected_is_told_as_text(prepared_data: Make) -> None:
    suspected = {"about": "leakage", "columns": ["a"], "text": f'"a" alone tells the target {SCRIPT}'}
    page = page_of(report_data(prepared_data("regression"), suspicions=[suspected]))
    assert f'"a" alone tells the target {SCRIPT}' in page.text


def test_lineage_says_what_is_missing(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"))
    page = page_of(replace(data, model={**data.model, "release": "r-1"}))
    assert "Run run-1 Evaluated at missing: not recorded Data set s3://bucket/data.csv" in page.text
    assert data.profile["fingerprint"] in page.text
    assert "Image digest of model training missing: not recorded" in page.text
    assert "Release r-1 Commit missing: not recorded" in page.text
    source = data.profile["sources"][0]
    assert f"data.csv {source['bytes']:,} {source['sha256']}" in page.text


@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_names_and_values_from_the_data_are_text_and_nothing_else(prepared_data: Make, problem: str) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(size=200) for name in HOSTILE})
    frame["texts"] = random.choice(HOSTILE[:5], 200)
    total = frame[HOSTILE].sum(axis=1)
    frame["y"] = total if problem == "regression" else pd.qcut(total, 5, labels=False).map(dict(enumerate(HOSTILE[:5])))
    page = page_of(report_data(prepared_data(problem, frame)))
    assert SCRIPT in page.text
    assert IMAGE in page.text
    assert "n" * 300 in page.text
    assert TURN not in page.html
    # In the figures, too: as they are written, mathematics unread, long names shortened.
    drawn = Page(" ".join(re.findall(r"<svg.*?</svg>", page.html, flags=re.DOTALL)))
    assert "$x_1$" in drawn.texts
    assert shorten("n" * 300, 20) in drawn.texts
    assert shorten(SCRIPT, 20) in drawn.texts
    assert {tag for tag, _ in drawn.elements} <= {"svg", "g", "path", "circle", "text"}


def test_a_target_with_a_hostile_name(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"))
    for name in (SCRIPT, IMAGE, "$x_1$"):
        page = page_of(replace(data, model={**data.model, "target": name}))
        assert f"actual {shorten(name, 40)}" in page.texts


def test_a_single_feature_and_a_constant_prediction(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression", pd.DataFrame({"x": np.arange(50.0) % 7, "y": np.arange(50.0)})))
    page = page_of(data)
    assert "x" in page.alternatives["Permutation importance"]
    page_of(replace(data, predictions=np.full_like(data.predictions, 25.0)))


def test_the_text_and_the_lines_stand_out_in_light_and_dark(prepared_data: Make) -> None:
    html = render_report(report_data(prepared_data("regression")))
    palettes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{([^}]*)\}", html)]
    assert len(palettes) == 3, "light, dark and print"
    for palette in palettes:
        for name in ("ink", "muted", "good", "bad", *(f"series-{index}" for index in range(1, 7))):
            # WCAG 2.2: 4.5 for text (1.4.3), 3 for what is drawn (1.4.11).
            assert contrast(palette[name], palette["paper"]) >= 4.5, (name, palette)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    dark, light = sorted(luminance(each) for each in (one, other))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.slow
def test_the_function_starts_without_what_only_the_report_needs() -> None:
    check = "import sys, model_evaluation.app; print({'model_evaluation.report', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_free_texts_are_told_of_and_none_is_shown(prepared_data: Make) -> None:
    data = free_texts.table()
    page = page_of(report_data(prepared_data("regression", data, estimator="ridge")))
    assert "Free texts are left out, for hardly two rows have the same: note." in page.text
    assert '"note" is read as free text.' in page.text
    assert "different, of 8 words on average" in page.text
    assert not [text for text in data["note"].dropna() if text in page.html]
