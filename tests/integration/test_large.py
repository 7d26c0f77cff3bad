"""What does not fit a function is trained as a task, on this machine too, and is the model that a function makes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

from crosstrain.local.server import LocalAws, LocalTrainingStack
from crosstrain.training import execution

from .conftest import Train

ROWS, COLUMNS = 250_000, 36


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_task_makes_the_model_that_a_function_makes(train: Train, tmp_path: Path) -> None:
    found = {}
    for where in ("lambda", "task"):
        # Under a name of its own, for the second would find the first one's split and be compared with it.
        done = train("--estimator", "ridge", "--compute", where, "--model-name", f"as-{where}", "--json")
        assert done.code == 0, done.stderr
        found[where] = done.document["metrics"], digest(tmp_path / "out/model.skops")
        info, evaluation = (
            json.loads((tmp_path / "out" / name).read_text(encoding="utf-8"))
            for name in ("model.json", "evaluation.json")
        )
        kind = {"lambda": "function", "task": "task"}[where]
        assert done.document["compute"]["training"] == info["compute"]
        assert info["compute"]["kind"] == kind
        assert evaluation["compute"]["model_evaluation"]["kind"] == kind
        assert f"by a {kind} with" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert found["task"] == found["lambda"]
    for state in ("TrainModel", "EvaluateModel"):
        assert f"✓ {state} as a task" in done.stderr
    assert "→ TrainModel: The request's compute is task: it runs as a task of 4 vCPU and 8,192 MB." in done.stderr


@pytest.mark.slow
def test_what_is_too_large_for_the_memory_of_this_machines_functions_is_trained_as_a_task(
    project: Path, tmp_path: Path, local_aws: LocalAws
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(ROWS, COLUMNS)).astype("float32")).rename(columns="x{}".format)
    frame.assign(y=frame["x0"] * 2).to_parquet(tmp_path / "large.parquet", index=False)
    command = [sys.executable, str(project / "scripts/train.py"), "--data", "large.parquet", "--target", "y"]
    command += ["--estimator", "hist_gradient_boosting", "--hyperparameters", '{"max_iter": 3}', "--memory", "512"]
    done = subprocess.run(
        [*command, "--out", "out", "--json"],
        env=local_aws.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compute = json.loads(done.stdout)["compute"]
    assert (compute["training"]["kind"], compute["evaluation"]["kind"]) == ("task", "function")
    assert compute["evaluation"]["memory_mb"] == 512
    assert "the function has 512 MB: it runs as a task of 4 vCPU and 8,192 MB." in done.stderr


@pytest.mark.slow
def test_a_trial_that_runs_as_a_task_is_what_a_function_makes_of_it(training_stack: LocalTrainingStack) -> None:
    """The task is the deployed one; in one of two runs the function is left out, as if it had had no room."""
    sfn, s3 = training_stack.aws.client("stepfunctions"), training_stack.aws.client("s3")
    bucket = training_stack.outputs["ArtifactBucketName"]
    data = load_diabetes(as_frame=True, scaled=False).frame.to_csv(index=False).encode()
    s3.put_object(Bucket=bucket, Key="data/searched.csv", Body=data)
    deployed = sfn.describe_state_machine(stateMachineArn=training_stack.outputs["StateMachineArn"])
    definition = json.loads(deployed["definition"])
    definition["States"]["MakeTrials"]["ItemProcessor"]["StartAt"] = "StoreTrial"
    by_tasks = sfn.create_state_machine(
        name="searching-by-tasks", definition=json.dumps(definition), roleArn=deployed["roleArn"]
    )
    trials = {}
    for where, arn in (("function", deployed["stateMachineArn"]), ("task", by_tasks["stateMachineArn"])):
        request = {"dataset_uri": f"s3://{bucket}/data/searched.csv", "target": "target", "model_name": f"by-{where}"}
        request |= {"estimator": "ridge", "search_trials": 1, "seed": 1}
        result = execution.outcome(sfn, execution.start(sfn, arn, request, f"searched-by-{where}"))
        assert result.status == "SUCCEEDED", result.cause
        output = result.output or {}
        info, report = (
            s3.get_object(Bucket=bucket, Key=uri.removeprefix(f"s3://{bucket}/"))["Body"].read().decode()
            for uri in (output["model"]["info_uri"], output["evaluation"]["report_uri"])
        )
        (trials[where],) = json.loads(info)["search"]["trials"]
        assert trials[where]["compute"]["kind"] == where
        assert ("1 trial as a task of up to 30,720 MB" in report) == (where == "task")
    assert trials["task"]["score"] == trials["function"]["score"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--memory", "100"], "MEMORY is 100: a function has 512 to 10,240 MB here."),
        (["--memory", "20000"], "MEMORY is 20,000"),
        (["--memory", "1024", "--stack", "any"], "ModelTrainingMemory"),
    ],
)
def test_a_memory_that_no_function_can_have_is_refused(
    arguments: list[str], told: str, project: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(project / "scripts/train.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []
