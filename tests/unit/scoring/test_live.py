"""Live metrics: labels find their predictions whatever type a key has, and what is left out is counted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from common.bootstrap import interval
from common.errors import InvalidDatasetError
from scoring.live import join, live_metric


def evaluation(
    metric: str = "rmse", value: float = 1.0, deviation: float | None = 0.02, **fields: Any
) -> dict[str, Any]:
    limits = None if deviation is None else (value - 2 * deviation, value + 2 * deviation)
    low, high = limits or (None, None)
    return {
        "problem": "regression",
        "metric": metric,
        "value": value,
        "interval": {"value": value, "low": low, "high": high, "deviation": deviation},
        "rows": 1000,
        "weight_column": None,
        "pos_label": None,
        "quantile": 0.5,
        **fields,
    }


def numbers(error: float, rows: int = 500, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    random = np.random.default_rng(seed)
    predicted = random.normal(size=rows)
    ids = np.arange(rows)
    labels = pa.table({"id": ids[::-1], "y": (predicted + random.normal(0, error, rows))[::-1]})
    return pa.table({"id": ids, "prediction": predicted}), labels


def test_the_metric_is_that_of_joined_rows_with_the_project_s_interval() -> None:
    predictions, labels = numbers(1.0)
    found = json.loads(json.dumps(live_metric(predictions, labels, ["id"], "y", evaluation()), allow_nan=False))
    truth = labels["y"].to_numpy()[::-1]
    predicted = predictions["prediction"].to_numpy()
    assert found["rows"] == 500
    assert found["value"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert found["interval"] == vars(interval("rmse", truth, predicted, None, 0))
    assert found["test_value"] == 1.0
    assert not found["dropped"]
    assert found["reason"].endswith("on the test part: not worse by more than chance.")


def test_what_has_no_partner_is_counted() -> None:
    predictions = pa.table({"id": [1, 2, 3, 3, 4, None, 6], "prediction": [1.0, 2, 3, 3, 4, 5, 6]})
    labels = pa.table({"id": [1, 1, 2, 2, 6, 7, None, 8], "y": [1.0, 1.0, 2.0, 2.5, None, 7.0, 1.0, float("nan")]})
    found = live_metric(predictions, labels, ["id"], "y", evaluation())
    # 1 is there twice, and the same; of 2 there are two labels, and of 3 two predictions; 6 and 8 have no label.
    assert found["rows"] == 1
    assert found["unmatched"] == 3
    assert found["unmatched_labels"] == 1
    assert found["duplicates"] == 4
    assert found["missing_keys"] == 2
    assert found["missing_labels"] == 2
    assert found["reason"].startswith(
        "rmse is 0 on 1 row, and was 1.000 (95 % interval 0.960 to 1.040) on the test part"
    )
    assert "too few rows" in found["reason"]
    assert not found["dropped"]


def test_keys_of_several_columns_and_other_types_find_each_other() -> None:
    predictions = pa.table({"shop": ["a", "a", "b"], "id": [1, 2, 1], "prediction": [1.0, 2.0, 3.0]})
    labels = pa.table(
        {"id": ["1", "1", "2"], "shop": pa.array(["b", "a", "a"]).dictionary_encode(), "y": [3.0, 1.0, 2.0]}
    )
    joined = join(predictions, labels, ["shop", "id"], "y")
    assert joined.predictions.tolist() == [0, 1, 2]
    assert joined.labels.tolist() == [1, 2, 0]
    assert joined.told == (
        'The key "id" is of two types (int64 and string): texts that say a number are taken for it.',
    )
    swapped = join(predictions, labels.rename_columns(["shop", "id", "y"]), ["shop"], "y")
    assert len(swapped.predictions) == 0


def test_texts_of_two_spellings_are_two_keys() -> None:
    predictions = pa.table({"id": ["7", "007"], "prediction": [1.0, 2.0]})
    joined = join(predictions, pa.table({"id": ["007", "7"], "y": [2.0, 1.0]}), ["id"], "y")
    assert (joined.predictions.tolist(), joined.labels.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2"])
def test_a_model_that_has_become_worse_is_told(metric: str) -> None:
    value = {"rmse": 1.0, "mae": 0.8, "r2": 0.5}[metric]
    found = live_metric(*numbers(1.5), ["id"], "y", evaluation(metric, value))
    assert found["dropped"]
    assert found["reason"].endswith("worse beyond chance.")
    better = live_metric(*numbers(0.5), ["id"], "y", evaluation(metric, value))
    assert not better["dropped"]


def test_a_drop_that_is_sure_and_small_is_none() -> None:
    found = live_metric(*numbers(1.03, rows=50_000), ["id"], "y", evaluation(deviation=0.001))
    assert not found["dropped"]
    assert found["reason"].endswith("worse beyond chance, but by less than 5% of the loss.")


def test_a_model_that_is_as_good_as_ever_hardly_ever_drops() -> None:
    random = np.random.default_rng(0)
    drops = 0
    for seed in range(40):
        test = random.normal(size=400)
        own = interval("rmse", test, np.zeros(400), None, 0)
        found = live_metric(*numbers(1.0, 300, seed), ["id"], "y", evaluation(interval=vars(own), value=own.value))
        drops += found["dropped"]
    assert drops <= 3


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True]])
@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "accuracy", "f1"])
def test_classes_are_compared_as_the_predictions_have_them(metric: str, labels: list[Any]) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 2, 400)
    share = np.clip(codes * 0.4 + random.random(400) * 0.6, 0.01, 0.99)
    decided = (share > 0.3).astype(int)  # not the most probable one
    texts = pa.array(labels).cast(pa.string()).to_pylist()
    predictions = pa.table(
        {
            "id": np.arange(400),
            "prediction": pa.array([labels[each] for each in decided]),
            f"probability_{texts[0]}": 1 - share,
            f"probability_{texts[1]}": share,
        }
    )
    # As a file has them.
    truth = pa.table({"id": np.arange(400), "y": pa.array([texts[each] for each in codes])})
    asked = evaluation(metric, 0.5, problem="classification", pos_label=labels[1])
    found = live_metric(predictions, truth, ["id"], "y", asked)
    expected = {
        "log_loss": metrics.log_loss(codes, share),
        "roc_auc": metrics.roc_auc_score(codes, share),
        "accuracy": metrics.accuracy_score(codes, decided),
        "f1": metrics.f1_score(codes, decided),
    }
    assert found["value"] == pytest.approx(expected[metric])


def test_a_metric_that_the_rows_leave_undefined_is_none() -> None:
    predictions = pa.table({"id": np.arange(50), "prediction": np.ones(50)})
    labels = pa.table({"id": np.arange(50), "y": np.ones(50)})
    found = live_metric(predictions, labels, ["id"], "y", evaluation("r2", 0.5))
    assert (found["value"], found["interval"], found["dropped"]) == (None, None, False)
    assert found["reason"] == "r2 is undefined on 50 rows with a label, so nothing is known of it yet."
    none = live_metric(predictions, labels.slice(0, 0), ["id"], "y", evaluation())
    assert (none["rows"], none["unmatched"], none["value"]) == (0, 50, None)


def test_weights_count_where_they_did_in_the_test_part() -> None:
    predictions, labels = numbers(1.0)
    weighted = labels.append_column("w", pa.array(np.where(np.arange(500) < 100, 1.0, 0.0)))
    found = live_metric(predictions, weighted, ["id"], "y", evaluation(weight_column="w"))
    first = labels.slice(0, 100).to_pandas().merge(predictions.to_pandas(), on="id")
    assert found["value"] == pytest.approx(metrics.root_mean_squared_error(first["y"], first["prediction"]))
    (told,) = live_metric(predictions, labels, ["id"], "y", evaluation(weight_column="w"))["told"]
    assert told == 'The labels have no weights "w": all rows count alike, and those of the test part did not.'


def test_tables_that_do_not_fit_are_refused_with_the_nearest_names() -> None:
    predictions, labels = numbers(1.0)
    with pytest.raises(InvalidDatasetError, match=r'The predictions have no column "ids"\. Did you mean "id"\?'):
        live_metric(predictions, labels, ["ids"], "y", evaluation())
    with pytest.raises(InvalidDatasetError, match=r'The labels have no column "z"'):
        live_metric(predictions, labels, ["id"], "z", evaluation())
    texts = labels.set_column(1, "y", pa.array(["high"] * 500))
    with pytest.raises(InvalidDatasetError, match=r"of type string, and the predictions of type double"):
        live_metric(predictions, texts, ["id"], "y", evaluation())


def test_pieces_of_tables_are_one() -> None:
    predictions, labels = numbers(1.0)
    pieces = pa.concat_tables([predictions.slice(0, 200), predictions.slice(200)])
    whole = live_metric(predictions, labels, ["id"], "y", evaluation())
    assert live_metric(pieces, labels, ["id"], "y", evaluation()) == whole


def test_rows_without_a_weight_count_for_nothing() -> None:
    predictions, labels = numbers(1.0)
    found = live_metric(
        predictions, labels.append_column("w", pa.nulls(500, pa.float64())), ["id"], "y", evaluation(weight_column="w")
    )
    assert (found["rows"], found["value"]) == (0, None)
