"""The commands for challengers: what they ask for, what they refuse before that, and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest

from crosstrain.training import models as answers
from crosstrain.training.models import Models
from models import main

from .conftest import BUCKET, TABLE

CHAMPION = "run-d"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what is asked of the state machine; `tests/statemachine` and `tests/integration` have the real one."""
    found: list[dict[str, Any]] = []

    def move(_: Any, __: str, pointer: Any, action: str, version: str, **fields: Any) -> dict[str, Any]:
        found.append({"action": action, "version": version, **fields})
        of_share = {"challenger_share": fields["share"]} if "share" in fields else {"shadow": fields.get("shadow")}
        names = {"champion_version": pointer["champion_version"], "challenger_version": version}
        return {"model_name": "default", "action": action, **names, **of_share}

    monkeypatch.setattr(answers, "move_challenger", move)
    return found


def challenge(version: str, **fields: Any) -> None:
    """Let the pointer hold a challenger."""
    table: Any = boto3.resource("dynamodb").Table(TABLE)
    item = table.get_item(Key={"model_name": "default", "entry": "champion"})["Item"]
    trial = {"challenger_version": version, "challenger_since": "2026-02-02", "challenger_entry": "canary#1"}
    table.put_item(Item={**item, **trial, **fields})


def test_a_version_is_tried_promoted_and_stopped(
    registered: Models, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert registered
    assert main(["promote", "default", "run-a", "--share", "10", "--reason", "to see"]) == 0
    assert capsys.readouterr().out.startswith(
        "run-a is the challenger of default, and answers 10 % of the rows of run-d."
    )
    assert main(["promote", "default", "run-c", "--shadow"]) == 0
    challenge("run-a", challenger_share=10)
    assert main(["promote", "default", "run-a", "--share", "20"]) == 0
    assert main(["promote", "default", "run-a"]) == 0
    assert main(["stop-canary", "default", "--reason", "worse"]) == 0
    assert asked == [
        {"action": "begin", "version": "run-a", "reason": "to see", "share": 10},
        {"action": "begin", "version": "run-c", "reason": "", "shadow": True},
        {"action": "change", "version": "run-a", "reason": "", "share": 20},
        {"action": "promote", "version": "run-a", "reason": ""},
        {"action": "end", "version": "run-a", "reason": "worse"},
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (["run-a", "--share", share], f"--share is {share}, and has to be from 1 to 99 per cent.")
            for share in ("0", "100", "-1")
        ),
        (["run-x", "--share", "10"], 'There is no version "run-x" of "default". Did you mean'),
        (["run-d", "--share", "10"], 'run-d is the champion of "default" already.'),
        (["run-c", "--share", "10"], "run-c was rejected, so it can be tried with --shadow alone"),
        (["run-a"], 'run-a is not the challenger of "default": try it with --share or --shadow first'),
    ],
)
def test_a_trial_that_cannot_be_is_refused(
    registered: Models,
    asked: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert registered
    assert main(["promote", "default", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), asked) == ("", 1, [])
    assert message in err


@pytest.mark.parametrize("words", [["--share", "10.5"], ["--share", "NaN"], ["--share", "10", "--shadow"]])
def test_what_is_no_share_is_refused_by_the_command(registered: Models, words: list[str]) -> None:
    assert registered
    with pytest.raises(SystemExit) as refused:
        main(["promote", "default", "run-a", *words])
    assert refused.value.code == 2


def test_a_version_without_its_model_file_is_not_tried(
    registered: Models, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    registered.s3.delete_object(Bucket=BUCKET, Key="runs/run-a/model/model.skops")
    assert main(["promote", "default", "run-a", "--shadow"]) == 2
    assert "The model file of run-a is gone" in capsys.readouterr().err
    assert not asked


def test_another_challenger_is_named(
    registered: Models, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert registered
    challenge("run-b", shadow=True)
    assert main(["promote", "default", "run-a", "--share", "10"]) == 2
    assert 'run-b is the challenger of "default"' in capsys.readouterr().err
    assert not asked


def test_without_a_challenger_nothing_is_stopped(
    registered: Models, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert registered
    assert main(["stop-canary", "default"]) == 2
    assert '"default" has no challenger.' in capsys.readouterr().err
    assert not asked


def test_a_challenger_is_shown_wherever_the_champion_is(
    registered: Models, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    challenge("run-a", challenger_share=10)
    trial = {"version": "run-a", "since": "2026-02-02", "share": 10, "shadow": False}
    assert answers.list_versions(registered, "default")["challenger"] == trial
    assert answers.show(registered, "run-a")["challenger"] == trial
    assert "challenger" not in answers.show(registered, "run-b")
    assert answers.champion(registered, "default")["challenger"] == trial
    assert main(["list", "--model-name", "default"]) == 0
    assert "challenger, 10 %" in capsys.readouterr().out
    page = tmp_path / "models.html"
    assert main(["page", "--output", str(page), "--reports", str(tmp_path)]) == 0
    assert "run-a, answers 10 % of the rows" in page.read_text(encoding="utf-8")
