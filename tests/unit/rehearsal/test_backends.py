"""Functions and tasks of a rehearsal without a container engine."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crosstrain.rehearsal.images.backends import LocalProcesses


@pytest.mark.parametrize(
    ("config", "handler"),
    [({}, "scoring.app.handler"), ({"Command": ["scoring.batch.handler"]}, "scoring.batch.handler")],
)
def test_a_function_runs_the_handler_of_its_image_or_the_one_that_it_names(
    tmp_path: Path, config: dict[str, Any], handler: str
) -> None:
    image = tmp_path / "image"
    image.mkdir()
    (image / "Dockerfile").write_text('FROM base\nCMD ["scoring.app.handler"]\n')
    backend = LocalProcesses(tmp_path)
    backend.start(cast("Any", SimpleNamespace(endpoint_url="http://127.0.0.1:1")))
    properties = {"ImageUri": "uri", "PackageType": "Image", **({"ImageConfig": config} if config else {})}
    template = {"Resources": {"Function": {"Type": "AWS::Serverless::Function", "Properties": properties}}}
    backend.adapt(template)
    assert "ImageConfig" not in properties

    with zipfile.ZipFile(io.BytesIO(backend._code(image))) as code:
        bootstrap = code.read("bootstrap").decode()
    (tmp_path / "bootstrap").write_text(bootstrap.replace("exec ", "echo "))
    environment = {"_HANDLER": properties["Handler"]}
    done = subprocess.run(
        ["/bin/sh", str(tmp_path / "bootstrap")], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1:] == ["-m", "awslambdaric", handler]


def test_a_task_imports_what_its_image_was_built_from(tmp_path: Path) -> None:
    backend = LocalProcesses(tmp_path)
    backend.start(cast("Any", SimpleNamespace(endpoint_url="http://127.0.0.1:1")))
    container = {"Image": {"Ref": "Uri"}, "EntryPoint": ["python3", "-m", "common.job"], "Environment": []}
    task = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"ContainerDefinitions": [container]}}
    backend.adapt({"Resources": {"Task": task}})

    assert container["EntryPoint"] == [sys.executable, "-m", "common.job"]
    digest = {"Fn::Select": [1, {"Fn::Split": ["@sha256:", {"Ref": "Uri"}]}]}
    assert container["Environment"] == [
        {"Name": "AWS_ENDPOINT_URL", "Value": "http://127.0.0.1:1"},
        {"Name": "PYTHONPATH", "Value": {"Fn::Join": ["/", [f"{tmp_path}/images", digest, "context"]]}},
    ]
