"""Batch scoring by the deployed state machine, its function's own role and the real registry."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_diabetes

from crosstrain.local.server import LocalAws, LocalTrainingStack
from crosstrain.training import execution
from event_queues import event_queue, received
from state_events import follow

if TYPE_CHECKING:
    import pandas as pd

MODEL = "batch-scored"


class Batches:
    """Runs of the state machine over objects of the stack's bucket."""

    def __init__(self, stack: LocalTrainingStack) -> None:
        self.stack, self.s3, self.sfn = stack, stack.aws.client("s3"), stack.aws.client("stepfunctions")
        self.bucket = stack.outputs["ArtifactBucketName"]

    def put(self, folder: str, files: dict[str, bytes]) -> str:
        """Store objects in a folder of data/ and return its URI."""
        for name, content in files.items():
            self.s3.put_object(Bucket=self.bucket, Key=f"data/{folder}/{name}", Body=content)
        return f"s3://{self.bucket}/data/{folder}/"

    def __call__(self, request: dict[str, Any], run_id: str | None = None) -> tuple[str, execution.ExecutionResult]:
        """Run to the end and return the run's id and its result."""
        run_id = run_id or f"batch-{uuid.uuid4().hex[:8]}"
        arn = execution.start(self.sfn, self.stack.outputs["BatchScoringStateMachineArn"], request, run_id)
        return run_id, execution.outcome(self.sfn, arn)

    def read(self, run_id: str, name: str) -> bytes:
        """Return a file of a run."""
        body: bytes = self.s3.get_object(Bucket=self.bucket, Key=f"scoring/{run_id}/{name}")["Body"].read()
        return body


@pytest.fixture(scope="module")
def batches(training_stack: LocalTrainingStack) -> Batches:
    """Return runs on the session's stack, with root's rights to start them."""
    return Batches(training_stack)


@pytest.fixture(scope="module", autouse=True)
def champion(batches: Batches) -> str:
    """Train a model, which is promoted, and return its version."""
    data = load_diabetes(as_frame=True, scaled=False).frame
    batches.s3.put_object(Bucket=batches.bucket, Key="data/diabetes.csv", Body=csv(data))
    request = {"dataset_uri": f"s3://{batches.bucket}/data/diabetes.csv", "target": "target", "model_name": MODEL}
    arn = batches.stack.outputs["StateMachineArn"]
    run_id = execution.new_run_id()
    request = {**request, "search_trials": 0, "estimator": "ridge"}
    result = execution.outcome(batches.sfn, execution.start(batches.sfn, arn, request, run_id))
    assert (result.output or {})["evaluation"]["decision"] == "promote", result.cause
    return run_id


def rows() -> pd.DataFrame:
    return load_diabetes(as_frame=True, scaled=False).frame.drop(columns="target")


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


@pytest.mark.slow
def test_ten_objects_one_of_them_broken(batches: Batches) -> None:
    data = rows()
    files = {f"{part}.csv": csv(data[part::10]) for part in range(10)}
    files["3.csv"] = csv(data[3::10].drop(columns="bmi"))
    uri = batches.put("ten", files)
    run_id, result = batches({"dataset_uri": uri, "model_name": MODEL, "keep": ["age", "bp"]})
    assert result.status == "SUCCEEDED", result.cause
    output = result.output or {}
    assert output["objects"] == {"scored": 9, "empty": 0, "failed": 1}
    assert output["rows"] == len(data) - len(data[3::10])
    assert not output["drifted"]
    manifest = json.loads(batches.read(run_id, "manifest.json"))
    assert '"bmi" is missing' in manifest["objects"][3]["reason"]
    table = pq.read_table(io.BytesIO(batches.read(run_id, "predictions/0.parquet")))
    assert table.schema.names == ["age", "bp", "prediction"]
    assert table["bp"].to_pylist() == [str(each) for each in data[0::10]["bp"]]


@pytest.mark.slow
def test_a_piece_that_runs_as_a_task_is_scored_with_the_rights_of_the_function(batches: Batches) -> None:
    """The task is the deployed one; the function is left out, as if it had had no room."""
    deployed = batches.sfn.describe_state_machine(stateMachineArn=batches.stack.outputs["BatchScoringStateMachineArn"])
    definition = json.loads(deployed["definition"])
    definition["States"]["ScorePieces"]["ItemProcessor"]["StartAt"] = "IsTaskOpen"
    machine = batches.sfn.create_state_machine(
        name="scoring-by-tasks", definition=json.dumps(definition), roleArn=deployed["roleArn"]
    )
    uri = batches.put("packed", {"a.csv.gz": gzip.compress(csv(rows()))})
    arn = execution.start(
        batches.sfn, machine["stateMachineArn"], {"dataset_uri": uri, "model_name": MODEL}, "batch-as-task"
    )
    result = execution.outcome(batches.sfn, arn)
    assert (result.output or {}).get("rows") == len(rows()), result.cause
    (told,) = json.loads(batches.read("batch-as-task", "manifest.json"))["objects"]
    assert (told["state"], told["compute"]) == ("scored", [{"kind": "task", "memory_mb": 30720}])
    by_function, _ = batches({"dataset_uri": uri, "model_name": MODEL})
    one, other = (batches.read(each, "predictions/a.parquet") for each in (by_function, "batch-as-task"))
    assert pq.read_table(io.BytesIO(other)).equals(pq.read_table(io.BytesIO(one)))


