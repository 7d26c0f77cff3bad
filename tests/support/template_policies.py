"""The four templates and every policy in them, resolved as CloudFormation would, for linters."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosstrain.rehearsal.cloudformation.intrinsics import Resolver
from crosstrain.rehearsal.cloudformation.resource_permissions import StackResources
from crosstrain.rehearsal.cloudformation.resource_types import KINDS
from delivery_templates import CONNECTION, PSEUDO, TEMPLATES, read
from moto_stacks import transformed

ACCOUNT, REGION = "123456789012", "us-east-1"
# Properties that are policies, besides the inline policies of roles.
_DOCUMENTS = ("AssumeRolePolicyDocument", "KeyPolicy", "PolicyDocument", "RepositoryPolicyText")
# Those that say no resource, for it is what they are attached to; a linter wants it said.
_OF_THEIR_RESOURCE = ("AssumeRolePolicyDocument", "RepositoryPolicyText")
_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a1b2c3d-aaaa-bbbb-cccc-0123456789ab"
_GIVEN = {
    **dict.fromkeys(("TestAccountId", "ProductionAccountId", "ToolsAccountId"), ACCOUNT),
    "ArtifactBucketName": "artifacts",
    "ArtifactKeyArn": _KEY,
    "Stage": "test",
    "DatasetBucketName": "datasets",
    "DatasetKeyArn": _KEY,
    "TrainingSchedule": "rate(1 day)",
    "MayMakeHttpApis": "true",
    "MayRunTasks": "true",
    "JobSubnetIds": "subnet-00000000",
    "JobVpcId": "vpc-00000000",
    "LargestCluster": "2",
    "ModelTrainingImageUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/crosstrain/model-training@sha256:{'0' * 64}",
    "ServeModel": "served",
    "JwtIssuer": "https://issuer.example.com",
    "JwtAudience": "callers",
    "ScoringSchedule": "rate(1 day)",
    "ScoringPrefix": "incoming/",
    "ScoringRequest": '{"model_name": "houses"}',
}
# Each condition is met in one of them and not in the other; the boundary of target-account.yaml is made in the first.
LAYOUTS: tuple[dict[str, str], ...] = (
    {},
    {
        "PermissionsBoundaryName": "boundary",
        "ConnectionArn": CONNECTION,
        "InfrastructureRepository": "team/a",
        "ModelRepository": "",
    },
)


def policies(project: Path, files: Sequence[str] = TEMPLATES) -> dict[str, Any]:
    """Return each policy by the file, the resource and the property or inline policy that it is of, and the layout."""
    exports = _exports(project)
    return {
        f"{file} {name} {what} {number}": json.loads(re.sub(r"<([\w-]+)>", lambda match: exports[match[1]], document))
        for file in files
        for number, layout in enumerate(LAYOUTS)
        for name, what, document in _of_template(project, file, {**_GIVEN, **layout})
    }


def resolved(project: Path, file: str) -> dict[str, Any]:
    """Return a template without functions and conditions, SAM's types as its transform makes them."""
    template, resolver, resources = _resolving(project, file, {**_GIVEN, "CreateRepositories": "true"})
    wanted = {name: each for name, each in template["Resources"].items() if resources.is_wanted(name)}
    found = {name: {**each, "Properties": resolver.resolve(each["Properties"])} for name, each in wanted.items()}
    for each in found.values():
        if each["Type"] == "AWS::Serverless::StateMachine":
            each["Properties"]["DefinitionUri"] = {"Bucket": "packages", "Key": "definition"}
    whole = {"Globals": resolver.resolve(template.get("Globals", {})), "Parameters": {}, "Resources": found}
    made = transformed(whole, {})["Resources"]
    # What refers to a resource by its name stays so: a linter takes it for a name.
    arns = {name: resources.arn(name) for name in wanted if wanted[name]["Type"] in KINDS}
    text = re.sub(r"<(\w+)\.Arn>", lambda match: arns.get(match[1], match[0]), json.dumps(made))
    return {"Resources": json.loads(text)}


def _of_template(project: Path, file: str, given: dict[str, str]) -> list[tuple[str, str, str]]:
    template, resolver, resources = _resolving(project, file, given)
    found = []
    for name, resource in template["Resources"].items():
        if not resources.is_wanted(name):
            continue
        properties = resolver.resolve(resource["Properties"])
        documents = {each: properties[each] for each in _DOCUMENTS if each in properties}
        documents |= {each["PolicyName"]: each["PolicyDocument"] for each in properties.get("Policies", [])}
        for what, document in documents.items():
            if what in _OF_THEIR_RESOURCE:
                for statement in document["Statement"]:
                    statement["Resource"] = resources.arn(name)
            found.append((name, what, _named(document, resources)))
    return found


def _exports(project: Path) -> dict[str, str]:
    """Return what pipeline.yaml imports, by the names of the exports."""
    template, resolver, resources = _resolving(project, "tools-account.yaml", _GIVEN)
    outputs = [each for each in template["Outputs"].values() if "Export" in each]
    return {resolver.resolve(each["Export"]["Name"]): _named(each["Value"], resources, resolver) for each in outputs}


def _resolving(project: Path, file: str, given: dict[str, str]) -> tuple[Any, Resolver, StackResources]:
    template, stack = read(project, file), f"crosstrain-{Path(file).stem}"
    known = {key: value for key, value in given.items() if key in template["Parameters"]}
    pseudo = {**PSEUDO, "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::StackName": stack}
    return template, Resolver(template, known, pseudo), StackResources(template, known, stack, ACCOUNT, {})


def _named(node: Any, resources: StackResources, resolver: Resolver | None = None) -> str:
    """Return a part of a template as text, in which what refers to a resource is its ARN."""
    resolved = resolver.resolve(node) if resolver else node
    text = resolved if isinstance(resolved, str) else json.dumps(resolved)
    return re.sub(r"<(\w+)(\.\w+)?>", lambda match: resources.arn(match[1]), text)
