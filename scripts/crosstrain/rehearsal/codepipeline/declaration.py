"""The pipeline as pipeline.yaml declares it, with its functions resolved by CloudFormation's engine.

The embedded AWS has no CodePipeline. Its CloudFormation engine resolves the declaration all the same, embedded as the
value of a parameter of the Systems Manager that takes the pipeline's place in the stack. What this module does not
understand, it refuses before anything starts: nothing that is declared is left out in silence.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosstrain.command import BadInputError
from crosstrain.local.template import leave_out_unsupported

PIPELINE_TYPE = "AWS::CodePipeline::Pipeline"
# What is added to the logical id of a build project by the parameter in which its properties are embedded.
EMBEDDED_SUFFIX = "Declaration"
_PROJECTS = "/rehearsal/projects/"
_CODEPIPELINE = {
    "required": {"Name", "PipelineType", "RoleArn", "ArtifactStore", "Stages"},
    "optional": {"ExecutionMode", "RestartExecutionOnUpdate"},
}
_STAGE = {"required": {"Name", "Actions"}, "optional": {"OnFailure"}}
_ACTION = {
    "required": {"Name", "ActionTypeId"},
    "optional": {
        *("Configuration", "InputArtifacts", "OutputArtifacts", "Namespace", "RoleArn", "RunOrder"),
        "TimeoutInMinutes",
    },
}
# The configuration of each provider: what it must have, and what it may have.
PROVIDERS: Mapping[str, Mapping[str, set[str]]] = {
    "Source/CodeCommit": {"required": {"RepositoryName", "BranchName"}, "optional": {"PollForSourceChanges"}},
    "Test/CodeBuild": {"required": {"ProjectName"}, "optional": {"PrimarySource", "EnvironmentVariables"}},
    "Build/CodeBuild": {"required": {"ProjectName"}, "optional": {"PrimarySource", "EnvironmentVariables"}},
    "Approval/Manual": {"required": set(), "optional": {"NotificationArn", "CustomData", "ExternalEntityLink"}},
    "Deploy/CloudFormation": {
        "required": {"ActionMode", "StackName", "ChangeSetName"},
        "optional": {"TemplatePath", "TemplateConfiguration", "Capabilities", "RoleArn", "ParameterOverrides"},
    },
}
_MODES = {"CHANGE_SET_REPLACE", "CHANGE_SET_EXECUTE"}
# How many input and output artifacts each can have here, of those that AWS allows:
# https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-action-artifacts.html
_ARTIFACTS = {
    "Source/CodeCommit": (range(1), range(1, 2)),
    "Test/CodeBuild": (range(1, 6), range(2)),
    "Build/CodeBuild": (range(1, 6), range(2)),
    "Approval/Manual": (range(1), range(1)),
    "Deploy/CloudFormation": (range(11), range(1)),
}
# The properties of a build project, those within others by their path, and the values that some must have.
_PROJECT: Mapping[str, Mapping[str, set[str]]] = {
    "": {
        "required": {"Artifacts", "Environment", "LogsConfig", "Name", "ServiceRole", "Source"},
        "optional": {"Description", "EncryptionKey", "TimeoutInMinutes"},
    },
    "Artifacts": {"required": {"Type"}, "optional": set()},
    "Environment": {
        "required": {"ComputeType", "Image", "Type"},
        "optional": {"EnvironmentVariables", "PrivilegedMode"},
    },
    "LogsConfig": {"required": {"CloudWatchLogs"}, "optional": set()},
    "LogsConfig.CloudWatchLogs": {"required": {"GroupName", "Status"}, "optional": set()},
    "Source": {"required": {"BuildSpec", "Type"}, "optional": set()},
}
_VALUES = {
    "Artifacts.Type": "CODEPIPELINE",
    "Environment.Type": "LINUX_CONTAINER",
    "LogsConfig.CloudWatchLogs.Status": "ENABLED",
    "Source.Type": "CODEPIPELINE",
}
_VARIABLE = re.compile(r"#\{(?P<namespace>[\w@-]+)\.(?P<name>[\w@-]+)\}")


@dataclass(frozen=True)
class Action:
    """One action of a stage, resolved but for the variables of an execution (`#{namespace.name}`)."""

    stage: str
    name: str
    category: str
    provider: str
    run_order: int
    configuration: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    namespace: str | None
    role_arn: str | None

    def configured(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the configuration with the variables of an execution put in.

        Raises
        ------
        BadInputError
            If it names a variable that no action before has, or is no JSON any more with the values.
        """

        def value(found: re.Match[str]) -> str:
            name = f"{found['namespace']}.{found['name']}"
            if name not in variables:
                raise BadInputError(f"{self.stage}/{self.name} uses the variable #{{{name}}}, which no action has set.")
            return variables[name]

        configured = {key: _VARIABLE.sub(value, text) for key, text in self.configuration.items()}
        if problems := _texts(f"{self.stage}/{self.name}", configured):
            raise BadInputError(f"With the values of its variables, {'; '.join(problems)}.")
        return configured


