"""What is wrong with a model of one's own is said before anything is fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import HuberRegressor, LinearRegression
from sklearn.pipeline import Pipeline

from common.errors import InvalidModelError, InvalidRequestError
from common.request import TrainingRequest, parse_request
from model_training import model
from model_training.custom import build_custom
from model_training.features import build_features
from model_training.model import CustomModel
from model_training.search import plan
from model_training.space import Space
from model_training.training import build_pipeline

PROFILE: dict[str, Any] = {
    "columns": [{"name": "x", "use": "feature", "role": "numeric", "dtype": "float64", "kind": "float", "nulls": 0}],
    "rows": {"train": 100},
    "split": {"by": "rows"},
    "classes": None,
}


def request(**fields: Any) -> TrainingRequest:
    document = {"dataset_uri": "s3://bucket/x", "target": "y", "problem": "regression", "estimator": "custom"}
    return parse_request({**document, **fields}).resolve("regression")


def pipeline(asked: TrainingRequest, profile: Any, last: str = "model") -> Pipeline:
    return Pipeline([("features", build_features(asked, profile)), (last, HuberRegressor())])


def returning(**varied: Any) -> Callable[[Any, Any], CustomModel]:
    return lambda asked, profile: CustomModel(pipeline(asked, profile), Space(({},), varied))


def raising(_asked: Any, _profile: Any) -> CustomModel:
    raise KeyError("a value")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (raising, "custom_model in model_training/model.py raised KeyError."),
        (
            lambda _asked, _profile: LinearRegression(),
            "with a scikit-learn Pipeline, but Linear",
        ),
        (
            lambda _asked, _profile: CustomModel(LinearRegression(), Space(({},))),  # type: ignore[arg-type]
            "no CustomModel with a scikit-learn Pipeline",
        ),
        (
            lambda asked, profile: CustomModel(pipeline(asked, profile, "last"), Space(({},))),
            "has other steps",
        ),
        (
            lambda _asked, _profile: CustomModel(
                Pipeline([("features", LinearRegression()), ("model", VotingRegressor([("a", LinearRegression())]))]),
                Space(({},)),
            ),
            "a vote of several",
        ),
        (
            lambda asked, profile: CustomModel(pipeline(asked, profile), Space(({"max_iter": (1, 2)},))),
            "A start of model_training/model.py is none that a request may say.",
        ),
        (
            returning(alhpa=FloatDistribution(0, 1)),
            'has "alhpa", which HuberRegressor',
        ),
    ],
)
def test_what_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, function: Any, told: str) -> None:
    monkeypatch.setattr(model, "custom_model", function)
    with pytest.raises(InvalidModelError) as error:
        build_custom(request(), PROFILE)
    assert told in str(error.value)
    # Before a trial is made, too.
    with pytest.raises(InvalidModelError):
        plan(request(search_trials=3), PROFILE, [], at_once=1, memory_mb=10_240, most_seconds=500)


def test_the_project_comes_without_one_and_says_where_to_write_it() -> None:
    with pytest.raises(InvalidModelError, match=r"functions/model_training/model\.py, as docs/customise\.md"):
        build_pipeline(request(), PROFILE)


def test_hyperparameters_of_the_request_are_set_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "custom_model", returning(alpha=FloatDistribution(0, 1)))
    assert build_pipeline(request(hyperparameters={"alpha": 0.5}), PROFILE)["model"].alpha == 0.5
    with pytest.raises(InvalidModelError, match='The request has "alhpa", which HuberRegressor'):
        build_pipeline(request(hyperparameters={"alhpa": 0.5}), PROFILE)
    with pytest.raises(InvalidRequestError, match='"alpha" is a JSON object'):
        request(hyperparameters={"alpha": {}})


def test_its_space_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "custom_model", returning(alpha=FloatDistribution(0.25, 0.75)))
    trials = plan(request(search_trials=3), PROFILE, [], at_once=3, memory_mb=10_240, most_seconds=500).trials
    assert trials[0].hyperparameters == {}
    assert all(0.25 <= trial.hyperparameters["alpha"] <= 0.75 for trial in trials[1:])
