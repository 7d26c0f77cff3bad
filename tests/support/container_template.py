"""The training template whose functions stay what they are: images, by digest, run as containers."""

from __future__ import annotations

import json
from pathlib import Path

from samcli.yamlhelper import yaml_parse

from crosstrain.local.template import use_registry


def write_container_template(source: Path, directory: Path, registry: str) -> Path:
    """Write the variant of a template whose images are pulled from a registry, as `sam deploy` takes it.

    Parameters
    ----------
    source : Path
        The template, beside which `DefinitionUri` is looked up.
    directory : Path
        An existing folder that receives the template.
    registry : str
        The host and port of the registry that the images are pulled from in place of ECR.
    """
    template = yaml_parse(source.read_text(encoding="utf-8"))
    use_registry(template, registry)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::StateMachine":
            definition = (source.parent / resource["Properties"]["DefinitionUri"]).resolve()
            resource["Properties"]["DefinitionUri"] = str(definition)
    path = directory / "template.json"
    path.write_text(json.dumps(template, indent=2), encoding="utf-8")
    return path
