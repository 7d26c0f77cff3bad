"""Linear models are fitted block by block, and are those that scikit-learn fits on all rows at once."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import frames
from common.frames import PartFile, load_part, load_weights
from common.model_file import load_model, save_model
from common.request import parse_request
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training import streaming
from model_training.streaming import fit_streamed, streams
from model_training.training import build_pipeline, fit

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Prepared = Callable[..., PreparedData]
LINEAR = ("ridge", "linear_regression")


def both(prepared: PreparedData) -> tuple[Pipeline, Pipeline]:
    """Return the pipeline that is fitted block by block, and the one that is fitted on a frame, as dense columns.

    Of sparse columns the estimators would make no more than a few steps towards the solution.
    """
    request, profile = prepared.request, prepared.profile
    assert streams(request, profile)
    features, target = load_part(prepared.train, profile)
    weights = load_weights(prepared.train, profile)
    part = PartFile(prepared.train, profile)
    one, other = (build_pipeline(request, profile) for _ in range(2))
    for pipeline in (one, other):
        pipeline["features"].set_params(sparse_threshold=0.0)
    streamed, whole = fit_streamed(one, part, part.target(), weights), fit(other, features, target, weights)
    # Of means of large offsets digits are left to chance, in which intercepts follow them.
    expected = whole.pipeline.predict(features)
    np.testing.assert_allclose(streamed.pipeline.predict(features), expected, rtol=1e-9, atol=1e-9 * target.std())
    return streamed.pipeline, whole.pipeline


def assert_same(found: Any, expected: Any, path: str = "pipeline") -> None:
    """Compare all that two fitted objects hold: numbers up to rounding, and of all else their types, too."""
    assert type(found) is type(expected), path
    if isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
        scale = np.nanmax(np.abs(expected), initial=1e-12)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * scale, err_msg=path)
    elif isinstance(expected, float | np.floating):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), path
    elif isinstance(expected, np.ndarray) and expected.dtype == object:
        assert_same(found.tolist(), expected.tolist(), path)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, err_msg=path)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), path
        for at, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{path}[{at}]")
    elif isinstance(expected, dict):
        assert list(found) == list(expected), path
        for name in expected.keys() - {"intercept_"}:
            # Those beyond the rank are roundings of 0, of the root of the sums of products here.
            rank = expected["rank_"] if name == "singular_" else None
            one, other = (each[name] if rank is None else each[name][:rank] for each in (found, expected))
            assert_same(one, other, f"{path}[{name}]")
    elif hasattr(expected, "get_params"):
        assert_same(vars(found), vars(expected), path)
    else:
        assert found == expected, path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK_ROWS", 64)


@pytest.mark.parametrize("features", ["auto", "plain"])
@pytest.mark.parametrize("estimator", LINEAR)
def test_all_that_is_fitted_is_as_on_a_frame(prepared_data: Prepared, estimator: str, features: str) -> None:
    prepared = prepared_data("regression", estimator=estimator, features=features)
    assert_same(*both(prepared))


@pytest.mark.parametrize("estimator", LINEAR)
@pytest.mark.parametrize("hyperparameters", [{"fit_intercept": False}, {}])
def test_weights_count_as_on_a_frame(prepared_data: Prepared, estimator: str, hyperparameters: dict[str, Any]) -> None:
    prepared = prepared_data(
        "regression", weighted(), estimator=estimator, weight_column="w", hyperparameters=hyperparameters
    )
    assert_same(*both(prepared))


def weighted() -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"a": random.normal(1e6, 1, 300), "b": random.normal(size=300), "w": random.random(300) + 0.1})
    frame["kind"] = random.choice(np.array(["x", "y", None], dtype=object), 300)
    frame["y"] = frame["a"] - 2 * frame["b"] + (frame["kind"] == "x") + random.normal(size=300)
    frame.loc[::7, "b"] = None
    return frame


@pytest.mark.parametrize("hyperparameters", [{"positive": True}, {"fit_intercept": False, "positive": True}])
def test_coefficients_may_have_to_be_positive(prepared_data: Prepared, hyperparameters: dict[str, Any]) -> None:
    prepared = prepared_data(
        "regression", weighted(), estimator="linear_regression", hyperparameters=hyperparameters, features="plain"
    )
    streamed, whole = both(prepared)
    assert (whole["model"].coef_ == 0).any()
    np.testing.assert_allclose(streamed["model"].coef_, whole["model"].coef_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("solver", ["svd", "cholesky", "lsqr", "sparse_cg"])
def test_every_solver_that_streams_has_the_same_solution(prepared_data: Prepared, solver: str) -> None:
    prepared = prepared_data("regression", estimator="ridge", hyperparameters={"solver": solver, "tol": 1e-12})
    streamed, whole = both(prepared)
    np.testing.assert_allclose(streamed["model"].coef_, whole["model"].coef_, rtol=1e-7, atol=1e-9)
    assert streamed["model"].solver_ == whole["model"].solver_


@pytest.mark.parametrize("solver", ["sag", "saga"])
def test_a_solver_that_goes_from_row_to_row_gets_a_frame(prepared_data: Prepared, solver: str) -> None:
    prepared = prepared_data("regression", estimator="ridge", hyperparameters={"solver": solver})
    assert not streams(prepared.request, prepared.profile)


@pytest.mark.parametrize("rows", [40, 64, 1000])
def test_how_the_file_is_cut_changes_no_bit(prepared_data: Prepared, tmp_path: Path, rows: int) -> None:
    prepared = prepared_data("regression", estimator="ridge")
    files = [tmp_path / "whole.skops", tmp_path / "cut.skops"]
    for file in files:
        part = PartFile(prepared.train, prepared.profile)
        model = fit_streamed(build_pipeline(prepared.request, prepared.profile), part, part.target())
        save_model(model.pipeline, file)
        pq.write_table(pq.read_table(prepared.train), prepared.train, row_group_size=rows, write_page_checksum=True)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load_model(files[1]).predict(load_part(prepared.test, prepared.profile)[0]).shape == (60,)


def drawn_table(draw: Callable[..., Any]) -> pd.DataFrame:
    """Draw a table whose columns make life hard: offsets, gaps, constants, copies of each other, times and weights."""
    rows, random = draw(st.integers(20, 200)), np.random.default_rng(draw(st.integers(0, 2**32)))
    part = random.choice(["train", "train", "train", "test"], rows)
    part[:2] = ["train", "test"]
    frame = pd.DataFrame({"part": part, "first": random.normal(size=rows)})
    for at, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))):
        offset, scale = draw(st.sampled_from([0.0, 1.0, -1e3])), draw(st.sampled_from([0.1, 1.0, 1e6]))
        values: Any = random.normal(offset, scale, rows)
        if kind == "whole":
            values = random.integers(0, draw(st.sampled_from([3, 20, 300])), rows) + int(offset)
        elif kind == "constant in training":
            values = np.where(part == "train", offset, values)
        elif kind == "text":
            values = random.choice(["a", "b", "c", "d"], rows)
        elif kind == "yes or no":
            values = random.random(rows) < draw(st.sampled_from([0.5, 0.05]))
        elif kind == "time":
            values = pd.Timestamp("2024-03-01") + pd.to_timedelta(random.integers(0, 3 * 10**7, rows), unit="s")
        elif kind == "copy":
            values = 3 * frame["first"] + offset
        column = pd.Series(values).astype(object)
        gaps = draw(st.sampled_from(["none", "some", "in training alone", "all of training"]))
        if gaps != "none":
            gone = {
                "some": random.random(rows) < 0.3,
                "in training alone": (part == "train") & (random.random(rows) < 0.2),
            }
            column[gone.get(gaps, part == "train")] = None
        frame[f"{kind} {at}"] = column
    if draw(st.booleans()):
        frame["weight"] = np.round(random.exponential(size=rows), 3) + 0.001
    frame["y"] = frame["first"] + random.normal(draw(st.sampled_from([0.0, 1e6])), 1.0, rows)
    return frame


KINDS = ("decimal", "whole", "constant in training", "text", "yes or no", "time", "copy")


@pytest.mark.slow
@settings(max_examples=12)
@given(st.data())
def test_any_table_is_fitted_as_on_a_frame(data: st.DataObject) -> None:
    frame = drawn_table(data.draw)
    fields = {
        "estimator": data.draw(st.sampled_from(LINEAR)),
        "features": data.draw(st.sampled_from(["auto", "plain"])),
    }
    if "weight" in frame:
        fields["weight_column"] = "weight"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame.to_csv(folder / "data.csv", index=False)
        document = {"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, "split_column": "part"}
        request = parse_request({**document, "problem": "regression", **fields})
        assert_same(*both(prepare([SourceFile("data.csv", folder / "data.csv")], request, folder)))


@pytest.mark.parametrize("estimator", LINEAR)
def test_a_large_offset_takes_no_digits(tmp_path: Path, estimator: str) -> None:
    random = np.random.default_rng(2)
    # Whole numbers, of which float64 loses none to the offset.
    frame = pd.DataFrame({"a": random.integers(0, 10_000, 300), "b": random.integers(0, 10_000, 300), "y": 0})
    frame["y"] = frame["a"] - 3 * frame["b"] + random.integers(-500, 500, 300)
    frame["part"] = ["train", "train", "test"] * 100
    found = []
    for number, offset in enumerate([0, 2**40]):
        moved = frame.assign(a=frame["a"] + offset, y=frame["y"] + offset)
        folder = tmp_path / str(number)
        folder.mkdir()
        moved.to_parquet(folder / "data.parquet")
        document = {"dataset_uri": "s3://bucket/data.parquet", "target": "y", "problem": "regression"}
        request = parse_request({**document, "estimator": estimator, "search_trials": 0, "split_column": "part"})
        prepared = prepare([SourceFile("data.parquet", folder / "data.parquet")], request, folder)
        part = PartFile(prepared.train, prepared.profile)
        pipeline = fit_streamed(build_pipeline(prepared.request, prepared.profile), part, part.target()).pipeline
        found.append(pipeline["model"].coef_)
    assert np.abs(found[0]).min() > 1000
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weight_column", ["weight", None])
def test_columns_that_nearly_repeat_others_keep_their_digits(
    prepared_data: Prepared, monkeypatch: pytest.MonkeyPatch, weight_column: str | None, *, fit_intercept: bool
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=500), "b": random.normal(size=500)})
    frame["kind"] = random.choice(["x", "y", "z"], 500)
    frame["near"] = frame["a"] + 3e-5 * random.normal(size=500)
    frame["weight"] = random.random(500) + 0.1
    frame["y"] = frame["a"] + frame["b"] + random.normal(size=500)
    prepared = prepared_data(
        "regression",
        frame,
        estimator="linear_regression",
        hyperparameters={"fit_intercept": fit_intercept},
        weight_column=weight_column,
    )
    exact, whole = both(prepared)
    assert_same(exact, whole)
    # Once does not do.
    monkeypatch.setattr(streaming, "MOST_TURNED", 0)
    part = PartFile(prepared.train, prepared.profile)
    weights = load_weights(prepared.train, prepared.profile)
    once = fit_streamed(build_pipeline(prepared.request, prepared.profile), part, part.target(), weights).pipeline
    assert np.abs(once["model"].coef_ / whole["model"].coef_ - 1).max() > 1e-9


@pytest.mark.parametrize("estimator", LINEAR)
def test_columns_that_hold_one_value_in_training_say_nothing(prepared_data: Prepared, estimator: str) -> None:
    random = np.random.default_rng(0)
    part = ["train", "train", "test"] * 100
    kind = np.where(np.array(part) == "train", "x", random.choice(["x", "y"], 300))
    frame = pd.DataFrame(
        {"kind": kind, "number": np.where(kind == "x", 0.1, 7.0), "y": random.random(300), "part": part}
    )
    prepared = prepared_data("regression", frame, estimator=estimator, split_column="part")
    file = PartFile(prepared.train, prepared.profile)
    model = fit_streamed(build_pipeline(prepared.request, prepared.profile), file, file.target())
    features, target = load_part(prepared.test, prepared.profile)
    assert features["kind"].nunique() == 2
    np.testing.assert_allclose(model.pipeline.predict(features), file.target().mean(), rtol=1e-9)
    assert len(target) == 100


def test_the_rows_of_a_part_are_not_in_memory(prepared_data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "KEPT_BYTES", 0)
    prepared = prepared_data("regression", estimator="ridge")
    pq.write_table(pq.read_table(prepared.train), prepared.train, row_group_size=20, write_page_checksum=True)
    part = PartFile(prepared.train, prepared.profile, keep=True)
    target = part.target()
    held = list[weakref.ref[Any]]()
    read = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, *arguments: Any, **named: Any) -> Any:
        table = read(file, *arguments, **named)
        held[:] = [each for each in held if each() is not None]
        held.append(weakref.ref(table))
        # Of those before there may be rows in the block that is filled, and the one that the loop still names.
        assert len(held) <= 2 + streaming.BLOCK_ROWS // 20
        return table

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    fit_streamed(build_pipeline(prepared.request, prepared.profile), part, target)
    assert held
