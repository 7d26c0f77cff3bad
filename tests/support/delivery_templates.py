"""The templates, resolved for each layout of accounts and sources by a small evaluator of their functions."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse

from crosstrain.rehearsal.cloudformation.intrinsics import Resolver

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
Layout = tuple[str, str, str]
LAYOUTS: list[Layout] = list(product(ACCOUNTS, ("codecommit", "connection"), ("two-repositories", "single-repository")))
USUAL: Layout = ("three-accounts", "codecommit", "two-repositories")
TEMPLATES = ("template.yaml", "tools-account.yaml", "pipeline.yaml", "target-account.yaml")


def read(project: Path, name: str) -> Any:
    """Return a template."""
    return yaml_parse((project / name).read_text(encoding="utf-8"))


def resolver(template: Any, layout: Layout = USUAL, **parameters: str) -> Resolver:
    """Return what resolves a template for a layout."""
    accounts, source, repositories = layout
    test, production = ACCOUNTS[accounts]
    given = {"TestAccountId": test, "ProductionAccountId": production, **parameters}
    if source == "connection" and "ConnectionArn" in template["Parameters"]:
        given |= {"ConnectionArn": CONNECTION, "InfrastructureRepository": "team/infrastructure"}
        given |= {"ModelRepository": "team/model"}
    if repositories == "single-repository":
        given["ModelRepository"] = ""
    return Resolver(template, given, PSEUDO)


def properties(template: Any, name: str) -> Any:
    """Return the properties of a resource in the usual layout."""
    return resolver(template).resolve(template["Resources"][name]["Properties"])


def of_type(template: Any, kind: str) -> dict[str, Any]:
    """Return the resources of a type."""
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


def statements(node: Any) -> list[Any]:
    """Return every statement of the policies in a part of a template, those of both branches of a condition too."""
    if isinstance(node, list):
        return [each for child in node for each in statements(child)]
    if not isinstance(node, dict):
        return []
    mine = [node] if {"Effect", "Action"} <= set(node) else []
    return mine + [each for child in node.values() for each in statements(child)]


def listed(value: Any) -> list[Any]:
    """Return a list of one or of many."""
    return value if isinstance(value, list) else [value]
