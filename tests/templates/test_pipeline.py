"""The delivery stack against CloudFormation's schemas, the traps of cross-account delivery, and its golden stages.

The stages are resolved by a small evaluator of CloudFormation's functions, for each layout of accounts and sources, and
compared with the files in golden/. `UPDATE_GOLDEN=1 pytest tests/templates/test_pipeline.py` writes them anew.
"""

from __future__ import annotations

import json
import os
import re
from itertools import product
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest
import yaml
from cfnlint.config import ManualArgs
from cfnlint.helpers import REGIONS
from samcli.yamlhelper import yaml_parse

from crosstrain.rehearsal.cloudformation.intrinsics import Resolver

GOLDEN = Path(__file__).parent / "golden"
TOOLS, TEST, PRODUCTION = "000000000001", "000000000002", "000000000003"
ACCOUNTS = {"one-account": (TOOLS, TOOLS), "two-accounts": (TEST, TEST), "three-accounts": (TEST, PRODUCTION)}
CONNECTION = f"arn:aws:codeconnections:eu-west-1:{TOOLS}:connection/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": TOOLS,
    "AWS::StackName": "crosstrain-pipeline",
    "AWS::URLSuffix": "amazonaws.com",
}
LAYOUTS = list(product(ACCOUNTS, ("codecommit", "connection"), ("two-repositories", "single-repository")))


@pytest.fixture(scope="module")
def template(project: Path) -> Any:
    return yaml_parse((project / "pipeline.yaml").read_text())


def resolver(template: Any, layout: tuple[str, str, str] = LAYOUTS[-4], **parameters: str) -> Resolver:
    accounts, source, repositories = layout
    test, production = ACCOUNTS[accounts]
    given = {"TestAccountId": test, "ProductionAccountId": production, **parameters}
    if source == "connection":
        given |= {"ConnectionArn": CONNECTION, "InfrastructureRepository": "team/infrastructure"}
        given |= {"ModelRepository": "team/model"}
    if repositories == "single-repository":
        given["ModelRepository"] = ""
    return Resolver(template, given, PSEUDO)


def properties(template: Any, name: str) -> Any:
    return resolver(template).resolve(template["Resources"][name]["Properties"])


def actions(template: Any, layout: tuple[str, str, str] = LAYOUTS[-4], **parameters: str) -> dict[str, Any]:
    stages = resolver(template, layout, **parameters).resolve(template["Resources"]["Pipeline"]["Properties"]["Stages"])
    return {f"{stage['Name']}/{action['Name']}": action for stage in stages for action in stage["Actions"]}


def of_type(template: Any, kind: str) -> dict[str, Any]:
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


@pytest.mark.parametrize("first", range(0, len(REGIONS), 6))
def test_cfn_lint_finds_nothing_in_any_region(project: Path, first: int) -> None:
    # A few regions at once: cfn-lint tries all combinations of region, partition and suffix.
    config = ManualArgs(regions=sorted(REGIONS)[first : first + 6], include_checks=["I"])
    assert cfnlint.api.lint_file(project / "pipeline.yaml", config=config) == []


@pytest.mark.parametrize("layout", LAYOUTS, ids="-".join)
def test_the_stages_are_the_golden_ones(template: Any, layout: tuple[str, str, str]) -> None:
    stages = resolver(template, layout).resolve(template["Resources"]["Pipeline"]["Properties"]["Stages"])
    text = yaml.safe_dump(stages, sort_keys=False, width=1000)
    path = GOLDEN / f"{'-'.join(layout)}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("layout", LAYOUTS, ids="-".join)
def test_trap_21_no_policy_has_a_principal_or_statement_id_twice(template: Any, layout: tuple[str, str, str]) -> None:
    def documents(node: Any) -> list[Any]:
        if isinstance(node, list):
            return [each for child in node for each in documents(child)]
        if not isinstance(node, dict):
            return []
        return [node] * ("Statement" in node) + [each for child in node.values() for each in documents(child)]

    found = documents(resolver(template, layout).resolve(template["Resources"]))
    assert len(found) > 20
    for document in found:
        ids = [statement["Sid"] for statement in document["Statement"] if "Sid" in statement]
        assert len(ids) == len(set(ids))
        for statement in document["Statement"]:
            if isinstance(statement.get("Principal"), dict):
                for principals in statement["Principal"].values():
                    listed = principals if isinstance(principals, list) else [principals]
                    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", ["DataPreparationRepository", "ModelTrainingRepository", "ModelEvaluationRepository"])
