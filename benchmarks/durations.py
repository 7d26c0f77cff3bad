"""Processor seconds of training and evaluation on one thread, beside those that are reckoned beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import data
from benchmarks.figures import Goal, Section, rounded
from benchmarks.storage import Storage
from common.request import parse_request
from crosstrain.delivery.functions import STEPS
from model_evaluation.duration import evaluation_work
from model_training.duration import training_work

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.worker import Worker

SIZES = (20_000, 80_000, 320_000)
WARM_ROWS = 1_000
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
LEAST, MOST = 0.7, 3.0
"""How many times as much as measured may be reckoned."""
CASES: Mapping[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "numeric": (
        ("ridge", {}),
        ("linear_regression", {}),
        ("hist_gradient_boosting", {"max_iter": 20}),
        ("xgboost", {"n_estimators": 20}),
        ("random_forest", {"n_estimators": 2}),
    ),
    "mixed": (
        ("ridge", {}),
        ("linear_regression", {}),
        ("hist_gradient_boosting", {"max_iter": 20}),
        ("xgboost", {"n_estimators": 20}),
        ("random_forest", {"n_estimators": 2}),
    ),
    "classes": (
        ("logistic_regression", {}),
        ("hist_gradient_boosting", {"max_iter": 10}),
        ("xgboost", {"n_estimators": 10}),
        ("random_forest", {"n_estimators": 10}),
    ),
    "texts": (("ridge", {}), ("hist_gradient_boosting", {"max_iter": 20}), ("random_forest", {"n_estimators": 2})),
}
KINDS = {"texts": {"code": "category", "note": "text"}}
"""What a request says of columns that would be left out for having hardly a text twice."""
COLUMNS = {
    "numeric": "30 decimals", "mixed": "30 mixed", "classes": "30 decimals, 3 classes",
    "texts": "5 decimals, 1 text of 5,000, 1 free text",
}  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """What a step took, and what was reckoned, in processor seconds."""

    measured: float
    reckoned: float

    @property
    def ratio(self) -> float:
        return self.reckoned / self.measured

    def cells(self) -> tuple[str, str, str]:
        return rounded(self.measured), rounded(self.reckoned), rounded(self.ratio, 2)


def measure(options: Options) -> Section:
    """Return what training and evaluation of each estimator took and were reckoned to take."""
    section = Section("Time that is reckoned before the data are read: processor seconds of one thread")
    rows, steps = list[tuple[str, ...]](), dict[str, list[_Step]]({"training": [], "evaluation": []})
    sizes = [size for size in SIZES if not options.quick or size <= options.rows]
    handlers = [f"{step}.app:handler" for step in STEPS]
    with (
        Storage() as storage,
        storage.worker(handlers[0]) as prepare,
        storage.worker(handlers[1], variables=ONE_THREAD) as train,
        storage.worker(handlers[2], variables=ONE_THREAD) as evaluate,
    ):
        _both(storage, _prepared(storage, prepare, "numeric", WARM_ROWS), train, evaluate)
        for kind, cases in CASES.items():
            for size in sizes:
                event = _prepared(storage, prepare, kind, size)
                for estimator, hyperparameters in cases:
                    request = {**event["request"], "estimator": estimator, "hyperparameters": hyperparameters}
                    training, evaluation = _both(storage, {**event, "request": request}, train, evaluate)
                    chosen = ", ".join(f"{name} {value}" for name, value in hyperparameters.items())
                    case = f"{estimator}{f' ({chosen})' if chosen else ''}"
                    rows.append((case, COLUMNS[kind], f"{size:,}", *training.cells(), *evaluation.cells()))
                    steps["training"].append(training)
                    steps["evaluation"].append(evaluation)
                storage.forget("runs")
    figures = ("seconds", "reckoned", "times")
    head = ("estimator", "columns", "rows", *(f"{step}: {each}" for step in steps for each in figures))
    section.tables.append((head, rows))
    for step, found in steps.items():
        low, high = min(each.ratio for each in found), max(each.ratio for each in found)
        told, goal = f"{rounded(low, 2)} to {rounded(high, 2)}", f"{LEAST:g} to {MOST:g}"
        section.goals.append(Goal(f"{step}: reckoned / measured", told, goal, low >= LEAST and high <= MOST))
    section.data = {step: [[each.measured, each.reckoned] for each in found] for step, found in steps.items()}
    return section


def _prepared(storage: Storage, prepare: Worker, kind: str, rows: int) -> dict[str, Any]:
    """Return what preparation hands on of so many rows."""
    request = {
        "dataset_uri": storage.put(getattr(data, kind)(rows)), "target": data.TARGET, "search_trials": 0,
        "columns": KINDS.get(kind, {}),
    }  # fmt: skip
    event: dict[str, Any] = {"run_id": f"durations-{kind}-{rows}", "request": request, "champion": None}
    return event | prepare(event).result


def _both(storage: Storage, event: dict[str, Any], train: Worker, evaluate: Worker) -> tuple[_Step, _Step]:
    profile = storage.document(event["prepared"]["profile_uri"])
    trained = train(event)
    work = training_work(parse_request(event["request"]), profile, None)
    evaluated = evaluate({**event, "model": trained.result, "contended": False})
    of_evaluation = evaluation_work(profile, storage.document(trained.result["info_uri"]), None)
    return (
        _Step(trained.cpu_seconds, work.processor_seconds),
        _Step(evaluated.cpu_seconds, of_evaluation.processor_seconds),
    )
