"""Change sets as CodePipeline makes and executes them, and the rights of CloudFormation's role to make the changes."""

from __future__ import annotations

import json
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.local.server import REGION, LocalAws, root_of
from crosstrain.local.template import LocalTemplateError
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.authorization import Authorizer, DeniedError, Session
from crosstrain.rehearsal.cloudformation.optional_rights import OptionalRights
from crosstrain.rehearsal.cloudformation.resource_permissions import Call, StackResources
from crosstrain.rehearsal.cloudformation.training_stack import TrainingStack
from crosstrain.rehearsal.codepipeline import declaration
from crosstrain.rehearsal.codepipeline.artifacts import Artifact, ArtifactStore
from crosstrain.rehearsal.codepipeline.declaration import PIPELINE_TYPE, Action
from crosstrain.rehearsal.images.backends import Images
from crosstrain.rehearsal.report.log import ActionLog
from crosstrain.rehearsal.report.records import STOPPED

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/continuous-delivery-codepipeline-cfn-artifacts.html
_SECTIONS = {"Parameters", "Tags"}
# https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CloudFormation.html
_OVERRIDES_BYTES = 1024
_MISSING = "does not exist"
_NO_CHANGES = "didn't contain changes"
# Where templates lie for CloudFormation: CodePipeline's own affair, so the account's root user puts them there.
_TEMPLATES = "rehearsal-templates-{account}"
_POLL_SECONDS = 0.05


@dataclass
class Prepared:
    """A change set that waits to be executed, and what is known of it."""

    resources: StackResources
    changes: list[Mapping[str, Any]]
    role_arn: str | None
    training: TrainingStack | None


@dataclass(frozen=True)
class Deployment:
    """What a CloudFormation action works with.

    Attributes
    ----------
    session : Session
        The action's own role if it has one, or else the pipeline's.
    configuration : mapping
        The action's configuration, with the execution's variables put in.
    artifacts : mapping
        The input artifacts by name.
    store : ArtifactStore
        Where they are.
    folder : Path
        For files of this action.
    """

    session: Session
    configuration: Mapping[str, str]
    artifacts: Mapping[str, Artifact]
    store: ArtifactStore
    folder: Path


