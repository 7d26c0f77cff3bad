"""What becomes of a delivery in each case that its users meet, in three accounts, without images."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.local.server import root_of
from crosstrain.rehearsal.report.records import State
from deliveries import Delivery, FirstRelease, Team, cause, failed, states

STAGES = ("test", "prod")
# What Python imports by itself, wherever it finds them on its path.
SITE_MODULES = ("sitecustomize", "usercustomize")
# What a model repository adds to modules that must not run where a release is made; the linter has nothing against it.
MARK = """
BUILD = __import__("os").environ.get("CODEBUILD_BUILD_ARN", "").rpartition("/")[2]
if BUILD.startswith(("crosstrain-images:", "crosstrain-release:")):
    __import__("pathlib").Path("/").joinpath("{path}").touch()
"""


def test_all_green(first: FirstRelease, project: Path) -> None:
    record = first.record
    assert {action.state for action in record.actions} == {State.SUCCEEDED}
    assert list(dict.fromkeys(action.stage for action in record.actions)) == [
        "Source", "UpdatePipeline", "Verify", "Build", "Test", "Approval", "Production",
    ]  # fmt: skip
    release = f"{record.model_commit[:12]}-{record.infrastructure_commit[:12]}"
    for stage in STAGES:
        assert first.items[stage]["release"] == release
        assert first.stacks[stage]["Release"] == release
        assert first.stacks[stage]["status"] == "CREATE_COMPLETE"
    # Both stages run the same digests.
    test, prod = ({name: uri for name, uri in first.stacks[stage].items() if "ImageUri" in name} for stage in STAGES)
    assert len(test) == len(FUNCTIONS)
    assert all("@sha256:" in uri for uri in test.values())
    assert test == prod
    # What the builds' own commands say of themselves.
    details = {f"{action.stage}/{action.name}": action.details for action in record.actions}
    assert details["Build/Images"] == [f"images built: {', '.join(FUNCTIONS)}; used again: 0"]
    assert details["Build/Release"] == [f"release {release}"]
    threshold = json.loads((project / "data" / "system-test.json").read_text())["request"]["threshold"]
    (result,) = details["Test/SystemTest"]
    assert re.fullmatch(rf"rmse 54\.8\d* \(threshold {threshold:g}\)", result)
    assert details["Production/SmokeRun"] == [result]
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
    assert "test_that_fails" in cause(record)
    for stage in ("Build", "Test", "Production"):
        assert set(states(record, stage)) == {"not run"}
    assert [delivery.stack(stage) for stage in STAGES] == before
    assert not delivery.item(f"RELEASE#{record.model_commit[:12]}-{commit[:12]}")


def new_description(template: Any) -> None:
    template["Description"] = "Something new."


def other_release(configuration: Any) -> None:
    configuration["Parameters"]["Release"] = "other"


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
    assert "rmse is 54.8" in cause(record)
    assert set(states(record, "Production")) == {"not run"}
    assert delivery.stack("prod") == before
    assert delivery.item("STAGE#prod")["release"] == release
    # The stage is rolled back to the execution that succeeded before, images, template and ledger alike.
    rollback = next(action for action in record.actions if action.name == "Rollback")
    assert rollback.state is State.SUCCEEDED, rollback.cause
    assert delivery.stack("test")["Release"] == stage_before
    assert delivery.item("STAGE#test")["release"] == stage_before


def test_a_rejected_approval_leaves_production_untouched(delivery: Delivery, team: Team) -> None:
    before, release = delivery.stack("prod"), delivery.item("STAGE#prod")["release"]
    changes = {"packaged.yaml": new_description, "parameters-prod.json": other_release}
    artifacts = delivery.changed_artifact("Approval", "Release", changes)

    record = delivery.repeat(team, "Approval", approve=False, artifacts=artifacts)

    assert failed(record) == "Approval/Approve"
    # Nothing is rolled back, for nothing has changed.
    (stage,) = (each for each in delivery.declaration.stages if each.name == "Approval")
    assert not stage.rolls_back
    assert record.actions[0].details != ["no change"]
    assert delivery.stack("prod") == before
    assert delivery.item("STAGE#prod")["release"] == release


def test_a_change_set_that_fails_in_production_is_rolled_back_and_the_ledger_keeps_the_old_release(
    delivery: Delivery, team: Team
) -> None:
    before, release = delivery.stack("prod"), delivery.item("STAGE#prod")["release"]
    # Somebody has a bucket of this name already.
    delivery.environment.aws.client("s3", root_of("000000000099")).create_bucket(Bucket="crosstrain-prod-taken")

    def take_the_name(template: Any) -> None:
        bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": {"Fn::Sub": "crosstrain-${Stage}-taken"}}}
        template["Resources"]["TakenBucket"] = bucket

    changes = {"packaged.yaml": take_the_name, "parameters-prod.json": other_release}
    artifacts = delivery.changed_artifact("Production", "Release", changes)
    # A rollback asks nobody: here everything is rejected.
    record = delivery.repeat(team, "Production", approve=False, artifacts=artifacts, rolls_back=True)

    assert failed(record) == "Production/ExecuteChangeSet"
    assert "UPDATE_ROLLBACK_COMPLETE" in cause(record)
    assert "TakenBucket" in cause(record)
    assert {**delivery.stack("prod"), "status": before["status"]} == before
    assert delivery.item("STAGE#prod")["release"] == release
    rollback = next(action for action in record.actions if action.name == "Rollback")
    assert rollback.state is State.SUCCEEDED, rollback.cause


def test_a_model_whose_code_cannot_be_imported_fails_in_verify_with_its_exception(
    delivery: Delivery, fork: Team
) -> None:
    raises = '"""Is broken."""\n\nraise RuntimeError("this model is broken")\n'
    fork.commit(fork.model, {"functions/common/__init__.py": lambda _: raises})

    with delivery.ends_after("Verify"):
        record = delivery.release(fork)

    assert failed(record) == "Verify/Verify"
    assert "make test-unit" in cause(record)
    assert "RuntimeError: this model is broken" in cause(record)


def test_nothing_of_the_model_repository_runs_where_the_release_is_made(
    delivery: Delivery, fork: Team, tmp_path: Path
) -> None:
    marks = {name: tmp_path / f"{name.replace('/', '-')}.ran" for name in ("common/__init__", *SITE_MODULES)}
    code = {name: MARK.format(path=path.relative_to("/")) for name, path in marks.items()}
    # The marks are made, if the code runs.
    for (name, path), build in product(marks.items(), ("images", "release")):
        arn = f"arn:aws:codebuild:us-east-1:000000000001:build/crosstrain-{build}:1"
        subprocess.run([sys.executable, "-c", code[name]], check=True, env={**os.environ, "CODEBUILD_BUILD_ARN": arn})
        path.unlink()

    def add(name: str) -> Callable[[str], str]:
        return lambda text: (text or '"""Runs by itself."""\n') + code[name]

    fork.commit(fork.model, {f"functions/{name}.py": add(name) for name in marks})

    with delivery.ends_after("Build"):
        record = delivery.release(fork)

    assert record.failed is None, record.failed
    _, release = [action for action in record.actions if action.stage == "Build"]
    assert release.details[-1].startswith("release ")
    assert [name for name, path in marks.items() if path.exists()] == []


def test_a_commit_to_the_model_alone_rebuilds_one_image_and_a_rollback_by_digest_brings_the_first_release_back(
    delivery: Delivery, fork: Team, tmp_path: Path
) -> None:
    before = delivery.stack("prod")
    fork.commit(fork.model, {"functions/model_training/training.py": lambda text: text + "\n# Better.\n"})

    record = delivery.release(fork)

    assert record.failed is None, record.failed
    build, _ = [action for action in record.actions if action.stage == "Build"]
    assert f"images built: model_training; used again: {len(FUNCTIONS) - 1}" in build.details
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
    arguments = [each for name, value in options.items() for each in (f"--{name}", str(value))]
    script = team.infrastructure / "scripts" / "rollback.py"
    done = subprocess.run(
        [sys.executable, str(script), "prod", "--execute", *arguments],
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
            "pipeline.yaml": lambda text: text.replace("have passed", "have both passed"),
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
    build, _ = [action for action in record.actions if action.stage == "Build"]
    assert f"images built: none; used again: {len(FUNCTIONS)}" in build.details
    for stage in STAGES:
        assert delivery.stack(stage)["Release"].endswith(commit[:12])
        uris = {name: uri for name, uri in delivery.stack(stage).items() if name.endswith("ImageUri")}
        assert uris == {name: before[name] for name in uris}
        descriptions = [rule.get("Description", "") for rule in delivery.client("events", stage).list_rules()["Rules"]]
        assert any(each.startswith("Says that a model") for each in descriptions)
