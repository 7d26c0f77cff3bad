"""The export for MLflow: what is written, that the registry vouches for it, and that nothing is overwritten.

`tests/integration/test_mlflow.py` loads what was written, by MLflow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from common.storage import digest_of
from crosstrain.training.prediction import Model
from crosstrain.training.pyfunc import _load_pyfunc
from crosstrain.training.stack import DeployedStack
from models import main

from .conftest import BUCKET, Record

ROWS = 120
VERSIONS = {"numpy": "2.4.6", "pandas": "3.1.1", "pyarrow": "26.0.1", "scikit-learn": "1.9.1", "skops": "0.16.0"}
PARAMETERS = {"alpha": 1.0, "solver": "auto", "nested": {"a": [1, 2]}, "long": "x" * 7000}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Return rows with a column for each of MLflow's types."""
    random = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "amount": random.normal(10, 3, ROWS),
            "whole": random.integers(0, 300, ROWS),
            "gaps": pd.array(random.integers(0, 300, ROWS), dtype="Int64"),
            "kind": random.choice(["x", "y"], ROWS),
            "flag": random.choice([True, False], ROWS),
            "when": pd.date_range("2024-01-01", periods=ROWS, freq="h"),
        }
    )
    data.loc[:5, "gaps"] = None
    return data.assign(y=data["amount"] + 5 * (data["kind"] == "x"))


@pytest.fixture
def trained(record: Record, train_on: Callable[..., Any], frame: pd.DataFrame) -> Path:
    """Return the folder of a model that the registry knows as champion of "default", after another one."""
    _, folder = train_on(frame, "regression")
    model = {**json.loads((folder / "model.json").read_text()), "versions": VERSIONS, "parameters": PARAMETERS}
    (folder / "model.json").write_text(json.dumps(model))
    evaluation = {**json.loads((folder / "evaluation.json").read_text()), "interval": {"low": 0.9, "high": 1.1}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "report.html").write_text("<p>report")
    names = {"model": "model.skops", "info": "model.json", "profile": "profile.json"}
    names |= {"evaluation": "evaluation.json", "report": "report.html"}
    files = {kind: (folder / name).read_bytes() for kind, name in names.items()}
    record("run-0", 2.0, files={**files, "info": b"{}"})
    record("run-1", 1.0, files=files, reason="rmse is 1.\nIt's <b>better</b>.")
    return folder