@pytest.mark.slow
def test_rows_that_have_moved_are_recorded_and_beside_earlier_ones(batches: Batches, champion: str) -> None:
    data, queue = rows(), event_queue(batches.stack, "scores", ["Scores Ready", "Data Drifted"])
    for name, frame in {"first": data, "second": data.assign(bmi=data["bmi"] + 20)}.items():
        run_id, result = batches({"dataset_uri": batches.put(name, {"a.csv": csv(frame)}), "model_name": MODEL})
        assert result.status == "SUCCEEDED", result.cause
    output = result.output or {}
    assert (output["drifted"], output["changed_columns"][0]["name"]) == (True, "bmi")
    assert "batches 1 had changed" in batches.read(run_id, "drift.html").decode()
    items = batches.stack.aws.client("dynamodb").query(
        TableName=batches.stack.outputs["ModelRegistryTableName"],
        KeyConditionExpression="model_name = :name AND begins_with(entry, :scores)",
        ExpressionAttributeValues={":name": {"S": MODEL}, ":scores": {"S": "scores#"}},
    )["Items"]
    assert items[-1]["psi_column"] == {"S": "bmi"}
    assert items[-1]["scored_version"] == {"S": champion}
    # Only the second one has moved, and nothing was announced twice.
    events = received(batches.stack, queue, 3)
    assert sorted(each["detail-type"] for each in events) == ["Data Drifted", "Scores Ready", "Scores Ready"]
    (drifted,) = (each["detail"] for each in events if each["detail-type"] == "Data Drifted")
    assert (drifted["run_id"], drifted["stack"], drifted["model_name"]) == (run_id, batches.stack.name, MODEL)
    assert (drifted["changed"], drifted["changed_columns"]) == (1, ["bmi"])
    assert drifted["drift_page_uri"] == f"s3://{batches.bucket}/scoring/{run_id}/drift.html"


def test_without_a_champion_the_run_fails_with_the_step(batches: Batches) -> None:
    uri = batches.put("none", {"a.csv": csv(rows())})
    _, result = batches({"dataset_uri": uri, "model_name": "never-trained"})
    assert (result.status, result.error) == ("FAILED", "NoChampionError")
    assert (result.cause or "").startswith('PlanScoring: The model "never-trained" has no champion yet')


@pytest.mark.slow
def test_one_version_scores_all_objects_whatever_is_promoted_meanwhile(batches: Batches, champion: str) -> None:
    registry, key = batches.stack.aws.client("dynamodb"), {"model_name": {"S": MODEL}, "entry": {"S": "champion"}}
    table = batches.stack.outputs["ModelRegistryTableName"]
    pointer = registry.get_item(TableName=table, Key=key)["Item"]
    uri = batches.put("meanwhile", {f"{part}.csv": csv(rows()[part::2]) for part in range(2)})
    run_id = f"batch-{uuid.uuid4().hex[:8]}"
    arn = execution.start(batches.sfn, _with_pause(batches), {"dataset_uri": uri, "model_name": MODEL}, run_id)
    moved = False
    for event in follow(batches.sfn, arn):
        if (event.state, event.kind) == ("Pause", "entered"):
            registry.put_item(TableName=table, Item={**pointer, "champion_version": {"S": "another"}})
            moved = True
    registry.put_item(TableName=table, Item=pointer)
    assert moved
    output = execution.outcome(batches.sfn, arn).output or {}
    assert (output["version"], output["objects"]["scored"]) == (champion, 2)
    assert json.loads(batches.read(run_id, "manifest.json"))["version"] == champion


def _with_pause(batches: Batches) -> str:
    """Return a state machine that waits for a second after the plan; the embedded AWS shortens what a state waits."""
    arn = batches.stack.outputs["BatchScoringStateMachineArn"]
    deployed = batches.sfn.describe_state_machine(stateMachineArn=arn)
    definition = json.loads(deployed["definition"])
    definition["States"]["PlanScoring"]["Next"] = "Pause"
    definition["States"]["Pause"] = {"Type": "Wait", "Seconds": 1000, "Next": "ScorePieces"}
    made = batches.sfn.create_state_machine(
        name="slow-scoring", definition=json.dumps(definition), roleArn=deployed["roleArn"]
    )
    return str(made["stateMachineArn"])


