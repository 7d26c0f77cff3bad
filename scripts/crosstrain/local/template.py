"""The training template's local variants: the same stack, with functions that run as processes or as containers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse

# Build metadata of an image function; a custom runtime has no use for it, and `sam` would try to build it.
_IMAGE_METADATA = frozenset({"DockerContext", "Dockerfile", "DockerTag"})
_IMAGE_PROPERTIES = frozenset({"PackageType", "ImageUri"})
# Each of these names local files that this module does not know how to adapt.
_REFUSED_TYPES = frozenset(
    {
        "AWS::CloudFormation::Stack",
        "AWS::Lambda::Function",
        "AWS::Lambda::LayerVersion",
        "AWS::Serverless::Api",
        "AWS::Serverless::Application",
        "AWS::Serverless::HttpApi",
        "AWS::Serverless::LayerVersion",
    }
)
# The embedded AWS listens without TLS, and enforces policies: this condition would deny every call.
_WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}
_POLICIES = frozenset({"AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy"})
# An image's URI in ECR ends like this before the name of its repository.
_REGISTRY_SUFFIX = ".amazonaws.com/"
_COMMAND = re.compile(r"^CMD\s+(?P<arguments>\[.*\])\s*$", re.MULTILINE)


class LocalTemplateError(Exception):
    """The template has a shape that cannot be run locally."""


def write_local_template(source: Path, directory: Path, endpoint_url: str) -> Path:
    """Write the local variant of a template, which `sam deploy` takes as it is.

    Each container-image function becomes a custom runtime that starts the same handler in this Python environment;
    bucket and topic policies lose the statement that denies calls without TLS; alarms on metric math are left out.
    A task definition's command becomes that of a process, which `tasks.py` runs. Every other part stays what it is,
    parameters, conditions, roles and the state machine included.

    Parameters
    ----------
    source : Path
        The template, beside which `DockerContext` and `DefinitionUri` are looked up.
    directory : Path
        An existing folder that receives the template, the code folder of the functions and a copy of what they import.
    endpoint_url : str
        Where the functions find AWS.

    Returns
    -------
    Path
        The written template (JSON).

    Raises
    ------
    LocalTemplateError
        If a resource has a shape that is not understood; nothing is left out in silence.
    """
    template = yaml_parse(source.read_text(encoding="utf-8"))
    code = directory.resolve() / "code"
    contexts = set()
    leave_out_unsupported(template)
    for logical_id, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            contexts.add(_use_custom_runtime(logical_id, resource, source.parent, code))
        elif resource["Type"] == "AWS::Serverless::StateMachine":
            _use_absolute_definition(logical_id, resource, source.parent)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::ECS::TaskDefinition":
            use_process(resource, ":".join(map(str, _copies(code, sorted(contexts)))), endpoint_url)
    # Of images, which these tasks have no more than the functions.
    template.get("Rules", {}).pop("ATaskNeedsItsImage", None)
    _write_bootstrap(code, sorted(contexts), endpoint_url)
    path = directory / "template.json"
    path.write_text(json.dumps(template, indent=2), encoding="utf-8")
    return path


def use_registry(template: dict[str, Any], registry: str) -> None:
    """Let the images of a template's functions and tasks be pulled from another registry than ECR, by name and digest.

    Only their URIs change, by intrinsic functions: the parameters and the functions' variables stay as they are.
    What the embedded AWS does not support goes, as `leave_out_unsupported` says.

    Raises
    ------
    LocalTemplateError
        If a resource has a shape that is not understood.
    """
    leave_out_unsupported(template)
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            if properties.get("PackageType") != "Image":
                raise LocalTemplateError(f"{logical_id} is no image function.")
            # `sam` would look for what there is to build.
            resource.pop("Metadata", None)
            properties["ImageUri"] = _pulled_from(registry, logical_id, properties.get("ImageUri"))
        elif resource["Type"] == "AWS::ECS::TaskDefinition":
            for container in properties["ContainerDefinitions"]:
                container["Image"] = _pulled_from(registry, logical_id, container["Image"])


def _pulled_from(registry: str, logical_id: str, uri: Any) -> dict[str, Any]:
    """Return where an image is in another registry than the one that a parameter names."""
    if not isinstance(uri, dict) or "Ref" not in uri:
        raise LocalTemplateError(f"The image of {logical_id} is no parameter, by which another registry could have it.")
    return {"Fn::Join": ["/", [registry, {"Fn::Select": [1, {"Fn::Split": [_REGISTRY_SUFFIX, uri]}]}]]}


def leave_out_unsupported(template: dict[str, Any]) -> None:
    """Drop what the embedded AWS refuses or misjudges: denials of calls without TLS, and alarms on metric math.

    Raises
    ------
    LocalTemplateError
        If a resource is of a type that these variants do not know how to adapt.
    """
    resources = template["Resources"]
    for logical_id, resource in list(resources.items()):
        kind = resource.get("Type") if isinstance(resource, dict) else None
        if kind is None or kind in _REFUSED_TYPES:
            raise LocalTemplateError(
                f"{logical_id} ({kind or 'no Type'}) cannot be run locally; teach {Path(__file__).name} how to."
            )
        # A policy must have a statement.
        is_empty = kind in _POLICIES and not _keep_statements_with_tls(resource)
        # The embedded AWS refuses alarms on metric math, and has no metrics that they would watch.
        if is_empty or (kind == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]):
            del resources[logical_id]


def use_process(definition: dict[str, Any], import_path: str | dict[str, Any], endpoint_url: str) -> None:
    """Let the task of a definition be a process of this Python environment, which `tasks.py` runs.

    Parameters
    ----------
    definition
        The resource, which is changed in place.
    import_path
        Where it finds what functions import: a text, or an intrinsic function that makes one.
    endpoint_url : str
        Where it finds AWS.
    """
    for container in definition["Properties"]["ContainerDefinitions"]:
        container["EntryPoint"] = [sys.executable, *container["EntryPoint"][1:]]
        more = {"AWS_ENDPOINT_URL": endpoint_url, "PYTHONPATH": import_path}
        container["Environment"] += [{"Name": name, "Value": value} for name, value in more.items()]


def handler_of(dockerfile: Path) -> str:
    """Return the handler that a Dockerfile's last CMD names, as Lambda's base images read it.

    Raises
    ------
    LocalTemplateError
        If there is no Dockerfile, or no CMD that is a JSON list of one text.
    """
    if not dockerfile.is_file():
        raise LocalTemplateError(f"There is no Dockerfile at {dockerfile}; correct DockerContext or Dockerfile.")
    commands = _COMMAND.findall(dockerfile.read_text(encoding="utf-8"))
    try:
        arguments = json.loads(commands[-1]) if commands else []
    except json.JSONDecodeError:
        arguments = []
    if len(arguments) != 1:
        raise LocalTemplateError(f'{dockerfile} names no handler; end it with CMD ["package.module.handler"].')
    return str(arguments[0])


def _handler(command: list[str] | None, dockerfile: Path) -> str:
    """Return the handler that a function's own command names, or else its Dockerfile."""
    named = handler_of(dockerfile)
    if command is None:
        return named
    if len(command) != 1:
        raise LocalTemplateError(f"ImageConfig's Command {command} names no handler: one word is one.")
    return command[0]


