"""What is suspected of data and choices: what holds the answer is told, and noise is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import free_texts
from common.frames import load_part
from common.request import parse_request
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_training import suspicions
from model_training.suspicions import Suspicions
from model_training.training import _empty

ROWS = 400


@pytest.fixture
def suspected(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that prepares a frame and returns what is suspected of its training part."""

    def find(frame: pd.DataFrame, **fields: Any) -> list[dict[str, Any]]:
        path = tmp_path / "data.csv"
        frame.to_csv(path, index=False)
        request = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, **fields})
        prepared = prepare([SourceFile(path.name, path)], request, tmp_path)
        features, target = load_part(prepared.train, prepared.profile)
        looked_at = Suspicions(prepared.request, prepared.profile, features, target)
        # As the model's own fit does.
        _empty(features)
        return looked_at.found()

    return find


Suspected = Callable[..., list[dict[str, Any]]]


def noise(seed: int, rows: int = ROWS, **columns: Any) -> pd.DataFrame:
    """Return columns of many sorts that say nothing of each other, and the given ones."""
    random = np.random.default_rng(seed)
    made = {
        "order_no": np.arange(5000, 5000 + rows),
        "ticket": random.permutation(3 * rows)[:rows],
        "a": random.normal(size=rows),
        "b": random.lognormal(size=rows),
        "kind": random.choice(["x", "y", "z"], rows),
        "flag": random.choice([True, False], rows),
        "y": random.normal(size=rows),
    }
    frame = pd.DataFrame({**made, **columns})
    frame.loc[::9, "a"] = None
    return frame


