"""The accounts of a rehearsal with both stacks of the tools account and the roles, on one embedded AWS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.files import write_whole
from crosstrain.local.server import LocalAws, root_of
from crosstrain.local.template import leave_out_unsupported
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.authorization import Authorizer
from crosstrain.rehearsal.cloudformation.change_sets import CloudFormation, upload_template
from crosstrain.rehearsal.cloudformation.optional_rights import OptionalRights
from crosstrain.rehearsal.codebuild.builds import CodeBuild
from crosstrain.rehearsal.codepipeline import api as codepipeline_api
from crosstrain.rehearsal.codepipeline import declaration
from crosstrain.rehearsal.codepipeline.declaration import Declaration
from crosstrain.rehearsal.images.backends import Images

TEMPLATES = ("tools-account.yaml", "pipeline.yaml", "target-account.yaml")
"""What people deploy by hand, in this order."""
TOOLS_STACK = "crosstrain-tools"
DELIVERY_STACK = "crosstrain-pipeline"
STAGES = ("test", "prod")
# The second is for what carries the pipeline's declaration, which a transform makes.
_CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
# Parameters that --accounts says, and those that come from elsewhere.
_OF_ACCOUNTS = {"TestAccountId", "ProductionAccountId", "ToolsAccountId"}
_OF_STACKS = {"Stage", "ArtifactBucketName", "ArtifactKeyArn"}
_POLL_SECONDS = 0.02
# Long enough that a stack on a busy machine is not given up, short enough to be seen to.
_STACK_SECONDS = 120


@dataclass(frozen=True)
class PastExecution:
    """What a stage's last execution that succeeded went by."""

    document: Mapping[str, Any]
    artifacts: Mapping[str, Any]
    variables: Mapping[str, str]
    model_commit: str
    infrastructure_commit: str