def _use_custom_runtime(logical_id: str, function: dict[str, Any], base: Path, code: Path) -> Path:
    """Turn an image function into a custom runtime, and return the folder that its imports start from."""
    properties, metadata = function["Properties"], function.pop("Metadata", {})
    command = properties.pop("ImageConfig", {"Command": None})
    if properties.get("PackageType") != "Image" or set(command) != {"Command"} or set(metadata) - _IMAGE_METADATA:
        raise LocalTemplateError(
            f"{logical_id} is not an image function with {', '.join(sorted(_IMAGE_METADATA))} as its only metadata; "
            f"teach {Path(__file__).name} what it is."
        )
    if not {"DockerContext", "Dockerfile"} <= set(metadata):
        raise LocalTemplateError(f"{logical_id} needs DockerContext and Dockerfile in its Metadata.")
    context: Path = (base / metadata["DockerContext"]).resolve()
    for name in _IMAGE_PROPERTIES:
        properties.pop(name, None)
    properties["Runtime"] = "provided.al2023"
    properties["Handler"] = _handler(command["Command"], context / metadata["Dockerfile"])
    properties["CodeUri"] = str(code)
    return context


def _use_absolute_definition(logical_id: str, machine: dict[str, Any], base: Path) -> None:
    """Let DefinitionUri point to the original file: the local template lies in another folder."""
    definition = machine["Properties"].get("DefinitionUri")
    if not isinstance(definition, str):
        raise LocalTemplateError(f"{logical_id} needs a DefinitionUri that names a file.")
    machine["Properties"]["DefinitionUri"] = str((base / definition).resolve())


def _copies(code: Path, contexts: list[Path]) -> list[Path]:
    """Return where the copies of the folders are that imports start from."""
    return [code.parent / f"context-{number}" for number, _ in enumerate(contexts)]


def _keep_statements_with_tls(policy: dict[str, Any]) -> bool:
    """Drop the statements that deny calls without TLS, and return whether any other is left."""
    document = policy["Properties"]["PolicyDocument"]
    document["Statement"] = [
        statement
        for statement in document["Statement"]
        if statement["Effect"] != "Deny" or statement.get("Condition") != _WITHOUT_TLS
    ]
    return bool(document["Statement"])


def _write_bootstrap(code: Path, contexts: list[Path], endpoint_url: str) -> None:
    """Write the one bootstrap that all functions share; the handler reaches it as `_HANDLER`.

    Functions import copies, as images hold them: what is edited meanwhile would reach some processes, and others not.
    """
    copies = _copies(code, contexts)
    for context, copy in zip(contexts, copies, strict=True):
        # Its bytecode files stay valid, for the copy has the times of the original.
        shutil.copytree(context, copy)
    import_path = ":".join(map(str, copies))
    lines = [
        "#!/bin/sh",
        f"export AWS_ENDPOINT_URL={shlex.quote(endpoint_url)}",
        f"export PYTHONPATH={shlex.quote(import_path)}",
        # Without bytecode files each cold start compiles its imports again.
        "unset PYTHONDONTWRITEBYTECODE",
        # Not resolved: the link in the environment is what says to Python which environment it runs in.
        f'exec {shlex.quote(sys.executable)} -m awslambdaric "$_HANDLER"',
    ]
    code.mkdir(parents=True, exist_ok=True)
    bootstrap = code / "bootstrap"
    bootstrap.write_text("\n".join(lines) + "\n", encoding="utf-8")
    bootstrap.chmod(0o755)