def about(found: list[dict[str, Any]], what: str) -> list[str]:
    """Return the columns that are suspected so."""
    return [name for each in found if each["about"] == what for name in each["columns"]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_noise_is_not_suspected(suspected: Suspected, seed: int) -> None:
    assert suspected(noise(seed)) == []
    random = np.random.default_rng(seed)
    assert suspected(noise(seed, y=random.choice(["yes", "no", "perhaps"], ROWS))) == []


@pytest.mark.parametrize(
    ("of_feature", "made"),
    [
        (lambda x: x * 0.92, None),
        (np.log, None),
        (lambda x: -(x**3), None),
        (lambda x: (x - 3) ** 2, None),
        (lambda x: x, lambda x: np.where(np.arange(len(x)) % 4 == 0, np.nan, x)),
    ],
)
def test_a_copy_of_the_target_is_suspected_whatever_became_of_it(
    suspected: Suspected, of_feature: Callable[[Any], Any], made: Callable[[Any], Any] | None
) -> None:
    x = np.random.default_rng(1).lognormal(1, 1.5, ROWS)
    (found,) = suspected(noise(1, y=of_feature(x), price_eur=made(x) if made else x))
    assert (found["about"], found["columns"]) == ("leakage", ["price_eur"])
    assert 'leave it out by COLUMNS=\'{"price_eur": "ignore"}\' if it is not known' in found["text"]


def test_a_good_feature_is_not_suspected(suspected: Suspected) -> None:
    random = np.random.default_rng(0)
    size = random.lognormal(size=ROWS)
    frame = noise(0, size=size, y=size * random.lognormal(0, 0.2, ROWS))
    assert suspected(frame) == []
    assert suspected(frame.assign(y=np.where(frame["y"] > frame["y"].median(), "large", "small"))) == []


@pytest.mark.parametrize("classes", [["no", "yes"], ["a", "b", "c"]])
def test_what_alone_tells_the_classes_is_suspected(suspected: Suspected, classes: list[str]) -> None:
    random = np.random.default_rng(2)
    y = random.choice(classes, ROWS)
    frame = noise(2, y=y, outcome=pd.Series(y).map(lambda label: f"is {label}"), code=pd.Series(y).map(classes.index))
    assert about(suspected(frame), "leakage") == ["outcome", "code"]


def test_that_a_value_is_missing_may_hold_the_answer(suspected: Suspected) -> None:
    random = np.random.default_rng(3)
    left = random.random(ROWS) < 0.3
    frame = noise(3, y=np.where(left, "left", "stayed"), days_to_exit=np.where(left, random.normal(size=ROWS), np.nan))
    assert about(suspected(frame), "leakage") == ["days_to_exit"]


def test_parts_of_a_sum_are_suspected_together(suspected: Suspected) -> None:
    random = np.random.default_rng(4)
    casual, registered = random.poisson(40, ROWS), random.poisson(150, ROWS)
    frame = noise(4, casual=casual, registered=registered, y=casual + registered)
    (found,) = suspected(frame, problem="regression")
    assert sorted(found["columns"]) == ["casual", "registered"]
    assert "added up, each times a factor, are the target" in found["text"]
    assert suspected(frame.assign(y=frame["y"] + random.normal(size=ROWS))) == []


@pytest.mark.parametrize("changes", [[0.5], [0.3, 0.6]])
def test_a_number_that_counts_rows_and_orders_the_target_is_suspected(
    suspected: Suspected, changes: list[float]
) -> None:
    late = np.searchsorted(changes, np.arange(ROWS) / ROWS) % 2
    flipped = late ^ (np.random.default_rng(5).random(ROWS) < 0.1)
    frame = noise(5, y=np.where(flipped, "yes", "no"))
    (found,) = suspected(frame)
    assert (found["about"], found["columns"]) == ("order", ["order_no"])
    assert '"order_no" never repeats and orders the target' in found["text"]
    shuffled = frame.sample(frac=1, random_state=0)
    assert about(suspected(shuffled), "order") == ["order_no"]
    assert suspected(frame, split_time="order_no") == []


def test_a_measured_number_that_happens_not_to_repeat_is_none(suspected: Suspected) -> None:
    random = np.random.default_rng(6)
    population = np.unique(random.integers(1_000, 10_000_000, ROWS))
    random.shuffle(population)
    rows = len(population)
    frame = noise(6, rows, population=population, y=population / 1e6 + random.normal(size=rows))
    assert about(suspected(frame), "order") == []


@pytest.mark.parametrize(
    ("different", "fields", "told"),
    [
        (25, {}, "taken for numbers (regression). PROBLEM=classification"),
        (6, {}, "taken for classes (classification). PROBLEM=regression"),
        (6, {"metric": "rmse"}, ""),
        (6, {"problem": "classification"}, ""),
        (2, {}, ""),
        (51, {}, ""),
    ],
)
def test_whole_numbers_may_be_meant_as_either(
    suspected: Suspected, different: int, fields: dict[str, Any], told: str
) -> None:
    found = suspected(noise(7, y=np.random.default_rng(7).permutation(ROWS) % different), **fields)
    assert about(found, "problem") == (["y"] if told else [])
    assert all(told in each["text"] for each in found)


@pytest.mark.parametrize(
    ("rare", "fields", "told"), [(5, {}, True), (15, {}, False), (5, {"metric": "accuracy"}, False)]
)
def test_accuracy_that_a_guess_reaches_is_told_unless_it_was_asked_for(
    suspected: Suspected, rare: int, fields: dict[str, Any], told: bool
) -> None:
    fraud = np.random.default_rng(8).permutation(np.arange(ROWS) * 100 // ROWS < rare).astype(int)
    found = suspected(noise(8, y=fraud), **fields)
    assert about(found, "metric") == (["y"] if told else [])
    assert all(f"{1 - rare / 100:.1%} of the rows are of one class" in each["text"] for each in found)


def test_little_data_is_not_suspected(suspected: Suspected) -> None:
    frame = noise(9, 60)
    assert suspected(frame.assign(copy=frame["y"])) == []


def test_of_many_rows_some_are_looked_at(suspected: Suspected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspicions, "MOST_ROWS", 200)
    looked_at = set[int]()
    codes = suspicions._codes

    def noting(column: pd.Series[Any]) -> Any:
        looked_at.add(len(column))
        return codes(column)

    monkeypatch.setattr(suspicions, "_codes", noting)
    frame = noise(10, 2000)
    assert about(suspected(frame.assign(copy=frame["y"])), "leakage") == ["copy"]
    assert looked_at == {200}


def test_a_free_text_is_not_looked_at_and_the_others_are(suspected: Suspected) -> None:
    data = free_texts.table()
    (found,) = suspected(data.assign(copy=data["y"] * 2 + 1))
    assert (found["about"], found["columns"]) == ("leakage", ["copy"])