@dataclass
class CloudFormation:
    """Performs CloudFormation actions.

    Attributes
    ----------
    aws, authorizer, images
        Where, with whose rights, and from what functions run.
    is_stopped
        Says whether the rehearsal ends early.
    optional
        The rights of CloudFormation's roles that parameters give.
    """

    aws: LocalAws
    authorizer: Authorizer
    images: Images
    is_stopped: Callable[[], bool]
    optional: OptionalRights | None = None
    _prepared: dict[tuple[str, str, str], Prepared] = field(default_factory=dict)

    def run(self, action: Action, deployment: Deployment, log: ActionLog) -> list[str]:
        """Perform an action, and return what is worth knowing of it.

        Raises
        ------
        DeniedError
            If a role may not what its work needs.
        OperationFailedError
            If CloudFormation fails.
        """
        if action.configuration["ActionMode"] == "CHANGE_SET_REPLACE":
            return self._replace(deployment, log)
        return self._execute(deployment, log)

    def _replace(self, deployment: Deployment, log: ActionLog) -> list[str]:
        configuration, session = deployment.configuration, deployment.session
        stack, role = configuration["StackName"], configuration.get("RoleArn")
        template = self._read(deployment, configuration["TemplatePath"])
        values = self._configuration(deployment)
        # The embedded AWS takes parameters that there are not; AWS says this.
        if unknown := sorted(set(values["Parameters"]) - set(template.get("Parameters", {}))):
            raise OperationFailedError(f"Parameters: [{', '.join(unknown)}] do not exist in the template of {stack}.")
        if role is not None:
            self._check_passing(session, role)
        # Before the template is adapted, for the roles of AWS work with the template as it is.
        current = self._stack(session, stack)
        existing = self._existing(session.account, stack) if current else {}
        resources = StackResources(template, values["Parameters"], stack, session.account, existing)
        for name in _declared(template):
            arn = f"arn:aws:cloudformation:{REGION}:aws:transform/{service_calls.TRANSFORMS[name]}"
            for role_arn in (session.role_arn, *([role] if role else [])):
                self.authorizer.check(role_arn, service_calls.USE_TRANSFORM, arn)
        training = self._adapt(template, values["Parameters"], deployment, role)
        self._replace_change_set(deployment, template, values, is_new=current is None)
        found = self._await_change_set(deployment)
        listed = [each["ResourceChange"] for each in found.get("Changes", [])]
        # The embedded AWS lists resources whose condition is false as well.
        changes = [
            each for each in listed if each["Action"] == "Remove" or resources.is_wanted(each["LogicalResourceId"])
        ]
        key = (session.account, stack, configuration["ChangeSetName"])
        self._prepared[key] = Prepared(resources, changes, role, training)
        for change in changes:
            log.write(f"{change['Action']} {change['LogicalResourceId']} ({change['ResourceType']})")
        if not changes:
            log.write("The change set is empty: the stack has all of it already.")
        return [_counted(changes)]

    def _execute(self, deployment: Deployment, log: ActionLog) -> list[str]:
        configuration, session = deployment.configuration, deployment.session
        stack, name = configuration["StackName"], configuration["ChangeSetName"]
        key = (session.account, stack, name)
        if key not in self._prepared:
            raise OperationFailedError(f"The stack {stack} has no change set {name} to execute.")
        prepared = self._prepared[key]
        if not prepared.changes:
            log.write("The change set is empty: nothing is executed.")
            return ["nothing to change"]
        self._check_changes(prepared, deployment)
        arn = f"arn:aws:cloudformation:{REGION}:{session.account}:stack/{stack}/*"
        begin = time.time()
        self.authorizer.call(
            session, "cloudformation", "execute_change_set", on=arn, StackName=stack, ChangeSetName=name
        )
        self._await_stack(deployment, begin, log)
        self._bound_roles(session.account, stack, prepared.resources)
        if prepared.training is not None:
            prepared.training.check_state_machine(self.aws, self.authorizer, stack)
        return [_counted(prepared.changes)]

    def _read(self, deployment: Deployment, path: str) -> Any:
        """Read a template out of an input artifact (`Artifact::file`), fetched with the action's own role."""
        try:
            template = yaml_parse(self._file(deployment, path))
        except (ValueError, yaml.YAMLError) as error:
            raise OperationFailedError(f"{path} is no template: {error}.") from error
        if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
            raise OperationFailedError(f"{path} is no template: it has no Resources.")
        return template

    def _file(self, deployment: Deployment, path: str) -> str:
        name, separator, member = path.partition("::")
        if not separator or name not in deployment.artifacts:
            raise OperationFailedError(f"{path} is not in an input artifact ({', '.join(deployment.artifacts)}).")
        deployment.folder.mkdir(parents=True, exist_ok=True)
        archive = deployment.folder / f"{uuid4().hex}.zip"
        deployment.store.get(deployment.session, deployment.artifacts[name], archive)
        try:
            with zipfile.ZipFile(archive) as opened:
                return opened.read(member).decode("utf-8")
        except KeyError as error:
            raise OperationFailedError(f"The artifact {name} holds no {member}.") from error
        finally:
            archive.unlink()

    def _configuration(self, deployment: Deployment) -> dict[str, dict[str, str]]:
        """Return the parameters and tags of the template configuration, and over them those of the action."""
        configuration = deployment.configuration
        document: dict[str, Any] = {}
        if path := configuration.get("TemplateConfiguration"):
            try:
                document = json.loads(self._file(deployment, path))
            except ValueError as error:
                raise OperationFailedError(f"{path} is no JSON: {error}.") from error
            if unknown := set(document) - _SECTIONS:
                raise BadInputError(f"{path} has {', '.join(sorted(unknown))}, which a rehearsal does not support.")
        overrides = configuration.get("ParameterOverrides", "{}")
        if len(overrides.encode()) > _OVERRIDES_BYTES:
            raise OperationFailedError(
                f"ParameterOverrides of {configuration['StackName']} has {len(overrides.encode())} bytes; AWS takes "
                f"{_OVERRIDES_BYTES}."
            )
        return {
            "Parameters": {**document.get("Parameters", {}), **json.loads(overrides)},
            "Tags": document.get("Tags", {}),
        }

    def _check_passing(self, session: Session, role: str) -> None:
        """Ask whether the action may pass CloudFormation's role, and whether that role trusts CloudFormation."""
        context = {service_calls.PASSED_TO: service_calls.CLOUDFORMATION}
        self.authorizer.check(session.role_arn, service_calls.PASS_ROLE, role, context)
        self.authorizer.check_trust(service_calls.CLOUDFORMATION, role)

    def _adapt(
        self, template: Any, parameters: Mapping[str, str], deployment: Deployment, role: str | None
    ) -> TrainingStack | None:
        """Let the embedded AWS take the template, in place."""
        session = deployment.session
        try:
            if any(each.get("Type") == PIPELINE_TYPE for each in template["Resources"].values()):
                declaration.embed(template)
                return None
            training = TrainingStack(template, parameters, session.account)
            training.check_package(deployment.store, [each for each in (role,) if each])
            training.fetch_package(self.aws, _TEMPLATES.format(account=session.account), deployment.store)
            self.images.fetch(session.account, training.image_uris())
            self.images.adapt(template)
        except LocalTemplateError as error:
            raise OperationFailedError(str(error)) from error
        return training

    def _replace_change_set(
        self, deployment: Deployment, template: Any, values: Mapping[str, Mapping[str, str]], *, is_new: bool
    ) -> None:
        configuration, session = deployment.configuration, deployment.session
        stack, name = configuration["StackName"], configuration["ChangeSetName"]
        arn = f"arn:aws:cloudformation:{REGION}:{session.account}:stack/{stack}/*"
        names: dict[str, Any] = {"StackName": stack, "ChangeSetName": name}
        if self._describe_change_set(deployment) is not None:
            self.authorizer.call(session, "cloudformation", "delete_change_set", on=arn, **names)
        role = configuration.get("RoleArn")
        self.authorizer.call(
            session,
            "cloudformation",
            "create_change_set",
            on=arn,
            # A pipeline that named no role would let CloudFormation work with the one that the stack has remembered.
            context={"cloudformation:RoleArn": role or "none"},
            **names,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateURL=upload_template(self.aws, session.account, template),
            Capabilities=[each for each in configuration.get("Capabilities", "").split(",") if each],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values["Parameters"].items()],
            Tags=[{"Key": key, "Value": value} for key, value in values["Tags"].items()],
            **({"RoleARN": role} if role else {}),
        )

    def _stack(self, session: Session, stack: str) -> Mapping[str, Any] | None:
        """Return a stack that can be updated, or None if there is none yet."""
        try:
            found = self._describe(session, stack)
        except ClientError as error:
            if _MISSING in str(error):
                return None
            raise
        if found["StackStatus"] == "REVIEW_IN_PROGRESS":
            return None
        if found["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "UPDATE_ROLLBACK_FAILED"):
            raise OperationFailedError(
                f"The stack {stack} is in {found['StackStatus']} and cannot be updated: delete it, or continue its "
                "rollback, first."
            )
        return found

    def _existing(self, account: str, stack: str) -> dict[str, str]:
        """Return the physical ids of a stack's resources, which CloudFormation knows by itself."""
        pages = self.aws.client("cloudformation", root_of(account)).get_paginator("list_stack_resources")
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for page in pages.paginate(StackName=stack)
            for each in page["StackResourceSummaries"]
            if each.get("PhysicalResourceId") and not each["ResourceStatus"].startswith("DELETE")
        }

    def _describe_change_set(self, deployment: Deployment) -> Mapping[str, Any] | None:
        configuration, session = deployment.configuration, deployment.session
        arn = f"arn:aws:cloudformation:{REGION}:{session.account}:stack/{configuration['StackName']}/*"
        names: dict[str, Any] = {name: configuration[name] for name in ("StackName", "ChangeSetName")}
        try:
            found: dict[str, Any] = self.authorizer.call(
                session, "cloudformation", "describe_change_set", on=arn, **names
            )
            changes, token = list(found.get("Changes", [])), found.get("NextToken")
            while token:
                page = self.authorizer.call(
                    session, "cloudformation", "describe_change_set", on=arn, **names, NextToken=token
                )
                changes += page.get("Changes", [])
                token = page.get("NextToken")
        except ClientError as error:
            if error.response["Error"]["Code"] == "ChangeSetNotFound" or _MISSING in str(error):
                return None
            raise
        return {**found, "Changes": changes}

    def _await_change_set(self, deployment: Deployment) -> Mapping[str, Any]:
        while True:
            found = self._describe_change_set(deployment) or {"Status": "FAILED", "StatusReason": "it is gone"}
            if found["Status"] == "CREATE_COMPLETE":
                return found
            if found["Status"] == "FAILED":
                # CodePipeline takes an empty change set for a success.
                if _NO_CHANGES in found.get("StatusReason", ""):
                    return {"Changes": []}
                raise OperationFailedError(
                    f"The change set of the stack {deployment.configuration['StackName']} failed: "
                    f"{found.get('StatusReason', 'no reason is given')}"
                )
            self._pause()

    def _check_changes(self, prepared: Prepared, deployment: Deployment) -> None:
        """Ask whether CloudFormation's role may make each change; the embedded AWS makes them with every right."""
        role = prepared.role_arn or deployment.session.role_arn
        for change in prepared.changes:
            for call in prepared.resources.calls(change):
                self._check_call(role, call)
        if prepared.training is not None:
            prepared.training.check_images(self.aws, self.authorizer, role, prepared.changes, prepared.resources)

    def _check_call(self, role: str, call: Call) -> None:
        """Ask whether CloudFormation's role may make a call, and name the parameter that would let it."""
        try:
            self.authorizer.check(role, call.actions, call.resource, call.context)
        except DeniedError as error:
            parameter = self.optional and self.optional.parameter_for(role, error.action, call)
            if not parameter:
                raise
            raise OperationFailedError(
                f"{error}. target-account.yaml does that where its parameter {parameter} is true."
            ) from error

    def _await_stack(self, deployment: Deployment, begin: float, log: ActionLog) -> None:
        stack, session = deployment.configuration["StackName"], deployment.session
        while True:
            found = self._describe(session, stack)
            if not found["StackStatus"].endswith("_IN_PROGRESS"):
                break
            self._pause()
        log.write(f"The stack {stack} is in {found['StackStatus']}.")
        if found["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return
        arn = f"arn:aws:cloudformation:{REGION}:{session.account}:stack/{stack}/*"
        events = self.authorizer.call(session, "cloudformation", "describe_stack_events", on=arn, StackName=stack)
        failed = [
            f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', 'no reason is given')}"
            for each in reversed(events["StackEvents"])
            if each["ResourceStatus"].endswith("_FAILED") and each["Timestamp"].timestamp() >= begin - 1
        ]
        failed = self._validation_failures(session.account, stack, begin) or failed
        reason = failed[0] if failed else found.get("StackStatusReason", "no reason is given")
        raise OperationFailedError(f"The stack {stack} is in {found['StackStatus']}: {reason}")

    def _bound_roles(self, account: str, stack: str, resources: StackResources) -> None:
        """Give the roles of a stack their boundaries, which CloudFormation of the embedded AWS passes over."""
        iam = self.aws.client("iam", root_of(account))
        for logical_id, role in self._existing(account, stack).items():
            boundary = resources.boundary(logical_id)
            if boundary is None:
                continue
            try:
                iam.get_policy(PolicyArn=boundary)
                iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=boundary)
            except iam.exceptions.NoSuchEntityException as error:
                raise OperationFailedError(f"The boundary of {logical_id}, {boundary}, is no policy there.") from error

    def _validation_failures(self, account: str, stack: str, begin: float) -> list[str]:
        """Return what CloudFormation found before it changed anything, which is not in the stack's events."""
        events = self.aws.client("cloudformation", root_of(account)).describe_events(StackName=stack)
        return [
            f"{each['LogicalResourceId']}: {each['ValidationStatusReason']}"
            for each in events["OperationEvents"]
            if each.get("EventType") == "VALIDATION_ERROR" and each["Timestamp"].timestamp() >= begin - 1
        ]

    def _describe(self, session: Session, stack: str) -> Mapping[str, Any]:
        arn = f"arn:aws:cloudformation:{REGION}:{session.account}:stack/{stack}/*"
        answer = self.authorizer.call(session, "cloudformation", "describe_stacks", on=arn, StackName=stack)
        found: Mapping[str, Any] = answer["Stacks"][0]
        return found

    def _pause(self) -> None:
        if self.is_stopped():
            raise OperationFailedError(STOPPED)
        time.sleep(_POLL_SECONDS)


def upload_template(aws: LocalAws, account: str, template: Any) -> str:
    """Upload a template to where CloudFormation of an account reads it, for it may be too long to be sent."""
    s3, bucket, key = aws.client("s3", root_of(account)), _TEMPLATES.format(account=account), f"{uuid4().hex}.json"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(template, default=str))
    return f"{aws.endpoint_url}/{bucket}/{key}"


def _declared(template: Any) -> list[str]:
    declared = template.get("Transform", [])
    names = declared if isinstance(declared, list) else [declared]
    if unknown := [each for each in names if each not in service_calls.TRANSFORMS]:
        raise BadInputError(f"A rehearsal does not support the transform {', '.join(unknown)}.")
    return names


def _counted(changes: list[Mapping[str, Any]]) -> str:
    participles = {"Add": "added", "Modify": "changed", "Remove": "removed"}
    counts = Counter(participles[each["Action"]] for each in changes)
    return ", ".join(f"{counts[each]} {each}" for each in participles.values() if counts[each]) or "no change"
