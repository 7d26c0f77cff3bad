"""Scoring a file: the same predictions as in the evaluation, whatever the batches, and nothing written if it fails."""

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
import pyarrow as pa
import pytest
from sklearn.pipeline import Pipeline

import free_texts
from common.adjusted import AdjustedClassifier, IntervalRegressor
from common.conversion import features
from common.frames import load_part
from common.model_file import load_model, save_model
from common.request import ESTIMATORS
from crosstrain.command import BadInputError
from crosstrain.training import prediction
from data_preparation import parquet_reading, text_reading
from data_preparation.preparation import PreparedData
from predict import main
from scoring import fitted

CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]
ROWS = 240
# Small ones are as telling, and quick.
SIZES: dict[str, dict[str, int]] = {
    "random_forest": {"n_estimators": 10},
    "hist_gradient_boosting": {"max_iter": 10},
    "xgboost": {"n_estimators": 10},
}


def frame(labels: list[Any] | None = None) -> pd.DataFrame:
    """Return rows of every role with missing values, marked as training and test rows; numbers for want of labels."""
    random = np.random.default_rng(1)
    data = pd.DataFrame(
        {
            "amount": random.normal(10, 3, ROWS).round(3),
            "exact": random.normal(size=ROWS) * 1e9 + 1e-4,
            "count": pd.array(random.integers(0, 300, ROWS), dtype="Int64"),
            "kind": random.choice(["x", "01", "y, z"], ROWS),
            "flag": pd.array(random.choice([True, False], ROWS), dtype="boolean"),
            "when": pd.date_range("2024-01-01", periods=ROWS, freq="37min"),
            "row_id": np.arange(ROWS),
        }
    )
    signal = data["amount"] + 5 * (data["kind"] == "x") + random.normal(0, 0.5, ROWS)
    if labels is None:
        data["y"] = signal
    else:
        data["y"] = [labels[i] for i in pd.qcut(signal, len(labels), labels=False)]
    for position, name in enumerate(["amount", "count", "kind", "flag", "when"]):
        data.loc[position * 7 : position * 7 + 5, name] = None
    data["split"] = np.where(random.random(ROWS) < 0.7, "train", "test")
    return data


Results = Callable[..., tuple[PreparedData, Path]]


@pytest.fixture
def results(train_on: Results) -> Results:
    """Return a function that trains on a frame and leaves a folder as `make train` does."""

    def make(data: pd.DataFrame, problem: str = "regression", **fields: Any) -> tuple[PreparedData, Path]:
        size = {"hyperparameters": SIZES[fields["estimator"]]} if fields.get("estimator") in SIZES else {}
        return train_on(data, problem, **fields, **size)

    return make


def scored(folder: Path, data: Path, out: str = "predictions.csv") -> pd.DataFrame:
    """Score a file and return the predictions."""
    path = folder.parent / out
    assert main([str(data), "--trust", "--from", str(folder), "--out", str(path)]) == 0
    # Read as what it is: "01" stays a text.
    return pd.read_parquet(path) if out.endswith("parquet") else pd.read_csv(path, dtype={"prediction": object})


