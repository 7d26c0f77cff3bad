"""Turns a release of the image ledger into the parameters of a deployment, or says all that keeps it from one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Release
from crosstrain.delivery.repositories import BY_DIGEST, find_images, project_of, split_image
from crosstrain.delivery.stages import BOUNDED_STAGES

# What a template-configuration file may hold, but for StackPolicy, which the role of the action may not set.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/continuous-delivery-codepipeline-cfn-artifacts.html
_SECTIONS = ("Parameters", "Tags")


@dataclass
class Problems:
    """Everything that keeps a release from being deployed."""

    wrong: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def refuse(self, subject: str) -> None:
        """Raise one error for all of them, if there are any.

        Raises
        ------
        BadInputError
            If something is wrong.
        OperationFailedError
            If it could not be seen whether something is wrong.
        """
        if found := self.wrong + self.unknown:
            message = f"{subject} cannot be deployed: {'; '.join(found)}."
            raise BadInputError(message) if self.wrong else OperationFailedError(message)


def configure(
    release: Release,
    template: Mapping[str, Any],
    *,
    stage: str | None = None,
    base: Mapping[str, Any] | None = None,
    check_registry: bool = True,
    replaced: Release | None = None,
) -> dict[str, Any]:
    """Return the template-configuration document of a release.

    Parameters
    ----------
    release
        The release.
    template
        The parameters of the template, as `read_parameters` returns them.
    stage : str, optional
        The stage to deploy to; without one, the template's default counts.
    base : mapping, optional
        A template-configuration document of what else the stage sets.
    check_registry : bool
        Whether to see that the registry still holds the images.
    replaced : Release, optional
        The release that the stage runs, whose images a deployment that fails goes back to.

    Raises
    ------
    BadInputError
        With everything that is wrong.
    OperationFailedError
        If the registry does not answer, and nothing else is wrong.
    """
    problems = Problems()
    problems.wrong += release_problems(release)
    own = {f"{name}ImageUri": uri for name, uri in release.images.items() if name in FUNCTIONS.values()}
    own |= {"Release": release.id, "Commit": release.model_commit}
    own |= {"Stage": stage} if stage is not None else {}
    document = dict(base or {})
    problems.wrong += base_problems(document, own)
    given = document.get("Parameters")
    boundary = _boundary(release, stage) if "PermissionsBoundaryName" in template else {}
    parameters = {**boundary, **(given if isinstance(given, dict) else {}), **own}
    problems.wrong += parameter_problems(parameters, template)
    if check_registry:
        _look_up_images(release, problems)
        if replaced is not None and replaced.images != release.images:
            _look_up_way_back(replaced, problems)
    problems.refuse(f"Release {release.id}")
    tags = {"stage": stage} if stage is not None else {}
    return {**document, "Parameters": parameters, "Tags": {**document.get("Tags", {}), **tags}}


def release_problems(release: Release) -> list[str]:
    """Return what a release lacks: functions, digests, its commits."""
    missing = [f"it has no image of {name}" for name in FUNCTIONS.values() if not release.images.get(name)]
    tagged = [
        f"the image of {name} is not given by digest (repository@sha256:…): {uri}"
        for name, uri in release.images.items()
        if uri and not BY_DIGEST.fullmatch(str(uri))
    ]
    unnamed = ["the ledger does not say the model's commit"] if not release.model_commit else []
    return missing + tagged + unnamed


def base_problems(document: Mapping[str, Any], own: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the document of a stage's own parameters and tags."""
    problems = [
        f"the stage's file has {each}, which is none of {', '.join(_SECTIONS)}"
        for each in document
        if each not in _SECTIONS
    ]
    for section in ("Parameters", "Tags"):
        values = document.get(section, {})
        if not isinstance(values, dict):
            problems.append(f"{section} of the stage's file is no object")
            continue
        problems += [
            f"{name} in the stage's file is no text: put {json.dumps(value)} in quotes (account ids lose zeros without)"
            for name, value in values.items()
            if not isinstance(value, str)
        ]
        taken = own if section == "Parameters" else {"stage"}
        problems += [f"{name} in the stage's file is set by the release" for name in values if name in taken]
    return problems