@dataclass
class Environment:
    """What outlives an execution of the pipeline: accounts, stacks, builds, and what succeeded before.

    Attributes
    ----------
    aws : LocalAws
        The embedded AWS.
    accounts : Accounts
        Its accounts.
    authorizer, codebuild, cloudformation
        What performs actions.
    outputs : mapping
        Those of both stacks of the tools account.
    parameters : mapping
        Those of the pipeline's stack.
    succeeded : dict
        For each stage, the last execution of it that succeeded.
    executions : list
        All executions so far, as ListPipelineExecutions lists them.
    stopped : bool
        Whether the rehearsal ends early.
    """

    aws: LocalAws
    accounts: Accounts
    authorizer: Authorizer
    codebuild: CodeBuild
    cloudformation: CloudFormation
    images: Images
    outputs: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    succeeded: dict[str, PastExecution] = field(default_factory=dict)
    executions: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    def set_up(self, folder: Path, parameters: Mapping[str, str]) -> None:
        """Deploy what people deploy by hand, once: what the tools account keeps, the pipeline, the roles of each stage.

        It is root's work: nobody else is there yet.

        Parameters
        ----------
        folder : Path
            Holds the templates.
        parameters : mapping
            Parameters besides the accounts; each goes to every template that has it.

        Raises
        ------
        BadInputError
            If a template cannot be rehearsed, or none takes a parameter.
        OperationFailedError
            If a stack fails.
        """
        tools, pipeline, roles = (_read(folder / name) for name in TEMPLATES)
        known = {name for each in (tools, pipeline, roles) for name in each.get("Parameters", {})}
        if unknown := sorted(set(parameters) - known):
            raise BadInputError(f"No template has the parameter {', '.join(unknown)}.")
        if twice := sorted(_OF_ACCOUNTS & set(parameters)):
            raise BadInputError(f"The parameter {', '.join(twice)} is said by --accounts, not by --parameter.")
        if twice := sorted(_OF_STACKS & set(parameters)):
            raise BadInputError(f"The parameter {', '.join(twice)} is set by the rehearsal itself.")
        given = {
            **parameters,
            "TestAccountId": self.accounts.test,
            "ProductionAccountId": self.accounts.prod,
            "ToolsAccountId": self.accounts.tools,
        }
        leave_out_unsupported(tools)
        self._deploy(self.accounts.tools, TOOLS_STACK, tools, given)
        declaration.embed(pipeline)
        self._deploy(self.accounts.tools, DELIVERY_STACK, pipeline, given)
        self.refresh()
        given |= {name: self.outputs[name] for name in ("ArtifactBucketName", "ArtifactKeyArn")}
        self.cloudformation.optional = OptionalRights(roles, given)
        for stage in STAGES:
            self._deploy(self.accounts.by_stage()[stage], f"crosstrain-{stage}-roles", roles, {**given, "Stage": stage})

    def restore_images(self, path: Path) -> None:
        """Put back the images of an earlier rehearsal, and the ledger's items of them, as if the accounts were old.

        What the file lists and is not there any more is left out: it will be built.
        """
        items = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        own = {value for key, value in self.outputs.items() if key.endswith("RepositoryUri")}
        found = {}
        for item in items:
            repository, _, digest = item["uri"].partition("@")
            if repository in own:
                found[f"{repository}:{item['id'].rpartition('#')[2]}"] = (digest, item)
        restored = self.images.restore({tag: digest for tag, (digest, _) in found.items()})
        dynamodb = self.aws.client("dynamodb", root_of(self.accounts.tools))
        for tag in restored:
            item = {name: {"S": value} for name, value in found[tag][1].items()}
            dynamodb.put_item(TableName=self.outputs["LedgerTableName"], Item=item)

    def save_images(self, path: Path) -> None:
        """Keep the images that the ledger knows for the next rehearsal."""
        dynamodb = self.aws.client("dynamodb", root_of(self.accounts.tools))
        pages = dynamodb.get_paginator("scan").paginate(TableName=self.outputs["LedgerTableName"])
        found = [item for page in pages for item in page["Items"] if item["id"]["S"].startswith("IMAGE#")]
        items = [{name: value["S"] for name, value in item.items() if "S" in value} for item in found]
        self.images.save([item["uri"] for item in items])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(items, indent=2))

    def refresh(self) -> None:
        """Read the outputs of both stacks of the tools account, and the parameters of the pipeline's, again."""
        cloudformation = self.aws.client("cloudformation", root_of(self.accounts.tools))
        self.outputs = {}
        for name in (TOOLS_STACK, DELIVERY_STACK):
            (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
            self.outputs |= {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
        self.parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}

    def declaration(self) -> Declaration:
        """Return the pipeline as it is deployed now.

        Raises
        ------
        BadInputError
            If a rehearsal does not support something of it.
        """
        ssm = self.aws.client("ssm", root_of(self.accounts.tools))
        return declaration.read(ssm.get_parameter(Name=self.outputs["PipelineName"])["Parameter"]["Value"])

    def stop(self) -> None:
        """End what is running, and let nothing begin."""
        self.stopped = True
        self.codebuild.stop()

    def _deploy(self, account: str, name: str, template: Any, given: Mapping[str, str]) -> None:
        """Create a stack with those of the given parameters that its template has."""
        parameters = {key: value for key, value in given.items() if key in template.get("Parameters", {})}
        cloudformation = self.aws.client("cloudformation", root_of(account))
        try:
            cloudformation.create_stack(
                StackName=name,
                TemplateURL=upload_template(self.aws, account, template),
                Capabilities=_CAPABILITIES,
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise BadInputError(f"CloudFormation does not take {name}: {error.response['Error']['Message']}") from error
        deadline = time.monotonic() + _STACK_SECONDS
        while True:
            (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS") or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        if stack["StackStatus"] != "CREATE_COMPLETE":
            events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
            failed = [each for each in reversed(events) if each["ResourceStatus"].endswith("_FAILED")]
            reason = failed[0].get("ResourceStatusReason") if failed else stack.get("StackStatusReason")
            raise OperationFailedError(f"The stack {name} of account {account} is in {stack['StackStatus']}: {reason}")


@dataclass(frozen=True)
class Folders:
    """Where a rehearsal keeps things: what it works with, and what the next one may use again."""

    work: Path
    cache: Path


@contextmanager
def open_environment(
    accounts: Accounts, images: Images, folders: Folders, *, fresh: bool = False
) -> Iterator[Environment]:
    """Yield the accounts, still empty, and stop everything at the end."""
    with LocalAws(**images.aws_options()) as aws:
        images.start(aws)
        authorizer = Authorizer(aws)
        codebuild = CodeBuild(aws, authorizer, images, work=folders.work, cache=folders.cache / "verified", fresh=fresh)
        cloudformation = CloudFormation(aws, authorizer, images, lambda: environment.stopped)
        environment = Environment(aws, accounts, authorizer, codebuild, cloudformation, images)
        with codepipeline_api.serve(authorizer, lambda _name: list(environment.executions)) as url:
            codebuild.endpoints["AWS_ENDPOINT_URL_CODEPIPELINE"] = url
            try:
                yield environment
            finally:
                environment.stop()


def _read(path: Path) -> Any:
    if not path.is_file():
        raise BadInputError(f"The infrastructure repository has no {path.name}.")
    try:
        template = yaml_parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise BadInputError(f"{path.name} is no template: {error}.") from error
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise BadInputError(f"{path.name} is no template: it has no Resources.")
    # What is not JSON in a template, dates say, is text in CloudFormation.
    return json.loads(json.dumps(template, default=str))
