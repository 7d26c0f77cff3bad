"""The models command: its answers as documents and as text, and its exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest

import models
from crosstrain.command import BadInputError
from crosstrain.delivery.functions import STEPS
from crosstrain.training.models import Models, compare, lineage, list_models, list_versions, roll_back, show, verify
from crosstrain.training.stack import DeployedStack
from models import main

from .conftest import BUCKET, EXECUTIONS, TABLE, Record


def test_a_list_tells_versions_champion_and_rollbacks(registered: Models, capsys: pytest.CaptureFixture[str]) -> None:
    document = list_versions(registered, "default")
    assert [item["version"] for item in document["versions"]] == ["run-d", "run-c", "run-b", "run-a"]
    assert document["champion"] == "run-d"
    assert main(["rollback", "default", "--reason", "it [drifts]"]) == 0
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert (
        next(line for line in shown.splitlines() if line.startswith("│") and "champion" in line).split()[1] == "run-b"
    )
    assert "it [drifts]" in shown


def test_a_list_is_read_at_80_columns(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("crosstrain.command._WIDTH_OF_NO_TERMINAL", 80)
    long = {"estimator": "hist_gradient_boosting", "target": "median_house_value"}
    record("20261128T180523-bd778a8a", 0.123456, **long, dataset_uri="s3://b/data/20261128T180523-bd778a8a/houses.csv")
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for word in (
        "20261128T180523-bd778a8a",
        "champion",
        "2026-01-01 00:00:00",
        "hist_gradient_boosting",
        "79 train rows",
    ):
        assert word in shown
    for word in ("median_house_value", "houses.csv", "0.123456"):
        assert word in shown


def test_a_list_names_the_models_where_there_are_several(
    registered: Models, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("crosstrain.command._WIDTH_OF_NO_TERMINAL", 80)
    document = list_models(registered)
    assert document == {"models": [list_versions(registered, "default")]}
    record("run-x", 1.0, model_name="churn", decision="reject")
    record("20261128T180523-bd778a8a", 0.5, model_name="prices")
    assert [each["model_name"] for each in list_models(registered)["models"]] == ["churn", "default", "prices"]
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert [line.split("│")[1:3] for line in shown.splitlines() if "run-d" in line or "none" in line] == [
        [" churn   ", " none                     "],
        [" default ", " run-d                    "],
    ]
    assert "--model-name NAME" in shown
    assert main(["list", "--model-name", "churn"]) == 0
    assert "run-x" in capsys.readouterr().out


def test_a_list_reads_the_whole_table_once_and_has_models_that_wait_for_their_first_version(
    registered: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    question = {"entry": "approval#run-w", "until": until, "asked_at": until, "recorded_at": until}
    table: Any = boto3.resource("dynamodb").Table(TABLE)
    table.put_item(Item={"model_name": "waiting", **question})
    table.put_item(Item={"model_name": "forgotten", **question, "until": "2026-01-01T00:00:00+00:00"})
    client, scans = registered.registry._dynamodb, list[str]()
    paginator = client.get_paginator

    def count(name: str) -> Any:
        scans.append(name)
        return paginator(name)  # type: ignore[call-overload] # whichever it is

    monkeypatch.setattr(client, "get_paginator", count)
    listed = list_models(registered)["models"]
    assert [each["model_name"] for each in listed] == ["default", "waiting"]
    assert listed[1]["waiting"][0]["version"] == "run-w"
    assert scans.count("scan") == 1


def test_show_and_champion_tell_one_version(registered: Models, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(registered, "run-a")["champion"] is False
    assert show(registered, "run-d")["champion"] is True
    assert main(["champion", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["previous_champion"], document["value"]) == ("run-d", "run-b", 1)
    assert main(["show", "run-a"]) == 0
    assert "rmse is 3.0." in capsys.readouterr().out


def test_versions_that_were_scored_on_the_same_rows_are_compared(registered: Models) -> None:
    document = compare(registered, "run-a", "run-b")
    assert document["same_test_rows"] is True
    assert document["metrics"] == {
        "rmse": {"values": [3, 2], "difference": -1, "better": 1},
        "r2": {"values": [0.5, 0.5], "difference": 0, "better": None},
    }
    assert document["differences"] == {"parameters.alpha": [1.0, 0.5]}


@pytest.mark.parametrize(
    ("info", "fields", "same", "message"),
    [
        ({}, {"split": json.dumps({"test_part": "abcd"})}, False, "different rows (00ff, abcd)"),
        ({}, {"target": "z"}, False, "different data"),
        ({}, {"split": None, "data_fingerprint": "f2"}, False, "different data"),
        ({}, {"split": None}, None, "is unknown"),
    ],
)
def test_versions_that_were_scored_on_other_rows_are_not(
    registered: Models, record: Record, info: dict[str, Any], fields: dict[str, Any], same: bool | None, message: str
) -> None:
    record("run-e", 0.5, info=info, **fields)
    document = compare(registered, "run-a", "run-e")
    assert document["same_test_rows"] is same
    assert document["metrics"]["rmse"]["better"] is None
    assert message in document["test_rows"]


def test_metrics_of_other_classes_are_not_compared(registered: Models, record: Record) -> None:
    metrics = {"f1": Decimal("0.5"), "accuracy": Decimal("0.5")}
    record("run-e", 0.5, info={"request": {"pos_label": "yes"}}, metrics=metrics)
    record("run-f", 0.5, info={"request": {"pos_label": "no"}}, metrics=dict.fromkeys(metrics, Decimal("0.6")))
    found = compare(registered, "run-e", "run-f")["metrics"]
    assert (found["f1"]["better"], found["accuracy"]["better"]) == (None, 1)


def test_a_metric_that_one_version_does_not_have_is_undefined(
    registered: Models, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record("run-e", 0.5, metrics={"rmse": Decimal("0.5"), "r2": None})
    assert compare(registered, "run-a", "run-e")["metrics"]["r2"]["difference"] is None
    assert main(["compare", "run-a", "run-e"]) == 0
    assert "undefined" in capsys.readouterr().out


def test_files_that_are_not_those_that_were_recorded_are_found(
    registered: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    document = verify(registered, "default")
    states = {(each["version"], each["file"]): each["state"] for each in document["files"]}
    assert states["run-a", "model"] == "as recorded"
    assert states["run-a", "info"] == "not recorded"
    registered.s3.put_object(Bucket=BUCKET, Key="runs/run-a/model/model.skops", Body=b"other")
    registered.s3.delete_object(Bucket=BUCKET, Key="runs/run-b/model/model.skops")
    states = {(each["version"], each["file"]): each["state"] for each in verify(registered, "default")["files"]}
    assert (states["run-a", "model"], states["run-b", "model"]) == ("other", "gone")
    assert main(["verify"]) == 1
    told = capsys.readouterr()
    assert "model.skops" in told.out
    assert "are not as recorded" in told.out
    assert "not those that were recorded" in told.err
    with pytest.raises(BadInputError, match="is not the one that was recorded"):
        roll_back(registered, "default", to="run-a")


@pytest.mark.slow
def test_rollbacks_go_back_one_after_another(registered: Models, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = roll_back(registered, "default", reason="worse in use")
    assert (recorded["from_version"], recorded["to_version"]) == ("run-d", "run-b")
    assert recorded["execution"].startswith(f"{EXECUTIONS}:")
    assert roll_back(registered, "default")["to_version"] == "run-a"
    assert main(["rollback", "default"]) == 2
    assert "knows no champion" in capsys.readouterr().err
    assert roll_back(registered, "default", to="run-d")["from_version"] == "run-a"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["default", "--to", "run-x"], 'There is no version "run-x" of "default". Did you mean'),
        (["default", "--to", "run-c"], "run-c was never promoted, so it cannot be the champion: rmse is 2.5."),
        (["default", "--to", "run-d"], 'run-d is the champion of "default" already.'),
        (["defautl"], 'There is no model "defautl". Did you mean "default"?'),
    ],
)
def test_a_rollback_that_cannot_be_is_refused(
    registered: Models, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = list_versions(registered, "default")
    assert main(["rollback", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert list_versions(registered, "default") == before


def test_a_version_without_its_model_file_cannot_be_rolled_back_to(registered: Models) -> None:
    registered.s3.delete_object(Bucket=BUCKET, Key="runs/run-b/model/model.skops")
    # A file whose name only begins like it.
    registered.s3.put_object(Bucket=BUCKET, Key="runs/run-b/model/model.skops.bak")
    with pytest.raises(BadInputError, match="The model file of run-b is gone"):
        roll_back(registered, "default")


def test_a_champion_that_somebody_else_moves_meanwhile_stays(
    registered: Models, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has_file = Models.has_file

    def moved_meanwhile(self: Models, uri: str) -> bool:
        record("run-e", 0.1)
        return has_file(self, uri)

    monkeypatch.setattr(Models, "has_file", moved_meanwhile)
    assert main(["rollback", "default"]) == 1
    assert capsys.readouterr().err == "error: Somebody else has moved the champion.\n"
    document = list_versions(registered, "default")
    assert (document["champion"], document["rollbacks"]) == ("run-e", [])


def test_rollbacks_of_earlier_versions_are_shown_by_who_claimed_to_make_them(
    registered: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = {
        "model_name": "default", "entry": "rollback#2025-01-01T00:00:00.000Z-1", "from_version": "run-b", "move": 1,
        "to_version": "run-a", "recorded_at": "2025-01-01T00:00:00.000Z", "by": "arn:aws:iam::1:user/ann", "reason": "",
    }  # fmt: skip
    boto3.resource("dynamodb").Table(TABLE).put_item(Item=earlier)
    executed = roll_back(registered, "default")["execution"]
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "arn:aws:iam::1:user/ann" in shown
    assert executed in shown
    assert main(["list", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["models"]
    assert [each.get("by") for each in document["rollbacks"]] == [None, earlier["by"]]


def test_a_stack_without_the_state_machine_says_so_before_anything_is_read(
    stack: DeployedStack, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record("run-a", 3.0)
    older = DeployedStack("older", {"ModelRegistryTableName": TABLE}, stack.session)
    monkeypatch.setattr(models, "find_stack", lambda _: older)
    assert main(["list"]) == 0
    capsys.readouterr()
    assert main(["rollback", "default"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert 'The stack "older" has no output RollbackStateMachineArn: it is no training stack, or one of an older' in err


@pytest.mark.slow
def test_a_lineage_leads_from_the_data_to_the_decision(registered: Models, capsys: pytest.CaptureFixture[str]) -> None:
    document = lineage(registered, "run-b")
    assert not [name for name, link in document["links"].items() if link["missing"]]
    values = {name: link["value"] for name, link in document["links"].items()}
    assert values["source_files"] == [{"name": "houses.csv", "bytes": 10, "sha256": "f0"}]
    assert values["image_digest_of_data_preparation"] == "sha256:data_"
    assert (values["code_commit"], values["release"]) == ("abc", "2026-01-01.1")
    assert values["model_class"] == "sklearn.linear_model._ridge.Ridge"
    assert values["compared_with"] == "run-a"
    assert document["contradictions"] == []
    assert main(["lineage", "run-b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_a_lineage_says_which_link_is_missing_and_why(
    registered: Models, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record("run-e", 0.5, release="unreleased", commit="unknown", image_digests={}, profile_uri=f"s3://{BUCKET}/gone")
    registered.s3.delete_object(Bucket=BUCKET, Key="runs/run-e/model/model.skops")
    missing = {name: link["missing"] for name, link in lineage(registered, "run-e")["links"].items() if link["missing"]}
    assert missing == {
        "source_files": f"s3://{BUCKET}/gone is gone or may not be read",
        "code_commit": "the stack was deployed without one",
        **{f"image_digest_of_{name}": "the image was not deployed by digest" for name in STEPS},
        "release": "the stack was deployed without one",
        "model_file": f"s3://{BUCKET}/runs/run-e/model/model.skops is gone",
    }
    assert main(["lineage", "run-e"]) == 0
    assert "missing (the image was not deployed by digest)" in capsys.readouterr().out


def test_a_lineage_says_what_was_changed_afterwards(registered: Models, record: Record) -> None:
    record("run-e", 0.5, info={"data_fingerprint": "f9", "image_digest": "sha256:other"})
    assert lineage(registered, "run-e")["contradictions"] == [
        "data fingerprint: the registry says f1, model.json says f9",
        "image digest of model_training: the registry says sha256:model, model.json says sha256:other",
    ]


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("arguments", [["list"], ["champion"], ["show", "x"], ["lineage", "x"], ["rollback", "m"]])
def test_an_empty_registry_is_told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert "The registry holds no model yet: train one first." in capsys.readouterr().err
