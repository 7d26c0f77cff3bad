"""What a rule of promotion does to the model in use: chains of retrainings, judged on rows that nobody has seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from benchmarks.figures import Section
from benchmarks.options import Options
from common.bootstrap import Improvement, Interval, improvement
from common.request import TrainingRequest, parse_request
from model_evaluation.decision import Challenger, Comparison, decide
from model_evaluation.fairness import Fairness

RETRAININGS = 16
FRESH_ROWS = 20_000
TEST_SHARE = 0.2
NOISE = 1.0
METRICS = {"regression": "rmse", "classification": "log_loss"}
RULES: Mapping[str, dict[str, Any]] = {
    "not_worse, margin 0.01 (the default on other data)": {"promote_if": "not_worse"},
    "not_worse, margin 0": {"promote_if": "not_worse", "margin": 0.0},
    "not_worse, margin 0.02": {"promote_if": "not_worse", "margin": 0.02},
    "better": {"promote_if": "better"},
    "non_inferior, margin 0.05": {"promote_if": "non_inferior", "margin": 0.05},
    "significant": {"promote_if": "significant"},
}
BAD_AT = (6, 11)
"""The retrainings whose data are spoilt, in the settings that spoil some."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Features of shape (rows, 10), targets of shape (rows,), and the number between 0 and 1 that a row is split by."""

    features: Floats
    target: npt.NDArray[Any]
    place: Floats

    def take(self, mask: npt.NDArray[Any]) -> Rows:
        """Return some of the rows."""
        return Rows(self.features[mask], self.target[mask], self.place[mask])

    def with_more(self, new: Rows) -> Rows:
        """Return these rows and new ones behind them."""
        pairs = zip(vars(self).values(), vars(new).values(), strict=True)
        return Rows(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class Setting:
    """How data change from one retraining to the next."""

    name: str
    rows: int
    growth: float = 0.1
    renewed: bool = False
    drift: float = 0.0
    broken: float = 0.0
    lost: float = 0.0


SETTINGS = (
    Setting("growing from 500 rows", 500),
    Setting("growing from 5,000 rows", 5000),
    Setting("1,000 new rows each time", 1000, renewed=True),
    Setting("1,000 new rows each time, drifting", 1000, renewed=True, drift=0.15),
    Setting("growing from 1,000 rows, a fifth of the targets broken twice", 1000, broken=0.2),
    Setting("growing from 1,000 rows, 60 % of the rows lost twice", 1000, lost=0.6),
)


def measure(options: Options) -> Section:
    """Return the true loss of the model in use under each rule, against promoting each challenger."""
    section = Section("Decisions: the model in use after retrainings, by the rule that promotes")
    repeats = 1 if options.quick else 6
    for problem, metric in METRICS.items():
        losses: dict[str, list[float]] = {name: [] for name in RULES}
        passed: dict[str, list[float]] = {name: [] for name in RULES}
        rows = []
        for setting in SETTINGS:
            found = [chain(setting, problem, seed) for seed in range(repeats)]
            cells = []
            for name in RULES:
                loss = 100 * float(np.mean([each[name][0] for each in found]))
                losses[name].append(loss)
                if setting.broken or setting.lost:
                    passed[name].append(100 * float(np.mean([each[name][1] for each in found])))
                cells.append(f"{loss:+.1f}")
            rows.append((setting.name, *cells))
        rows.append(("**mean**", *(f"{np.mean(losses[name]):+.1f}" for name in RULES)))
        rows.append(("**worst**", *(f"{max(losses[name]):+.1f}" for name in RULES)))
        rows.append(("spoilt models that pass, %", *(f"{np.mean(passed[name]):.0f}" for name in RULES)))
        section.tables.append(((f"{problem}, {metric}", *RULES), rows))
    section.notes.append(
        f"A figure is the {', '.join(METRICS.values())} of the model in use on {FRESH_ROWS:,} rows of the present "
        f"distribution, mean of {RETRAININGS} retrainings and {repeats} repeats, in per cent of what it is where each "
        "challenger is promoted; less is better. Friedman's first function with noise, boosting of 40 trees, split by "
        "rows that stay where they are, decided by this project's own functions."
    )
    return section


def chain(setting: Setting, problem: str, seed: int) -> dict[str, tuple[float, float]]:
    """Return for each rule the loss against promoting all, and which share of spoilt models it passes."""
    champions: dict[str, Any] = {}
    lost: dict[str, list[float]] = {name: [] for name in RULES}
    passed: dict[str, list[bool]] = {name: [] for name in RULES}
    for step, (data, fresh) in enumerate(_data(setting, problem, seed)):
        test = data.place < TEST_SHARE
        model = _fit(problem, data.take(~test), seed)
        part = data.take(test)
        newest = _loss(problem, model, fresh)
        for name, fields in RULES.items():
            promoted = name not in champions or _promotes(problem, model, champions[name], part, fields)
            if promoted:
                champions[name] = model
            if step in BAD_AT and (setting.broken or setting.lost):
                passed[name].append(promoted)
            lost[name].append(_loss(problem, champions[name], fresh) / newest - 1)
    return {name: (float(np.mean(lost[name])), float(np.mean(passed[name] or [0]))) for name in RULES}


def _data(setting: Setting, problem: str, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield the rows of each retraining, and fresh ones of the same distribution."""
    random = np.random.default_rng([seed, len(setting.name)])
    kept = _draw(random, setting.rows, 0.0, problem)
    for step in range(RETRAININGS):
        shift = setting.drift * step
        if step and setting.renewed:
            kept = _draw(random, setting.rows, shift, problem)
        elif step:
            kept = kept.with_more(_draw(random, round(setting.growth * setting.rows), shift, problem))
        yield _spoilt(setting, step, kept, random), _draw(random, FRESH_ROWS, shift, problem)


def _spoilt(setting: Setting, step: int, rows: Rows, random: np.random.Generator) -> Rows:
    if step not in BAD_AT:
        return rows
    if setting.lost:
        return rows.take(random.random(len(rows.target)) >= setting.lost)
    if setting.broken:
        target, broken = rows.target.copy(), random.random(len(rows.target)) < setting.broken
        target[broken] = random.permutation(target[broken])
        return Rows(rows.features, target, rows.place)
    return rows


def _draw(random: np.random.Generator, rows: int, shift: float, problem: str) -> Rows:
    """Return rows of Friedman's first function (Annals of Statistics 19, 1991), whose fourth weight drifts."""
    x = random.random((rows, 10))
    signal = (
        10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + (10 - 2 * shift) * x[:, 3] + 5 * x[:, 4]
    )
    target: npt.NDArray[Any] = signal + random.normal(0, NOISE, rows)
    if problem == "classification":
        target = np.where(random.random(rows) < 1 / (1 + np.exp(-(signal - 14.4) / 2)), "yes", "no")
    return Rows(x, target, random.random(rows))


def _fit(problem: str, rows: Rows, seed: int) -> Any:
    kind = HistGradientBoostingRegressor if problem == "regression" else HistGradientBoostingClassifier
    return kind(max_iter=40, random_state=seed).fit(rows.features, rows.target)


def _predictions(problem: str, model: Any, rows: Rows) -> Floats:
    predicted: Floats = model.predict(rows.features) if problem == "regression" else model.predict_proba(rows.features)
    return predicted


def _loss(problem: str, model: Any, rows: Rows) -> float:
    predicted = _predictions(problem, model, rows)
    if problem == "regression":
        return float(np.sqrt(np.mean((rows.target - predicted) ** 2)))
    return float(-np.log(predicted[np.arange(len(rows.target)), (rows.target == "yes").astype(int)]).mean())


def _promotes(problem: str, model: Any, champion: Any, part: Rows, fields: Mapping[str, Any]) -> bool:
    request = _request(problem, fields)
    predictions = (_predictions(problem, each, part) for each in (model, champion))
    classes = None if problem == "regression" else model.classes_
    found: Improvement = improvement(str(request.metric), part.target, *predictions, classes, seed=42)
    fairness = Fairness(len(part.target), 0, 0.0, np.ones(len(part.target), np.bool_), possible=True)
    comparison = Comparison("champion", "scored", None, {}, found, fairness, same_data=False)
    return decide(Challenger(Interval(1.0, None, None, None), None, None), request, comparison).decision == "promote"


def _request(problem: str, fields: Mapping[str, Any]) -> TrainingRequest:
    document = {"dataset_uri": "s3://bucket/data.csv", "target": "y", "metric": METRICS[problem], **fields}
    return parse_request(document).resolve(problem)
