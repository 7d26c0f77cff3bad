"""The report in a real browser: it is drawn, it fits a phone, it runs nothing of the data and loads nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from browser import DESKTOP, PHONE, assert_no_text_is_cut, look_at_figures, needs_chromium
from common.frames import load_part
from common.pages import LABEL_WIDTH, VALUE_WIDTH
from common.request import parse_request
from data_preparation.findings import MAX_LABEL_CHARACTERS
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_evaluation import figures
from model_evaluation.analysis import ReportData
from model_evaluation.figures import Curve
from model_evaluation.report import render_report
from model_training.training import build_pipeline, describe, fit

pytestmark = needs_chromium

HOSTILE = [
    "<script>document.title = 'run'</script>",
    '"><img src=x onerror="document.title = \'run\'">',
    "</text></svg><script>document.title = 'run'</script>",
    "a name without a space " + "n" * 270,
    "größe 日本語 $x_1$",
]
CHAMPION = {
    "version": "3",
    "status": "scored",
    "reason": None,
    "metrics": {"rmse": 12345.678, "mae": 1234.5678, "r2": 0.123456},
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


def frame(problem: str) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = 1500 if problem == "regression" else 600
    data = pd.DataFrame({name: random.normal(size=rows) for name in HOSTILE})
    data["category"] = random.choice(HOSTILE, rows)
    total = data[HOSTILE].sum(axis=1) + random.normal(size=rows)
    # A class's name is no longer.
    labels = {"binary": HOSTILE[:2], "multiclass": [each[:MAX_LABEL_CHARACTERS] for each in HOSTILE]}
    if problem == "regression":
        return data.assign(y=total * 1e5)
    return data.assign(y=pd.qcut(total, len(labels[problem]), labels=labels[problem]).astype(str))


@pytest.fixture(scope="module", params=["regression", "binary", "multiclass"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a model of data whose names and values try to get out of the page."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "parts").mkdir()
    frame(request.param).to_csv(folder / "data.csv", index=False)
    problem = "regression" if request.param == "regression" else "classification"
    asked = parse_request(
        {"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, "problem": problem}
    )
    prepared = prepare([SourceFile("data.csv", folder / "data.csv")], asked, folder / "parts")
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    features, target = load_part(prepared.test, prepared.profile)
    regression = problem == "regression"
    predictions = model.pipeline.predict(features) if regression else model.pipeline.predict_proba(features)
    value = (
        metrics.root_mean_squared_error(target, predictions)
        if regression
        else float(np.mean(model.pipeline.predict(features) == target))
    )
    metric = str(prepared.request.metric)
    evaluation = {
        "run_id": HOSTILE[0],
        "problem": problem,
        "estimator": prepared.request.estimator,
        "rows": len(target),
        "metric": metric,
        "value": value,
        "interval": None,
        "over_constant": None,
        "weight_column": None,
        "pos_label": prepared.profile["pos_label"],
        "quantile": 0.5,
        "threshold": None,
        "metrics": {metric: value},
        "undefined": {},
        "decision": "promote",
        "rule": "significant",
        "comparisons": 12,
        "rows_with_equal_features": 5,
        "doubts": [],
        "suspicions": [],
        "reason": f"{metric} is {value:.6g}, and {HOSTILE[0]}.",
        "champion": CHAMPION if regression else None,
        "model_uri": "s3://bucket/model.skops",
        "data_fingerprint": prepared.profile["fingerprint"],
    }
    info = {**describe(model, prepared.request, prepared.profile), "image_digest": "sha256:" + "0" * 64}
    report = render_report(
        ReportData(evaluation, prepared.profile, info, model.pipeline, features, target, predictions)
    )
    path = folder / "report.html"
    path.write_text(report, encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_report_is_drawn_and_nothing_in_it_runs(page: Path, width: int) -> None:
    seen = look_at_figures(page, width)
    assert seen.console == []
    assert seen.found["resources"] == []
    assert seen.found["loaders"] == 0
    assert seen.found["title"] == f"Promote: evaluation of {HOSTILE[0]}"
    assert seen.found["text"].count(HOSTILE[0]) >= 3
    assert HOSTILE[1] in seen.found["text"]
    assert HOSTILE[3] in seen.found["text"]
    titles = [figure["title"] for figure in seen.found["figures"]]
    # Three or four of predictions, the importances, six effects, and the target.
    assert len(titles) in (11, 12)
    assert "Permutation importance." in titles
    assert titles[-1] in ("Distribution of the target.", "Distribution of the classes.")
    for figure in seen.found["figures"]:
        assert figure["box"]["width"] > 250, figure["title"]
        assert figure["box"]["height"] > 80, figure["title"]
        assert figure["marks"] > 10, figure["title"]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_is_wider_than_the_page_and_no_text_of_a_figure_is_cut_or_tiny(page: Path, width: int) -> None:
    found = look_at_figures(page, width).found
    assert found["overflow"] <= 0
    assert found["outside"] == []
    assert_no_text_is_cut(found["figures"])
    assert min(text["pixels"] for figure in found["figures"] for text in figure["texts"]) >= 9


def test_texts_of_the_widest_letters_are_not_cut(tmp_path: Path) -> None:
    names, line = ["W" * LABEL_WIDTH, "\N{CJK UNIFIED IDEOGRAPH-65E5}" * (LABEL_WIDTH // 2)], np.linspace(0, 1, 9)
    times = 1.7e9 + line
    svgs = [
        figures.importance_bars(names, np.array([-12345.0, 123456]), np.ones(2), "W" * VALUE_WIDTH),
        figures.roc([Curve(name, line, line, 0.5) for name in names]),
        figures.residuals_against_predicted(line * 1e-7, times)[0],
        figures.predicted_against_actual(times, times, "W" * VALUE_WIDTH)[0],
    ]
    style = "<style>text { font-family: system-ui, sans-serif }</style>"
    drawn = "".join(f"<figure><strong>{number}</strong>{svg}</figure>" for number, svg in enumerate(svgs))
    page = tmp_path / "figures.html"
    page.write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>widest</title>{style}{drawn}", encoding="utf-8")
    assert_no_text_is_cut(look_at_figures(page, PHONE).found["figures"])


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read_in_light_and_dark(page: Path, *, dark: bool) -> None:
    found = look_at_figures(page, DESKTOP, dark=dark).found
    assert (sum(found["paper"][:3]) < 150) == dark
    assert min(found["contrasts"]) >= 4.5
    texts = [text for figure in found["figures"] for text in figure["texts"]]
    assert len(texts) > 30
    assert min(text["contrast"] for text in texts) >= 4.5


def test_the_probe_sees_what_it_looks_for(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><title>bad</title><body style='background: white'><div style='width: 900px'>wide</div>"
        "<script>document.title = 'run'; console.error('an error')</script><img src='http://example.invalid/x.png'>",
        encoding="utf-8",
    )
    seen = look_at_figures(page, PHONE)
    assert seen.found["title"] == "run"
    assert any("an error" in line for line in seen.console)
    assert seen.found["resources"] == ["http://example.invalid/x.png"]
    assert seen.found["overflow"] > 500
    assert seen.found["outside"]
