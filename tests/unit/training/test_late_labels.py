"""Labels that come late, on this machine: the code of the stack's function, and refusals before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import feedback
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.late_labels import _invoke

EVALUATION = {
    "run_id": "run-1", "weight_column": None, "quantile": 0.5, "rows": 120, "problem": "regression", "metric": "rmse",
    "pos_label": None, "value": 1.0, "interval": {"value": 1.0, "low": 0.9, "high": 1.1, "deviation": 0.05},
}  # fmt: skip
TARGET = {"name": "price", "use": "target", "kind": "float", "role": "numeric"}
PROFILE = {"problem": "regression", "columns": [TARGET], "read": {"options": {"separator": ";", "decimal": ","}}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a model's results, labels as training has them, and predictions of predict.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CROSSTRAIN_STACK", raising=False)
    model = tmp_path / "model"
    model.mkdir()
    (model / "profile.json").write_text(json.dumps(PROFILE))
    (model / "evaluation.json").write_text(json.dumps(EVALUATION))
    random = np.random.default_rng(0)
    ids, predicted = [f"{number:03}" for number in range(200)], random.normal(100, 9, 200).round(3)
    pd.DataFrame({"id": ids, "prediction": predicted}).to_csv("scored.csv", index=False)
    truths = pd.DataFrame({"id": ids[:150], "price": (predicted + random.normal(0, 2, 200)).round(3)[:150]})
    truths.to_csv("labels.csv", index=False, sep=";", decimal=",")
    return tmp_path


def run(*arguments: str) -> int:
    return feedback.main(["--labels", "labels.csv", "--key", "id", *arguments])


@pytest.mark.usefixtures("folder")
def test_it_says_whether_the_metric_has_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--scores", "scored.csv", "--from", "model") == 0
    told = capsys.readouterr().out
    assert told.startswith("Dropped: rmse is ")
    assert "predictions without a label: 50" in told
    document = json.loads(Path("out/feedback.json").read_text())
    assert (document["rows"], document["unmatched"], document["dropped"], document["version"]) == (
        150,
        50,
        True,
        "run-1",
    )
    page = Path("out/feedback.html").read_text()
    assert "<title>Dropped:" in page
    assert "Not compared" not in page


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--from", "model"), "name them by --scores"),
        (("--from", "model", "--scores", "scored.csv", "--stack", "s"), "--stack is of a stack"),
        (("--from", "nothing", "--scores", "scored.csv"), "profile.json"),
        (("--from", "model", "--scores", "nothing.csv"), "nothing.csv"),
        (("--from", "model", "--scores", "scored.csv", "--target", "prise"), 'Did you mean "price"'),
        (("--from", "model", "--scores", "scored.csv", "--out", "labels.csv"), "no folder"),
        (("--scores", "scored.csv"), "No stack is named"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert reason in capsys.readouterr().err
    assert not Path("out").exists()


class Lambda:
    """A client whose function fails."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def invoke(self, **_: Any) -> dict[str, Any]:
        """Answer as Lambda does."""
        document = {"errorType": self._kind, "errorMessage": "Why."}
        return {"FunctionError": "Unhandled", "Payload": type("Body", (), {"read": lambda _: json.dumps(document)})()}


def test_what_the_function_refuses_is_the_users_and_other_failures_are_not() -> None:
    with pytest.raises(BadInputError, match=r"^Why\.$"):
        _invoke(Lambda("InvalidDatasetError"), "f", {})
    with pytest.raises(OperationFailedError, match="has failed with KeyError"):
        _invoke(Lambda("KeyError"), "f", {})