@dataclass(frozen=True)
class Stage:
    """A stage, and whether CodePipeline rolls it back when it fails."""

    name: str
    actions: tuple[Action, ...]
    rolls_back: bool

    def in_order(self) -> list[list[Action]]:
        """Return the actions in groups: those of a group run at the same time."""
        orders = sorted({action.run_order for action in self.actions})
        return [[each for each in self.actions if each.run_order == order] for order in orders]


@dataclass(frozen=True)
class Declaration:
    """A whole pipeline."""

    name: str
    role_arn: str
    bucket: str
    key_arn: str
    restarts_on_update: bool
    stages: tuple[Stage, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)

    def actions(self) -> Iterator[Action]:
        """Yield every action in the order of the declaration."""
        for stage in self.stages:
            yield from stage.actions


def embed(template: dict[str, Any]) -> None:
    """Let a delivery template be deployed to the embedded AWS, in place, with the pipeline's declaration as a value.

    Raises
    ------
    BadInputError
        If the template has not one pipeline.
    """
    resources = template["Resources"]
    pipelines = [name for name, each in resources.items() if each.get("Type") == PIPELINE_TYPE]
    if len(pipelines) != 1:
        raise BadInputError(f"The template declares {len(pipelines)} pipelines ({PIPELINE_TYPE}); it has to be one.")
    pipeline = resources[pipelines[0]]
    properties = pipeline["Properties"]
    # Whatever refers to the pipeline gets its name, as from CloudFormation.
    resources[pipelines[0]] = _embedded(pipeline, properties["Name"])
    # The embedded AWS keeps of a build project only a part.
    for name, resource in list(resources.items()):
        if resource["Type"] == "AWS::CodeBuild::Project":
            path = {"Fn::Join": ["", [_PROJECTS, resource["Properties"]["Name"]]]}
            resources[name + EMBEDDED_SUFFIX] = _embedded(resource, path)
    # For Fn::ToJsonString, by which a declaration becomes a value.
    declared = template.get("Transform", [])
    transforms = [declared] if isinstance(declared, str) else declared
    template["Transform"] = list(dict.fromkeys(["AWS::LanguageExtensions", *transforms]))
    leave_out_unsupported(template)


def project_parameter(name: str) -> str:
    """Return the name of the parameter in which the properties of a build project are embedded."""
    return _PROJECTS + name


def read_project(text: str) -> Mapping[str, Any]:
    """Read the resolved properties of a build project.

    Raises
    ------
    BadInputError
        With everything that a rehearsal does not support.
    """
    project: Mapping[str, Any] = json.loads(text)
    name, problems = project["Name"], []
    for path, known in _PROJECT.items():
        what = f"{path} of {name}" if path else f"The build project {name}"
        problems += _keys(what, _at(project, path), known)
    for path, value in _VALUES.items():
        parent, _, key = path.rpartition(".")
        if (found := _at(project, parent).get(key, value)) != value:
            problems.append(f"{path} of {name} is {found}, not {value}")
    variables = _at(project, "Environment").get("EnvironmentVariables", [])
    problems += [
        f"the variable {each['Name']} of {name} is no plain text"
        for each in variables
        if each.get("Type", "PLAINTEXT") != "PLAINTEXT"
    ]
    _refuse(problems)
    return project