def evaluated(prepared: PreparedData, folder: Path) -> tuple[Any, pd.DataFrame]:
    pipeline = prediction.load_model(folder / "model.skops")
    return pipeline, load_part(prepared.test, prepared.profile)[0]


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_the_test_part_is_scored_as_in_the_evaluation(
    results: Results, tmp_path: Path, problem: str, estimator: str
) -> None:
    data = frame(["low", "high", "middle, or so"] if problem == "classification" else None)
    prepared, folder = results(data, problem, estimator=estimator, split_column="split")
    data.to_csv(tmp_path / "rows.csv", index=False)
    test = scored(folder, tmp_path / "rows.csv")[data["split"] == "test"]
    pipeline, features = evaluated(prepared, folder)
    if problem == "regression":
        assert list(test) == ["prediction"]
        expected = pipeline.predict(features)
        np.testing.assert_allclose(test["prediction"].astype(float), expected, rtol=1e-12)
    else:
        assert list(test) == ["prediction", *(f"probability_{label}" for label in pipeline.classes_)]
        assert list(test["prediction"]) == list(pipeline.predict(features))
        np.testing.assert_allclose(test.iloc[:, 1:], pipeline.predict_proba(features), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1], ["0", "1"]),
        ([1.0, 2.0, 3.0], ["1", "2", "3"]),
        ([False, True], ["false", "true"]),
        (["01", "b"], ["01", "b"]),
    ],
)
@pytest.mark.parametrize("out", ["predictions.csv", "predictions.parquet"])
def test_labels_keep_their_type(
    results: Results, tmp_path: Path, labels: list[Any], names: list[str], out: str
) -> None:
    data = frame(labels)
    _, folder = results(data, "classification", split_column="split")
    data.drop(columns="y").to_parquet(tmp_path / "rows.parquet")
    found = scored(folder, tmp_path / "rows.parquet", out)
    assert list(found) == ["prediction", *(f"probability_{name}" for name in names)]
    if out.endswith("parquet"):
        assert set(found["prediction"]) == set(labels)
    else:
        # Text shows what the text of training showed, and columns have one name in either.
        assert set(found["prediction"]) == ({"False", "True"} if labels[0] is False else set(names))
    np.testing.assert_allclose(found.iloc[:, 1:].sum(axis=1), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_formats_and_batches_change_nothing(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = frame()
    _, folder = results(data, estimator="random_forest", split_column="split")
    data.to_csv(tmp_path / "whole.csv", index=False)
    expected = scored(folder, tmp_path / "whole.csv")["prediction"].astype(float)
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(parquet_reading, "BATCH_VALUES", 50)
    monkeypatch.setattr(fitted, "BATCH_ROWS", 7)
    if name.endswith("parquet"):
        data.to_parquet(tmp_path / name, row_group_size=64)
    else:
        data.to_csv(tmp_path / name, index=False)
    found = scored(folder, tmp_path / name)["prediction"].astype(float)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_column_is_read_as_in_training_whatever_this_files_values_look_like(results: Results, tmp_path: Path) -> None:
    data = frame()
    _, folder = results(data, estimator="hist_gradient_boosting", split_column="split")
    # Texts that are all numbers; whole numbers, then fractions; nothing but missing values.
    some = data.assign(kind="01", count=[*[7] * 200, *[7.5] * 40], flag=None, amount=[7] * ROWS)
    some.to_csv(tmp_path / "rows.csv", index=False)
    some["kind"] = some["kind"].astype("category")
    some.to_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(
        scored(folder, tmp_path / "rows.csv").astype(float), scored(folder, tmp_path / "rows.parquet").astype(float)
    )


def test_nan_and_infinities_are_missing_and_unknown_categories_are_scored(results: Results, tmp_path: Path) -> None:
    data = frame()
    _, folder = results(data, split_column="split")
    odd = data.astype(object)
    odd["amount"] = ["inf", "-inf", "NaN", ""] * 60
    odd["kind"] = "never seen"
    odd.to_csv(tmp_path / "odd.csv", index=False)
    odd.assign(amount="").to_csv(tmp_path / "missing.csv", index=False)
    pd.testing.assert_frame_equal(scored(folder, tmp_path / "odd.csv"), scored(folder, tmp_path / "missing.csv"))


def test_a_blend_scores_and_tells_of_unknown_categories_as_its_members_do(results: Results, tmp_path: Path) -> None:
    data = frame()
    members = [{"estimator": "ridge"}, {"estimator": "hist_gradient_boosting", "weight": 3.0}]
    prepared, folder = results(data, split_column="split", estimator="blend", hyperparameters={"members": members})
    data.to_csv(tmp_path / "rows.csv", index=False)
    test = scored(folder, tmp_path / "rows.csv")[data["split"] == "test"]
    pipeline, features = evaluated(prepared, folder)
    np.testing.assert_allclose(test["prediction"].astype(float), pipeline.predict(features), rtol=1e-12)
    model = prediction.Model.load(folder)
    assert set(model.known_categories["kind"]) >= set(data.loc[data["split"] == "train", "kind"].dropna())


@pytest.mark.parametrize("counted", [True, False])
def test_of_many_texts_those_that_training_never_saw_are_told_if_it_knew_all(
    results: Results, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    data = pd.DataFrame({"user": [f"user {number % 300}" for number in range(1200)], "y": np.arange(1200) % 300})
    _, folder = results(data, estimator="random_forest")
    model = prediction.Model.load(folder)
    if not counted:
        (user,) = [each for each in model.profile["columns"] if each["name"] == "user"]
        monkeypatch.setitem(user, "distinct", "more than 20,000")
    rows = pd.DataFrame({"user": ["user 7", "nobody", None]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predicted = model.predict(rows)["prediction"]
    assert [str(each.message) for each in caught] == (
        ['categories that training has not seen: 1 in "user"'] if counted else []
    )
    assert predicted[0] == pytest.approx(7, abs=5)


def test_numbers_are_rounded_as_the_prepared_parts_are(results: Results) -> None:
    data = pd.DataFrame({"a": np.tile([0.1, 0.7], 50), "y": np.tile([0.0, 1.0], 50)})
    prepared, folder = results(data, estimator="random_forest")
    assert prepared.profile["columns"][0]["dtype"] == "float32"
    model = prediction.Model.load(folder)
    batch = pa.record_batch({"a": [0.1, 1e300, None, float("nan"), float("inf")]})
    found = features(batch, model.profile)["a"].to_numpy()
    assert found[0] == np.float64(np.float32(0.1))
    assert np.isnan(found[1:]).all()


def test_other_columns_are_ignored_and_told(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = frame()
    _, folder = results(data, split_column="split")
    data.assign(note="[x]").to_csv(tmp_path / "rows.csv", index=False)
    scored(folder, tmp_path / "rows.csv")
    message = capsys.readouterr().err
    assert 'ignored, for the model does not use it: "row_id", "y", "split", "note"' in message
    assert f"{ROWS} rows scored with" in message


def test_no_rows_give_no_predictions(results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = frame(["a", "b"])
    _, folder = results(data, "classification", split_column="split")
    data[:0].to_csv(tmp_path / "rows.csv", index=False)
    assert main([str(tmp_path / "rows.csv"), "--trust", "--from", str(folder)]) == 0
    assert capsys.readouterr().out == "prediction,probability_a,probability_b\n"


def with_value(data: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    changed = data.astype(object)
    changed.loc[200, column] = value
    return changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data.rename(columns={"amount": "Amount", "kind": "sort"}),
            '"amount" is missing. Did you mean "Amount"? "kind" is missing. Known: "Amount"',
        ),
        (lambda data: data[["amount"]], '"exact" is missing. "count" is missing.'),
        (
            lambda data: with_value(data, "amount", "plenty"),
            'Column "amount" of "rows.csv" holds texts, and the model was trained on numbers.',
        ),
        (lambda data: with_value(data, "count", True), "holds texts, and the model was trained on num"),
        (lambda data: with_value(data, "flag", "maybe"), "holds texts, and the model was trained on booleans."),
        (lambda data: with_value(data, "when", "soon"), "holds texts, and the model was trained on timestamps."),
    ],
)
def test_columns_that_do_not_fit_are_named_and_nothing_is_written(
    results: Results,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    message: str,
) -> None:
    data = frame()
    _, folder = results(data, split_column="split")
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1000)
    change(data).to_csv(tmp_path / "rows.csv", index=False)
    before = sorted(tmp_path.iterdir())
    for arguments in (["--out", str(tmp_path / "predictions.csv")], []):
        assert main([str(tmp_path / "rows.csv"), "--trust", "--from", str(folder), *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


def test_numbers_of_parquet_are_the_texts_that_training_had(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = frame()
    _, folder = results(data, split_column="split")
    data.assign(kind=1).to_parquet(tmp_path / "rows.parquet")
    assert main([str(tmp_path / "rows.parquet"), "--trust", "--from", str(folder)]) == 0
    assert "categories that training has not seen: " in capsys.readouterr().err


def test_rows_that_scikit_learn_refuses_are_told(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = frame()
    _, folder = results(data, estimator="random_forest", split_column="split")
    data.to_csv(tmp_path / "rows.csv", index=False)

    def refuse(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(prediction.Model, "score", refuse)
    assert main([str(tmp_path / "rows.csv"), "--trust", "--from", str(folder)]) == 2
    assert 'The rows 1 to 240 of "rows.csv" cannot be scored: ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], '"nowhere.csv" does not exist.'),
        (["out"], '"out" is a folder without a data file'),
        (["rows.csv", "--out", "p.json"], "must end in .csv or .parquet"),
        (["rows.csv", "--out", "nowhere/p.csv"], "in no folder that may be written to"),
        (["rows.csv", "--out", "rows.csv"], '"rows.csv" is the file to score'),
        (["rows.csv"], 'There is no model.skops in "out"'),
    ],
)
def test_what_cannot_be_used_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("rows.csv").write_text("a,y\n1,2\n")
    Path("notes.txt").touch()
    assert main([*arguments, "--trust", "--from", "out"]) == 2
    assert message in capsys.readouterr().err
    assert Path("rows.csv").read_text() == "a,y\n1,2\n"


def test_a_model_that_nobody_vouches_for_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("a,y\n1,2\n")
    monkeypatch.setattr(prediction, "load_model", lambda _: pytest.fail("it was opened"))
    assert main(["rows.csv", "--from", "out"]) == 2
    assert 'Nobody vouches for the model in "out": say --trust' in capsys.readouterr().err.replace("\n", " ")


def test_a_folder_and_a_stack_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("a,y\n1,2\n")
    assert main(["rows.csv", "--from", "out", "--version", "a"]) == 2
    assert "leave the stack, the version and the model's name out" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [False, True])
def test_a_label_that_is_a_formula_runs_in_no_spreadsheet(results: Results, tmp_path: Path, *, keep: bool) -> None:
    data = frame(["a", "b"])
    label = '=HYPERLINK("http://evil")'
    data["y"] = np.where(data["y"] == data["y"].iloc[0], label, "@SUM(A1)")
    _, folder = results(data, "classification", split_column="split")
    data.to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "p.csv"
    arguments = [str(tmp_path / "rows.csv"), "--trust", "--from", str(folder), "--out", str(out)]
    assert main([*arguments, *(["--keep-formulas"] if keep else [])]) == 0
    found = set(pd.read_csv(out)["prediction"])
    assert found == ({label, "@SUM(A1)"} if keep else {f"'{label}", "'@SUM(A1)"})


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_what_was_there(results: Results, tmp_path: Path) -> None:
    """In a process of its own, which may write files of 2 KB and no more: one for all, as it takes long to begin."""
    _, folder = results(frame(), split_column="split")
    pd.concat([frame()] * 40).to_csv(tmp_path / "rows.csv", index=False)
    outs = [tmp_path / there / name for there in ("there", "new") for name in ("p.csv", "p.parquet")]
    for out in outs:
        out.parent.mkdir(exist_ok=True)
        if out.parent.name == "there":
            out.write_text("earlier")
    program = (
        "import json, resource, sys; sys.dont_write_bytecode = True; import predict\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
        "print(json.dumps([predict.main([*sys.argv[5:], out]) for out in sys.argv[1:5]]))"
    )
    arguments = [*map(str, outs), str(tmp_path / "rows.csv"), "--trust", "--from", str(folder), "--out"]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": f"{root / 'functions'}:{root / 'scripts'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == [1] * 4, done.stderr
    for out in outs:
        assert f"error: The predictions cannot be written to {out} (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_text() for path in (tmp_path / "there").iterdir()} == dict.fromkeys(
        ("p.csv", "p.parquet"), "earlier"
    )
    assert not [*(tmp_path / "new").iterdir()]


@pytest.mark.parametrize("which", ["file", "out"])
def test_a_name_that_is_no_utf8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"\xff.csv")
    for name in (odd, "rows.csv"):
        Path(name).write_text("a,y\n1,2\n")
    arguments = [odd] if which == "file" else ["rows.csv", "--out", odd]
    assert main([*arguments, "--trust", "--from", "out"]) == 2
    error = capsys.readouterr().err
    assert r"\xff.csv" in error
    assert "is not UTF-8" in error


def without(key: str, value: Any = None) -> Callable[[dict[str, Any]], Any]:
    """Return what changes the profile's first feature."""

    def change(profile: dict[str, Any]) -> Any:
        column = next(each for each in profile["columns"] if each["use"] == "feature")
        column.update({key: value}) if value is not None else column.pop(key)
        return profile

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda _: None,
        lambda profile: {**profile, "columns": 7},
        lambda profile: {**profile, "problem": "auto"},
        lambda profile: {**profile, "rows": {}},
        without("kind"),
        without("kind", "intager"),
        without("role", "identifier"),
        without("dtype", "int128"),
        without("nulls", "none"),
        without("name", 7),
    ],
)
def test_a_document_that_is_no_profile_is_refused(
    results: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    _, folder = results(frame(), split_column="split")
    frame().to_csv(tmp_path / "rows.csv", index=False)
    profile = json.loads((folder / "profile.json").read_text())
    (folder / "profile.json").write_text(json.dumps(change(profile)))
    assert main([str(tmp_path / "rows.csv"), "--trust", "--from", str(folder)]) == 2
    assert "is no profile that data preparation has written." in capsys.readouterr().err


def test_a_model_that_cannot_predict_is_named(
    results: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = results(frame(), split_column="split")
    frame().to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.setattr(prediction, "load_model", lambda _: object())
    assert main([str(tmp_path / "rows.csv"), "--trust", "--from", str(folder)]) == 1
    assert "The model cannot predict (AttributeError): its file is not what" in capsys.readouterr().err


def test_a_column_of_weights_is_ignored(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    data = frame().assign(w=np.arange(ROWS) / 7 + 1)
    _, folder = results(data, split_column="split", weight_column="w")
    told = []
    for name, rows in (("with", data), ("without", data.drop(columns="w"))):
        rows.to_csv(folder.parent / f"{name}.csv", index=False)
        told.append(scored(folder, folder.parent / f"{name}.csv"))
        assert ('"w"' in capsys.readouterr().err) == (name == "with")
    pd.testing.assert_frame_equal(*told)


def test_labels_are_those_of_a_decision_that_was_learned(results: Results) -> None:
    data = frame(["a", "b"])
    _, folder = results(data, "classification", estimator="logistic_regression")
    plain = load_model(folder / "model.skops")
    numbers: dict[str, Any] = {"slope": 0.5, "offsets": np.array([0.0, 0.2]), "floor": 1e-6}
    model = AdjustedClassifier(plain["model"], **numbers, multipliers=np.array([0.8, 0.2]))
    pipeline = Pipeline([*plain.steps[:-1], ("model", model)])
    save_model(pipeline, folder / "model.skops")
    data.to_csv(folder.parent / "rows.csv", index=False)
    found = scored(folder, folder.parent / "rows.csv")
    assert (found["prediction"] == "b").tolist() == (found["probability_b"] > 0.8).tolist()
    assert 0 < (found["prediction"] == "b").sum() < (found["probability_b"] > 0.5).sum()


def test_an_interval_stands_beside_each_prediction(results: Results) -> None:
    data = frame()
    _, folder = results(data, estimator="ridge")
    plain = load_model(folder / "model.skops")
    data.to_csv(folder.parent / "rows.csv", index=False)
    before = scored(folder, folder.parent / "rows.csv")
    with pytest.raises(BadInputError, match="knows no interval"):
        prediction.Model.load(folder).predict_interval(data)
    pipeline = Pipeline([*plain.steps[:-1], ("model", IntervalRegressor(plain["model"], 0.9, 1.5))])
    save_model(pipeline, folder / "model.skops")
    found = scored(folder, folder.parent / "rows.csv")
    assert list(found.columns) == ["prediction", "prediction_low", "prediction_high"]
    assert found["prediction"].tolist() == before["prediction"].tolist()
    np.testing.assert_allclose(found["prediction_high"] - found["prediction"].astype(float), 1.5)
    np.testing.assert_allclose(found["prediction"].astype(float) - found["prediction_low"], 1.5)
    with warnings.catch_warnings():
        # Columns that the model does not use.
        warnings.simplefilter("ignore")
        limits = prediction.Model.load(folder).predict_interval(data)
    np.testing.assert_allclose(limits, found[["prediction_low", "prediction_high"]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting"])
def test_free_texts_are_scored_as_in_the_evaluation_whatever_they_say(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str], estimator: str, name: str
) -> None:
    data = free_texts.table().assign(split=["train"] * 300 + ["test"] * 100)
    prepared, folder = results(data, estimator=estimator, split_column="split")
    rows = data[300:].drop(columns="y")
    rows.to_parquet(tmp_path / name) if name.endswith("parquet") else rows.to_csv(tmp_path / name, index=False)
    pipeline, features = evaluated(prepared, folder)
    found = scored(folder, tmp_path / name)["prediction"].astype(float)
    np.testing.assert_allclose(found, pipeline.predict(features), rtol=1e-12)
    # No text is a category that training has not seen.
    assert "not seen" not in capsys.readouterr().err
    # A column of numbers, or of nothing, holds texts all the same.
    for odd in (["7"] * 100, [None] * 100):
        rows.assign(note=odd).to_csv(tmp_path / "odd.csv", index=False)
        assert np.isfinite(scored(folder, tmp_path / "odd.csv")["prediction"].astype(float)).all()
