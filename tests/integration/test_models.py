"""Models that real runs have recorded: looked at, compared, traced and rolled back with a data scientist's rights."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sklearn.datasets import load_diabetes

from crosstrain.delivery.functions import STEPS
from crosstrain.local.server import LocalTrainingStack

from .conftest import Command, Train, as_process


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


@pytest.mark.slow
def test_the_life_of_a_model(
    training_stack: LocalTrainingStack,
    models: Command,
    trained: Callable[[str], list[str]],
    train: Train,
    tmp_path: Path,
) -> None:
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
        assert f":execution:{training_stack.name}-rollback:" in done.document["execution"]
    assert models("rollback", "life").code == 2
    assert models("show", first, "--json").document["champion"] is True
    forward = models("rollback", "life", "--to", third)
    assert forward.stdout == f"{third} is the champion of life again, in place of {first}.\n"
    assert len(models("list", "--model-name", "life", "--json").document["rollbacks"]) == 3

    paged = models(
        "page", "--model-name", "life", "--output", str(tmp_path / "models.html"), "--reports", str(tmp_path / "out")
    )
    assert paged.code == 0, paged.stderr
    text = (tmp_path / "models.html").read_text(encoding="utf-8")
    assert all(version in text for version in (first, second, third, rejected))
    assert text.count('<span class="note">95 % interval ') == 4
    assert text.count("↩ rollback") == 3
    # The results of the last run that was promoted, and of the one that was rejected.
    assert text.count('/report.html">') == 2

    after = train("--data", "diabetes.csv", "--target", "target", "--model-name", "life", "--json")
    assert after.code == 0, after.stderr
    assert models("compare", third, after.document["run_id"], "--json").document["same_test_rows"] is True


def test_a_lineage_of_a_local_run_says_what_only_a_delivery_knows(models: Command, train: Train) -> None:
    version = train("--model-name", "traced", "--json").document["run_id"]
    document = models("lineage", version, "--json").document
    links = document["links"]
    assert {name for name, link in links.items() if link["missing"]} == {
        "release",
        *(f"image_digest_of_{name}" for name in STEPS),
    }
    assert [source["name"] for source in links["source_files"]["value"]] == ["diabetes.csv"]
    assert links["model_class"]["value"] == "sklearn.linear_model._ridge.Ridge"
    assert document["contradictions"] == []


@pytest.mark.slow
def test_of_two_rollbacks_at_once_one_is_made(
    models: Command, trained: Callable[[str], list[str]], project: Path, in_shell: dict[str, str], tmp_path: Path
) -> None:
    first, second, third, _ = trained("raced")
    script = project / "scripts/models.py"
    with ThreadPoolExecutor(2) as pool:
        words = [["rollback", "raced", "--to", to] for to in (first, second)]
        done = list(pool.map(lambda each: as_process(script, in_shell, tmp_path, each), words))
    document = models("list", "--model-name", "raced", "--json").document
    won = [each for each in done if each.code == 0]
    # They may also have come one after the other.
    assert len(won) == len(document["rollbacks"]) >= 1
    assert {each.code for each in done} <= {0, 1}
    for lost in done:
        if lost.code == 1:
            assert f"since it was read as {third}, and nothing was changed: look at it, and roll back" in lost.stderr
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


@pytest.mark.slow
def test_a_reason_that_is_too_long_is_bad_input(models: Command, train: Train) -> None:
    for alpha in (3000, 300):
        done = train("--model-name", "wordy", "--estimator", "ridge", "--hyperparameters", f'{{"alpha": {alpha}}}')
        assert done.code == 0, done.stderr
    done = models("rollback", "wordy", "--reason", "r" * 1001)
    assert (done.code, done.stdout) == (2, "")
    assert "reason has to be a text of at most 1,000 characters" in done.stderr
    assert models("list", "--model-name", "wordy", "--json").document["rollbacks"] == []
