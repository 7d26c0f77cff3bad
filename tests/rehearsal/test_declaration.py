"""The declaration is the deployed one, resolved by CloudFormation's engine, and what is not supported is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from crosstrain.command import BadInputError
from crosstrain.local.server import root_of
from crosstrain.rehearsal.codebuild.builds import project_of
from crosstrain.rehearsal.codepipeline import declaration
from crosstrain.rehearsal.environment import Environment
from deliveries import Delivery


@pytest.fixture
def environment(set_up: Delivery) -> Environment:
    return set_up.environment


@pytest.fixture
def document(set_up: Delivery) -> dict[str, Any]:
    """Return a copy of the resolved declaration, to change."""
    copied: dict[str, Any] = json.loads(json.dumps(set_up.declaration.document))
    return copied


def test_the_stages_are_those_of_the_golden_file_but_for_what_only_a_stack_knows(
    document: dict[str, Any], project: Path
) -> None:
    golden = yaml.safe_load(
        (project / "tests/templates/golden/three-accounts-codecommit-two-repositories.yaml").read_text()
    )
    stages = document["Stages"]
    assert [each["Name"] for each in stages] == [each["Name"] for each in golden]
    for mine, theirs in zip(stages, golden, strict=True):
        assert [each["Name"] for each in mine["Actions"]] == [each["Name"] for each in theirs["Actions"]]
        for action, expected in zip(mine["Actions"], theirs["Actions"], strict=True):
            # The golden file says <LogicalId> for what a resource is called, and another region and partition of ids.
            keys = [key for key, value in expected.get("Configuration", {}).items() if "<" not in str(value)]
            for key in keys:
                assert action["Configuration"][key] == str(expected["Configuration"][key]).replace(
                    "eu-west-1", "us-east-1"
                )
    update = json.loads(stages[1]["Actions"][0]["Configuration"]["ParameterOverrides"])
    assert update["TestAccountId"] == "000000000002"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(PipelineType="V1"), "type V1"),
        (lambda d: d.update(ExecutionMode="PARALLEL"), "run in parallel"),
        (lambda d: d.update(Variables=[]), "The pipeline has Variables"),
        (lambda d: d["Stages"][0].update(BeforeEntry={}), "The stage Source has BeforeEntry"),
        (lambda d: d["Stages"][4].update(OnFailure={"Result": "RETRY"}), "OnFailure"),
        (lambda d: d["Stages"][2]["Actions"][0].update(Region="eu-west-1"), "Verify/Verify has Region"),
        (lambda d: d["Stages"][2]["Actions"][0].update(TimeoutInMinutes=5), "Verify/Verify has TimeoutInMinutes"),
        (lambda d: d["Stages"][2]["Actions"][0]["ActionTypeId"].update(Provider="Jenkins"), "Test/Jenkins"),
        (lambda d: d["Stages"][2]["Actions"][0]["Configuration"].update(BatchEnabled="true"), "has BatchEnabled"),
        (lambda d: d["Stages"][4]["Actions"][0]["Configuration"].update(ActionMode="DELETE_ONLY"), "mode DELETE_ONLY"),
        (lambda d: d["Stages"][4]["Actions"][0]["Configuration"].pop("StackName"), "lacks StackName"),
    ],
)  # fmt: skip
def test_what_a_rehearsal_does_not_support_is_refused(
    document: dict[str, Any], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change(document)
    with pytest.raises(BadInputError, match=message):
        declaration.read(json.dumps(document))


@pytest.mark.parametrize(
    ("action", "change", "message"),
    [
        ("Build/Images", {"InputArtifacts": [{"Name": "Odd"}]}, "input artifact Odd, which no action before it makes"),
        ("Verify/Verify", {"InputArtifacts": []}, "Verify/Verify has 0 input artifacts, not 1 to 5"),
        ("Source/Model", {"OutputArtifacts": []}, "Source/Model has 0 output artifacts, not 1"),
        ("Source/Model", {"OutputArtifacts": [{"Name": "InfrastructureSource"}]}, "2 actions have the output artifact"),
        ("Source/Model", {"Namespace": "InfrastructureSource"}, "2 actions have the namespace InfrastructureSource"),
        ("Test/SystemTest", {"Name": "CreateChangeSet"}, "2 actions have the name Test/CreateChangeSet"),
        ("Test/SystemTest", {"RunOrder": "soon"}, "Test/SystemTest has the RunOrder soon"),
        ("Build/Images", {"Configuration.PrimarySource": "Odd"}, "PrimarySource of Build/Images is Odd"),
        ("Test/CreateChangeSet", {"Configuration.TemplatePath": None}, "Test/CreateChangeSet lacks TemplatePath"),
        ("Test/CreateChangeSet", {"Configuration.TemplatePath": "a.yaml"}, "is a.yaml, which is not in an input"),
        ("Test/CreateChangeSet", {"Configuration.TemplateConfiguration": "Odd::a.json"}, "is Odd::a.json"),
        ("Test/CreateChangeSet", {"Configuration.ParameterOverrides": "{a"}, "ParameterOverrides of .* is no JSON"),
        ("Test/CreateChangeSet", {"Configuration.ParameterOverrides": '{"A": 1}'}, "is not an object of texts"),
        ("Build/Images", {"Configuration.EnvironmentVariables": "["}, "EnvironmentVariables of .* is no JSON"),
        ("Build/Images", {"Configuration.EnvironmentVariables": '{"A": "b"}'}, "not a list of variables"),
        ("Build/Images",
         {"Configuration.EnvironmentVariables": '[{"name": "A", "value": "b", "type": "PARAMETER_STORE"}]'},
         "not a list of variables of plain text"),
        ("Build/Images", {"InputArtifacts": [{"Name": "InfrastructureSource"}, {"Name": "ModelSource"}],
                         "Configuration.PrimarySource": None}, "Build/Images lacks PrimarySource"),
        ("Build/Images", {"RoleArn": "arn:aws:iam::000000000001:role/other"}, "Build/Images has RoleArn"),
        ("Source/Model", {"RoleArn": "arn:aws:iam::000000000001:role/other"}, "Source/Model has RoleArn"),
    ],
)  # fmt: skip
def test_what_an_action_names_has_to_be_there_before_anything_starts(
    document: dict[str, Any], action: str, change: dict[str, Any], message: str
) -> None:
    found = next(
        each for stage in document["Stages"] for each in stage["Actions"] if f"{stage['Name']}/{each['Name']}" == action
    )
    for path, value in change.items():
        configuration, _, key = path.rpartition(".")
        (found[configuration] if configuration else found)[key] = value
        if value is None:
            del found[configuration][key]
    with pytest.raises(BadInputError, match=message):
        declaration.read(json.dumps(document))


def test_a_variable_whose_value_spoils_the_json_around_it_is_told(set_up: Delivery) -> None:
    build = next(action for action in set_up.declaration.actions() if action.name == "Release")
    variables = {
        "codepipeline.PipelineExecutionId": 'e-"1"',
        "ModelSource.CommitId": "abc",
        "InfrastructureSource.CommitId": "def",
    }
    with pytest.raises(BadInputError, match=r"EnvironmentVariables of Build/Release is no JSON"):
        build.configured(variables)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("VpcConfig", {}, "The build project crosstrain-images has VpcConfig"),
        ("Artifacts.Type", "NO_ARTIFACTS", "Artifacts.Type of crosstrain-images is NO_ARTIFACTS, not CODEPIPELINE"),
        ("Environment.Type", "ARM_CONTAINER", "Environment.Type of crosstrain-images is ARM_CONTAINER"),
        ("Environment.Certificate", "arn:aws:s3:::a/b.pem", "Environment of crosstrain-images has Certificate"),
        ("LogsConfig.S3Logs", {"Status": "ENABLED"}, "LogsConfig of crosstrain-images has S3Logs"),
        ("LogsConfig.CloudWatchLogs.StreamName", "a", "CloudWatchLogs of crosstrain-images has StreamName"),
        ("LogsConfig.CloudWatchLogs.Status", "DISABLED", "Status of crosstrain-images is DISABLED, not ENABLED"),
        ("Source.GitCloneDepth", 1, "Source of crosstrain-images has GitCloneDepth"),
        ("Source", {"Type": "CODEPIPELINE"}, "Source of crosstrain-images lacks BuildSpec"),
        ("Environment.EnvironmentVariables", [{"Name": "A", "Type": "PARAMETER_STORE", "Value": "b"}], "variable A of"),
    ],
)
def test_what_of_a_build_project_is_not_supported_is_refused(
    environment: Environment, path: str, value: Any, message: str
) -> None:
    ssm = environment.aws.client("ssm", root_of(environment.accounts.tools))
    name = declaration.project_parameter("crosstrain-images")
    deployed = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    project = changed = json.loads(deployed)
    *parents, last = path.split(".")
    for key in parents:
        changed = changed[key]
    changed[last] = value
    ssm.put_parameter(Name=name, Value=json.dumps(project), Type="String", Overwrite=True)
    try:
        with pytest.raises(BadInputError, match=message):
            project_of(environment.aws, environment.accounts.tools, "crosstrain-images")
    finally:
        ssm.put_parameter(Name=name, Value=deployed, Type="String", Overwrite=True)
    assert project_of(environment.aws, environment.accounts.tools, "crosstrain-images")["Name"] == "crosstrain-images"


def test_everything_that_is_wrong_is_told_at_once(document: dict[str, Any]) -> None:
    document["Stages"][0]["BeforeEntry"] = {}
    document["Stages"][1]["OnSuccess"] = {}
    with pytest.raises(BadInputError, match=r"BeforeEntry.*OnSuccess"):
        declaration.read(json.dumps(document))


def test_a_variable_that_no_action_has_set_is_refused(set_up: Delivery) -> None:
    build = next(action for action in set_up.declaration.actions() if action.name == "Release")
    with pytest.raises(BadInputError, match=r"#\{codepipeline\.PipelineExecutionId\}"):
        build.configured({})
    variables = {
        "codepipeline.PipelineExecutionId": "e-1",
        "ModelSource.CommitId": "abc",
        "InfrastructureSource.CommitId": "def",
    }
    given = json.loads(build.configured(variables)["EnvironmentVariables"])
    assert {each["name"]: each["value"] for each in given}["MODEL_COMMIT"] == "abc"
