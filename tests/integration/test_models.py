"""Models that real runs have recorded: looked at, compared, traced and rolled back with a data scientist's rights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sklearn.datasets import load_diabetes

from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.local.server import LocalTrainingStack

from .conftest import Finished, Train

Command = Callable[..., Finished]


@pytest.fixture
def models(training_stack: LocalTrainingStack, project: Path) -> Command:
    """Return a function that runs `scripts/models.py` as it is run beside `make local-aws`."""
    environment = training_stack.aws.environment(training_stack.data_scientist) | {
        "CROSSTRAIN_STACK": training_stack.name
    }

    def run(*arguments: str) -> Finished:
        done = subprocess.run(
            [sys.executable, str(project / "scripts/models.py"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def trained(train: Train, tmp_path: Path) -> Callable[[str], list[str]]:
    """Return a function that trains three models, each better than the last, and a worse one; it returns their ids."""

    def run(model_name: str) -> list[str]:
        load_diabetes(as_frame=True, scaled=False).frame.to_csv(tmp_path / "diabetes.csv", index=False)
        data = ["--data", "diabetes.csv", "--target", "target", "--estimator", "ridge", "--model-name", model_name]
        ids = []
        for alpha, decision in ((30000, "promote"), (3000, "promote"), (300, "promote"), (100000, "reject")):
            done = train(*data, "--hyperparameters", f'{{"alpha": {alpha}}}', "--json")
            assert done.code == 0, done.stderr
            assert done.document["decision"] == decision, done.document
            ids.append(done.document["run_id"])
        return ids

    return run


def test_the_life_of_a_model(models: Command, trained: Callable[[str], list[str]], train: Train) -> None:
    first, second, third, rejected = trained("life")

    listed = models("list", "--model-name", "life", "--json").document
    assert [item["version"] for item in listed["versions"]] == [rejected, third, second, first]
    assert (listed["champion"], listed["rollbacks"]) == (third, [])
    assert models("champion", "--model-name", "life", "--json").document["previous_champion"] == second
    assert rejected in models("list", "--model-name", "life").stdout

    compared = models("compare", first, third, "--json").document
    assert compared["same_test_rows"] is True
    assert compared["metrics"]["rmse"]["better"] == 1
    assert compared["differences"]["parameters.alpha"] == [30000, 300]

    refused = models("rollback", "life", "--to", rejected)
    assert refused.code == 2
    assert f"{rejected} was never promoted" in refused.stderr

    for target in (second, first):
        done = models("rollback", "life", "--reason", "worse in use", "--json")
        assert done.code == 0, done.stderr
        assert done.document["to_version"] == target
        assert done.document["by"].endswith("user/data-scientist-crosstrain-local")
    assert models("rollback", "life").code == 2
    assert models("show", first, "--json").document["champion"] is True
    forward = models("rollback", "life", "--to", third)
    assert forward.stdout == f"{third} is the champion of life again, in place of {first}.\n"
    assert len(models("list", "--model-name", "life", "--json").document["rollbacks"]) == 3

    after = train("--data", "diabetes.csv", "--target", "target", "--model-name", "life", "--json")
    assert after.code == 0, after.stderr
    assert models("compare", third, after.document["run_id"], "--json").document["same_test_rows"] is True


def test_a_lineage_of_a_local_run_says_what_only_a_delivery_knows(models: Command, train: Train) -> None:
    version = train("--model-name", "traced", "--json").document["run_id"]
    document = models("lineage", version, "--json").document
    links = document["links"]
    assert {name for name, link in links.items() if link["missing"]} == {
        "release",
        *(f"image_digest_of_{name}" for name in FUNCTIONS),
    }
    assert [source["name"] for source in links["source_files"]["value"]] == ["diabetes.csv"]
    assert links["model_class"]["value"] == "sklearn.linear_model._ridge.Ridge"
    assert document["contradictions"] == []


def test_of_two_rollbacks_at_once_one_is_made(models: Command, trained: Callable[[str], list[str]]) -> None:
    first, second, third, _ = trained("raced")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda to: models("rollback", "raced", "--to", to), (first, second)))
    document = models("list", "--model-name", "raced", "--json").document
    won = [each for each in done if each.code == 0]
    # They may also have come one after the other.
    assert len(won) == len(document["rollbacks"]) >= 1
    assert {each.code for each in done} <= {0, 1}
    for lost in done:
        if lost.code == 1:
            assert f"since it was read as {third}, and nothing was changed" in lost.stderr
    assert document["champion"] == document["rollbacks"][0]["to_version"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--model-name", "nothing-like-it"], 'There is no model "nothing-like-it".'),
        (["show", "no-such-version"], 'There is no version "no-such-version".'),
    ],
)
def test_what_is_unknown_is_told_in_one_sentence(models: Command, arguments: list[str], message: str) -> None:
    done = models(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_data_scientist_writes_to_the_registry_in_transactions_only(training_stack: LocalTrainingStack) -> None:
    dynamodb: Any = training_stack.client("dynamodb")
    table = training_stack.outputs["ModelRegistryTableName"]
    item = {"model_name": {"S": "forged"}, "entry": {"S": "champion"}}
    for call in (
        lambda: dynamodb.put_item(TableName=table, Item=item),
        lambda: dynamodb.delete_item(TableName=table, Key=item),
        lambda: dynamodb.transact_write_items(TransactItems=[{"Delete": {"TableName": table, "Key": item}}]),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
