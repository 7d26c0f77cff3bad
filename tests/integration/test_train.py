"""The training command as people run it, from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_wine

import free_texts
from common.model_file import load_model
from crosstrain.local.server import LocalTrainingStack
from crosstrain.training.prediction import Model

from .conftest import Train, as_process, training_options

FILES = {"model.skops", "model.json", "profile.json", "evaluation.json", "report.html"}


@pytest.fixture
def train(training_stack: LocalTrainingStack, project: Path, tmp_path: Path) -> Train:
    """Return a function that runs `scripts/train.py --stack` as a process with the data scientist's rights."""
    options = training_options(training_stack, tmp_path)
    environment = training_stack.aws.environment(training_stack.data_scientist)
    script = project / "scripts/train.py"
    return lambda *arguments: as_process(script, environment, tmp_path, [*options, *arguments])


def wine() -> pd.DataFrame:
    """Return the wine data with its three cultivars as texts."""
    data = load_wine(as_frame=True)
    return data.frame.assign(target=data.target.map(dict(enumerate(data.target_names))))


@pytest.mark.slow
def test_the_main_job_trains_on_the_diabetes_data(train: Train, tmp_path: Path) -> None:
    done = train()
    assert done.code == 0, done.stderr
    for state in ("PrepareData", "TrainModel", "EvaluateModel"):
        assert f"✓ {state}" in done.stderr
    for word in ("442 in, 442 used, 0 dropped", "rmse", "promote", "model.skops"):
        assert word in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    pipeline = load_model(tmp_path / "out/model.skops")
    assert pipeline.n_features_in_ == 10


@pytest.mark.slow
@pytest.mark.parametrize(("threshold", "decision"), [("0.4", "promote"), ("1.0", "reject")])
def test_a_classification_is_decided_by_its_threshold(
    train: Train, tmp_path: Path, threshold: str, decision: str
) -> None:
    wine().to_csv(tmp_path / "wine.csv", index=False)
    done = train(
        "--data", "wine.csv", "--target", "target", "--metric", "f1_macro", "--threshold", threshold, "--json",
        "--estimator", "random_forest", "--hyperparameters", '{"max_depth": 1, "n_estimators": 3}',
    )  # fmt: skip
    assert done.code == 0, done.stderr
    result = done.document
    assert result["decision"] == decision, result["reason"]
    assert (result["problem"], result["estimator"]) == ("classification", "random_forest")
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert evaluation["metrics"] == result["metrics"]
    assert evaluation["reason"] == result["reason"]


@pytest.mark.slow
def test_every_format_gives_the_same_result(train: Train, tmp_path: Path) -> None:
    data = load_breast_cancer(as_frame=True).frame
    data.to_csv(tmp_path / "one.csv", index=False)
    data.to_csv(tmp_path / "one.csv.gz", index=False)
    data.to_parquet(tmp_path / "one.parquet", index=False)
    folder = tmp_path / "several"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    data[:100].to_csv(folder / "part-0.csv", index=False)
    data[100:300].to_parquet(folder / "part-1.parquet", index=False)
    data[300:].to_csv(folder / "part-2.csv.gz", index=False)
    results = [
        train("--data", source, "--target", "target", "--json")
        for source in ("one.csv", "one.csv.gz", "one.parquet", "several")
    ]
    assert [done.code for done in results] == [0] * 4
    assert {json.dumps(done.document["rows"]) for done in results} == {
        '{"in": 569, "used": 569, "dropped": 0, "train": 455, "test": 114, "left_out": 0}'
    }
    for done in results[1:]:
        assert done.document["metrics"] == pytest.approx(results[0].document["metrics"], rel=1e-6)


@pytest.mark.slow
def test_data_that_a_function_refuses_end_as_any_bad_input_and_leaves_what_was_there(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.json").write_text("older")
    frame = pd.DataFrame({"age": ["1", "2", "young"] * 10, "y": np.arange(30) / 7})
    frame.to_csv(tmp_path / "mixed.csv", index=False)
    done = train("--data", "mixed.csv", "--target", "y")
    assert done.code == 2
    assert done.stdout == ""
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith('error: Column "age" mixes numbers and text')
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.json"]
    assert (tmp_path / "out/model.json").read_text() == "older"


@pytest.mark.slow
def test_what_matters_of_data_and_fit_is_told_and_a_rejected_run_leaves_the_promoted_one(
    train: Train, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "gaps": rng.normal(size=200), "same": 1})
    frame["y"] = np.where(frame.a + 0.3 * frame.gaps > 0, "yes", "no")
    frame.loc[frame.index % 2 == 0, "gaps"] = None
    frame.to_csv(tmp_path / "data.csv", index=False)
    data = ["--data", "data.csv", "--target", "y", "--estimator", "logistic_regression"]
    first = train(*data, "--hyperparameters", '{"max_iter": 1}', "--json")
    assert first.code == 0, first.stderr
    document = first.document
    assert document["decision"] == "promote", document["reason"]
    assert document["dropped_columns"] == [{"name": "same", "reason": "it has one value only"}]
    assert document["missing_values"] == [{"name": "gaps", "share": 0.5}]
    assert "converge" in " ".join(document["warnings"])
    assert document["interval"]["low"] < document["value"] < document["interval"]["high"]
    assert 0.3 < document["baseline"]["value"] < 0.7
    assert document["baseline"]["improvement"] > 0

    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    second = train(*data, "--threshold", "1.1")
    assert second.code == 0, second.stderr
    assert "has the files of an earlier run, which was promoted" in second.stdout
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == before
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "evaluation.json").read_text())["decision"] == "reject"


@pytest.mark.slow
def test_a_column_of_remarks_is_searched_trained_evaluated_and_predicted_with(train: Train, tmp_path: Path) -> None:
    data = free_texts.table("classification", 300)
    data.to_csv(tmp_path / "data.csv", index=False)
    arguments = ["--data", "data.csv", "--target", "y", "--json", "--search-trials", "4", "--search-seconds", "60"]
    done = train(*arguments)
    assert done.code == 0, done.stderr
    document = done.document
    assert document["metrics"]["accuracy"] > 0.9
    assert any('"note" is read as free text' in each for each in document["read"]["told"])
    assert document["search"]["failed"] == []
    assert document["search"]["trials"] == 4
    profile = json.loads((tmp_path / "out/profile.json").read_text())
    assert {each["name"]: each["role"] for each in profile["columns"]}["note"] == "text"
    report = (tmp_path / "out/report.html").read_text()
    assert "Free texts are left out" in report
    # No text of a row is in what a run tells, nor in its model.
    texts = [text.encode() for text in data["note"].dropna()]
    for name in FILES:
        content = (tmp_path / "out" / name).read_bytes()
        assert not [text for text in texts if text in content], name
    model = Model.load(tmp_path / "out")
    predicted = model.predict(data.drop(columns="y"))["prediction"]
    assert (predicted == data["y"]).mean() > 0.9
