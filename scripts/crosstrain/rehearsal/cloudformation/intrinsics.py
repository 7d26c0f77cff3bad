"""A small evaluator of CloudFormation's functions, for what has to be known of a template before it is deployed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from crosstrain.command import OperationFailedError

NOTHING = object()
"""What a property is that AWS::NoValue takes out."""


class Resolver:
    """Resolves the functions of a template for given parameters.

    Other resources stand for themselves as <name>, and what is imported as <name of the export>.

    Parameters
    ----------
    template
        The template.
    parameters : mapping
        The values of parameters that do not keep their default.
    pseudo : mapping
        The values of AWS::Region and its like.
    """

    def __init__(self, template: Any, parameters: Mapping[str, str], pseudo: Mapping[str, str]) -> None:
        defaults = {name: str(each.get("Default", "")) for name, each in template.get("Parameters", {}).items()}
        self.values = {**defaults, **parameters, **pseudo}
        self.conditions = template.get("Conditions", {})
        self.resources = template["Resources"]

    def condition(self, name: str) -> bool:
        """Return whether a condition holds."""
        return bool(self.resolve(self.conditions[name]))

    def resolve(self, node: Any) -> Any:
        """Return a part of the template without functions; what is left out is NOTHING.

        Raises
        ------
        OperationFailedError
            If it has a function that this class does not know.
        """
        if isinstance(node, list):
            return [each for each in map(self.resolve, node) if each is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            if function.startswith("Fn::") or (function in ("Ref", "Condition") and isinstance(argument, str)):
                method = getattr(self, f"_on_{function.removeprefix('Fn::').lower()}", None)
                if method is None:
                    raise OperationFailedError(
                        f"A rehearsal does not know the function {function}: add it to intrinsics.py."
                    )
                return method(argument)
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NOTHING}

    def _on_ref(self, name: str) -> Any:
        return NOTHING if name == "AWS::NoValue" else self.values.get(name, f"<{name}>")

    def _on_getatt(self, path: Any) -> str:
        return f"<{path if isinstance(path, str) else '.'.join(path)}>"

    def _on_sub(self, argument: Any) -> str:
        text, extra = argument if isinstance(argument, list) else (argument, {})
        values = {**self.values, **{name: self.resolve(value) for name, value in extra.items()}}
        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", lambda found: values.get(found[1], f"<{found[1]}>"), text)

    def _on_importvalue(self, name: Any) -> str:
        return f"<{self.resolve(name)}>"

    def _on_if(self, argument: list[Any]) -> Any:
        return self.resolve(argument[1 if self.condition(argument[0]) else 2])

    def _on_condition(self, name: str) -> bool:
        return self.condition(name)

    def _on_equals(self, argument: list[Any]) -> bool:
        # CloudFormation compares texts, whatever a template's YAML or JSON makes of them.
        one, other = (
            json.dumps(each) if isinstance(each, (bool, int)) else each for each in map(self.resolve, argument)
        )
        return bool(one == other)

    def _on_not(self, argument: list[Any]) -> bool:
        return not self.resolve(argument[0])

    def _on_and(self, argument: list[Any]) -> bool:
        return all(map(self.resolve, argument))

    def _on_or(self, argument: list[Any]) -> bool:
        return any(map(self.resolve, argument))

    def _on_select(self, argument: list[Any]) -> Any:
        return self.resolve(argument[1])[int(self.resolve(argument[0]))]

    def _on_split(self, argument: list[Any]) -> list[str]:
        return str(self.resolve(argument[1])).split(argument[0])

    def _on_join(self, argument: list[Any]) -> str:
        return str(argument[0]).join(map(str, self.resolve(argument[1])))
