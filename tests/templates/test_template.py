"""The template against CloudFormation's schemas, and what both of its uses need of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest
from cfnlint.config import ManualArgs
from samcli.yamlhelper import yaml_parse

from common.request import parse_request
from crosstrain.delivery import functions
from crosstrain.rehearsal.cloudformation.intrinsics import Resolver

PREBUILT = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/crosstrain/training@sha256:" + "ab" * 32
FUNCTIONS = tuple(functions.FUNCTIONS.values())
BATCH = "BatchScoring"
"""The function that has the image of another one."""
STEPS = tuple(functions.FUNCTIONS[name] for name in functions.STEPS)


@pytest.fixture(scope="module")
def template(project: Path) -> Any:
    return yaml_parse((project / "template.yaml").read_text())


def test_cfn_lint_would_find_something() -> None:
    function = {
        "Type": "AWS::Serverless::Function",
        "Properties": {"PackageType": "Image", "ImageUri": PREBUILT, "MemorySize": 99999},
    }
    text = json.dumps({"Transform": "AWS::Serverless-2016-10-31", "Resources": {"ModelTrainingFunction": function}})
    found = cfnlint.api.lint(text, config=ManualArgs(regions=["eu-west-1"]))
    assert ["99999" in each.message for each in found] == [True]


@pytest.mark.slow
def test_sam_validates_it(project: Path) -> None:
    command = [str(Path(sys.executable).with_name("sam")), "validate", "--lint", "--region", "eu-west-1"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_image_is_built_here_or_named_by_digest(template: Any, name: str) -> None:
    parameter = template["Parameters"][f"{name}ImageUri"]
    assert re.fullmatch(parameter["AllowedPattern"], parameter["Default"])
    assert re.fullmatch(parameter["AllowedPattern"], PREBUILT)
    for wrong in (
        PREBUILT.replace("@sha256:" + "ab" * 32, ":latest"),
        PREBUILT[:-1],
        "",
        "training@sha256:" + "ab" * 32,
    ):
        assert not re.fullmatch(parameter["AllowedPattern"], wrong)
    function = template["Resources"][f"{name}Function"]
    assert function["Properties"]["ImageUri"] == {"Ref": f"{name}ImageUri"}
    assert function["Metadata"]["DockerContext"] == "functions"


def statements(template: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return each role's statements, also those that depend on a condition."""
    return [
        (logical_id, statement.get("Fn::If", [None, statement])[1])
        for logical_id, resource in template["Resources"].items()
        for policy in resource["Properties"].get("Policies", ())
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_no_role_has_a_wildcard_action_and_only_what_has_no_resource_level_has_a_wildcard_resource(
    template: Any,
) -> None:
    for logical_id, statement in statements(template):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action], logical_id
        if statement["Resource"] == "*":
            machines = (
                "TrainingStateMachine",
                "Rollback",
                "SystemTest",
                "BatchScoring",
                "Approval",
                "Retraining",
                "Canary",
            )
            answering = ("DataPreparation", "ModelTraining", "ModelEvaluation", "BatchScoringFunction", "TaskExecution")
            assert logical_id.removesuffix("Role") in (*machines, *answering)
            # None has a resource level.
            without_level = (
                ["states:SendTaskSuccess"],
                ["states:SendTaskFailure", "states:SendTaskHeartbeat", "states:SendTaskSuccess"],
                ["cloudwatch:GetMetricStatistics"],
                ["ecr:GetAuthorizationToken"],
            )
            assert statement["Sid"] == "DeliverLogs" or actions in without_level