def parameter_problems(parameters: Mapping[str, Any], template: Mapping[str, Any]) -> list[str]:
    """Return which parameters the template does not have, needs, or does not accept."""
    problems = [f"the template has no parameter {name}" for name in parameters if name not in template]
    problems += [
        f"the template needs the parameter {name}"
        for name, description in template.items()
        # An image that is missing is reported as one.
        if name not in parameters and "Default" not in description and not name.endswith("ImageUri")
    ]
    for name, value in parameters.items():
        description = template.get(name, {})
        allowed, pattern = description.get("AllowedValues"), description.get("AllowedPattern")
        if allowed and value not in allowed:
            problems.append(f"{name} cannot be {value}: the template takes {', '.join(allowed)}")
        elif pattern and isinstance(value, str) and not re.fullmatch(pattern, value):
            problems.append(
                f"{name} cannot be {value}: {description.get('ConstraintDescription') or pattern}".rstrip(".")
            )
    return problems


def read_parameters(template: Path) -> dict[str, Any]:
    """Return the parameters of a template, every value in them as it is written there.

    Nothing else of the template is looked into, so its tags (`!Ref`) need no meaning, and it takes milliseconds.

    Raises
    ------
    BadInputError
        If it cannot be read, is no YAML or has no parameters.
    """
    import yaml  # noqa: PLC0415 - for a command that only prints a release it is most of the work

    loader_class = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        loader = loader_class(template.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        sections = root.value if isinstance(root, yaml.MappingNode) else []
        found = [node for key, node in sections if key.value == "Parameters"]
        parameters: Any = loader.construct_document(found[0]) if found else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"The template {template} cannot be read: {error}.") from error
    if not isinstance(parameters, dict):
        raise BadInputError(f"The template {template} has no parameters: name the training stack's with --template.")
    return parameters


def sam_words(parameters: Mapping[str, str]) -> list[str]:
    """Return the arguments for `sam deploy --parameter-overrides`.

    Raises
    ------
    BadInputError
        If a value would be taken apart, by a shell or by `sam`.
    """
    unfit = [name for name, value in parameters.items() if re.search(r"[\s\"'\\$`*?]", value)]
    if unfit:
        raise BadInputError(
            f"{', '.join(unfit)} cannot be an argument of `sam deploy`: say --out FILE.yaml, and there file://."
        )
    return [f"{name}={value or chr(34) * 2}" for name, value in parameters.items()]


def _boundary(release: Release, stage: str | None) -> dict[str, str]:
    """Return the parameter by which a stack's roles get the boundary that target-account.yaml makes for the stage."""
    repository, _ = split_image(str(release.images.get("DataPreparation", "")))
    found = project_of(repository)
    if found is None or stage not in BOUNDED_STAGES:
        return {}
    project, region = found
    return {"PermissionsBoundaryName": f"{project}-{region}-{stage}-boundary"}


def _look_up_way_back(replaced: Release, problems: Problems) -> None:
    """See that the registry holds what the stage runs: CloudFormation could not go back to an image that is gone."""
    lost = Problems()
    _look_up_images(replaced, lost)
    what = f"the stage runs {replaced.id}, to which a deployment that fails could not go back"
    cure = "push the image again, or say --without-way-back to deploy all the same"
    problems.wrong += [f"{what}: {each} ({cure})" for each in lost.wrong]
    problems.unknown += [f"{what}: {each} ({cure})" for each in lost.unknown]


def _look_up_images(release: Release, problems: Problems) -> None:
    wanted = {name: str(uri) for name, uri in release.images.items() if BY_DIGEST.fullmatch(str(uri))}
    for name, found in find_images(wanted).items():
        if isinstance(found, BadInputError):
            problems.wrong.append(f"the image of {name}: {str(found).rstrip('.')}")
        elif isinstance(found, OperationFailedError):
            problems.unknown.append(f"the image of {name}: {str(found).rstrip('.')}")
        elif found is None:
            problems.wrong.append(f"the image of {name} is gone from its registry: {wanted[name]}")