def read(text: str) -> Declaration:
    """Read a resolved declaration.

    Raises
    ------
    BadInputError
        With everything that a rehearsal does not support.
    """
    document = json.loads(text)
    problems = _keys("The pipeline", document, _CODEPIPELINE)
    if document.get("PipelineType") != "V2":
        problems.append(f"the pipeline is of type {document.get('PipelineType')}, not V2")
    if document.get("ExecutionMode", "SUPERSEDED") == "PARALLEL":
        problems.append("the pipeline's executions run in parallel")
    store = document.get("ArtifactStore", {})
    problems += _keys("ArtifactStore", store, {"required": {"Type", "Location", "EncryptionKey"}, "optional": set()})
    _refuse(problems)
    stages = tuple(_stage(each, problems) for each in document["Stages"])
    _refuse(problems + _wiring(stages))
    return Declaration(
        name=document["Name"],
        role_arn=document["RoleArn"],
        bucket=store["Location"],
        key_arn=store["EncryptionKey"]["Id"],
        restarts_on_update=str(document.get("RestartExecutionOnUpdate", "false")).lower() == "true",
        stages=stages,
        document=document,
    )


def _at(document: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return what is at a path, an empty mapping if there is nothing."""
    for key in path.split(".") if path else ():
        document = document.get(key, {})
    return document


def _embedded(resource: Mapping[str, Any], name: Any) -> dict[str, Any]:
    value = {"Fn::ToJsonString": resource["Properties"]}
    return {
        **{key: value for key, value in resource.items() if key in ("Condition", "DependsOn")},
        "Type": "AWS::SSM::Parameter",
        "Properties": {"Type": "String", "Name": name, "Value": value},
    }


def _stage(document: Mapping[str, Any], problems: list[str]) -> Stage:
    name = document.get("Name", "a stage without a name")
    problems += _keys(f"The stage {name}", document, _STAGE)
    on_failure = document.get("OnFailure")
    if on_failure not in (None, {"Result": "ROLLBACK"}):
        problems.append(f"the stage {name} has OnFailure {json.dumps(on_failure)}")
    actions = tuple(_action(name, each, problems) for each in document.get("Actions", []))
    return Stage(name, actions, rolls_back=on_failure is not None)


def _action(stage: str, document: Mapping[str, Any], problems: list[str]) -> Action:
    name = f"{stage}/{document.get('Name')}"
    problems += _keys(name, document, _ACTION)
    kind = document.get("ActionTypeId", {})
    provider = f"{kind.get('Category')}/{kind.get('Provider')}"
    configuration = {key: str(value) for key, value in document.get("Configuration", {}).items()}
    if provider not in PROVIDERS or (kind.get("Owner"), str(kind.get("Version"))) != ("AWS", "1"):
        problems.append(f"{name} has the provider {provider} of {kind.get('Owner')}, version {kind.get('Version')}")
    else:
        problems += _keys(f"The configuration of {name}", configuration, PROVIDERS[provider])
    if "RoleArn" in document and provider != "Deploy/CloudFormation":
        problems.append(f"{name} has RoleArn")
    # https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ActionDeclaration.html
    if "TimeoutInMinutes" in document and provider != "Approval/Manual":
        problems.append(f"{name} has TimeoutInMinutes")
    if configuration.get("ActionMode", "CHANGE_SET_REPLACE") not in _MODES:
        problems.append(f"{name} has the mode {configuration['ActionMode']}")
    run_order = str(document.get("RunOrder", 1))
    if not run_order.isdecimal():
        problems.append(f"{name} has the RunOrder {run_order}")
    inputs = tuple(str(each.get("Name")) for each in document.get("InputArtifacts", []))
    outputs = tuple(str(each.get("Name")) for each in document.get("OutputArtifacts", []))
    for what, artifacts, counts in zip(
        ("input", "output"), (inputs, outputs), _ARTIFACTS.get(provider, ()), strict=False
    ):
        if len(artifacts) not in counts:
            span = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else counts[0]
            problems.append(f"{name} has {len(artifacts)} {what} artifacts, not {span}")
    problems += _references(name, configuration, inputs) + _texts(name, configuration)
    return Action(
        stage=stage,
        name=str(document.get("Name")),
        category=str(kind.get("Category")),
        provider=str(kind.get("Provider")),
        run_order=int(run_order) if run_order.isdecimal() else 1,
        configuration=configuration,
        inputs=inputs,
        outputs=outputs,
        namespace=document.get("Namespace"),
        role_arn=document.get("RoleArn"),
    )


def _wiring(stages: Iterable[Stage]) -> list[str]:
    """Return what is wrong with what actions hand on to each other."""
    problems: list[str] = []
    made: set[str] = set()
    for group in (group for stage in stages for group in stage.in_order()):
        problems += [
            f"{action.stage}/{action.name} has the input artifact {each}, which no action before it makes"
            for action in group
            for each in action.inputs
            if each not in made
        ]
        made.update(each for action in group for each in action.outputs)
    actions = [action for stage in stages for action in stage.actions]
    names = {
        "name": [f"{action.stage}/{action.name}" for action in actions],
        "output artifact": [each for action in actions for each in action.outputs],
        "namespace": [action.namespace for action in actions if action.namespace is not None],
    }
    for what, each in names.items():
        problems += [f"{count} actions have the {what} {name}" for name, count in Counter(each).items() if count > 1]
    return problems


def _references(name: str, configuration: Mapping[str, str], inputs: Sequence[str]) -> list[str]:
    """Return which artifacts an action's configuration names that the action does not get."""
    problems = []
    if configuration.get("ActionMode") == "CHANGE_SET_REPLACE" and "TemplatePath" not in configuration:
        problems.append(f"the configuration of {name} lacks TemplatePath")
    if "ProjectName" in configuration and len(inputs) > 1 and "PrimarySource" not in configuration:
        problems.append(f"the configuration of {name} lacks PrimarySource, which one of its input artifacts has to be")
    for key in ("PrimarySource", "TemplatePath", "TemplateConfiguration"):
        artifact, _, file = configuration.get(key, "").partition("::")
        if key in configuration and (artifact not in inputs or (key != "PrimarySource" and not file)):
            there = ", ".join(inputs) or "it has none"
            problems.append(f"{key} of {name} is {configuration[key]}, which is not in an input artifact ({there})")
    return problems


def _texts(name: str, configuration: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the properties of an action that are JSON in a text."""
    problems = []
    for key, (wanted, is_right) in _JSON.items():
        if key not in configuration:
            continue
        try:
            # A variable stands for a text, within quotes.
            value = json.loads(_VARIABLE.sub("", configuration[key]))
        except ValueError as error:
            problems.append(f"{key} of {name} is no JSON: {error}")
        else:
            if not is_right(value):
                problems.append(f"{key} of {name} is not {wanted}")
    return problems


def _are_overrides(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _are_variables(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and {"name", "value"} <= set(each) and each.get("type", "PLAINTEXT") == "PLAINTEXT"
        for each in value
    )


_JSON: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "ParameterOverrides": ("an object of texts", _are_overrides),
    "EnvironmentVariables": ("a list of variables of plain text, each with name and value", _are_variables),
}


def _keys(what: str, document: Mapping[str, Any], known: Mapping[str, set[str]]) -> list[str]:
    lacks = [f"{what} lacks {each}" for each in sorted(known["required"] - set(document))]
    return lacks + [f"{what} has {each}" for each in sorted(set(document) - known["required"] - known["optional"])]


def _refuse(problems: list[str]) -> None:
    if problems:
        raise BadInputError(f"The pipeline cannot be rehearsed as it is declared: {'; '.join(problems)}.")
