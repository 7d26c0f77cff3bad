"""What the function is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Which model is served, and how soon the champion is followed.

    Attributes
    ----------
    model_name
        The model.
    table
        Of the registry.
    champion_ttl
        The seconds after which the registry is asked again.
    stack
        The name of the stack, which metrics are of.
    """

    model_name: str
    table: str
    champion_ttl: float
    stack: str

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Return the settings that variables hold.

        Raises
        ------
        KeyError, ValueError
            If one is missing, or no number: the template is wrong then.
        """
        return cls(
            environment["MODEL_NAME"],
            environment["MODEL_REGISTRY_TABLE"],
            float(environment["CHAMPION_TTL"]),
            environment["STACK_NAME"],
        )
