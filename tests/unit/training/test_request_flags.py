"""The request is described once: its flags are made of it, and what people read and type is checked against it."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from common.metric_table import METRICS
from common.request import ESTIMATORS, OF_ANY_PROBLEM, TrainingRequest, parse_request
from crosstrain.training.request_flags import NAMES, add_request_flags, known_values
from train import _parser

FIELDS = TrainingRequest.model_fields


def flags() -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser()
    add_request_flags(parser)
    return {action.dest: action for action in parser._actions if action.dest != "help"}


def test_every_field_is_described() -> None:
    for name, field in FIELDS.items():
        assert field.description, name
        # A fragment, for a help text goes on with what is known.
        assert not field.description.endswith("."), name


def test_every_field_but_the_data_set_is_a_flag() -> None:
    assert tuple(flags()) == NAMES == tuple(name for name in FIELDS if name != "dataset_uri")
    for name, action in flags().items():
        assert action.option_strings == [f"--{name.replace('_', '-')}"]
        assert action.default is None, name
        assert str(action.help).startswith(str(FIELDS[name].description))


def test_the_command_has_the_flags_and_its_own() -> None:
    found = {action.dest for action in _parser()._actions}
    assert found == {*NAMES, "data", "out", "memory", "stack", "json", "help"}
    # Printing takes signs of its own, such as %, for places to fill.
    assert 'such as {"alpha": 0.5}' in " ".join(_parser().format_help().split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--test-fraction", "0.5"], {"test_fraction": 0.5}),
        (["--search-trials", "7", "--search-seconds", "40"], {"search_trials": 7, "search_seconds": 40.0}),
        (["--split-seed", "7"], {"split_seed": 7}),
        (["--seed", "7", "--threshold", "1"], {"seed": 7, "threshold": 1.0}),
        (["--minimum-improvement", "1e-3"], {"minimum_improvement": 0.001}),
        (["--search-trials", "7", "--search-seconds", "90"], {"search_trials": 7, "search_seconds": 90.0}),
        (["--hyperparameters", '{"alpha": 2}', "--estimator", "ridge"], {"hyperparameters": {"alpha": 2.0}}),
        (["--split-column", "part", "--model-name", "a"], {"split_column": "part", "model_name": "a"}),
        (["--quantile", "0.9", "--metric", "pinball"], {"quantile": 0.9}),
        (["--pos-label", "1"], {"pos_label": "1"}),
        (["--problem", "regression", "--metric", "r2"], {"problem": "regression", "metric": "r2"}),
    ],
)
def test_a_flag_makes_what_the_request_takes(arguments: list[str], expected: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser()
    add_request_flags(parser)
    chosen = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    request = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": "y", **chosen}).model_dump()
    assert {name: request[name] for name in expected} == expected


def test_a_help_text_tells_names_and_defaults() -> None:
    told = {name: str(action.help) for name, action in flags().items()}
    for name in ("estimator", "metric"):
        assert f": {', '.join(known_values(FIELDS[name]))} (" in told[name]
    assert told["estimator"].endswith("(auto)")
    assert told["metric"].endswith(f"({' or '.join(names[0] for names in METRICS.values())})")
    assert told["test_fraction"].endswith(f"({FIELDS['test_fraction'].default:g})")
    assert told["threshold"].endswith("rejected")


def test_the_names_are_the_same_everywhere() -> None:
    built_in = {name for names in ESTIMATORS.values() for name in names}
    assert set(known_values(FIELDS["estimator"])) == built_in | set(OF_ANY_PROBLEM)
    assert set(known_values(FIELDS["metric"])) == {name for names in METRICS.values() for name in names}
    assert set(known_values(FIELDS["problem"])) == {"auto", *METRICS} == {"auto", *ESTIMATORS}