def test_a_run_id_that_was_used_before_is_refused(batches: Batches) -> None:
    request = {"dataset_uri": batches.put("twice", {"a.csv": csv(rows())}), "model_name": MODEL}
    run_id, result = batches(request)
    assert result.status == "SUCCEEDED"
    before = batches.read(run_id, "manifest.json")
    # An execution of another state machine stands for one of ninety days later.
    arn = execution.start(batches.sfn, _with_pause(batches), request, run_id)
    again = execution.outcome(batches.sfn, arn)
    assert (again.status, again.error) == ("FAILED", "RunIdInUseError")
    assert batches.read(run_id, "manifest.json") == before


def test_a_new_object_starts_a_run_as_its_rule_says_and_a_folder_does_not(batches: Batches) -> None:
    batches.put("incoming", {"a.csv": csv(rows()), "": b""})
    began = {"bucket": batches.bucket, "key": "data/incoming/a.csv"}
    _, result = batches({"object": began, "request": {"model_name": MODEL, "output_format": "csv"}})
    assert result.status == "SUCCEEDED", result.cause
    assert (result.output or {})["dataset_uri"] == f"s3://{batches.bucket}/data/incoming/a.csv"
    run_id, result = batches({"object": {**began, "key": "data/incoming/"}, "request": {"model_name": MODEL}})
    assert result.status == "SUCCEEDED"
    listed = batches.s3.list_objects_v2(Bucket=batches.bucket, Prefix=f"scoring/{run_id}/")
    assert listed["KeyCount"] == 0


@pytest.mark.slow
def test_the_command_scores_with_the_rights_of_a_data_scientist(
    batches: Batches, project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for part in range(3):
        (folder / f"{part}.csv").write_bytes(csv(rows()[part::3]))
    (folder / "bad.csv").write_text("age\n1\n")
    done = subprocess.run(
        [sys.executable, str(project / "scripts/score.py"), "--data", str(folder), "--model-name", MODEL,
         "--stack", batches.stack.name, "--out", str(tmp_path / "scores"), "--format", "csv", "--json"],
        env=batches.stack.aws.environment(batches.stack.data_scientist),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ScorePieces" in done.stderr
    document = json.loads(done.stdout)
    assert document["objects"] == {"scored": 3, "empty": 0, "failed": 1}
    assert document["failed"][0][0] == "bad.csv"
    out = tmp_path / "scores" / document["run_id"]
    assert {path.name for path in out.iterdir()} == {
        "0.csv", "1.csv", "2.csv", "manifest.json", "drift.json", "drift.html",
    }  # fmt: skip
    assert len((out / "0.csv").read_text().splitlines()) == 1 + len(rows()[0::3])


def test_the_page_of_models_shows_the_newest_batch(batches: Batches, project: Path, tmp_path: Path) -> None:
    batches({"dataset_uri": batches.put("shown", {"a.csv": csv(rows())}), "model_name": MODEL})
    done = subprocess.run(
        [sys.executable, str(project / "scripts/models.py"), "page", "--stack", batches.stack.name,
         "--model-name", MODEL, "--output", str(tmp_path / "models.html")],
        env=batches.stack.aws.environment(batches.stack.data_scientist),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "models.html").read_text()
    assert "columns that have changed" in page
    assert "0 of 10" in page


@pytest.mark.slow
def test_each_new_object_under_the_prefix_is_scored_and_no_other(local_aws: LocalAws, project: Path) -> None:
    parameters = {
        "ScoringPrefix": "incoming/", "ScoringRequest": '{"model_name": "none"}', "ScoringSchedule": "rate(1 day)",
        "RetentionPolicy": "Delete",
    }  # fmt: skip
    stack = local_aws.deploy_training_stack(project / "template.yaml", "crosstrain-prefix", parameters)
    s3, sfn = local_aws.client("s3"), local_aws.client("stepfunctions")
    bucket, machine = stack.outputs["ArtifactBucketName"], stack.outputs["BatchScoringStateMachineArn"]
    for key in ("scoring/run/predictions/a.csv", "data/a.csv", 'incoming/a "b".csv', "incoming/day/"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"a\n1\n")
    inputs = _inputs(sfn, machine, 2)
    begun = [{"bucket": bucket, "key": key} for key in ('incoming/a "b".csv', "incoming/day/")]
    assert sorted(inputs, key=str) == [{"object": each, "request": {"model_name": "none"}} for each in begun]


def _inputs(sfn: Any, machine: str, count: int) -> list[Any]:
    """Return the inputs of all executions, once there are so many; what came later than those would be one too many."""
    deadline = time.monotonic() + 30
    while len(found := sfn.list_executions(stateMachineArn=machine)["executions"]) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return [json.loads(sfn.describe_execution(executionArn=each["executionArn"])["input"]) for each in found]