def test_traps_1_and_2_accounts_and_lambda_pull_images_of_this_region(template: Any, name: str) -> None:
    by_id = {each["Sid"]: each for each in properties(template, name)["RepositoryPolicyText"]["Statement"]}
    for stage, account, short in (("Test", TEST, "test"), ("Production", PRODUCTION, "prod")):
        assert by_id[f"{stage}Account"]["Principal"] == {"AWS": f"arn:aws:iam::{account}:root"}
        functions = by_id[f"{stage}Functions"]
        assert functions["Principal"] == {"Service": "lambda.amazonaws.com"}
        source = functions["Condition"]["ArnLike"]["aws:SourceArn"]
        assert source == f"arn:aws:lambda:eu-west-1:{account}:function:crosstrain-{short}-*"
    for statement in by_id.values():
        assert statement["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


@pytest.mark.parametrize("name", ["DataPreparationRepository", "ModelTrainingRepository", "ModelEvaluationRepository"])
def test_traps_3_and_4_tags_never_change_and_no_live_digest_expires(template: Any, name: str) -> None:
    repository = properties(template, name)
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    (rule,) = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert rule["selection"] == {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1000}


@pytest.mark.parametrize(("stage", "short", "account"), [("Test", "test", TEST), ("Production", "prod", PRODUCTION)])
def test_traps_7_to_11_change_sets_of_the_stages(template: Any, stage: str, short: str, account: str) -> None:
    found = actions(template)
    create, execute = found[f"{stage}/CreateChangeSet"], found[f"{stage}/ExecuteChangeSet"]
    assert create["RoleArn"] == execute["RoleArn"] == f"arn:aws:iam::{account}:role/crosstrain-{short}-action"
    assert create["Configuration"]["RoleArn"] == f"arn:aws:iam::{account}:role/crosstrain-{short}-cloudformation"
    assert "RoleArn" not in execute["Configuration"]
    assert create["Configuration"]["Capabilities"] == "CAPABILITY_IAM,CAPABILITY_AUTO_EXPAND"
    assert create["Configuration"]["TemplateConfiguration"] == f"BuildOutput::parameters-{short}.json"
    modes = {each["Configuration"].get("ActionMode") for each in found.values()}
    assert modes == {None, "CHANGE_SET_REPLACE", "CHANGE_SET_EXECUTE"}


def test_traps_10_and_18_the_pipeline_passes_itself_every_parameter_in_a_kilobyte(template: Any) -> None:
    longest = {
        "ProjectName": "a" * 21,
        "NotificationEmail": "somebody.with.a.long.name@department.example.com",
        "InfrastructureRepository": "organisation-name/infrastructure-repository",
        "ModelRepository": "organisation-name/model-repository",
        "BranchName": "release/production",
        "ConnectionArn": CONNECTION,
        "StudioDomainId": "d-abcdefghijkl",
        "StudioUserProfileName": "somebody-with-a-long-name",
        "PermissionsBoundaryName": "organisation-permissions-boundary",
    }
    update = actions(template, **longest)["UpdatePipeline/CreateChangeSet"]["Configuration"]
    assert len(update["ParameterOverrides"].encode()) <= 1000
    passed = json.loads(update["ParameterOverrides"])
    assert set(passed) == set(template["Parameters"])
    assert {name: passed[name] for name in longest} == longest
    assert (passed["TestAccountId"], passed["ProductionAccountId"]) == (TEST, PRODUCTION)
    assert template["Resources"]["Pipeline"]["Properties"]["RestartExecutionOnUpdate"] is True
    assert update["StackName"] == "crosstrain-pipeline"
    assert update["TemplatePath"] == "InfrastructureSource::pipeline.yaml"


def test_trap_13_one_customer_managed_key_by_its_arn(template: Any) -> None:
    key = properties(template, "ArtifactKey")
    assert key["EnableKeyRotation"] is True
    use = {"kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey"}
    use |= {"kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"}
    by_id = {each["Sid"]: each for each in key["KeyPolicy"]["Statement"]}
    for sid in ("ToolsAccount", "TestStage", "ProductionStage"):
        assert set(by_id[sid]["Action"]) == use
    store = properties(template, "Pipeline")["ArtifactStore"]
    assert store["EncryptionKey"] == {"Id": "<ArtifactKey.Arn>", "Type": "KMS"}
    for name in of_type(template, "AWS::CodeBuild::Project"):
        assert properties(template, name)["EncryptionKey"] == "<ArtifactKey.Arn>"


def test_trap_14_the_artifact_bucket_is_private_versioned_encrypted_and_tls_only(template: Any) -> None:
    bucket = properties(template, "ArtifactBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "<ArtifactKey.Arn>"
    deny = properties(template, "ArtifactBucketPolicy")["PolicyDocument"]["Statement"][0]
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_trap_15_no_artifact_comes_out_of_a_target_account(template: Any) -> None:
    remote = [each for each in actions(template).values() if "RoleArn" in each]
    assert len(remote) == 4
    assert not [each for each in remote if "OutputArtifacts" in each]


def test_trap_16_no_policy_has_a_role_of_another_account_as_its_principal(template: Any) -> None:
    for name in ("ArtifactKey", "ArtifactBucketPolicy"):
        resolved = properties(template, name)
        document = resolved.get("KeyPolicy") or resolved["PolicyDocument"]
        principals = [each["Principal"] for each in document["Statement"]]
        assert not [each for each in principals if ":role/" in json.dumps(each)]


def test_trap_17_trust_in_a_service_is_bound_to_this_account(template: Any) -> None:
    roles = of_type(template, "AWS::IAM::Role")
    assert len(roles) == 7
    for name in roles:
        (statement,) = properties(template, name)["AssumeRolePolicyDocument"]["Statement"]
        operators = statement["Condition"]
        bound = operators.get("StringEquals") or operators["StringEqualsIfExists"]
        assert bound == {"aws:SourceAccount": TOOLS}, name


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


def test_traps_24_and_25_logs_go_with_the_stack_and_data_stays(template: Any) -> None:
    for group in of_type(template, "AWS::Logs::LogGroup").values():
        assert (group["DeletionPolicy"], group["Properties"]["RetentionInDays"]) == (
            "Delete",
            {"Ref": "LogRetentionDays"},
        )
    kinds = ("AWS::KMS::Key", "AWS::S3::Bucket", "AWS::ECR::Repository", "AWS::DynamoDB::Table")
    for each in (each for kind in kinds for each in of_type(template, kind).values()):
        assert each["DeletionPolicy"] == each["UpdateReplacePolicy"] == {"Ref": "RetentionPolicy"}
    assert template["Parameters"]["RetentionPolicy"]["Default"] == "Retain"


def test_no_wildcard_action_and_a_link_beside_each_wildcard_resource(project: Path) -> None:
    text = (project / "pipeline.yaml").read_text()
    assert re.findall(r"Action: (?:\[.*)?\S*\*", text) == ["Action: s3:*"]
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() == 'Resource: "*"' and number > text[: text.index("ArtifactKeyAlias:")].count("\n"):
            assert "https://docs.aws.amazon.com" in "\n".join(lines[number - 6 : number])


def test_inline_policies_fit_into_a_role(template: Any) -> None:
    """A role holds 10,240 characters without white space.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    for name in of_type(template, "AWS::IAM::Role"):
        assert len(re.sub(r"\s", "", json.dumps(properties(template, name)["Policies"]))) < 10_240, name


def test_both_deploying_stages_roll_back_and_approval_is_optional(template: Any) -> None:
    stages = template["Resources"]["Pipeline"]["Properties"]["Stages"]
    assert [each["Name"] for each in stages] == ["Source", "UpdatePipeline", "Verify", "Build", "Test", "Production"]
    rollback = [each["Name"] for each in stages if each.get("OnFailure") == {"Result": "ROLLBACK"}]
    assert rollback == ["Test", "Production"]
    assert actions(template)["Production/Approve"]["RunOrder"] == 2
    assert "Production/Approve" not in actions(template, ApproveProduction="false")


def buildspec(project: Path, template: Any, name: str) -> tuple[Any, str]:
    path = project / properties(template, name)["Source"]["BuildSpec"]
    return yaml.safe_load(path.read_text()), path.read_text()


@pytest.mark.parametrize(
    ("name", "users"),
    [
        ("VerifyProject", ["Verify/Verify"]),
        ("BuildProject", ["Build/Build"]),
        ("SystemTestProject", ["Test/SystemTest", "Production/SmokeRun"]),
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


@pytest.mark.parametrize("name", ["verify", "build", "system-test"])
def test_every_option_of_a_buildspec_is_one_of_its_script(project: Path, name: str) -> None:
    specification = yaml.safe_load((project / f"buildspec/{name}.yml").read_text())
    commands = [line for phase in specification["phases"].values() for line in phase.get("commands", ())]
    for line in commands:
        if script := re.search(r"scripts/[a-z_]+\.py", line):
            source = (project / script[0]).read_text()
            for option in re.findall(r"--[a-z-]+", line[script.end() :]):
                assert f'"{option}"' in source, (script[0], option)


def test_what_the_build_hands_on_is_what_the_stages_ask_for(template: Any, project: Path) -> None:
    specification, text = buildspec(project, template, "BuildProject")
    handed = set(specification["artifacts"]["files"])
    wanted = set(re.findall(r"BuildOutput::([\w.-]+)", json.dumps(actions(template))))
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


def test_every_parameter_is_in_a_group_and_says_what_it_is(template: Any) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert {name for group in groups for name in group["Parameters"]} == set(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert parameter["Description"].endswith("."), name


@pytest.mark.parametrize("name", ["pipeline.yaml", "target-account.yaml", "buildspec/build.yml", "config/prod.json"])
def test_no_account_region_or_bucket_is_in_a_deployed_file(project: Path, name: str) -> None:
    text = (project / name).read_text()
    assert not re.search(r"\b(?:us|eu|ap|sa|ca|me|af)-(?:east|west|north|south|central)[a-z]*-\d\b", text)
    assert not re.search(r"(?<![\w@:])\d{12}(?!\w)", text)
