"""The card of a model: the sections of Mitchell et al. 2019, in JSON, with what the documents of a run say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_preparation.preparation import PreparedData
from model_evaluation.analysis import ReportData, analyse
from model_evaluation.card import model_card
from reports import report_data

Make = Callable[..., PreparedData]


def card_of(data: ReportData) -> dict[str, Any]:
    card = model_card(data, analyse(data))
    # Of JSON's types, without NaN.
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    return card


def test_it_has_the_sections_and_says_what_is_predicted_from_which_columns(prepared_data: Make) -> None:
    card = card_of(report_data(prepared_data("regression", model_name="prices")))
    assert list(card) == [
        "model_details", "intended_use", "factors", "metrics", "evaluation_data", "training_data",
        "quantitative_analyses", "caveats",
    ]  # fmt: skip
    assert (card["model_details"]["name"], card["model_details"]["version"]) == ("prices", "run-1")
    assert card["model_details"]["hyperparameters"]["alpha"] == 1.0
    use = card["intended_use"]
    assert use["primary_use"] == "To predict the number y of rows like those of the data set, from 5 columns."
    columns = {each["name"]: each for each in use["columns"]}
    assert list(columns) == ["amount", "count", "kind", "flag", "when"]
    assert columns["kind"]["categories"] == sorted("xyz", key=columns["kind"]["categories"].index)
    assert columns["kind"]["range"] is None
    assert columns["when"]["range"]["from"].startswith("2024-01-01")
    assert (card["training_data"]["rows"], card["evaluation_data"]["rows"]) == (240, 60)
    assert card["factors"]["columns"]
    assert card["factors"]["groups"] >= len(card["quantitative_analyses"]["slices"])


def test_it_says_how_good_the_model_is_and_beside_what(prepared_data: Make) -> None:
    data = report_data(prepared_data("regression"))
    own = {"metric": "rmse", "value": 0.5, "rows": 240}
    search = {
        **dict.fromkeys(("estimators", "by", "rows", "ended")),
        "metric": "rmse",
        "folds": 5,
        "best": 1,
        "trials": [{"number": 1, "score": 0.6, "deviation": 0.1}],
    }
    analyses = card_of(replace(data, model={**data.model, "train_metric": own, "search": search}))[
        "quantitative_analyses"
    ]
    interval, over = data.evaluation["interval"], data.evaluation["over_constant"]
    assert analyses["metrics"] == data.evaluation["metrics"]
    assert analyses["interval"] == {"low": interval["low"], "high": interval["high"]}
    assert (analyses["baseline"]["value"], analyses["baseline"]["improvement"]) == (over["loss"], over["value"])
    assert analyses["cross_validated"] == {"metric": "rmse", "folds": 5, "score": 0.6, "deviation": 0.1}
    assert analyses["on_training_rows"] == own


def test_what_is_not_known_is_none(prepared_data: Make) -> None:
    analyses = card_of(report_data(prepared_data("regression")))["quantitative_analyses"]
    assert [analyses[name] for name in ("cross_validated", "on_training_rows", "against_champion")] == [None] * 3


@pytest.mark.parametrize(
    ("fields", "said", "period"),
    [
        ({}, "Rows of other times, places or groups than those of the data", False),
        ({"split_key": ["kind"]}, "Rows of another population", False),
        ({"split_time": "when"}, "Times long after the test part", True),
    ],
)
def test_what_it_was_not_made_for_follows_from_the_split(
    prepared_data: Make, fields: dict[str, Any], said: str, *, period: bool
) -> None:
    card = card_of(report_data(prepared_data("regression", **fields)))
    assert any(each.startswith(said) for each in card["intended_use"]["out_of_scope"])
    assert (card["evaluation_data"]["period"] is not None) == period
    if period:
        assert card["training_data"]["period"]["column"] == "when"
        assert card["training_data"]["period"]["from"] < card["evaluation_data"]["first_time"]


def test_limits_are_told(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=200), "same": "EUR", "gaps": random.normal(size=200)})
    frame.loc[:99, "gaps"] = np.nan
    data = report_data(prepared_data("regression", frame.assign(y=frame["x"])), doubts=["It may be."])
    data = replace(data, model={**data.model, "warnings": ["It did not converge."]})
    caveats = card_of(data)["caveats"]
    assert caveats["missing_values"] == {"gaps": 0.5}
    assert caveats["dropped_columns"] == {"same": "it has one value only"}
    assert (caveats["doubts"], caveats["fit_warnings"]) == (["It may be."], ["It did not converge."])


def test_of_very_many_columns_some_are_described(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 230)), columns=[f"c{each}" for each in range(230)])
    use = card_of(report_data(prepared_data("regression", frame.assign(y=frame["c0"]))))["intended_use"]
    assert (len(use["columns"]), use["further_columns"]) == (200, 30)