def entries(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_file_is_the_one_that_was_recorded_and_its_folder_predicts(
    trained: Path, tmp_path: Path, frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "below" / "exported"
    assert main(["export", "--mlflow", str(target)]) == 0
    model = target / "artifacts/model"
    shown = capsys.readouterr().out
    assert f"mlflow.pyfunc.load_model('{model}')" in shown
    assert "run-1 of default (promoted)" in shown
    described = yaml.safe_load((model / "MLmodel").read_text())
    assert (
        described["metadata"]["sha256"] == digest_of(model / "data/model.skops") == digest_of(trained / "model.skops")
    )
    loaded = _load_pyfunc(str(model / described["flavors"]["python_function"]["data"]))
    expected = Model.load(trained).predict(frame.drop(columns="y"))
    pd.testing.assert_frame_equal(loaded.predict(frame.drop(columns="y")), expected)
    # Beside it is nothing, no draft least of all.
    assert [path.name for path in target.parent.iterdir()] == ["exported"]
    assert sorted(path.name for path in target.iterdir()) == ["artifacts", "mlruns"]
    assert not [path for path in target.rglob("*") if path.suffix in (".pkl", ".pickle", ".pyc")]


@pytest.mark.usefixtures("trained")
def test_the_signature_and_its_example_are_of_the_profile(tmp_path: Path, frame: pd.DataFrame) -> None:
    assert main(["export", "--mlflow", str(tmp_path / "exported")]) == 0
    model = tmp_path / "exported/artifacts/model"
    described = yaml.safe_load((model / "MLmodel").read_text())
    inputs, outputs = (json.loads(described["signature"][name]) for name in ("inputs", "outputs"))
    types = {"amount": "double", "whole": "long", "gaps": "double", "kind": "string", "flag": "boolean"}
    assert {each["name"]: each["type"] for each in inputs} == types | {"when": "datetime"}
    assert [each["name"] for each in outputs] == ["prediction"]
    example = json.loads((model / "input_example.json").read_text())
    row = dict(zip(example["columns"], example["data"][0], strict=True))
    assert row["amount"] == pytest.approx(frame["amount"].mean())
    assert row["whole"] == round(frame["whole"].mean())
    assert row["kind"] == frame["kind"].mode()[0]
    assert row["when"] == "2024-01-01T00:00:00"
    requirements = (model / "requirements.txt").read_text().splitlines()
    assert {"scikit-learn==1.9.1", "skops==0.16.0", "pyarrow", "scipy"} <= set(requirements)


@pytest.mark.usefixtures("trained")
def test_the_run_tells_what_the_registry_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--mlflow", str(tmp_path / "exported"), "default@run-1", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    run = tmp_path / "exported/mlruns/1" / run_id
    meta = yaml.safe_load((run / "meta.yaml").read_text())
    assert meta["artifact_uri"] == (tmp_path / "exported/artifacts").as_uri()
    at = meta["end_time"]
    metrics = entries(run / "metrics")
    assert metrics["rmse"] == f"{at} 1.0 0\n"
    assert (metrics["rmse_low"], metrics["rmse_high"]) == (f"{at} 0.9 0\n", f"{at} 1.1 0\n")
    assert metrics["rows_train"] == f"{at} 79.0 0\n"
    parameters = entries(run / "params")
    assert parameters.keys() == PARAMETERS.keys()
    assert (parameters["alpha"], parameters["nested"], len(parameters["long"])) == ("1.0", '{"a": [1, 2]}', 6000)
    tags = entries(run / "tags")
    assert (tags["version"], tags["decision"], tags["champion"]) == ("run-1", "promote", "true")
    assert (tags["data_fingerprint"], tags["release"]) == ("f1", "2026-01-01.1")
    assert tags["reason"] == "rmse is 1.\nIt's <b>better</b>."


@pytest.mark.usefixtures("trained")
def test_an_earlier_version_is_found_by_its_id_and_has_the_same_run_id_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = set()
    for folder, model in (("one", "@run-0"), ("two", "default@run-0")):
        (tmp_path / folder).mkdir()
        assert main(["export", "--mlflow", str(tmp_path / folder), model, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["version"] == "run-0"
        ids.add(document["run_id"])
        assert entries(tmp_path / folder / "mlruns/1" / document["run_id"] / "tags")["champion"] == "false"
    assert len(ids) == 1


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("default@run-9", 'There is no version "run-9" of "default". Did you mean "run-1" or "run-0"?'),
        ("defautl", 'There is no model "defautl". Did you mean "default"?'),
    ],
)
def test_what_is_unknown_is_refused_in_one_sentence(
    tmp_path: Path, model: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--mlflow", str(tmp_path / "exported"), model]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (tmp_path / "exported").exists()


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("kind", ["a file", "a folder", "a dangling link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "exported"
    if kind == "a folder":
        target.mkdir()
        (target / "mine").write_text("kept")
    elif kind == "a file":
        target.write_text("kept")
    else:
        target.symlink_to(tmp_path / "nowhere")
    assert main(["export", "--mlflow", str(target)]) == 2
    assert "is there already, and nothing is overwritten: name a new or an empty folder." in capsys.readouterr().err
    if kind == "a folder":
        assert entries(target) == {"mine": "kept"}


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("name", ["model", "info", "report"])
def test_a_file_that_is_not_the_recorded_one_is_not_exported(
    stack: DeployedStack, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.session.client("s3").put_object(Bucket=BUCKET, Key=f"runs/run-1/{name}", Body=b"other")
    assert main(["export", "--mlflow", str(tmp_path / "exported")]) == 1
    assert "The version run-1 cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()


def test_a_name_that_leads_out_of_the_store_is_refused(
    trained: Path, record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"model": "model.skops", "info": "model.json", "profile": "profile.json", "evaluation": "evaluation.json"}
    files = {kind: (trained / name).read_bytes() for kind, name in names.items()}
    record("run-2", 0.5, files={**files, "report": b""}, metrics={"../../../escaped": 1})
    assert main(["export", "--mlflow", str(tmp_path / "exported")]) == 1
    assert '"../../../escaped", a name that MLflow cannot keep' in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*escaped*")] == []
    assert not (tmp_path / "exported").exists()