def test_the_bucket_is_private_encrypted_versioned_and_tls_only(template: Any) -> None:
    bucket = template["Resources"]["ArtifactBucket"]
    properties = bucket["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    encryption = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    deny, overwrite = template["Resources"]["ArtifactBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert (overwrite["Effect"], overwrite["Action"]) == ("Deny", "s3:PutObject")


def test_no_account_region_or_bucket_is_in_any_file(project: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=project, capture_output=True, text=True, check=True)  # noqa: S607
    deployed = [name for name in tracked.stdout.split() if name.startswith(("template", "statemachine/", "functions/"))]
    assert deployed
    for name in deployed:
        text = (project / name).read_text()
        assert not re.search(r"arn:aws:[a-z]", text), name
        assert not re.search(r"\b(?:us|eu|ap|sa|ca|me|af)-(?:east|west|north|south|central)[a-z]*-\d\b", text), name
        if not name.endswith("requirements.txt"):
            assert not re.search(r"(?<![\w@:])\d{12}(?!\w)", text), name


def test_the_definition_is_json(project: Path) -> None:
    # The embedded AWS, unlike SAM, takes no YAML.
    json.loads((project / "statemachine/training.asl.json").read_text())


def test_trap_6_sam_deploys_without_a_repository_being_asked_for(template: Any, project: Path) -> None:
    settings = tomllib.loads((project / "samconfig.toml").read_text())["default"]["deploy"]["parameters"]
    assert settings["resolve_image_repos"] is True
    assert "PackageType" not in template.get("Globals", {}).get("Function", {})
    for name in FUNCTIONS:
        function = template["Resources"][f"{name}Function"]
        assert function["Properties"]["PackageType"] == "Image"
        assert function["Metadata"]["Dockerfile"].endswith("/Dockerfile")


def test_trap_22_runs_are_standard_executions(template: Any) -> None:
    assert template["Resources"]["TrainingStateMachine"]["Properties"]["Type"] == "STANDARD"


# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
@pytest.mark.parametrize(
    ("parameter", "largest"),
    [*((f"{name}Memory", 10_240) for name in FUNCTIONS), ("FunctionTimeout", 900), ("FunctionStorage", 10_240)],
)
def test_trap_23_no_function_is_asked_for_more_than_lambda_has(template: Any, parameter: str, largest: int) -> None:
    found = template["Parameters"][parameter]
    assert 0 < found["MinValue"] <= found["Default"] <= found["MaxValue"] == largest


@pytest.mark.parametrize("name", STEPS)
def test_a_function_has_its_memory_and_the_timeout_and_disk_of_all(template: Any, name: str) -> None:
    shared = template["Globals"]["Function"]
    mine = template["Resources"][f"{name}Function"]["Properties"]
    assert mine["MemorySize"] == {"Ref": f"{name}Memory"}
    assert shared["Timeout"] == {"Ref": "FunctionTimeout"}
    assert shared["EphemeralStorage"] == {"Size": {"Ref": "FunctionStorage"}}
    assert shared["Architectures"] == ["x86_64"]
    # Nothing of it is said again by a function.
    assert not {"Timeout", "EphemeralStorage", "Architectures"} & set(mine)


def test_a_task_runs_on_the_processors_that_its_image_is_built_for(template: Any) -> None:
    (architecture,) = template["Globals"]["Function"]["Architectures"]
    tasks = [each for each in template["Resources"].values() if each["Type"] == "AWS::ECS::TaskDefinition"]
    platform = {"CpuArchitecture": architecture.upper(), "OperatingSystemFamily": "LINUX"}
    assert [each["Properties"]["RuntimePlatform"] for each in tasks] == [platform] * 5


def test_every_function_and_the_state_machine_have_a_log_group(template: Any) -> None:
    groups = [each for each in template["Resources"].values() if each["Type"] == "AWS::Logs::LogGroup"]
    # One for each function, with those of batch scoring, watching and feedback, one for all state machines, and one for
    # all tasks.
    assert len(groups) == len(FUNCTIONS) + 5


def test_each_function_and_failed_runs_have_their_alarms(template: Any) -> None:
    alarms = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    of_steps = {f"{name}{kind}Alarm" for name in (*STEPS, BATCH) for kind in ("Throttles", "Duration")}
    of_scoring = {"ScoringThrottlesAlarm", "ScoringFailuresAlarm"}
    of_runs = {f"{kind}{runs}Alarm" for kind in ("Failed", "TimedOut") for runs in ("Runs", "ScoringRuns")}
    # Who brings labels is told by the command that calls the function.
    of_watching = {"CaptureFailuresAlarm", "WatchFailuresAlarm"}
    assert alarms == of_steps | of_scoring | of_runs | of_watching | {"FailedRetrainingsAlarm", "ChallengerErrorsAlarm"}
    # CloudWatch gives an account ten.
    idle = {name for name in alarms if "Condition" not in template["Resources"][name]}
    assert len(idle) == 8
    for name in (*STEPS, BATCH):
        metrics = template["Resources"][f"{name}DurationAlarm"]["Properties"]["Metrics"]
        assert metrics[0]["Expression"] == {"Fn::Sub": "duration / (${FunctionTimeout} * 10)"}
        dimension = {"Name": "FunctionName", "Value": {"Ref": f"{name}Function"}}
        assert metrics[1]["MetricStat"]["Metric"]["Dimensions"] == [dimension]


def test_all_of_scoring_is_there_for_a_served_model_alone(template: Any) -> None:
    assert template["Conditions"]["ServesModel"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ServeModel"}, ""]}]}
    assert template["Parameters"]["ServeModel"]["Default"] == ""
    found = {**template["Resources"], **template["Outputs"]}
    of_scoring = {name: each.get("Condition") for name, each in found.items() if name.startswith("Scoring")}
    of_api = {name: condition for name, condition in of_scoring.items() if name.startswith("ScoringApi")}
    assert (len(of_scoring), len(of_api)) == (15, 7)
    assert set(of_api.values()) == {"HasScoringApi"}
    assert {of_scoring[name] for name in of_scoring.keys() - of_api.keys()} == {"ServesModel"}
    has_issuer = {"Fn::Not": [{"Fn::Equals": [{"Ref": "JwtIssuer"}, ""]}]}
    assert template["Conditions"]["HasScoringApi"] == {"Fn::And": [{"Condition": "ServesModel"}, has_issuer]}


def test_where_nothing_is_kept_there_is_no_right_to_keep_it(template: Any) -> None:
    assert template["Parameters"]["CaptureShare"]["Default"] == 0
    for share, model, keeps in ((0, "houses", False), (10, "", False), (10, "houses", True)):
        values = {"CaptureShare": str(share), "ServeModel": model}
        resolver = Resolver(template, values, {"AWS::StackName": "crosstrain", "AWS::Region": "eu-west-1"})
        assert resolver.condition("CapturesRequests") is keeps
    statements = template["Resources"]["ScoringRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (kept,) = [each["Fn::If"] for each in statements if "Fn::If" in each]
    assert (kept[0], kept[2]) == ("CapturesRequests", {"Ref": "AWS::NoValue"})
    assert (kept[1]["Action"], kept[1]["Resource"]) == (
        "s3:PutObject",
        {"Fn::Sub": "${ArtifactBucket.Arn}/captured/${ServeModel}/*"},
    )
    others = [each for each in statements if "Fn::If" not in each]
    assert "s3:PutObject" not in json.dumps(others)
    found = {**template["Resources"], **template["Outputs"]}
    of_watching = {name: each.get("Condition") for name, each in found.items() if name.startswith("Watch")}
    assert set(of_watching.values()) == {"CapturesRequests", "HasWatchSchedule"}


def test_nobody_replaces_what_functions_have_written(template: Any) -> None:
    statements = template["Resources"]["ArtifactBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (denied,) = [each["Resource"] for each in statements if each["Sid"] == "DenyOverwrite"]
    folders = ("runs", "pieces", "scoring", "captured", "watch", "feedback")
    # The key of a run's workers lies beside what states store, and store again where an answer was lost.
    keys = (*(f"{folder}/*" for folder in folders), "large/*/credentials.json")
    assert denied == [{"Fn::Sub": f"${{ArtifactBucket.Arn}}/{key}"} for key in keys]


def test_a_task_takes_the_images_that_functions_take(template: Any) -> None:
    """An image of another architecture has failed as a function before a task is started from it."""
    (architecture,) = template["Globals"]["Function"]["Architectures"]
    tasks = [
        each["Properties"] for each in template["Resources"].values() if each["Type"] == "AWS::ECS::TaskDefinition"
    ]
    assert {each["RuntimePlatform"]["CpuArchitecture"] for each in tasks} == {architecture.upper()}
    functions = [each for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    images = [each["Properties"]["ImageUri"] for each in functions]
    assert all(each["ContainerDefinitions"][0]["Image"] in images for each in tasks)


def test_the_url_is_for_callers_that_iam_knows(template: Any) -> None:
    assert template["Resources"]["ScoringFunctionUrl"]["Properties"]["AuthType"] == "AWS_IAM"
    # Nobody is given a right by the function itself but the API, none of whose routes is open.
    given = [each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Permission"]
    assert [each["Properties"]["Principal"] for each in given] == ["apigateway.amazonaws.com"]
    assert "${ScoringApi}/" in given[0]["Properties"]["SourceArn"]["Fn::Sub"]
    routes = [each for each in template["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Route"]
    assert [each["Properties"]["AuthorizationType"] for each in routes] == ["JWT"]


@pytest.mark.parametrize("name", ["", "default", "Houses_2-a", "a" * 64])
def test_a_served_model_has_a_name_that_requests_may_have(template: Any, name: str) -> None:
    pattern = template["Parameters"]["ServeModel"]["AllowedPattern"]
    assert re.fullmatch(pattern, name)
    if name:
        assert parse_request({"dataset_uri": "s3://bucket/x.csv", "target": "y", "model_name": name})
    assert not re.fullmatch(pattern, f"{name}*")
    assert not re.fullmatch(pattern, f"-{name}")


@pytest.mark.parametrize("served", ["", "houses"])
def test_the_dashboard_searches_for_exactly_the_functions_of_the_stack(template: Any, served: str) -> None:
    pseudo = {"AWS::Region": "eu-west-1", "AWS::StackName": "crosstrain"}
    body = Resolver(template, {"ServeModel": served}, pseudo).resolve(
        template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    )
    widgets = json.loads(body)["widgets"]
    searches = re.findall(r"SEARCH\('(.*?)', '(\w+)', 3600\)", json.dumps(widgets).replace('\\"', '"'))

    assert len(widgets) == 4
    assert [(re.findall(r'MetricName="(\w+)"', text), statistic) for text, statistic in searches] == [
        (["Duration"], "Maximum"),
        (["Errors"], "Sum"),
        (["Throttles"], "Sum"),
    ]
    for text, _ in searches:
        assert text.startswith("{AWS/Lambda,FunctionName} (FunctionName=")
        assert re.findall(r'FunctionName="<(\w+)>"', text) == [
            f"{name}Function" for name in (*STEPS, BATCH, *(["Scoring"] if served else []))
        ]
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
        assert len(text) < 1024 - len(FUNCTIONS) * 64


@pytest.mark.parametrize("prefix", ["", "incoming/", "incoming/sales/day=1/"])
def test_new_objects_are_scored_below_incoming_alone(template: Any, prefix: str) -> None:
    assert re.fullmatch(template["Parameters"]["ScoringPrefix"]["AllowedPattern"], prefix)


@pytest.mark.parametrize(
    "prefix", ["scoring/", "runs/", "/incoming/", "incoming", "incoming/sales", "incoming/*/", "data/"]
)
def test_what_runs_write_starts_no_run(template: Any, prefix: str) -> None:
    assert not re.fullmatch(template["Parameters"]["ScoringPrefix"]["AllowedPattern"], prefix)


def test_what_starts_batch_scoring_may_start_nothing_else(template: Any) -> None:
    for name in ("BatchScoringTimerRole", "NewObjectRole"):
        (policy,) = template["Resources"][name]["Properties"]["Policies"]
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Action"] == "states:StartExecution"
        assert statement["Resource"] == {"Ref": "BatchScoringStateMachine"}
    for name in ("BatchScoringTimer", "BatchScoringTimerRole", "NewObjectRule", "NewObjectRole"):
        assert template["Resources"][name]["Condition"] in ("HasScoringSchedule", "HasScoringPrefix")
