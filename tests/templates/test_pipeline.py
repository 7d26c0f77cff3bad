"""The stack of the pipeline against the traps of cross-account delivery, and its golden stages.

The stages are resolved for each layout of accounts and sources. Those of three accounts are the files in golden/; with
fewer accounts nothing but the accounts' ids may differ from them.
`UPDATE_GOLDEN=1 pytest tests/templates/test_pipeline.py` writes the files anew.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.helpers import REGIONS
from ministack.core.iam_evaluator import evaluate_trust_policy
from samcli.yamlhelper import yaml_parse

from crosstrain.rehearsal.authorization import evaluation_request
from delivery_templates import (
    ACCOUNTS,
    LAYOUTS,
    PRODUCTION,
    TEST,
    TOOLS,
    USUAL,
    Layout,
    of_type,
    properties,
    read,
    resolver,
)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def template(project: Path) -> Any:
    return read(project, "pipeline.yaml")


def actions(template: Any, layout: Layout = USUAL, **parameters: str) -> dict[str, Any]:
    stages = resolver(template, layout, **parameters).resolve(template["Resources"]["Pipeline"]["Properties"]["Stages"])
    return {f"{stage['Name']}/{action['Name']}": action for stage in stages for action in stage["Actions"]}


def written(template: Any, layout: Layout) -> str:
    stages = resolver(template, layout).resolve(template["Resources"]["Pipeline"]["Properties"]["Stages"])
    return yaml.safe_dump(stages, sort_keys=False, width=1000)


def golden(source: str, repositories: str) -> Path:
    return GOLDEN / f"three-accounts-{source}-{repositories}.yaml"


@pytest.mark.parametrize("repositories", ["two-repositories", "single-repository"])
@pytest.mark.parametrize("source", ["codecommit", "connection"])
def test_the_stages_of_three_accounts_are_the_golden_ones(template: Any, source: str, repositories: str) -> None:
    text, path = written(template, ("three-accounts", source, repositories)), golden(source, repositories)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("layout", [each for each in LAYOUTS if each[0] != "three-accounts"], ids="-".join)
def test_with_fewer_accounts_only_their_ids_differ(template: Any, layout: Layout) -> None:
    accounts, source, repositories = layout
    test, production = ACCOUNTS[accounts]
    # Of three accounts each has an id of its own, so none is replaced twice.
    expected = golden(source, repositories).read_text().replace(PRODUCTION, production).replace(TEST, test)
    assert written(template, layout) == expected


@pytest.mark.parametrize("repositories", ["two-repositories", "single-repository"])
def test_a_connection_changes_nothing_but_the_sources(template: Any, repositories: str) -> None:
    codecommit, connection = (
        actions(template, ("three-accounts", source, repositories)) for source in ("codecommit", "connection")
    )
    # What it passes itself holds the names of the repositories.
    changed = {name for name, action in connection.items() if action != codecommit[name]}
    assert changed == {name for name in connection if name.startswith("Source/")} | {"UpdatePipeline/CreateChangeSet"}
    assert set(connection) == set(codecommit)


@pytest.mark.parametrize("source", ["codecommit", "connection"])
def test_a_single_repository_stands_for_both(template: Any, source: str) -> None:
    two, one = (
        json.dumps(actions(template, ("three-accounts", source, each)))
        for each in ("two-repositories", "single-repository")
    )
    assert "ModelSource" in two
    assert "ModelSource" not in one
    commits = two.replace("#{ModelSource.CommitId}", "#{InfrastructureSource.CommitId}")
    assert re.findall(r"#\{\w+\.\w+\}", one) == re.findall(r"#\{\w+\.\w+\}", commits)


@pytest.mark.parametrize(("name", "least"), [("pipeline.yaml", 15), ("tools-account.yaml", 5)])
@pytest.mark.parametrize("layout", LAYOUTS, ids="-".join)
def test_trap_21_no_policy_has_a_principal_or_statement_id_twice(
    project: Path, layout: Layout, name: str, least: int
) -> None:
    template = read(project, name)

    def documents(node: Any) -> list[Any]:
        if isinstance(node, list):
            return [each for child in node for each in documents(child)]
        if not isinstance(node, dict):
            return []
        return [node] * ("Statement" in node) + [each for child in node.values() for each in documents(child)]

    found = documents(resolver(template, layout).resolve(template["Resources"]))
    assert len(found) >= least
    for document in found:
        ids = [statement["Sid"] for statement in document["Statement"] if "Sid" in statement]
        assert len(ids) == len(set(ids))
        for statement in document["Statement"]:
            if isinstance(statement.get("Principal"), dict):
                for principals in statement["Principal"].values():
                    listed = principals if isinstance(principals, list) else [principals]
                    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(("stage", "short", "account"), [("Test", "test", TEST), ("Production", "prod", PRODUCTION)])
def test_traps_7_to_11_change_sets_of_the_stages(template: Any, stage: str, short: str, account: str) -> None:
    found = actions(template)
    create, execute = found[f"{stage}/CreateChangeSet"], found[f"{stage}/ExecuteChangeSet"]
    assert create["RoleArn"] == execute["RoleArn"] == f"arn:aws:iam::{account}:role/crosstrain-eu-west-1-{short}-action"
    assert (
        create["Configuration"]["RoleArn"] == f"arn:aws:iam::{account}:role/crosstrain-eu-west-1-{short}-cloudformation"
    )
    assert "RoleArn" not in execute["Configuration"]
    assert create["Configuration"]["Capabilities"] == "CAPABILITY_IAM,CAPABILITY_AUTO_EXPAND"
    assert create["Configuration"]["TemplateConfiguration"] == f"Release::parameters-{short}.json"
    modes = {each["Configuration"].get("ActionMode") for each in found.values()}
    assert modes == {None, "CHANGE_SET_REPLACE", "CHANGE_SET_EXECUTE"}


def test_traps_10_and_18_the_pipeline_passes_itself_every_parameter_in_a_kilobyte(template: Any) -> None:
    free = {name: each for name, each in template["Parameters"].items() if each.get("MaxLength")}
    longest = {name: "a" * each["MaxLength"] for name, each in free.items()} | {"ProjectName": "a" * 20}
    # No other may be of any length.
    bounded = {"TestAccountId", "ProductionAccountId", "ApproveProduction", "ApproveUpdates", "LogRetentionDays"}
    assert set(template["Parameters"]) == longest.keys() | bounded
    update = actions(template, **longest)["UpdatePipeline/CreateChangeSet"]["Configuration"]
    assert len(update["ParameterOverrides"].encode()) <= 1000
    passed = json.loads(update["ParameterOverrides"])
    assert set(passed) == set(template["Parameters"])
    assert {name: passed[name] for name in longest} == longest
    assert (passed["TestAccountId"], passed["ProductionAccountId"]) == (TEST, PRODUCTION)
    assert template["Resources"]["Pipeline"]["Properties"]["RestartExecutionOnUpdate"] is True
    assert update["StackName"] == "crosstrain-pipeline"
    assert update["TemplatePath"] == "InfrastructureSource::pipeline.yaml"


def test_what_the_pipeline_changes_of_itself_can_be_approved_before(template: Any) -> None:
    """Else a merge to the infrastructure repository takes the approval of production away before anybody is asked."""
    asked = [name for name in actions(template, ApproveUpdates="true") if name.startswith("UpdatePipeline/")]
    assert asked == [f"UpdatePipeline/{name}" for name in ("CreateChangeSet", "Approve", "ExecuteChangeSet")]
    orders = [actions(template, ApproveUpdates="true")[name]["RunOrder"] for name in asked]
    assert orders == sorted(set(orders))
    assert "UpdatePipeline/Approve" not in actions(template)


def test_trap_15_no_artifact_comes_out_of_a_target_account(template: Any) -> None:
    remote = [each for each in actions(template).values() if "RoleArn" in each]
    assert len(remote) == 5
    assert not [each for each in remote if "OutputArtifacts" in each]


def test_trap_17_trust_in_a_service_is_bound_to_this_account(template: Any) -> None:
    roles = of_type(template, "AWS::IAM::Role")
    assert len(roles) == 9
    for name in roles:
        (statement,) = properties(template, name)["AssumeRolePolicyDocument"]["Statement"]
        # Services that are not documented to send the key; the others are known to.
        may_lack = statement["Principal"]["Service"] in ("cloudformation.amazonaws.com", "codepipeline.amazonaws.com")
        operator = "StringEqualsIfExists" if may_lack else "StringEquals"
        assert statement["Condition"][operator] == {"aws:SourceAccount": TOOLS}, name


@pytest.mark.parametrize(
    ("context", "trusted"), [({}, True), ({"aws:sourceaccount": TOOLS}, True), ({"aws:sourceaccount": TEST}, False)]
)
def test_codepipeline_is_trusted_whether_it_says_its_account_or_not(
    template: Any, context: dict[str, str], *, trusted: bool
) -> None:
    role, root = f"arn:aws:iam::{TOOLS}:role/crosstrain-eu-west-1-pipeline", f"arn:aws:iam::{TOOLS}:root"
    request = evaluation_request(root, "sts:AssumeRole", role, dict(context))
    trust = properties(template, "PipelineRole")["AssumeRolePolicyDocument"]
    assert evaluate_trust_policy(trust, root, request) == trusted


def test_trap_19_a_rule_for_each_codecommit_repository_and_no_polling(template: Any) -> None:
    for name, repository in (
        ("ModelTrigger", "crosstrain-model"),
        ("InfrastructureTrigger", "crosstrain-infrastructure"),
    ):
        pattern = properties(template, name)["EventPattern"]
        assert pattern["resources"] == [f"arn:aws:codecommit:eu-west-1:{TOOLS}:{repository}"]
        assert pattern["detail"]["referenceName"] == ["main"]
    sources = [each for name, each in actions(template).items() if name.startswith("Source/")]
    assert [each["Configuration"]["PollForSourceChanges"] for each in sources] == ["false", "false"]
    assert not resolver(template, ("one-account", "connection", "two-repositories")).condition("UsesCodeCommit")
    assert not resolver(template, ("one-account", "codecommit", "single-repository")).condition("TriggersOnModel")


def test_trap_20_accounts_are_strings(template: Any) -> None:
    for name in ("TestAccountId", "ProductionAccountId"):
        parameter = template["Parameters"][name]
        assert (parameter["Type"], "Default" in parameter) == ("String", False)
        assert re.fullmatch(parameter["AllowedPattern"], TEST)
        for wrong in ("12", "", "1234567890123", "12345678901a"):
            assert not re.fullmatch(parameter["AllowedPattern"], wrong)


STAGES = ["Source", "UpdatePipeline", "Verify", "Build", "Test", "Approval", "Production"]


@pytest.mark.parametrize("approve", ["true", "false"])
def test_both_deploying_stages_roll_back_and_approval_is_optional(template: Any, approve: str) -> None:
    declared = template["Resources"]["Pipeline"]["Properties"]["Stages"]
    stages = resolver(template, ApproveProduction=approve).resolve(declared)
    assert [each["Name"] for each in stages] == [each for each in STAGES if each != "Approval" or approve == "true"]
    rollback = [each["Name"] for each in stages if each.get("OnFailure") == {"Result": "ROLLBACK"}]
    assert rollback == ["Test", "Production"]


def test_a_rollback_of_production_asks_nobody_and_executes_what_it_has_made_itself(template: Any) -> None:
    """A rollback runs all actions of its stage.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-rollback.html
    """
    found = actions(template)
    production = {name: action for name, action in found.items() if name.startswith("Production/")}
    assert not [name for name, action in production.items() if action["ActionTypeId"]["Category"] == "Approval"]
    assert list(production) == [f"Production/{each}" for each in ("CreateChangeSet", "ExecuteChangeSet", "SmokeRun")]
    # What was approved and what is executed are the same package and parameters.
    approval, release = (found[f"{stage}/CreateChangeSet"] for stage in ("Approval", "Production"))
    assert approval["Configuration"].pop("ChangeSetName") != release["Configuration"].pop("ChangeSetName")
    assert approval == release


def test_no_stage_executes_the_change_set_of_another(template: Any) -> None:
    """Stages are locked, not the pipeline: another execution may be in the stage before.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html
    """
    stages: dict[tuple[str, str], set[str]] = {}
    for name, action in actions(template).items():
        found = action["Configuration"]
        if "ChangeSetName" in found:
            stages.setdefault((found["StackName"], found["ChangeSetName"]), set()).add(name.partition("/")[0])
    assert len(stages) == 4
    assert [each for each in stages.values() if len(each) > 1] == []


def test_an_approval_does_not_hold_others_up_for_a_week(template: Any) -> None:
    approve = actions(template)["Approval/Approve"]
    assert approve["RunOrder"] == 2
    assert 5 <= approve["TimeoutInMinutes"] <= 3 * 24 * 60


def test_what_the_model_repository_decides_reaches_no_build_that_makes_releases(template: Any) -> None:
    for layout in LAYOUTS:
        for name, action in actions(template, layout).items():
            inputs = {each["Name"] for each in action.get("InputArtifacts", [])}
            assert "ModelSource" not in inputs or name in ("Verify/Verify", "Build/Images"), name
            assert "Images" not in inputs or name == "Build/Release", name


def test_each_stage_has_a_system_test_of_its_own(template: Any) -> None:
    found = actions(template)
    for action, project, stage in (
        ("Test/SystemTest", "TestSystemTestProject", "test"),
        ("Production/SmokeRun", "ProductionSystemTestProject", "prod"),
    ):
        assert found[action]["Configuration"]["ProjectName"] == f"<{project}>"
        role = properties(template, project)["ServiceRole"]
        assert role == f"<{project.replace('Project', 'Role')}.Arn>"
        (borrowed,) = (
            each["Resource"]
            for each in properties(template, project.replace("Project", "Role"))["Policies"][0]["PolicyDocument"][
                "Statement"
            ]
            if each["Action"] == "sts:AssumeRole"
        )
        assert borrowed.endswith(f"role/crosstrain-eu-west-1-{stage}-system-test")


def test_no_role_and_no_artifact_has_a_name_that_is_too_long(template: Any) -> None:
    """64 characters for a role, in the region with the longest name; CodePipeline cuts the folders of artifacts.

    https://repost.aws/questions/QUI91tw7A9SUOMohJurNqmgA/code-pipeline-truncates-folder-names-in-output-artifact-s-3-bucket
    """
    name = "a" * 20
    assert re.fullmatch(template["Parameters"]["ProjectName"]["AllowedPattern"], name)
    assert not re.fullmatch(template["Parameters"]["ProjectName"]["AllowedPattern"], name + "a")
    longest = max(REGIONS, key=len)
    for role in of_type(template, "AWS::IAM::Role").values():
        given = role["Properties"]["RoleName"]["Fn::Sub"]
        assert len(given.replace("${ProjectName}", name).replace("${AWS::Region}", longest)) <= 64
    written = {each["Name"] for action in actions(template).values() for each in action.get("OutputArtifacts", [])}
    # Roles write these alone, so their folders have to be whole.
    assert {each for each in written if len(each) <= 10} == {"Images", "Release"}


def buildspec(project: Path, template: Any, name: str) -> tuple[Any, str]:
    path = project / properties(template, name)["Source"]["BuildSpec"]
    return yaml.safe_load(path.read_text()), path.read_text()


@pytest.mark.parametrize(
    ("name", "users"),
    [
        ("VerifyProject", ["Verify/Verify"]),
        ("ImagesProject", ["Build/Images"]),
        ("ReleaseProject", ["Build/Release"]),
        ("TestSystemTestProject", ["Test/SystemTest"]),
        ("ProductionSystemTestProject", ["Production/SmokeRun"]),
    ],
)
def test_every_variable_and_script_of_a_buildspec_exists(
    template: Any, project: Path, name: str, users: list[str]
) -> None:
    _, text = buildspec(project, template, name)
    static = properties(template, name)["Environment"].get("EnvironmentVariables", [])
    for user in users:
        action = actions(template)[user]
        assert action["Configuration"]["ProjectName"] == f"<{name}>"
        dynamic = json.loads(action["Configuration"].get("EnvironmentVariables", "[]"))
        given = {each["Name"] for each in static} | {each["name"] for each in dynamic}
        given |= {f"CODEBUILD_SRC_DIR_{each['Name']}" for each in action["InputArtifacts"]}
        assert set(re.findall(r"\$\{?([A-Z][A-Za-z_]+)", text)) <= given
    for script in re.findall(r"scripts/[a-z_]+\.py", text):
        assert (project / script).is_file(), script


@pytest.mark.parametrize("name", ["verify", "images", "release", "system-test"])
def test_every_option_of_a_buildspec_is_one_of_its_script(project: Path, name: str) -> None:
    specification = yaml.safe_load((project / f"buildspec/{name}.yml").read_text())
    commands = [line for phase in specification["phases"].values() for line in phase.get("commands", ())]
    for line in commands:
        if script := re.search(r"scripts/[a-z_]+\.py", line):
            source = (project / script[0]).read_text()
            for option in re.findall(r"--[a-z-]+", line[script.end() :]):
                assert f'"{option}"' in source, (script[0], option)


def test_what_the_build_hands_on_is_what_the_stages_ask_for(template: Any, project: Path) -> None:
    specification, text = buildspec(project, template, "ReleaseProject")
    handed = set(specification["artifacts"]["files"])
    wanted = set(re.findall(r"Release::([\w.-]+)", json.dumps(actions(template))))
    assert handed == wanted == {"packaged.yaml", "parameters-test.json", "parameters-prod.json"}
    assert {f"build/{name}" for name in wanted if name.startswith("parameters")} <= set(
        re.findall(r"build/[\w.-]+", text)
    )


def test_variables_name_actions_that_have_run_before(template: Any) -> None:
    for layout in LAYOUTS:
        spaces = {"codepipeline"}
        for name, action in actions(template, layout).items():
            used = set(re.findall(r"#\{(\w+)\.", json.dumps(action["Configuration"])))
            assert used <= spaces, name
            spaces |= {action["Namespace"]} if "Namespace" in action else set()


@pytest.mark.parametrize("stage", ["test", "prod"])
def test_the_configuration_of_a_stage_holds_only_parameters_of_the_training_stack(project: Path, stage: str) -> None:
    configuration = json.loads((project / f"config/{stage}.json").read_text())
    training = yaml_parse((project / "template.yaml").read_text())["Parameters"]
    assert set(configuration) <= {"Parameters", "Tags"}
    for name, value in configuration["Parameters"].items():
        assert isinstance(value, str)
        allowed = training[name].get("AllowedValues", [value])
        assert value in map(str, allowed)
