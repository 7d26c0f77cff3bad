"""The request is described once: its flags are made of it, and what people read and type is checked against it."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from common.request import ESTIMATORS, LOWER_IS_BETTER, METRICS, TrainingRequest, parse_request
from crosstrain.training.request_flags import NAMES, add_request_flags, known_values
from train import _parser

FIELDS = TrainingRequest.model_fields
# What `make train` hands on besides the fields.
OWN = {"DATA", "OUT", "STACK"}


@pytest.fixture(scope="module")
def readme(project: Path) -> str:
    return (project / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(readme: str) -> dict[str, list[str]]:
    """Return the README's table of variables: the names, their values, and what counts when they are not given."""
    table = readme[readme.index("| variable | values |") :].partition("\n\n")[0].splitlines()[2:]
    found: dict[str, list[str]] = {}
    for line in table:
        names, values, default = (cell.strip() for cell in line.strip("|").split("|"))
        found |= {name: [names, values, default] for name in quoted(names)}
    return found


def flags() -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser()
    add_request_flags(parser)
    return {action.dest: action for action in parser._actions if action.dest != "help"}


def quoted(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)


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
    assert found == {*NAMES, "data", "out", "stack", "json", "help"}
    # Printing takes signs of its own, such as %, for places to fill.
    assert 'such as {"alpha": 0.5}' in " ".join(_parser().format_help().split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--test-fraction", "0.5"], {"test_fraction": 0.5}),
        (["--seed", "7", "--threshold", "1"], {"seed": 7, "threshold": 1.0}),
        (["--minimum-improvement", "1e-3"], {"minimum_improvement": 0.001}),
        (["--hyperparameters", '{"alpha": 2}', "--estimator", "ridge"], {"hyperparameters": {"alpha": 2.0}}),
        (["--split-column", "part", "--model-name", "a"], {"split_column": "part", "model_name": "a"}),
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
    for name in ("problem", "estimator", "metric"):
        assert f": {', '.join(known_values(FIELDS[name]))} (" in told[name]
    assert told["test_fraction"].endswith("(0.2)")
    assert told["estimator"].endswith("(ridge or logistic_regression)")
    assert told["metric"].endswith("(rmse or accuracy)")
    assert told["threshold"].endswith("rejected")


def test_the_names_are_the_same_everywhere() -> None:
    assert set(known_values(FIELDS["estimator"])) == {name for names in ESTIMATORS.values() for name in names}
    assert set(known_values(FIELDS["metric"])) == {name for names in METRICS.values() for name in names}
    assert set(known_values(FIELDS["problem"])) == {"auto", *METRICS} == {"auto", *ESTIMATORS}
    assert set(known_values(FIELDS["metric"])) >= LOWER_IS_BETTER


def test_make_hands_on_every_flag(project: Path) -> None:
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    options = re.search(r"^TRAIN_OPTIONS := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert options is not None
    assert set(options[1].replace("\\", " ").split()) == OWN | {name.upper() for name in NAMES}


def test_the_readme_lists_every_variable(rows: dict[str, list[str]]) -> None:
    # DATA and TARGET are told in the sentences before it, STACK where AWS is.
    assert set(rows) == {"OUT"} | {name.upper() for name in NAMES if name != "target"}


@pytest.mark.parametrize("name", ["problem", "estimator", "metric"])
def test_the_readme_knows_every_name(rows: dict[str, list[str]], name: str) -> None:
    _, values, default = rows[name.upper()]
    assert set(quoted(values)) == set(known_values(FIELDS[name])) - {"auto"}
    choices = {"estimator": ESTIMATORS, "metric": METRICS}.get(name, {})
    assert quoted(default) == [fitting[0] for fitting in choices.values()]


def test_the_readme_tells_the_defaults(rows: dict[str, list[str]]) -> None:
    names, _, default = rows["TEST_FRACTION"]
    told = dict(zip(quoted(names), default.split(", "), strict=True))
    told["MINIMUM_IMPROVEMENT"], (told["MODEL_NAME"],) = rows["MINIMUM_IMPROVEMENT"][2], quoted(rows["MODEL_NAME"][2])
    assert told == {
        name: f"{FIELDS[name.lower()].default:g}" if name != "MODEL_NAME" else FIELDS["model_name"].default
        for name in ("TEST_FRACTION", "SEED", "MINIMUM_IMPROVEMENT", "MODEL_NAME")
    }
    # No other field has one that is not a choice left open.
    others = {"problem": "auto"} | dict.fromkeys(["estimator", "split_column", "metric", "threshold"])
    assert {name: FIELDS[name].default for name in others} == others


def test_the_readmes_input_is_a_request_with_every_field_at_its_default(readme: str) -> None:
    text = next(block for block in re.findall(r"```json\n(.*?)```", readme, re.DOTALL) if "dataset_uri" in block)
    document = json.loads(text.replace("<artifact bucket>", "bucket"))
    assert set(document) == set(FIELDS)
    request = parse_request(document).model_dump()
    smallest = parse_request({name: document[name] for name in ("dataset_uri", "target")}).model_dump()
    # What is left open there is shown with its first choice.
    assert request == {**smallest, "estimator": ESTIMATORS["regression"][0], "metric": METRICS["regression"][0]}
