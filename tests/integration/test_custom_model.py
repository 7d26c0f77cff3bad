"""A fork that has written a model of its own, as docs/customise.md shows, through the whole state machine."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common import storage
from crosstrain.local.server import LocalAws
from crosstrain.training.execution import outcome, start


@pytest.mark.slow
def test_the_model_of_the_documentation_is_searched_trained_and_evaluated(
    local_aws: LocalAws, project: Path, tmp_path: Path
) -> None:
    for folder in ("functions", "statemachine"):
        shutil.copytree(project / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(project / "template.yaml", tmp_path / "template.yaml")
    blocks = re.findall(r"```python\n(.*?)```", (project / "docs/customise.md").read_text(encoding="utf-8"), re.DOTALL)
    for block, path in zip(blocks, ("model_training/model.py", "common/own_types.py"), strict=True):
        (tmp_path / "functions" / path).write_text(block, encoding="utf-8")

    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.normal(size=400), "city": random.choice(["a", "b"], 400)})
    data["y"] = data["x"] ** 2 + (data["city"] == "a") + np.where(random.random(400) < 0.05, 40, 0)
    parameters = {"RetentionPolicy": "Delete", "Commit": "fork", "TrialsAtOnce": "1"}
    stack = local_aws.deploy_training_stack(tmp_path / "template.yaml", "crosstrain-fork", parameters)
    bucket, s3, sfn = stack.outputs["ArtifactBucketName"], stack.client("s3"), stack.client("stepfunctions")
    s3.put_object(Bucket=bucket, Key="data/data.csv", Body=data.to_csv(index=False).encode())
    request = {"dataset_uri": f"s3://{bucket}/data/data.csv", "target": "y", "metric": "mae", "search_trials": 4}
    result = outcome(sfn, start(sfn, stack.outputs["StateMachineArn"], request, "fork"))

    assert result.status == "SUCCEEDED", result.cause
    assert result.output is not None
    assert result.output["request"]["estimator"] == "custom"
    assert result.output["evaluation"]["decision"] == "promote"
    info = json.loads(storage.read_bytes(s3, storage.pinned(result.output["model"], "info")))
    assert info["class"] == "sklearn.linear_model._huber.HuberRegressor"
    assert info["parameters"]["alpha"] == result.output["request"]["hyperparameters"]["alpha"]
    tried = [(each["estimator"], each["hyperparameters"], each["error"]) for each in info["search"]["trials"]]
    assert tried[:2] == [("ridge", {}, None), ("custom", {"alpha": 0.01}, None)]
