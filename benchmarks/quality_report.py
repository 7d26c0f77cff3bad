"""Says how good contestants are over all tables, and writes it as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from benchmarks import ROOT
from benchmarks.quality_tables import TABLES, Table
from benchmarks.results import machine, table

LABELS = {
    "mean_or_prior": "the mean, or the shares of classes",
    "sklearn_boosting": "scikit-learn's HistGradientBoosting",
    "skrub": "skrub's tabular_pipeline",
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "catboost": "CatBoost",
    "flaml": "FLAML",
    "auto": "this project: auto, what a request that names none gets",
    "linear": "this project: ridge or logistic_regression",
    "hist_gradient_boosting": "this project: hist_gradient_boosting",
    "random_forest": "this project: random_forest",
}
LEAST_SHARE = 0.9
"""Who has not so many of the tables is left out of a summary, and tables that not all of the others have."""
RESAMPLES = 10_000
DIGITS = 6
"""Losses that agree in so many digits share a rank."""
INTRODUCTION = """\
# Quality of models

Written by `make bench-quality`. {tables} tables from packages of PyPI, fixed before any model was run on them.
{machine}
The others, in an environment of their own: {peers}.

All contestants fit the same four fifths of the rows and are scored on the same fifth, which this project's split draws
by `split_seed`. Metric: rmse for regression, roc_auc for two classes, log_loss for several. All run with their
defaults, on one thread, without any choice by hand; only FLAML searches. What the figures of a summary mean:

- **mean rank**: 1 is the best of the summary's contestants; in brackets the 95 % interval of a bootstrap over tables;
- **times the best**: the loss (rmse, log_loss, 1 - roc_auc) by that of the table's best contestant, geometric mean;
- **score**: 0 is the mean or the shares of classes, 1 the best contestant, nothing counts below 0; mean over tables;
- **fit**: processor seconds of all tables' fits, with the preparation of features where it is part of a pipeline."""
Line = Mapping[str, Any]
Losses = npt.NDArray[np.float64]


def render(lines: Sequence[Line]) -> str:
    """Return the document of what was measured: a summary for each number of seeds, and what each table gave."""
    text = [INTRODUCTION.format(tables=len(TABLES), machine=machine(), peers=_versions("quality"))]
    measured = pd.DataFrame([line for line in lines if "error" not in line])
    if measured.empty:
        return "\n".join([*text, "", "Nothing was measured yet.", ""])
    values = measured.pivot_table(index=["contestant", "table"], columns="seed", values=["value", "fit_seconds"])
    text += [f"\n{told}" for told in _told_of_flaml(measured)]
    fields = list(_fields(values["value"]))
    for seeds, contestants in fields:
        text += ["", *_summary(values, seeds, contestants)]
    first = fields[0][0] if fields else list(values["value"].columns)
    told = f"By split_seed {', '.join(map(str, first))}; the best of a table is in bold."
    text += ["", "## Tables", "", told, "", *_by_table(values["value"][first])]
    text += ["", *_sources()]
    text += [f"\nNot finished, or failed: {told}." for told in _failures(lines)]
    if absent := [label for name, label in LABELS.items() if name not in set(measured.contestant)]:
        text.append(f"\nNot measured: {', '.join(absent)}.")
    return "\n".join(text).rstrip() + "\n"


def loss_of(metric: str, value: Any) -> Any:
    """Return what is the better the less it is."""
    return 1 - value if metric == "roc_auc" else value


def mean_ranks(losses: Losses) -> tuple[Losses, Losses]:
    """Return the contestants' mean ranks and the limits of their 95 % intervals, by a bootstrap over tables.

    Parameters
    ----------
    losses
        Shape (contestants, tables).

    Returns
    -------
    means : numpy.ndarray of shape (contestants,)
    limits : numpy.ndarray of shape (2, contestants)
    """
    with np.errstate(divide="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(losses))))
    rounded = np.where(losses == 0, 0, np.round(losses * scale) / scale)
    ranks = stats.rankdata(rounded, axis=0)
    draws = np.random.default_rng(0).integers(0, ranks.shape[1], (RESAMPLES, ranks.shape[1]))
    return ranks.mean(axis=1), np.quantile(ranks[:, draws].mean(axis=2), [0.025, 0.975], axis=1)


def ratios_to_best(losses: Losses) -> Losses:
    """Return the geometric mean over tables of each contestant's loss by the best one's; losses as in `mean_ranks`."""
    # A loss may be nothing at all.
    least = np.maximum(losses, 1e-6)
    return np.exp(np.log(least / least.min(axis=0)).mean(axis=1))


def scores(losses: Losses, baseline: Losses) -> Losses:
    """Return the mean over tables of how far each contestant gets from the baseline's losses to the best ones."""
    reached = (baseline - losses) / (baseline - np.minimum(losses.min(axis=0), baseline - 1e-12))
    return np.maximum(reached, 0).mean(axis=1)


def _fields(values: pd.DataFrame) -> Iterator[tuple[list[int], list[str]]]:
    """Yield sets of seeds, few first, and the contestants that have nearly all tables by each of these."""
    complete = {
        name: frozenset(rows.columns[(rows.notna().sum() >= LEAST_SHARE * len(TABLES)).to_numpy()])
        for name, rows in values.groupby(level="contestant")
    }
    for seeds in sorted({seeds for seeds in complete.values() if seeds}, key=len):
        yield sorted(seeds), [name for name in LABELS if complete.get(name, frozenset()) >= seeds]


def _summary(values: pd.DataFrame, seeds: list[int], contestants: list[str]) -> list[str]:
    """Return the comparison of contestants on the tables that all of them have."""
    shared = values.loc[contestants, pd.IndexSlice[:, seeds]].dropna().groupby(level="table").size()
    tables = [each for each in TABLES if shared.get(each.name) == len(contestants)]

    def means(kind: str) -> Losses:
        return _wide(values[kind][seeds], "table").loc[contestants, [each.name for each in tables]].to_numpy(copy=True)

    losses = means("value")
    for number, each in enumerate(tables):
        losses[:, number] = loss_of(each.metric, losses[:, number])
    ranks, (low, high) = mean_ranks(losses)
    ratios, seconds = ratios_to_best(losses), means("fit_seconds").sum(axis=1)
    reached = scores(losses, losses[contestants.index("mean_or_prior")]) if "mean_or_prior" in contestants else None
    rows = [
        (
            LABELS[contestants[at]],
            f"{ranks[at]:.1f} ({low[at]:.1f} to {high[at]:.1f})",
            f"{ratios[at]:.2f}",
            "" if reached is None else f"{reached[at]:.2f}",
            f"{seconds[at]:,.0f} s",
        )
        for at in np.argsort(ranks, kind="stable")
    ]
    missing = [each.name for each in TABLES if each not in tables]
    return [
        f"## {_count(len(seeds), 'seed')}, {_count(len(tables), 'table')}",
        *(["", f"Without {', '.join(missing)}, which not all of these have."] if missing else []),
        "",
        *table(("contestant", "mean rank", "times the best", "score", "fit"), rows),
    ]


def _wide(values: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Return the means over seeds, with one of the two levels of the index as columns."""
    return values.mean(axis=1).unstack(columns)  # noqa: PD010 - there is nothing to aggregate


def _by_table(values: pd.DataFrame) -> list[str]:
    means = _wide(values, "contestant")
    contestants = [name for name in LABELS if name in means]
    rows = [
        (each.name, each.metric, *_marked([means[name].get(each.name, np.nan) for name in contestants], each.metric))
        for each in TABLES
        if each.name in means.index
    ]
    return table(("table", "metric", *(LABELS[name] for name in contestants)), rows)


def _marked(values: list[float], metric: str) -> list[str]:
    """Return the values as texts, with the best one in bold."""
    texts = ["" if np.isnan(value) else f"{value:.4g}" for value in values]
    best = min((loss_of(metric, value), text) for value, text in zip(values, texts, strict=True) if text)[1]
    return [f"**{text}**" if text == best else text for text in texts]


def _sources() -> list[str]:
    rows = [
        (
            each.name,
            each.problem,
            *_shape(each),
            f"`{each.target}`",
            _versions("quality_data", each.package) or "scikit-learn",
            f"`{each.file}`" + (f", one row of {each.every}" if each.every > 1 else ""),
            ", ".join(f"`{name}`" for name in each.drop),
            each.source,
        )
        for each in TABLES
    ]
    return table(("table", "problem", "rows", "features", "target", "package", "file", "left out", "source"), rows)


def _shape(of: Table) -> tuple[str, str]:
    """Return the rows of a table and its features, without the target and the columns of splits."""
    columns = pd.read_csv(of.path)
    features = [name for name in columns.columns if name != of.target and not name.startswith("split_")]
    return f"{len(columns):,}", str(len(features))


def _told_of_flaml(measured: pd.DataFrame) -> list[str]:
    """Return how much of its budget FLAML has had, for on a busy machine that is little."""
    runs = measured[measured.contestant == "flaml"]
    if runs.empty:
        return []
    elapsed, share = runs.fit_elapsed.median(), (runs.fit_seconds / runs.fit_elapsed).median()
    return [f"FLAML searched for {elapsed:.0f} s a table (median), of which it had a processor for {share:.0%}."]


def _failures(lines: Sequence[Line]) -> list[str]:
    failed: dict[str, list[str]] = {}
    for line in lines:
        if "error" in line:
            failed.setdefault(line["contestant"], []).append(line["table"])
    return [f"{LABELS[name]} on {', '.join(dict.fromkeys(tables))}" for name, tables in failed.items()]


def _versions(requirements: str, package: str = "") -> str:
    """Return what is pinned, of the contestants or of one package."""
    text = (ROOT / "benchmarks" / "requirements" / f"{requirements}.txt").read_text(encoding="ascii")
    wanted = package or "catboost|flaml|lightgbm|scikit-learn|skrub|xgboost-cpu"
    return ", ".join(f"{name} {version}" for name, version in re.findall(rf"^({wanted})==(\S+)", text, re.MULTILINE))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
