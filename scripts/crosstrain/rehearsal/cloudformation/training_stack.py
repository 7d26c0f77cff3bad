"""The training stack in a target account: what of its deployment and of its runs happens inside AWS.

CloudFormation reads the package, Lambda pulls the images, and Step Functions calls the functions and the registry; the
embedded AWS does all of that with every right, so each is asked about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crosstrain.command import OperationFailedError
from crosstrain.delivery.repositories import BY_DIGEST, ECR
from crosstrain.local.server import REGION, LocalAws, root_of
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.authorization import Authorizer
from crosstrain.rehearsal.cloudformation.resource_permissions import StackResources
from crosstrain.rehearsal.codepipeline.artifacts import ArtifactStore

_SDK = re.compile(r"arn:aws:states:::(aws-sdk:)?(?P<service>\w+):(?P<operation>\w+)(\.waitForTaskToken)?")
_MACHINE = re.compile(r"arn:aws:states:[\w-]+:\d{12}:stateMachine:[\w-]+")
# What tells a task of the workers that it may start, and that there are none.
_WORKER_TASK, _NONE = "WORKER_TASK_DEFINITION", "none"
_TABLE = re.compile(r"['\"]TableName['\"]: *['\"](?P<name>[\w.-]+)['\"]")


class TrainingStack:
    """The packaged training template of a release, for one stage.

    Parameters
    ----------
    template
        The template as `sam package` wrote it.
    parameters : mapping
        Its parameters.
    account : str
        The target account.
    """

    def __init__(self, template: Any, parameters: Mapping[str, str], account: str) -> None:
        self._template, self._parameters, self._account = template, parameters, account
        # Before the template is adapted to how functions run here.
        self._images = self._read_images()

    def image_uris(self) -> list[str]:
        """Return the images of the functions, by digest."""
        return sorted(set(self._images.values()))

    def check_package(self, store: ArtifactStore, roles: Iterable[str]) -> None:
        """Ask whether CloudFormation's role may read the packaged state machine.

        Raises
        ------
        DeniedError
            If it may not.
        """
        for _, _, key in self._definitions():
            for role in roles:
                store.check_reading(role, key)

    def fetch_package(self, aws: LocalAws, bucket: str, store: ArtifactStore) -> None:
        """Copy the packaged state machine into the target account, for the embedded AWS reads no other's buckets."""
        target = aws.client("s3", root_of(self._account))
        target.create_bucket(Bucket=bucket)
        for machine, _, key in self._definitions():
            target.put_object(Bucket=bucket, Key=key, Body=store.read(key))
            machine["DefinitionUri"] = {"Bucket": bucket, "Key": key}

    def check_images(
        self,
        aws: LocalAws,
        authorizer: Authorizer,
        role: str,
        changes: Iterable[Mapping[str, Any]],
        resources: StackResources,
    ) -> None:
        """Ask whether CloudFormation's role and Lambda itself may pull the image of each function that changes.

        Raises
        ------
        DeniedError
            With the policy that lacks a statement: the role's or the repository's.
        """
        images = self._images
        for change in changes:
            name = change["LogicalResourceId"]
            if change["Action"] == "Remove" or name not in images:
                continue
            match = ECR.match(images[name])
            if match is None or not BY_DIGEST.fullmatch(images[name]):
                raise OperationFailedError(f"The image of {name} is not in ECR by its digest: {images[name]}")
            ecr = aws.client("ecr", root_of(match["account"]))
            policy = json.loads(ecr.get_repository_policy(repositoryName=match["name"])["policyText"])
            repository = f"arn:aws:ecr:{match['region']}:{match['account']}:repository/{match['name']}"
            where = f"the policy of the repository {match['name']} in tools-account.yaml"
            for action in service_calls.PULL_IMAGE:
                authorizer.check_across(role, action, repository, policy, match["account"], where=where)
                source = resources.arn(name)
                authorizer.check_service(service_calls.LAMBDA, action, repository, policy, source, where=where)

    def check_state_machine(self, aws: LocalAws, authorizer: Authorizer, stack: str) -> None:
        """Ask whether the deployed state machine's role may deliver its logs and make the calls of its tasks.

        Raises
        ------
        DeniedError
            With the first call that it may not make.
        """
        root = root_of(self._account)
        cloudformation, sfn = aws.client("cloudformation", root), aws.client("stepfunctions", root)
        for resource in cloudformation.describe_stack_resources(StackName=stack)["StackResources"]:
            if resource["ResourceType"] != "AWS::StepFunctions::StateMachine":
                continue
            machine = sfn.describe_state_machine(stateMachineArn=resource["PhysicalResourceId"])
            authorizer.check_trust(service_calls.STEP_FUNCTIONS, machine["roleArn"], resource["PhysicalResourceId"])
            # By the template, for the embedded AWS does not return it.
            declared = self._template["Resources"][resource["LogicalResourceId"]]["Properties"]
            if declared.get("Logging", {}).get("Level", "OFF") != "OFF":
                authorizer.check(machine["roleArn"], service_calls.DELIVER_LOGS, "*")
            for action, arn, context in calls_of(json.loads(machine["definition"]), self._account):
                authorizer.check(machine["roleArn"], action, arn, context)
                if action == service_calls.RUN_TASK:
                    self._check_task(aws, authorizer, machine["roleArn"], arn.rpartition("/")[2].partition(":")[0])

    def _check_task(self, aws: LocalAws, authorizer: Authorizer, role: str, family: str) -> None:
        """Ask whether a role may pass the roles of a task that it runs, and ECS may take them and start it.

        So for the workers that a task itself starts.
        """
        ecs = aws.client("ecs", root_of(self._account))
        definition = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
        passed = {service_calls.PASSED_TO: service_calls.ECS_TASKS}
        for each in (definition["taskRoleArn"], definition["executionRoleArn"]):
            authorizer.check(role, service_calls.PASS_ROLE, each, passed)
            authorizer.check_trust(service_calls.ECS_TASKS, each, definition["taskDefinitionArn"])
        authorizer.check(definition["executionRoleArn"], service_calls.SIGN_IN_TO_REGISTRY, "*")
        image = ECR.match(definition["containerDefinitions"][0]["image"])
        if image is not None:
            repository = f"arn:aws:ecr:{image['region']}:{image['account']}:repository/{image['name']}"
            for action in service_calls.PULL_IMAGE:
                authorizer.check(definition["executionRoleArn"], action, repository)
        given = {each["name"]: each["value"] for each in definition["containerDefinitions"][0].get("environment", [])}
        if (workers := given.get(_WORKER_TASK, _NONE)) != _NONE:
            cluster = {service_calls.TASK_CLUSTER: given["TASK_CLUSTER_ARN"]}
            authorizer.check(definition["taskRoleArn"], service_calls.RUN_TASK, workers, cluster)
            family = workers.rpartition("/")[2].partition(":")[0]
            self._check_task(aws, authorizer, definition["taskRoleArn"], family)

    def _read_images(self) -> dict[str, str]:
        """Return the image that the parameters give each function."""
        images = {}
        for name, resource in self._template["Resources"].items():
            if resource["Type"] == "AWS::Serverless::Function":
                uri = resource["Properties"].get("ImageUri", {})
                parameter = str(uri.get("Ref")) if isinstance(uri, dict) else ""
                if parameter not in self._parameters:
                    raise OperationFailedError(f"{name} does not take its image from a parameter of the release.")
                images[name] = self._parameters[parameter]
        return images

    def _definitions(self) -> Iterator[tuple[dict[str, Any], str, str]]:
        """Yield the properties of each state machine, with the bucket and the key of its packaged definition."""
        for name, resource in self._template["Resources"].items():
            if resource["Type"] != "AWS::Serverless::StateMachine":
                continue
            uri = resource["Properties"].get("DefinitionUri")
            if isinstance(uri, str) and uri.startswith("s3://"):
                bucket, _, key = uri.removeprefix("s3://").partition("/")
            elif isinstance(uri, dict) and {"Bucket", "Key"} <= set(uri):
                bucket, key = uri["Bucket"], uri["Key"]
            else:
                raise OperationFailedError(f"The definition of {name} is not packaged: {json.dumps(uri)}")
            yield resource["Properties"], bucket, key


