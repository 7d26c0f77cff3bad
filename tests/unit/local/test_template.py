"""The local variants of the template: what changes, what does not, and what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.local.template import LocalTemplateError, handler_of, use_registry, write_local_template

ENDPOINT = "http://127.0.0.1:4566"
TEMPLATE = """
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters:
  Policy: { Type: String, Default: Retain }
  Image: { Type: String }
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: !Ref Policy
  Trainer:
    Type: AWS::Serverless::Function
    Metadata: { DockerContext: code of us, Dockerfile: training/Dockerfile, DockerTag: latest }
    Properties:
      PackageType: Image
      ImageUri: !Ref Image
      Timeout: 900
      Role: !GetAtt Role.Arn
      Environment: { Variables: { BUCKET: !Sub "${Bucket}" } }
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties:
      DefinitionUri: machine.asl.json
Outputs:
  Name: { Value: !Ref Bucket }
"""
WITH_TASK = TEMPLATE.replace(
    "Outputs:",
    """
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties: { Cpu: "4096", ContainerDefinitions: [{ Name: job, Image: !Ref Image, Command: [a.handler] }] }
Outputs:""",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    context = tmp_path / "code of us" / "training"
    context.mkdir(parents=True)
    (context / "Dockerfile").write_text('FROM base\nCMD ["old.handler"]\nCMD ["training.app.handler"]\n')
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return tmp_path / "template.yaml"


@pytest.fixture
def local(source: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "out").mkdir()
    made: dict[str, Any] = json.loads(write_local_template(source, tmp_path / "out", ENDPOINT).read_text())
    return made


def test_an_image_function_becomes_a_custom_runtime(local: dict[str, Any], tmp_path: Path) -> None:
    assert local["Resources"]["Trainer"] == {
        "Type": "AWS::Serverless::Function",
        "Properties": {
            "Runtime": "provided.al2023",
            "Handler": "training.app.handler",
            "CodeUri": str(tmp_path / "out" / "code"),
            "Timeout": 900,
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Environment": {"Variables": {"BUCKET": {"Fn::Sub": "${Bucket}"}}},
        },
    }


def test_everything_else_stays(local: dict[str, Any], tmp_path: Path) -> None:
    original = yaml_parse(TEMPLATE)
    del local["Resources"]["Trainer"], original["Resources"]["Trainer"]
    original["Resources"]["Machine"]["Properties"]["DefinitionUri"] = str(tmp_path / "machine.asl.json")

    assert local == original


def test_only_the_statement_that_needs_tls_is_dropped(source: Path, tmp_path: Path) -> None:
    needs_tls = {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    others = [
        {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false", "aws:ViaAWSService": "false"}}},
        {"Effect": "Allow", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Effect": "Deny"},
    ]
    template = yaml_parse(TEMPLATE)
    for name, statements in {"Mixed": [needs_tls, *others], "Alone": [needs_tls]}.items():
        policy = {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": {"Statement": statements}}
        template["Resources"][name] = {"Type": "AWS::S3::BucketPolicy", "Properties": policy}
    source.write_text(json.dumps(template))

    resources = json.loads(write_local_template(source, tmp_path, ENDPOINT).read_text())["Resources"]

    assert resources["Mixed"]["Properties"]["PolicyDocument"]["Statement"] == others
    # A policy without a statement is none.
    assert "Alone" not in resources


def test_only_alarms_on_metric_math_are_left_out(source: Path, tmp_path: Path) -> None:
    template = yaml_parse(TEMPLATE)
    for name, properties in {"Plain": {"MetricName": "Errors"}, "Math": {"Metrics": [{"Id": "ratio"}]}}.items():
        template["Resources"][name] = {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}
    source.write_text(json.dumps(template))

    resources = json.loads(write_local_template(source, tmp_path, ENDPOINT).read_text())["Resources"]

    assert resources["Plain"]["Properties"] == {"MetricName": "Errors"}
    assert "Math" not in resources


def test_the_bootstrap_starts_the_handler_in_this_environment(source: Path, tmp_path: Path) -> None:
    package = tmp_path / "code of us" / "training"
    # What awslambdaric would import is asked for its own name and environment instead.
    asked = tmp_path / "code of us" / "awslambdaric.py"
    asked.write_text(
        "import json, os, sys\n"
        "names = ('AWS_ENDPOINT_URL', 'PYTHONDONTWRITEBYTECODE')\n"
        "print(json.dumps([sys.argv[1], sys.executable, *map(os.environ.get, names)]))\n"
    )
    (tmp_path / "out").mkdir()
    local = json.loads(write_local_template(source, tmp_path / "out", ENDPOINT).read_text())
    # What is edited after the deployment runs in no function, neither in those that are warm nor in new ones.
    asked.write_text("raise SystemExit('edited')")
    bootstrap = local["Resources"]["Trainer"]["Properties"]["CodeUri"] + "/bootstrap"

    message = subprocess.run(
        [bootstrap],
        env={**os.environ, "_HANDLER": "training.app.handler", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=package,
        capture_output=True,
        check=True,
    )

    assert json.loads(message.stdout) == ["training.app.handler", sys.executable, ENDPOINT, None]


def test_a_dockerfile_without_one_handler_is_refused(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    with pytest.raises(LocalTemplateError, match="no Dockerfile at"):
        handler_of(dockerfile)
    for text in ("FROM base\n", "CMD python -m app\n", 'CMD ["a", "b"]\n', "CMD [a]\n"):
        dockerfile.write_text(text)
        with pytest.raises(LocalTemplateError, match="names no handler"):
            handler_of(dockerfile)


def _without_metadata(template: dict[str, Any]) -> None:
    del template["Resources"]["Trainer"]["Metadata"]


def _with_build_target(template: dict[str, Any]) -> None:
    template["Resources"]["Trainer"]["Metadata"]["DockerBuildTarget"] = "lean"


def _with_image_config(template: dict[str, Any]) -> None:
    template["Resources"]["Trainer"]["Properties"]["ImageConfig"] = {"WorkingDirectory": "/srv"}


def _as_zip(template: dict[str, Any]) -> None:
    template["Resources"]["Trainer"]["Properties"]["PackageType"] = "Zip"


def _with_layer(template: dict[str, Any]) -> None:
    template["Resources"]["Trainer"] = {"Type": "AWS::Serverless::LayerVersion"}


def _with_loop(template: dict[str, Any]) -> None:
    template["Resources"]["Fn::ForEach::Trainer"] = ["Name", ["a"], {}]


def _with_inline_definition(template: dict[str, Any]) -> None:
    template["Resources"]["Machine"]["Properties"] = {"Definition": {}}


@pytest.mark.parametrize(
    "change",
    [_without_metadata, _with_build_target, _with_image_config, _as_zip, _with_layer, _with_loop,
     _with_inline_definition],
)  # fmt: skip
def test_a_shape_that_is_not_understood_is_refused(
    source: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    template = yaml_parse(TEMPLATE)
    change(template)
    source.write_text(json.dumps(template))

    with pytest.raises(LocalTemplateError, match=r"^(Trainer|Machine|Fn::ForEach::Trainer)\b.*\.$"):
        write_local_template(source, tmp_path, ENDPOINT)


def test_the_template_of_this_project_is_understood(project: Path, tmp_path: Path) -> None:
    local = json.loads(write_local_template(project / "template.yaml", tmp_path, ENDPOINT).read_text())

    functions = [each for each in local["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    assert [each["Properties"]["Handler"] for each in functions] == [
        *(f"{name}.app.handler" for name in FUNCTIONS),
        *(f"scoring.{name}.handler" for name in ("watch", "feedback", "batch")),
    ]  # fmt: skip
    assert not any({"PackageType", "ImageUri", "ImageConfig"} & set(each["Properties"]) for each in functions)
    tasks = [each for each in local["Resources"].values() if each["Type"] == "AWS::ECS::TaskDefinition"]
    modules = []
    for task in tasks:
        (container,) = task["Properties"]["ContainerDefinitions"]
        given = {each["Name"]: each["Value"] for each in container["Environment"]}
        *python, module = container["EntryPoint"]
        assert python == [sys.executable, "-m"]
        assert given["AWS_ENDPOINT_URL"] == ENDPOINT
        assert (Path(given["PYTHONPATH"]) / f"{module.replace('.', '/')}.py").is_file()
        modules.append(module)
    assert sorted(modules) == ["common.job"] * 4 + ["model_training.cluster_process"]


@pytest.mark.parametrize("command", [[], ["a.handler", "b.handler"]])
def test_a_command_that_is_no_handler_is_refused(command: list[str], project: Path, tmp_path: Path) -> None:
    template = (
        (project / "template.yaml").read_text().replace("Command: [scoring.batch.handler]", f"Command: {command}")
    )
    (tmp_path / "template.yaml").write_text(template)
    (tmp_path / "functions").symlink_to(project / "functions")
    with pytest.raises(LocalTemplateError, match="Command"):
        write_local_template(tmp_path / "template.yaml", tmp_path / "local", ENDPOINT)


def test_images_stay_what_they_are_and_are_pulled_from_the_registry_that_is_named() -> None:
    made = yaml_parse(WITH_TASK)
    use_registry(made, "127.0.0.1:4566")

    trainer, task = made["Resources"]["Trainer"], made["Resources"]["Task"]
    name_and_digest = {"Fn::Select": [1, {"Fn::Split": [".amazonaws.com/", {"Ref": "Image"}]}]}
    there = {"Fn::Join": ["/", ["127.0.0.1:4566", name_and_digest]]}
    assert trainer["Properties"].pop("ImageUri") == there
    assert task["Properties"]["ContainerDefinitions"][0].pop("Image") == there
    expected = yaml_parse(WITH_TASK)
    del expected["Resources"]["Trainer"]["Metadata"], expected["Resources"]["Trainer"]["Properties"]["ImageUri"]
    del expected["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]["Image"]
    assert made == expected


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("ImageUri: !Ref Image", "ImageUri: a/b@sha256:0", "The image of Trainer is no parameter"),
        ("PackageType: Image", "PackageType: Zip", "Trainer is no image function"),
        ("Image: !Ref Image", "Image: a/b@sha256:0", "The image of Task is no parameter"),
    ],
)
def test_an_image_that_is_no_parameter_is_refused(before: str, after: str, told: str) -> None:
    with pytest.raises(LocalTemplateError, match=told):
        use_registry(yaml_parse(WITH_TASK.replace(f" {before}", f" {after}")), "127.0.0.1:4566")
