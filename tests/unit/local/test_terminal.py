"""What the command that keeps an embedded AWS running takes."""

from __future__ import annotations

import pytest

from crosstrain.command import BadInputError
from crosstrain.local.terminal import parse_overrides


def test_parameters_are_taken_as_sam_deploy_takes_them() -> None:
    assert parse_overrides([]) == {}
    found = parse_overrides(["ServeModel=houses-price", 'ScoringRequest={"keep": ["a=b"]}', "RetrainPrefix="])
    assert found == {"ServeModel": "houses-price", "ScoringRequest": '{"keep": ["a=b"]}', "RetrainPrefix": ""}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("ServeModel", "write NAME=VALUE"),
        ("ServeModels=a", r"is ServeModel meant\?"),
        ("=a", 'no parameter ""'),
    ],
)
def test_what_is_no_parameter_is_refused_by_its_name(word: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        parse_overrides([word])