def calls_of(definition: Mapping[str, Any], account: str) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield action, resource and context of each call that a state machine's tasks make, nested ones included.

    Raises
    ------
    OperationFailedError
        If a task calls something that is not known here.
    """
    for name, state in definition["States"].items():
        # Parallel has branches, Map has an item processor, or an iterator as it was called before.
        nested = [*state.get("Branches", []), *(state[each] for each in ("ItemProcessor", "Iterator") if each in state)]
        for each in nested:
            yield from calls_of(each, account)
        if state["Type"] == "Task" and state["Resource"].startswith("arn:aws:lambda:"):
            yield service_calls.INVOKE_FUNCTION, state["Resource"], {}
        elif state["Type"] == "Task":
            yield from _calls_of_service(name, state, json.dumps(definition), account)


def _calls_of_service(
    name: str, state: Mapping[str, Any], definition: str, account: str
) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield what a task calls of a service."""
    match, machine = _SDK.fullmatch(state["Resource"]), _MACHINE.search(definition)
    table = _TABLE.search(json.dumps(state.get("Arguments", {})))
    called = (match["service"], match["operation"]) if match else ("", "")
    if called[0] == "dynamodb" and table:
        yield from _calls_of_table(
            called[1], state["Arguments"], f"arn:aws:dynamodb:{REGION}:{account}:table/{table['name']}"
        )
    elif called in (("ecs", "runTask"), ("s3", "putObject")):
        # A stack without tasks has no cluster: these states lead nowhere, and its role may do nothing of it.
        if '"Cluster": "none"' not in definition:
            yield from _calls_for_task(called[1], state["Arguments"], account)
    elif called == ("states", "startExecution"):
        yield service_calls.START_EXECUTION, state["Arguments"]["StateMachineArn"], {}
    elif called == ("sfn", "sendTaskSuccess"):
        yield service_calls.ANSWER_TASK, "*", {}
    elif called == ("sfn", "describeExecution") and machine:
        # Which one is known when it runs: one of the state machine that the definition names.
        yield service_calls.DESCRIBE_EXECUTION, machine[0].replace(":stateMachine:", ":execution:") + ":any", {}
    elif called == ("cloudwatch", "getMetricStatistics"):
        yield service_calls.GET_METRIC_STATISTICS, "*", {}
    elif called == ("cloudwatch", "describeAlarms"):
        yield service_calls.DESCRIBE_ALARMS, f"arn:aws:cloudwatch:{REGION}:{account}:alarm:*", {}
    elif called in (("events", "putEvents"), ("eventbridge", "putEvents")):
        yield service_calls.PUT_EVENTS, f"arn:aws:events:{REGION}:{account}:event-bus/default", {}
    else:
        raise OperationFailedError(
            f"What the task {name} calls ({state['Resource']}) is not known: add it to training_stack.py."
        )


def _calls_of_table(
    operation: str, arguments: Mapping[str, Any], arn: str
) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield what a task calls of a table."""
    name = f"{operation[0].upper()}{operation[1:]}"
    if name != "TransactWriteItems":
        yield f"dynamodb:{name}", arn, {}
        return
    parts = {key for item in arguments["TransactItems"] for key in item}
    for action in sorted(service_calls.PARTS_OF_TRANSACTION[part] for part in parts):
        yield action, arn, {service_calls.ENCLOSING_OPERATION: name}


def _calls_for_task(
    operation: str, arguments: Mapping[str, Any], account: str
) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield the calls that run tasks of ECS, or that store what one is to work on."""
    if operation == "putObject":
        yield service_calls.PUT_OBJECT, f"arn:aws:s3:::{arguments['Bucket']}/large/any", {}
        return
    # Which one it is may be looked up by the step.
    for family in sorted(set(re.findall(r": '([\w-]+)'", arguments["TaskDefinition"]))) or [
        arguments["TaskDefinition"]
    ]:
        arn = f"arn:aws:ecs:{REGION}:{account}:task-definition/{family}:1"
        yield service_calls.RUN_TASK, arn, {service_calls.TASK_CLUSTER: arguments["Cluster"]}
