"""What the terminal tells of a run: what matters, in words, with no more digits than the rows bear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crosstrain.training.summary import facts, lines
from crosstrain.training.tables import pairs_table

OVER = {"metric": "rmse", "value": 26.1535, "low": 17.8227, "high": 34.8273, "loss": 80.9872}


def result(**fields: Any) -> dict[str, Any]:
    return {
        "run_id": "r",
        "estimator": "ridge",
        "problem": "regression",
        "target": "y",
        "features": 3,
        "rows": {"in": 1000, "used": 999, "dropped": 1, "train": 800, "test": 88},
        "metric": "rmse",
        "metrics": {"rmse": 54.8337, "mae": 45.1028, "r2": 0.539834},
        "interval": {"low": 46.4198, "high": 63.1405},
        "baseline": {
            "guess": "the mean of the target",
            "value": 80.9872,
            "improvement": 26.1535,
            "interval": {"low": 17.8227, "high": 34.8273},
        },
        "ignored_files": [],
        "read": {"dialect": "UTF-8 text, separated by commas", "told": [], "doubts": []},
        "dropped_columns": [],
        "missing_values": [],
        "search": None,
        "adjustment": [],
        "warnings": [],
        "weight_column": None,
        "positive_class": None,
        "quantile": 0.5,
        "decision": "reject",
        "reason": "because",
        "doubts": [],
        "compute": {"training": {"kind": "function", "memory_mb": 3008}, "evaluation": None},
        "suspicions": [],
        "files": {"model.json": "out/model.json"},
        "kept": None,
        **fields,
    }


def test_figures_have_the_digits_that_their_intervals_bear() -> None:
    told = dict(lines(result()))
    assert told["rmse"] == "55 (95 % interval 46 to 63)"
    assert (told["mae"], told["r2"]) == ("45", "0.54")
    assert told["baseline"] == (
        "a guess of the mean of the target has rmse 81; the model is better by 26 (95 % interval 18 to 35)"
    )
    assert not {"dropped", "missing", "warnings", "weights", "doubts", "suspicions", "kept"} & told.keys()
    assert "by w" in dict(lines(result(weight_column="w")))["weights"]


def test_a_search_is_told_in_words_with_what_failed_and_what_was_not_taken() -> None:
    search = {
        "estimators": ["ridge", "random_forest"], "metric": "rmse", "by": "rows", "folds": 5, "rows": 354,
        "seconds": 6.4, "cost": "about $0.0003 of Lambda by its list price",
        "ended": "30 trials were made", "told": ["Trial 2 was better, and too slow."], "trials": 30, "failed": ["E: c"],
        "best": {
            "number": 8, "estimator": "random_forest", "hyperparameters": {"max_features": 0.5}, "score": 54.9191,
            "deviation": 2.5216,
        },
        "blend": None,
    }  # fmt: skip
    told = dict(lines(result(search=search)))
    assert told["search"] == (
        "30 trials of ridge, random_forest in 6 processor seconds, about $0.0003 of Lambda by its list price, until 30 "
        "trials were made; best random_forest (max_features 0.5) with rmse 54.9 ± 2.5 in 5 folds of the training part"
    )
    search["blend"] = {"weights": {"2": 0.5, "8": 0.5}, "score": 53.123, "deviation": 2.4}
    assert dict(lines(result(search=search)))["search"].endswith(
        " 54.9 ± 2.5, and a blend of 2 trials with 53.1 ± 2.4, which was taken, in 5 folds of the training part"
    )
    assert (told["failed"], told["not taken"]) == ("E: c", "Trial 2 was better, and too slow.")
    assert not {"search", "failed", "not taken"} & dict(lines(result())).keys()
    assert dict(lines(result(search={**search, "best": None, "blend": None})))["search"].endswith(
        "were made; none ended"
    )


@pytest.mark.parametrize(
    ("metrics", "rows", "told"),
    [
        ({"accuracy": 0.9997, "brier": 0.000123456}, 10_000, ["0.99970", "0.0001235"]),
        ({"accuracy": 1.0, "log_loss": 0.123456}, 20, ["1.00", "0.12"]),
        ({"accuracy": 0.987654321, "log_loss": 0.123456}, 1_000_000, ["0.987654", "0.12346"]),
    ],
)
def test_figures_without_an_interval_have_the_digits_that_the_rows_bear(
    metrics: dict[str, float | None], rows: int, told: list[str]
) -> None:
    document = result(metric="accuracy", metrics=metrics, interval=None, baseline=None)
    document["rows"]["test"] = rows
    words = dict(lines(document))
    assert [words[name] for name in metrics] == told


def test_the_metric_that_decides_comes_first_and_what_is_undefined_is_told_once() -> None:
    metrics = {"accuracy": 0.5, "f1": None, "recall": None, "roc_auc": None}
    told = list(lines(result(metric="roc_auc", metrics=metrics, interval=None, baseline=None)))
    names = [name for name, _ in told]
    assert names[names.index("split") + 1 :][:3] == ["roc_auc", "accuracy", "undefined"]
    assert (dict(told)["roc_auc"], dict(told)["undefined"]) == ("undefined", "f1, recall: report.html says why")


@pytest.mark.parametrize(
    ("positive", "told"),
    [
        (
            {"label": "yes", "chosen": True},
            '"yes" in f1, precision, recall and average_precision, the rarer class; POS_LABEL says another one',
        ),
        ({"label": True, "chosen": False}, '"True" in f1, precision, recall and average_precision'),
        (
            {"label": None, "chosen": False},
            "no class: POS_LABEL says which one f1, precision, recall and average_precision are of, against all others",
        ),
        ({"label": "x" * 50, "chosen": False}, f'"{"x" * 40}…" in f1, precision, recall and average_precision'),
    ],
)
def test_the_positive_class_is_told_with_the_option_that_changes_it(positive: dict[str, Any], told: str) -> None:
    document = result(metric="accuracy", metrics={"accuracy": 0.9}, interval=None, baseline=None)
    assert "positive" not in dict(lines(document))
    assert dict(lines({**document, "positive_class": positive}))["positive"] == told


def test_the_quantile_is_told_where_it_decides() -> None:
    assert "quantile" not in dict(lines(result()))
    pinball = result(metric="pinball", metrics={"pinball": 1.0}, interval=None, baseline=None, quantile=0.9)
    assert dict(lines(pinball))["quantile"] == "0.9; QUANTILE says another one"


@pytest.mark.parametrize(
    ("improvement", "interval", "told"),
    [
        (-1.0, {"low": -2.0, "high": 0.5}, "has rmse 81.0; the model is not better"),
        (1.0, {"low": -0.5, "high": 2.0}, "better by 1.0 (95 % interval -0.5 to 2.0), which may be chance"),
        (1.25, None, "has rmse 81; the model is better by 1.2"),
    ],
)
def test_a_model_that_is_no_better_than_a_guess_is_told(
    improvement: float, interval: dict[str, float] | None, told: str
) -> None:
    baseline = {"guess": "it", "value": 81.0, "improvement": improvement, "interval": interval}
    assert told in dict(lines(result(baseline=baseline)))["baseline"]


def test_rows_that_were_left_out_count_as_no_used_ones() -> None:
    rows = {"in": 1000, "used": 199, "dropped": 1, "train": 80, "test": 119, "left_out": 800}
    assert dict(lines(result(rows=rows)))["rows"] == "1,000 in, 199 used, 1 dropped, 800 left out by training_fraction"


def test_the_table_names_a_few_and_counts_the_rest() -> None:
    dropped = [{"name": f"[c{number}]", "reason": "it has one value only"} for number in range(5)]
    missing = [{"name": "age", "share": 0.412}]
    document = result(
        dropped_columns=dropped,
        missing_values=missing,
        warnings=["It did not converge. " + "x" * 1000],
        doubts=["Rows of one city belong together."],
        suspicions=[{"about": "leakage", "columns": ["e"], "text": "The price in euros may hold the answer."}],
        kept="out",
    )
    console = Console(width=80, markup=False)
    with console.capture() as capture:
        console.print(pairs_table(lines(document), title=f"Run {document['run_id']}"))
    shown = capture.get()
    for word in ("1,000 in, 999 used, 1 dropped", "c2", "and 2 more: see profile.json", "age: 41% of the values"):
        assert word in shown
    for word in ("It did not converge.", "Rows of one city belong together.", "out has the files of an earlier run"):
        assert word in shown
    assert "The price in euros may hold the answer." in shown
    assert "c3" not in shown
    assert shown.count("x") < 400
    json.dumps(document)


@pytest.mark.parametrize(
    ("metric", "problem", "value"), [("rmse", "regression", 80.9872), ("accuracy", "classification", 0.25)]
)
def test_facts_are_those_of_the_files(tmp_path: Path, metric: str, problem: str, value: float) -> None:
    over = OVER if metric == "rmse" else {**OVER, "loss": 0.75}
    columns = [
        {"name": "a", "use": "feature", "nulls": 3, "told": ["t"], "doubts": ["d"]},
        {"name": "b", "use": "feature", "nulls": 1},
        {"name": "c", "use": "feature", "nulls": 5},
        {"name": "d", "use": "dropped", "nulls": 0, "reason": "it has one value only"},
        {"name": "y", "use": "target", "nulls": 0},
    ]
    documents = {
        "profile.json": {
            "left_open": ["pos_label"],
            "columns": columns,
            "rows": {"used": 10},
            "read": {"dialect": "Parquet", "told": ["f"]},
        },
        "model.json": {"warnings": ["w"], "suspicions": [{"about": "order", "columns": ["a"], "text": "s"}]},
        "evaluation.json": {
            "problem": problem,
            "metric": metric,
            "interval": {"value": 1.0, "low": None, "high": None, "deviation": None},
            "over_constant": over,
            "weight_column": "v",
            "pos_label": None if metric == "rmse" else "yes",
            "quantile": 0.5,
        },
    }
    for name, document in documents.items():
        (tmp_path / name).write_text(json.dumps(document))
    found = facts({name: str(tmp_path / name) for name in documents})
    assert found["dropped_columns"] == [{"name": "d", "reason": "it has one value only"}]
    assert found["missing_values"] == [{"name": "c", "share": 0.5}, {"name": "a", "share": 0.3}]
    assert (found["warnings"], found["interval"], found["weight_column"]) == (["w"], None, "v")
    assert found["read"] == {"dialect": "Parquet", "told": ["f", "t"], "doubts": ["d"]}
    assert found["suspicions"] == [{"about": "order", "columns": ["a"], "text": "s"}]
    assert found["positive_class"] == (None if metric == "rmse" else {"label": "yes", "chosen": True})
    assert found["baseline"]["value"] == value
    assert found["baseline"]["interval"] == {"low": 17.8227, "high": 34.8273}
