"""The roles of a target account against CloudFormation's schemas, and against what the training stack is made of."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from crosstrain.rehearsal.cloudformation.resource_types import TRANSFORMED, actions_of

ROLES = ("ActionRole", "CloudFormationRole", "SystemTestRole")
HANDLERS = {"create", "read", "update", "delete"}


@pytest.fixture(scope="module")
def template(project: Path) -> Any:
    return yaml_parse((project / "target-account.yaml").read_text())


def statements(template: Any, role: str) -> list[Any]:
    policies = template["Resources"][role]["Properties"]["Policies"]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cloudformation_may_do_what_the_types_of_the_training_stack_need(template: Any, project: Path) -> None:
    """The permissions are those that the providers of the types declare, except for properties that are not used."""
    training = yaml_parse((project / "template.yaml").read_text())
    apis = template["Resources"]["HttpApiPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    tasks = template["Resources"]["TaskPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    allowed = [each for each in statements(template, "CloudFormationRole") + apis + tasks if each["Effect"] == "Allow"]
    granted = {action for each in allowed for action in listed(each["Action"])}
    kinds = set()
    for name, resource in training["Resources"].items():
        kind = TRANSFORMED.get(resource["Type"], resource["Type"])
        kinds.add(kind)
        needed = actions_of(kind, HANDLERS, resource.get("Properties", {}))
        # A type of which nothing were asked would always be granted.
        assert needed, kind
        assert needed <= granted, name
    assert len(kinds) > 10


def test_trap_7_each_role_passes_only_what_it_must_to_whom_it_must(template: Any) -> None:
    (action,) = (each for each in statements(template, "ActionRole") if each["Action"] == "iam:PassRole")
    assert action["Resource"] == {"Fn::GetAtt": ["CloudFormationRole", "Arn"]}
    assert action["Condition"] == {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}
    (deploy,) = (each for each in statements(template, "CloudFormationRole") if each["Action"] == "iam:PassRole")
    assert "cloudformation.amazonaws.com" not in deploy["Condition"]["StringEquals"]["iam:PassedToService"]


def test_traps_12_and_9_what_the_action_role_needs_of_cloudformation(template: Any) -> None:
    granted = {action for each in statements(template, "ActionRole") for action in listed(each["Action"])}
    assert {"cloudformation:DescribeStacks", "cloudformation:DescribeStackEvents"} <= granted
    assert {"cloudformation:DescribeChangeSet", "cloudformation:DeleteChangeSet"} <= granted
    assert "aws:transform/Serverless-2016-10-31" in json.dumps(statements(template, "ActionRole"))


@pytest.mark.parametrize("role", ["ActionRole", "CloudFormationRole"])
def test_trap_13_both_deploying_roles_read_and_decrypt_artifacts(template: Any, role: str) -> None:
    (key,) = (each for each in statements(template, role) if each["Resource"] == {"Ref": "ArtifactKeyArn"})
    assert {"kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey", "kms:DescribeKey"} <= set(
        key["Action"]
    )
    assert any("${ArtifactBucketName}/*" in json.dumps(each["Resource"]) for each in statements(template, role))
    pattern = template["Parameters"]["ArtifactKeyArn"]["AllowedPattern"]
    assert re.fullmatch(pattern, "arn:aws:kms:eu-west-1:000000000001:key/0a1b")
    assert not re.fullmatch(pattern, "arn:aws:kms:eu-west-1:000000000001:alias/crosstrain-pipeline")


def test_trap_1_cloudformation_reads_images_when_it_creates_a_function(template: Any) -> None:
    (images,) = (each for each in statements(template, "CloudFormationRole") if each["Sid"] == "UseImages")
    assert images["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


def test_traps_16_and_17_the_names_are_fixed_and_trust_is_narrow(template: Any, project: Path) -> None:
    tools = [(project / name).read_text() for name in ("tools-account.yaml", "pipeline.yaml")]
    pipeline = "".join(tools)
    for role, name in zip(ROLES, ("action", "cloudformation", "system-test"), strict=True):
        properties = template["Resources"][role]["Properties"]
        assert properties["RoleName"] == {"Fn::Sub": f"${{ProjectName}}-${{AWS::Region}}-${{Stage}}-{name}"}
        assert all(f"role/${{ProjectName}}-${{AWS::Region}}-{stage}-{name}" in pipeline for stage in ("test", "prod"))
        (statement,) = properties["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Condition"]
        if "AWS" in statement["Principal"]:
            trusted = statement["Principal"]["AWS"]["Fn::Sub"].rpartition("/")[2]
            for stage in ("test", "prod"):
                assert f"RoleName: !Sub {trusted.replace('${Stage}', stage)}\n" in pipeline


def test_new_roles_need_the_boundary(template: Any) -> None:
    (create,) = (each for each in statements(template, "CloudFormationRole") if each["Sid"] == "CreateRoles")
    assert {"iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"} == set(create["Action"])
    condition = create["Condition"]["ArnEquals"]["iam:PermissionsBoundary"]["Fn::If"]
    assert condition[0] == "HasPermissionsBoundary"
    assert condition[2] == {"Ref": "TrainingBoundary"}
    others = [each for each in statements(template, "CloudFormationRole") if each["Sid"] != "CreateRoles"]
    assert "iam:PutRolePolicy" not in json.dumps(others)
    assert "iam:DeleteRolePermissionsBoundary" not in json.dumps(statements(template, "CloudFormationRole"))


def test_the_names_of_the_longest_projects_roles_still_say_role(project: Path) -> None:
    """CloudFormation cuts a generated name at 64 characters, 13 of them its own, and rights go by `-…Role`."""
    training = yaml_parse((project / "template.yaml").read_text())["Resources"]
    for name in (name for name, each in training.items() if each["Type"] == "AWS::IAM::Role"):
        assert len(f"{'a' * 20}-test-{name}-") + 13 <= 64, name


def test_no_wildcard_action_and_no_wildcard_resource_without_its_link(template: Any, project: Path) -> None:
    found = [(role, each) for role in ROLES for each in statements(template, role)]
    assert not [each for _, each in found if any("*" in action for action in listed(each["Action"]))]
    anywhere = [(role, each["Sid"]) for role, each in found if each["Resource"] == "*"]
    assert anywhere == [("CloudFormationRole", "Subscriptions"), ("CloudFormationRole", "LookUp")]
    text = (project / "target-account.yaml").read_text()
    for _, sid in anywhere:
        assert "https://docs.aws.amazon.com" in text[text.index(f"Sid: {sid}") - 300 : text.index(f"Sid: {sid}")]


def test_the_roles_cannot_change_themselves(template: Any) -> None:
    (change,) = (each for each in statements(template, "CloudFormationRole") if each["Sid"] == "ChangeRoles")
    pattern = change["Resource"]["Fn::Sub"].rpartition("/")[2]
    for variable, value in (("${ProjectName}", "crosstrain"), ("${Stage}", "test")):
        pattern = pattern.replace(variable, value)
    assert fnmatchcase("crosstrain-test-ModelTrainingRole-1A2B3C", pattern)
    assert not any(
        fnmatchcase(f"crosstrain-test-{name}", pattern) for name in ("action", "cloudformation", "system-test")
    )
