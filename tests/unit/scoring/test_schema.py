"""The schema against the handler: whatever is made from it, or against it, gets an answer that the schema knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from function_urls import as_wsgi
from scoring import app

ROWS = 60
# More rows than there may be are refused by a status that schemathesis does not count as a refusal.
REFUSALS = [400, 404, 405, 413, 415, 422]
CONFIG = {"seed": 1, "checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}


def frame() -> pd.DataFrame:
    """Return rows of every role, with two labels."""
    random = np.random.default_rng(7)
    data = pd.DataFrame(
        {
            "size": random.normal(50, 9, ROWS).round(2),
            "rooms": random.integers(1, 9, ROWS),
            "kind": random.choice(["flat", "house"], ROWS),
            "garden": random.choice(["yes", "no"], ROWS),
            "sold": pd.date_range("2024-01-01", periods=ROWS, freq="h"),
        }
    )
    return data.assign(y=np.where(data["size"] > 50, "large", "small"))


@pytest.fixture(scope="module")
def api(shared_shop: Any) -> Any:
    """Return the schema that the handler tells, with the handler behind it."""
    for version, data in (("run-1", frame()), ("run-2", frame().assign(y=lambda each: each["y"].str.upper()))):
        shared_shop.train(version, data, estimator="logistic_regression", problem="classification")
    # A challenger whose labels are others.
    shared_shop.promote("run-1", challenger_version="run-2", challenger_share=50)
    champions = shared_shop.champions()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "_champions", lambda: champions)
        config = SchemathesisConfig.from_dict(CONFIG)
        yield schemathesis.openapi.from_wsgi("/openapi.json", as_wsgi(app.handler), config=config)


schema = schemathesis.pytest.from_fixture("api")


# No search for a smaller example: each one that is wrong tells enough.
@pytest.mark.slow
@schema.parametrize()
@settings(
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_every_answer_is_one_that_the_schema_knows(case: Any) -> None:
    # Which texts are tables, no schema says.
    excluded = [positive_data_acceptance] if case.media_type == "text/csv" else []
    case.call_and_validate(excluded_checks=excluded)
