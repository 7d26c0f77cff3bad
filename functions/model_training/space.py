"""What a search may try of one estimator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Space:
    """The hyperparameters of one estimator.

    Attributes
    ----------
    starts
        What is tried first, the most promising one before all others.
    varied
        What else may vary, and how far.
    """

    starts: tuple[Mapping[str, Any], ...]
    varied: Mapping[str, BaseDistribution] = field(default_factory=dict)
