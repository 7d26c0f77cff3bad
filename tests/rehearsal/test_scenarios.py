"""What becomes of a delivery in each case that its users meet, in three accounts, without images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crosstrain.local.server import root_of
from crosstrain.rehearsal.report.records import RehearsalRecord, State

from .conftest import Delivery, OpenDelivery, Team, failed, states

STAGES = ("test", "prod")
TAKEN = """
  TakenBucket:
    Type: AWS::S3::Bucket
    Condition: IsProduction
    Properties: { BucketName: !Sub "crosstrain-${Stage}-taken" }
"""


@pytest.fixture
def fork(team: Team, tmp_path: Path) -> Team:
    return team.fork(tmp_path)


def test_all_green(first: tuple[Delivery, RehearsalRecord]) -> None:
    delivery, record = first
    assert record.failed is None, record.failed
    assert {action.state for action in record.actions} == {State.SUCCEEDED}
    assert list(dict.fromkeys(action.stage for action in record.actions)) == [
        "Source", "UpdatePipeline", "Verify", "Build", "Test", "Production",
    ]  # fmt: skip
    release = f"{record.model_commit[:12]}-{record.infrastructure_commit[:12]}"
    for stage in STAGES:
        assert delivery.item(f"STAGE#{stage}")["release"] == release
        assert delivery.stack(stage)["Release"] == release
        assert delivery.stack(stage)["status"] == "CREATE_COMPLETE"
    # Both stages run the same digests.
    uris = [name for name in delivery.stack("test") if name.endswith("ImageUri")]
    assert len(uris) == 3
    assert all("@sha256:" in delivery.stack("test")[name] for name in uris)
    assert [delivery.stack("test")[name] for name in uris] == [delivery.stack("prod")[name] for name in uris]
    assert record.calls > 20
    assert record.simulations > 200
    assert record.not_rehearsed
    assert record.actions[0].log is not None
    assert record.actions[0].log.is_file()


def test_a_failing_unit_test_stops_at_verify_and_nothing_is_deployed(delivery: Delivery, fork: Team) -> None:
    before = [delivery.stack(stage) for stage in STAGES]
    fails = "def test_that_fails():\n    assert 1 + 1 == 3\n"
    commit = fork.commit(fork.infrastructure, {"tests/unit/delivery/test_new.py": lambda _: fails})

    record = delivery.release(fork)

    assert failed(record) == "Verify/Verify"
    assert "test_that_fails" in str(record.failed and record.failed.cause)
    for stage in ("Build", "Test", "Production"):
        assert set(states(record, stage)) == {"not run"}
    assert [delivery.stack(stage) for stage in STAGES] == before
    assert not delivery.item(f"RELEASE#{record.model_commit[:12]}-{commit[:12]}")


def test_a_system_test_below_its_threshold_leaves_production_untouched(delivery: Delivery, fork: Team) -> None:
    before, release = delivery.stack("prod"), delivery.item("STAGE#prod")["release"]
    stage_before = delivery.item("STAGE#test")["release"]

    def unreachable(text: str) -> str:
        document = json.loads(text)
        document["request"]["threshold"] = 1
        return json.dumps(document)

    fork.commit(fork.infrastructure, {"data/system-test.json": unreachable})
    record = delivery.release(fork)

    assert failed(record) == "Test/SystemTest"
    assert "rmse is 59.1" in str(record.failed and record.failed.cause)
    assert set(states(record, "Production")) == {"not run"}
    assert delivery.stack("prod") == before
    assert delivery.item("STAGE#prod")["release"] == release
    # The stage is rolled back to the execution that succeeded before, images, template and ledger alike.
    rollback = next(action for action in record.actions if action.name == "Rollback")
    assert rollback.state is State.SUCCEEDED, rollback.cause
    assert delivery.stack("test")["Release"] == stage_before
    assert delivery.item("STAGE#test")["release"] == stage_before


def test_a_rejected_approval_leaves_production_untouched(delivery: Delivery, fork: Team) -> None:
    before, release = delivery.stack("prod"), delivery.item("STAGE#prod")["release"]
    fork.commit(fork.model, {"functions/model_training/training.py": lambda text: text + "\n# Rejected.\n"})

    record = delivery.release(fork, approve=False)

    assert failed(record) == "Production/Approve"
    assert states(record, "Production")[:4] == ["succeeded", "failed", "not run", "not run"]
    assert delivery.stack("prod") == before
    assert delivery.item("STAGE#prod")["release"] == release


def test_a_change_set_that_fails_in_production_is_rolled_back_and_the_ledger_keeps_the_old_release(
    delivery: Delivery, fork: Team
) -> None:
    release = delivery.item("STAGE#prod")["release"]
    # Somebody has a bucket of this name already.
    delivery.environment.aws.client("s3", root_of("000000000099")).create_bucket(Bucket="crosstrain-prod-taken")

    def break_production(text: str) -> str:
        text = text.replace("\nConditions:\n", '\nConditions:\n  IsProduction: !Equals [!Ref Stage, "prod"]\n', 1)
        return text.replace("\nResources:\n", f"\nResources:{TAKEN}", 1)

    fork.commit(fork.infrastructure, {"template.yaml": break_production})
    record = delivery.release(fork)

    assert set(states(record, "Test")) == {"succeeded"}
    assert failed(record) == "Production/ExecuteChangeSet"
    assert "UPDATE_ROLLBACK_COMPLETE" in str(record.failed and record.failed.cause)
    assert "TakenBucket" in str(record.failed and record.failed.cause)
    assert delivery.stack("prod")["Release"] == release
    assert delivery.item("STAGE#prod")["release"] == release
    rollback = next(action for action in record.actions if action.name == "Rollback")
    assert rollback.state is State.SUCCEEDED, rollback.cause


def test_a_commit_to_the_model_alone_rebuilds_one_image_and_a_rollback_by_digest_brings_the_first_release_back(
    delivery: Delivery, fork: Team, tmp_path: Path
) -> None:
    before = delivery.stack("prod")
    fork.commit(fork.model, {"functions/model_training/training.py": lambda text: text + "\n# Better.\n"})

    record = delivery.release(fork)

    assert record.failed is None, record.failed
    (build,) = [action for action in record.actions if action.stage == "Build"]
    assert "images built: model_training; used again: 2" in build.details
    after = delivery.stack("prod")
    changed = {name for name in before if name.endswith("ImageUri") and before[name] != after[name]}
    assert changed == {"ModelTrainingImageUri"}
    assert delivery.item("STAGE#prod")["previous"] == before["Release"]

    roll_back(delivery, fork, tmp_path)
    assert delivery.item("STAGE#prod")["release"] == before["Release"]
    assert {name: value for name, value in delivery.stack("prod").items() if name != "status"} == {
        name: value for name, value in before.items() if name != "status"
    }


def roll_back(delivery: Delivery, team: Team, folder: Path) -> None:
    """Run scripts/rollback.py as somebody who has both accounts, with the template that the stage has."""
    cloudformation = delivery.client("cloudformation", "prod")
    template = cloudformation.get_template(StackName="crosstrain-prod", TemplateStage="Original")["TemplateBody"]
    path = folder / "deployed" / "template.json"
    path.parent.mkdir()
    path.write_text(template if isinstance(template, str) else json.dumps(template))
    root, aws = root_of(delivery.environment.accounts.prod), delivery.environment.aws
    config = folder / "aws-config"
    config.write_text(
        f"[profile production]\nregion = us-east-1\naws_access_key_id = {root.access_key_id}\n"
        f"aws_secret_access_key = {root.secret_access_key}\n"
    )
    environment = {
        **aws.environment(root_of(delivery.environment.accounts.tools)),
        "AWS_CONFIG_FILE": str(config),
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.1",
    }
    options: dict[str, Any] = {
        "ledger": delivery.environment.outputs["LedgerTableName"],
        "template": path,
        "base": team.infrastructure / "config" / "prod.json",
        "sam-config": team.infrastructure / "samconfig.toml",
        "stack": "crosstrain-prod",
        "profile": "production",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    script = team.infrastructure / "scripts" / "rollback.py"
    done = subprocess.run(
        [sys.executable, str(script), "prod", "--execute", *words],
        check=False, capture_output=True, text=True, env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_infrastructure_release_rebuilds_no_image_updates_the_stacks_and_the_pipeline_itself(
    delivery: Delivery, fork: Team
) -> None:
    before, executions = delivery.stack("prod"), len(delivery.environment.executions)
    commit = fork.commit(
        fork.infrastructure,
        {
            "template.yaml": lambda text: text.replace("Tells people that a model", "Says that a model"),
            "pipeline.yaml": lambda text: text.replace("have passed the", "have both passed the"),
        },
    )

    record = delivery.release(fork)

    assert record.failed is None, record.failed
    # It updates itself first, and begins again as it is then.
    assert len(delivery.environment.executions) == executions + 2
    assert delivery.environment.executions[0]["pipelineExecutionId"] == record.execution_id
    approve = next(action for action in record.actions if action.name == "Approve")
    assert approve.log is not None
    assert "have both passed" in approve.log.read_text()
    (build,) = [action for action in record.actions if action.stage == "Build"]
    assert "images built: none; used again: 3" in build.details
    for stage in STAGES:
        assert delivery.stack(stage)["Release"].endswith(commit[:12])
        uris = {name: uri for name, uri in delivery.stack(stage).items() if name.endswith("ImageUri")}
        assert uris == {name: before[name] for name in uris}
        descriptions = [rule.get("Description", "") for rule in delivery.client("events", stage).list_rules()["Rules"]]
        assert any(each.startswith("Says that a model") for each in descriptions)


def test_all_three_accounts_may_be_one(open_delivery: OpenDelivery, team: Team) -> None:
    delivery = open_delivery("000000000007")

    record = delivery.release(team)

    assert record.failed is None, record.failed
    assert record.accounts == {"tools": "000000000007", "test": "000000000007", "prod": "000000000007"}
    for stage in STAGES:
        assert delivery.stack(stage)["status"] == "CREATE_COMPLETE"
        assert delivery.item(f"STAGE#{stage}")["release"] == delivery.stack(stage)["Release"]
    assert "000000000007" in os.fspath(delivery.stack("test")["ModelTrainingImageUri"])
