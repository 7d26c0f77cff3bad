"""What the function is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from scoring.private import Private


@dataclass(frozen=True)
class Settings:
    """Which model is served, how soon the champion is followed, and what is kept of requests.

    Attributes
    ----------
    model_name
        The model.
    table
        Of the registry.
    champion_ttl
        The seconds after which the registry is asked again.
    stack
        The name of the stack that the function belongs to.
    bucket
        Where what is captured goes.
    capture_share
        How many of a hundred requests are captured; 0 for none.
    private
        The columns of which no value is ever kept.
    """

    model_name: str
    table: str
    champion_ttl: float
    stack: str = ""
    bucket: str = ""
    capture_share: float = 0.0
    private: Private = field(default_factory=Private)

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
            environment["ARTIFACT_BUCKET"],
            float(environment["CAPTURE_SHARE"]),
            Private.of(environment["PRIVATE_COLUMNS"]),
        )


@dataclass(frozen=True)
class WatchSettings:
    """Where a function that looks at what was predicted finds things, and what it is not to look at.

    Attributes
    ----------
    table
        Of the registry.
    stack
        The name of the stack that the function belongs to.
    bucket
        Of the stack.
    private
        The columns of which no value is ever kept.
    """

    table: str
    stack: str
    bucket: str
    private: Private

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> WatchSettings:
        """Return the settings that variables hold.

        Raises
        ------
        KeyError
            If one is missing: the template is wrong then.
        """
        return cls(
            environment["MODEL_REGISTRY_TABLE"],
            environment["STACK_NAME"],
            environment["ARTIFACT_BUCKET"],
            Private.of(environment["PRIVATE_COLUMNS"]),
        )
