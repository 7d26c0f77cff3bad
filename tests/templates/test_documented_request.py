"""What people read and type about the request is what the functions take: the README, `make train`, the help texts.

No unit test: those the pipeline runs on a model team's functions, which may take what this README does not know.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from common.metric_table import GUESSES, METRIC_TABLE, METRICS
from common.request import ESTIMATORS, SEARCH_SECONDS, SEARCH_TRIALS, TrainingRequest, parse_request
from common.scoring_requests import ScoringRequest, parse_scoring_request
from crosstrain.training.request_flags import NAMES, known_values
from crosstrain.training.runs import name_of_model

FIELDS = TrainingRequest.model_fields
# What `make train` hands on besides the fields.
OWN = {"DATA", "OUT", "STACK", "MEMORY"}


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


def quoted(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)


def test_make_hands_on_every_flag(project: Path) -> None:
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    options = re.search(r"^TRAIN_OPTIONS := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert options is not None
    assert set(options[1].replace("\\", " ").split()) == OWN | {name.upper() for name in NAMES}


def test_the_readme_lists_every_variable(rows: dict[str, list[str]]) -> None:
    # DATA and TARGET are told in the sentences before it, STACK where AWS is.
    assert set(rows) == {"OUT", "MEMORY"} | {name.upper() for name in NAMES if name != "target"}


@pytest.mark.parametrize("name", ["problem", "estimator", "metric"])
def test_the_readme_knows_every_name(rows: dict[str, list[str]], name: str) -> None:
    _, values, default = rows[name.upper()]
    assert set(quoted(values)) == set(known_values(FIELDS[name])) - {"auto"}
    first = {"estimator": ["auto"], "metric": [fitting[0] for fitting in METRICS.values()]}
    assert quoted(default) == first.get(name, [])


def test_the_readme_tells_the_defaults(rows: dict[str, list[str]]) -> None:
    names, _, default = rows["TEST_FRACTION"]
    told = dict(zip(quoted(names), default.split(", "), strict=True))
    told |= {name: rows[name][2] for name in ("TRAINING_FRACTION", "MINIMUM_IMPROVEMENT", "QUANTILE")}
    assert told.keys() == {"TEST_FRACTION", "TRAINING_FRACTION", "SEED", "MINIMUM_IMPROVEMENT", "QUANTILE"}
    assert told == {name: f"{FIELDS[name.lower()].default:g}" for name in told}
    assert f"`{name_of_model('houses.csv', 'price')}`" in rows["MODEL_NAME"][2]
    # No other field has one that is not a choice left open.
    others = dict.fromkeys(["problem", "estimator"], "auto")
    others |= dict.fromkeys(["split_column", "metric", "pos_label", "threshold"])
    assert {name: FIELDS[name].default for name in others} == others


def test_the_registrys_page_tells_what_every_metric_is(project: Path) -> None:
    page = (project / "docs" / "registry.md").read_text(encoding="utf-8")
    table = page[page.index("| metric | what it is |") :].partition("\n\n")[0].splitlines()[2:]
    assert [line.removeprefix("| ").removesuffix(" |").replace("\\|", "|") for line in table] == [
        f"`{name}` | {metric.meaning} | {'lower' if metric.lower_is_better else 'higher'} | {GUESSES[metric.constant]}"
        for name, metric in METRIC_TABLE.items()
    ]


def test_the_readmes_input_is_a_request_with_every_field_at_its_default(readme: str) -> None:
    text = next(block for block in re.findall(r"```json\n(.*?)```", readme, re.DOTALL) if "dataset_uri" in block)
    document = json.loads(text.replace("<artifact bucket>", "bucket"))
    assert set(document) == set(FIELDS)
    request = parse_request(document).model_dump()
    smallest = parse_request({name: document[name] for name in ("dataset_uri", "target")}).model_dump()
    # What is left open there is shown with its first choice.
    assert request == {**smallest, "metric": METRICS["regression"][0]}


def test_the_readme_tells_how_much_is_searched(rows: dict[str, list[str]]) -> None:
    assert rows["SEARCH_TRIALS"][2].startswith(f"{SEARCH_TRIALS}, {SEARCH_SECONDS:.0f}; ")
    assert quoted(rows["SEARCH_TRIALS"][1]) == [names[0] for names in ESTIMATORS.values()]


def test_the_input_of_a_batch_is_a_request_with_every_field_at_its_default(project: Path) -> None:
    page = (project / "docs/scoring.md").read_text(encoding="utf-8")
    documents = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (document,) = (json.loads(each) for each in documents if '"output_format"' in each)
    assert set(document) == set(ScoringRequest.model_fields)
    needed = {name: document[name] for name in ("dataset_uri", "model_name")}
    needed["dataset_uri"] = document["dataset_uri"] = "s3://bucket/data/"
    assert parse_scoring_request(document) == parse_scoring_request(needed)
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(ScoringRequest.model_fields) - {"model_name"} <= set(told)


def test_the_sample_event_of_batch_scoring_has_a_request(project: Path) -> None:
    event = json.loads((project / "events/batch_scoring.json").read_text(encoding="utf-8"))
    assert parse_scoring_request(event["request"]).model_name == "default"
