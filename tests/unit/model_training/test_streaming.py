"""Linear models are fitted block by block, and are those that scikit-learn fits on all rows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from common.frames import PartFile, load_part, load_weights
from data_preparation.preparation import PreparedData
from model_training import streaming
from model_training.streaming import fit_streamed, streams
from model_training.training import build_pipeline, fit

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Prepared = Callable[..., PreparedData]
LINEAR = ("ridge", "linear_regression")


def both(prepared: PreparedData) -> tuple[Pipeline, Pipeline]:
    """Return the pipeline that is fitted block by block, and the one that is fitted on a frame."""
    request, profile = prepared.request, prepared.profile
    assert streams(request, profile)
    features, target = load_part(prepared.train, profile)
    weights = load_weights(prepared.train, profile)
    part = PartFile(prepared.train, profile)
    streamed = fit_streamed(build_pipeline(request, profile), part, part.target(), weights)
    whole = fit(build_pipeline(request, profile), features, target, weights)
    assert streamed.warnings == whole.warnings
    return streamed.pipeline, whole.pipeline


def assert_same(found: Any, expected: Any, path: str = "pipeline") -> None:
    """Compare all that two fitted objects hold: numbers up to rounding, and of all else their types, too."""
    assert type(found) is type(expected), path
    if isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
        scale = np.abs(expected).max(initial=1e-12)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * scale, err_msg=path)
    elif isinstance(expected, float | np.floating):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), path
    elif isinstance(expected, np.ndarray) and expected.dtype == object:
        assert_same(found.tolist(), expected.tolist(), path)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, err_msg=path)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), path
        for at, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{path}[{at}]")
    elif isinstance(expected, dict):
        assert list(found) == list(expected), path
        for name in expected:
            assert_same(found[name], expected[name], f"{path}[{name}]")
    elif hasattr(expected, "get_params"):
        assert_same(vars(found), vars(expected), path)
    else:
        assert found == expected, path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK_ROWS", 64)


@pytest.mark.parametrize("features", ["auto", "plain"])
@pytest.mark.parametrize("estimator", LINEAR)
def test_all_that_is_fitted_is_as_on_a_frame(prepared_data: Prepared, estimator: str, features: str) -> None:
    prepared = prepared_data("regression", estimator=estimator, features=features)
    assert_same(*both(prepared))
