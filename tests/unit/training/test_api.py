"""`import crosstrain`: quick, nothing but the package, and the same predictions and errors as the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crosstrain
from crosstrain import api
from crosstrain.training import prediction
from data_preparation.preparation import PreparedData
from predict import main
from scoring import fitted

TrainOn = Callable[..., tuple[PreparedData, Path]]
ROWS = 120


def rows(problem: str) -> pd.DataFrame:
    """Return rows of every role, with missing values."""
    random = np.random.default_rng(2)
    data = pd.DataFrame(
        {
            "amount": random.normal(10, 3, ROWS),
            "count": pd.array(random.integers(0, 300, ROWS), dtype="Int64"),
            "kind": random.choice(["x", "01", "y, z"], ROWS),
            "flag": pd.array(random.choice([True, False], ROWS), dtype="boolean"),
            "when": pd.date_range("2024-01-01", periods=ROWS, freq="37min"),
        }
    )
    data["y"] = data["amount"] if problem == "regression" else np.where(data["amount"] > 10, "high", "low")
    for position, name in enumerate(["amount", "count", "kind", "flag", "when"]):
        data.loc[position * 7 : position * 7 + 5, name] = None
    return data


@pytest.fixture
def folder(train_on: TrainOn, request: pytest.FixtureRequest) -> Path:
    """Leave the results of a regression, or of the parameter's problem, as `make train` does."""
    problem = getattr(request, "param", "regression")
    return train_on(rows(problem), problem, decision="reject")[1]


def load(folder: Path) -> crosstrain.Model:
    with pytest.warns(UserWarning, match="The model .* was rejected: It is worse."):
        return crosstrain.load(folder, trust=True)


def test_the_import_is_lazy_and_brings_no_command_with_it(tmp_path: Path) -> None:
    program = (
        "import sys, importlib.util, crosstrain\n"
        "heavy = {'boto3', 'rich', 'numpy', 'pandas', 'pyarrow', 'sklearn', 'common'} & set(sys.modules)\n"
        "commands = [name for name in ('train', 'predict', 'models', 'taskcat', 'rehearse') if"
        " importlib.util.find_spec(name) and 'scripts' in importlib.util.find_spec(name).origin]\n"
        "assert not heavy and not commands, (heavy, commands)\n"
        "crosstrain.load; assert {'load', 'train', 'Model'} <= set(dir(crosstrain))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_name_that_the_package_has_not_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        crosstrain.lode  # noqa: B018


@pytest.mark.parametrize("folder", ["regression", "classification"], indirect=True)
def test_a_frame_is_scored_as_its_parquet_file(folder: Path, tmp_path: Path) -> None:
    data = rows("regression").drop(columns="y")
    data["kind"] = data["kind"].astype("category")
    data.to_parquet(tmp_path / "rows.parquet")
    arguments = [str(tmp_path / "rows.parquet"), "--from", str(folder), "--trust", "--out", str(tmp_path / "p.parquet")]
    assert main(arguments) == 0
    shuffled = data.sample(frac=1, random_state=1)
    found = load(folder).predict(shuffled[reversed(shuffled.columns)])
    assert list(found.index) == list(shuffled.index)
    pd.testing.assert_frame_equal(found.sort_index(), pd.read_parquet(tmp_path / "p.parquet"))


def test_no_rows_give_no_predictions(folder: Path) -> None:
    found = load(folder).predict(rows("regression").drop(columns="y").head(0))
    assert (list(found), len(found)) == (["prediction"], 0)


def test_what_is_worth_knowing_is_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "BATCH_ROWS", 7)
    data = rows("regression").assign(kind="new")
    data.loc[:9, "kind"] = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(folder).predict(data)
    told = [str(each.message) for each in caught]
    assert 'ignored, for the model does not use it: "y"' in told
    assert 'categories that training has not seen: 110 in "kind"' in told
    assert {each.filename for each in caught} == {__file__}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.rename(columns={"amount": "Amount"}), '"amount" is missing. Did you mean "Amount"?'),
        (lambda data: data.assign(amount="plenty"), 'holds texts such as "plenty", and the model was trained on numb'),
        (lambda data: data.assign(amount=pd.Series([1, "a"] * 60)), 'Column "amount" of "DataFrame" cannot be read'),
        (lambda data: data.assign(amount=[[1]] * ROWS), 'Column "amount" of "DataFrame" has the type list'),
        (lambda data: data[["amount", *data]], 'has more than one column named "amount"'),
        (lambda data: data.to_numpy(), "Rows are a pandas DataFrame, not a ndarray."),
    ],
)
def test_rows_that_do_not_fit_are_one_sentence(folder: Path, change: Callable[[Any], Any], message: str) -> None:
    model = load(folder)
    with pytest.raises(crosstrain.BadInputError) as caught:
        model.predict(change(rows("regression").drop(columns="y")))
    assert message in str(caught.value)


def test_a_model_that_nobody_vouches_for_is_not_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "load_model", lambda _: pytest.fail("it was opened"))
    with pytest.raises(crosstrain.BadInputError, match="trust=True"):
        crosstrain.load(folder)
    with pytest.raises(crosstrain.BadInputError, match="leave the stack, the version and the model's name out"):
        crosstrain.load(folder, trust=True, version="run-1")
    with pytest.raises(crosstrain.BadInputError, match="No stack is named"):
        crosstrain.load()


def test_records_of_another_model_say_nothing_of_this_one(folder: Path) -> None:
    assert load(folder).origin.run_id == "run-1"
    (folder / "model.json").write_text(json.dumps({"run_id": "run-1", "sha256": {"model": "0" * 64}}))
    assert str(crosstrain.load(folder, trust=True).origin) == f"{folder} (no record of its decision)"
    (folder / "model.json").write_text("[")
    assert crosstrain.load(folder, trust=True).origin.run_id is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "nowhere.csv", "target": "y"}, '"nowhere.csv" does not exist'),
        ({"data": "rows.csv", "target": "z"}, '"z"'),
        ({"data": "rows.csv", "target": "y", "estimater": "ridge"}, 'Did you mean "estimator"?'),
        ({"data": "rows.csv", "target": "y", "estimator": "rigde"}, 'Did you mean "ridge"?'),
        ({"data": [1, 2], "target": "y"}, "or a pandas DataFrame, not a list"),
        ({"data": pd.DataFrame({"a": [1, "b"]}), "target": "a"}, "The frame cannot be written as Parquet"),
        ({"data": pd.DataFrame({"a": [1, 2]}), "target": "y"}, '"y"'),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "open_training_stack", lambda _: pytest.fail("something was started"))
    Path("rows.csv").write_text("a,y\n1,2\n")
    with pytest.raises(crosstrain.BadInputError) as caught:
        crosstrain.train(**arguments)
    assert message in str(caught.value)
