"""A blend: several pipelines of which the weighted mean is predicted, as one pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd


def build_blend(
    members: Sequence[Pipeline], weights: Sequence[float], problem: str, features: Sequence[str]
) -> Pipeline:
    """Return the unfitted pipeline: `features` leaves the frame as it is, `model` is a vote of the members."""
    # Most runs fit no blend, and go without all of scikit-learn's ensembles.
    from sklearn.ensemble import VotingClassifier, VotingRegressor  # noqa: PLC0415

    named = [(f"member_{number}", member) for number, member in enumerate(members)]
    model = (
        VotingRegressor(named, weights=list(weights))
        if problem == "regression"
        else VotingClassifier(named, voting="soft", weights=list(weights))
    )
    columns = ColumnTransformer([("columns", "passthrough", list(features))], verbose_feature_names_out=False)
    return Pipeline([("features", columns.set_output(transform="pandas")), ("model", model)])


def members_of(pipeline: Pipeline) -> list[Pipeline] | None:
    """Return the pipelines that an unfitted blend is made of; None of any other pipeline."""
    model = pipeline["model"]
    if type(model).__module__ != "sklearn.ensemble._voting":
        return None
    return [member for _, member in model.estimators]


def join(blend: Pipeline, fitted: Sequence[Pipeline], features: pd.DataFrame, target: npt.NDArray[Any]) -> Pipeline:
    """Put fitted members in their places, which makes the blend a fitted one.

    Parameters
    ----------
    blend
        From `build_blend`.
    fitted
        Its members.
    features, target
        What they were fitted on, of shape (rows, features) and (rows,); of the features a row is enough.
    """
    from sklearn.frozen import FrozenEstimator  # noqa: PLC0415 (as above)

    blend["features"].fit(features.iloc[:1])
    model, classes = blend["model"], np.unique(target)
    model.set_params(
        estimators=[(name, FrozenEstimator(member)) for (name, _), member in zip(model.estimators, fitted, strict=True)]
    )
    # Frozen members are not fitted again: all that it learns is which classes there are.
    model.fit(np.zeros((len(classes), 1)), classes)
    # The same once more, in a dictionary of a type of its own.
    del model.named_estimators_
    return blend
