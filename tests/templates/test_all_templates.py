"""What holds for each template: schemas, sections of a screen, descriptions, boundaries, nothing wild or private."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest
from cfnlint.config import ManualArgs

from delivery_templates import TEMPLATES, listed, of_type, properties, read, statements

BANNER = re.compile(r" *# ---- \S.* -+")
SCREEN = 60
# What hides from linters or reviewers what is deployed.
REFUSED = ("AWS::CloudFormation::Stack", "AWS::Include", "Fn::ForEach", "Fn::Transform")


@pytest.fixture(params=TEMPLATES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def template(project: Path, name: str) -> Any:
    return read(project, name)


def test_cfn_lint_finds_nothing(project: Path, name: str) -> None:
    """In one region; tests/regions goes through all of them."""
    config = ManualArgs(regions=["us-east-1"], include_checks=["I"])
    assert cfnlint.api.lint_file(project / name, config=config) == []


def test_plain_cfn_lint_looks_at_every_template(project: Path) -> None:
    configuration = read(project, ".cfnlintrc.yaml")
    assert tuple(configuration["templates"]) == TEMPLATES
    assert configuration["include_checks"] == ["I"]


def test_no_section_is_longer_than_a_screen(project: Path, name: str) -> None:
    lines = (project / name).read_text(encoding="utf-8").splitlines()
    begins = [0, *(number for number, line in enumerate(lines) if BANNER.fullmatch(line)), len(lines)]
    assert len(begins) > 5
    lengths = {lines[begin]: end - begin for begin, end in pairwise(begins)}
    assert {title: length for title, length in lengths.items() if length > SCREEN} == {}


def test_it_is_whole_and_as_it_is_deployed(project: Path, name: str) -> None:
    """CloudFormation takes no YAML aliases.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-formats.html
    """
    text = (project / name).read_text(encoding="utf-8")
    assert not re.search(r":\s+[&*]\w", text)
    assert not [word for word in REFUSED if word in text]


def test_only_the_training_stack_needs_a_transform(template: Any, name: str) -> None:
    assert ("Transform" in template) == (name == "template.yaml")


def test_every_parameter_is_in_a_group_and_says_what_it_is(template: Any) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [each for group in groups for each in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    for parameter, each in template["Parameters"].items():
        assert each["Description"].endswith("."), parameter


@pytest.mark.slow
def test_every_role_takes_the_permissions_boundary_in_one_line(project: Path, template: Any, name: str) -> None:
    given, own = (
        {"Fn::Sub": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:policy/{policy}"}
        for policy in ("${PermissionsBoundaryName}", "${ProjectName}-${AWS::Region}-pipeline-boundary")
    )
    none = {"Ref": "AWS::NoValue"}
    roles = of_type(template, "AWS::IAM::Role")
    assert bool(roles) == (name != "tools-account.yaml")
    for role, each in roles.items():
        # Those of the pipeline have one by default, but for the role that makes them.
        otherwise = own if name == "pipeline.yaml" and role != "UpdateRole" else none
        assert each["Properties"]["PermissionsBoundary"] == {"Fn::If": ["HasPermissionsBoundary", given, otherwise]}
    lines = re.findall(r"PermissionsBoundary: !If \[.*\]\n", (project / name).read_text(encoding="utf-8"))
    assert len(lines) == len(roles)


def test_no_wildcard_action_but_in_the_denial_of_calls_without_tls(template: Any) -> None:
    for statement in statements(template["Resources"]):
        if wild := [action for action in listed(statement["Action"]) if "*" in action]:
            assert (statement["Effect"], wild) == ("Deny", ["s3:*"])
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_wildcard_resource_has_a_link_beside_it(project: Path, name: str) -> None:
    lines = (project / name).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.strip() == 'Resource: "*"':
            # In a key policy it is the key itself, for which one link stands above the policy.
            begin = next(n for n in range(number, 0, -1) if "KeyPolicy:" in lines[n] or "PolicyDocument:" in lines[n])
            begin = begin - 2 if "KeyPolicy:" in lines[begin] else number - 13
            assert "https://docs.aws.amazon.com" in "\n".join(lines[begin:number]), number


def test_a_service_is_trusted_on_behalf_of_a_named_account(template: Any) -> None:
    """Trust without the account would be a service's on anybody's behalf: the confused deputy.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """
    # By these two a service acts on what it is itself: a function, or the stack whose update it performs.
    own = {"lambda.amazonaws.com", "cloudformation.amazonaws.com"}
    for statement in statements(template["Resources"]):
        principal = statement.get("Principal")
        services = set(listed(principal.get("Service", []))) if isinstance(principal, dict) else set()
        if statement["Effect"] == "Allow" and services - own:
            keys = json.dumps(statement.get("Condition", {}))
            assert re.search(r"(?i)aws:SourceAccount|aws:SourceArn", keys), statement


def test_event_rules_publish_with_a_role(template: Any) -> None:
    for name in of_type(template, "AWS::Events::Rule"):
        for target in properties(template, name)["Targets"]:
            assert "RoleArn" in target, name


def test_statement_ids_are_letters_and_digits(template: Any) -> None:
    """IAM takes nothing else: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html."""
    found = [each["Sid"] for each in statements(template["Resources"]) if "Sid" in each]
    assert found
    assert not [each for each in found if not each.isalnum()]


def test_inline_policies_fit_into_a_role(template: Any) -> None:
    """A role holds 10,240 characters without white space.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    for role in of_type(template, "AWS::IAM::Role"):
        assert len(re.sub(r"\s", "", json.dumps(properties(template, role)["Policies"]))) < 10_240, role


# All regions of an account share the names of these, and all accounts those of buckets.
GLOBAL_NAMES = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::S3::Bucket": "BucketName",
}


def test_no_name_that_regions_share_lacks_the_region(template: Any) -> None:
    """Else a project cannot be delivered in a second region of the same accounts."""
    for name, resource in template["Resources"].items():
        given = resource["Properties"].get(GLOBAL_NAMES.get(resource["Type"], ""))
        assert given is None or "${AWS::Region}" in given["Fn::Sub"], name


def test_logs_go_with_their_stack_after_the_days_of_the_parameter(template: Any) -> None:
    for group in of_type(template, "AWS::Logs::LogGroup").values():
        assert group["DeletionPolicy"] == group["UpdateReplacePolicy"] == "Delete"
        assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


@pytest.mark.parametrize("file", [*TEMPLATES, "buildspec/images.yml", "buildspec/release.yml", "config/prod.json"])
def test_no_account_region_or_bucket_is_in_a_deployed_file(project: Path, file: str) -> None:
    text = (project / file).read_text(encoding="utf-8")
    assert not re.search(r"\b(?:us|eu|ap|sa|ca|me|af)-(?:east|west|north|south|central)[a-z]*-\d\b", text)
    assert not re.search(r"(?<![\w@:])\d{12}(?!\w)", text)
