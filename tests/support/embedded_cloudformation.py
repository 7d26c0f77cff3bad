"""Creates stacks in an embedded AWS, of what its CloudFormation knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse

from crosstrain.local.server import ACCOUNT, REGION, LocalAws, root_of

# They begin with zeros, which a template that takes them for numbers loses.
TEST_ACCOUNT = "000000000012"
PRODUCTION_ACCOUNT = "000000000034"
UNKNOWN = ("AWS::CodePipeline::", "AWS::CodeCommit::", "AWS::SageMaker::", "AWS::Events::", "AWS::SNS::TopicPolicy")


def known_part(path: Path) -> dict[str, Any]:
    """Return a template without the resources whose types the embedded AWS does not know."""
    template: dict[str, Any] = yaml_parse(path.read_text())
    resources = template["Resources"].items()
    template["Resources"] = {name: each for name, each in resources if not each["Type"].startswith(UNKNOWN)}
    return template


def deploy_tools_account(client: Any, project: Path, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create the stack of tools-account.yaml, and return its outputs."""
    return create_stack(client, json.dumps(known_part(project / "tools-account.yaml")), name, parameters)


def create_stack(client: Any, template: str, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create a stack whose roles have names of their own, with those parameters that it has, and return its outputs."""
    declared = yaml_parse(template)["Parameters"]
    client.create_stack(
        StackName=name,
        TemplateBody=template,
        Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items() if key in declared
        ],
    )
    client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


def deploy_delivery(aws: LocalAws, project: Path, prefix: str, *, region: str = REGION, **more: str) -> dict[str, str]:
    """Deploy the templates of the delivery to three accounts, and return what the table's resources are called."""

    def cloudformation(account: str) -> Any:
        return aws.client("cloudformation", root_of(account), region=region)

    # Key and bucket policies of other accounts are not what is asked about here.
    accounts = {"TestAccountId": TEST_ACCOUNT, "ProductionAccountId": PRODUCTION_ACCOUNT, "ToolsAccountId": ACCOUNT}
    given = {"ProjectName": prefix, "PipelineStackName": f"{prefix}-pipeline", **accounts, **more}
    # Repositories of a connection, which have an owner, are for the pipeline alone.
    kept = {key: value for key, value in given.items() if not key.endswith("Repository") or "/" not in value}
    outputs = deploy_tools_account(cloudformation(ACCOUNT), project, f"{prefix}-tools", kept)
    pipeline = known_part(project / "pipeline.yaml")
    pipeline["Outputs"].pop("PipelineName")
    create_stack(cloudformation(ACCOUNT), json.dumps(pipeline), f"{prefix}-pipeline", given)
    for stage, account in (("test", TEST_ACCOUNT), ("prod", PRODUCTION_ACCOUNT)):
        create_stack(
            cloudformation(account),
            (project / "target-account.yaml").read_text(),
            f"{prefix}-{stage}-roles",
            {**given, **outputs, "Stage": stage},
        )
    return {
        "bucket": outputs["ArtifactBucketName"],
        "key": outputs["ArtifactKeyArn"],
        "ledger": outputs["LedgerTableName"],
    }
