"""What becomes of the rows of a request, in whatever format they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scoring.oddities import Oddities

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Scored:
    """The predictions for the rows of a request.

    Attributes
    ----------
    predictions
        A row for each of the request's, without a value for a blank line.
    oddities
        What is odd in the rows.
    others
        The columns that the model does not use.
    told
        What was found out of how a text is written.
    """

    predictions: pa.Table
    oddities: Oddities
    others: Sequence[str]
    told: Sequence[str]
