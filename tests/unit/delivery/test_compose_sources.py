"""The model repository takes the place of the samples, as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose_sources import FUNCTIONS, compose, main


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{folder.name}: {name}")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model", *(f"functions/{name}/Dockerfile" for name in FUNCTIONS))


@pytest.fixture
def infrastructure(tmp_path: Path) -> Path:
    return write(
        tmp_path / "infrastructure", "functions/model_training/sample.py", "notebooks/s.ipynb", "template.yaml"
    )


def test_functions_and_notebooks_are_replaced_as_a_whole(model: Path, infrastructure: Path) -> None:
    write(model, "notebooks/mine.ipynb", "template.yaml")

    message = compose(model, infrastructure)

    assert message[0] == f"functions/ is the model repository's ({len(FUNCTIONS)} files), in place of the sample."
    assert not (infrastructure / "functions/model_training/sample.py").exists()
    assert [path.name for path in (infrastructure / "notebooks").iterdir()] == ["mine.ipynb"]
    assert (infrastructure / "template.yaml").read_text() == "infrastructure: template.yaml"
    assert {path.name for path in infrastructure.iterdir()} == {"functions", "notebooks", "template.yaml"}


def test_without_notebooks_the_sample_stays(model: Path, infrastructure: Path) -> None:
    assert "the sample stays" in compose(model, infrastructure)[1]
    assert (infrastructure / "notebooks/s.ipynb").is_file()


def test_the_tests_of_a_function_are_replaced_where_the_model_has_its_own(model: Path, infrastructure: Path) -> None:
    samples = ("tests/unit/model_training/test_sample.py", "tests/unit/model_evaluation/test_sample.py")
    write(infrastructure, *samples, "tests/unit/delivery/test_ledger.py")
    write(model, "tests/unit/model_training/test_mine.py", "tests/unit/delivery/test_ledger.py")

    message = compose(model, infrastructure)

    assert "tests/unit/model_training/ is the model repository's (1 files), in place of the sample." in message
    assert [path.name for path in (infrastructure / "tests/unit/model_training").iterdir()] == ["test_mine.py"]
    assert (infrastructure / samples[1]).is_file()
    assert (infrastructure / "tests/unit/delivery/test_ledger.py").read_text().startswith("infrastructure")


def test_a_missing_function_is_named_and_nothing_is_changed(
    model: Path, infrastructure: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "functions/model_evaluation/Dockerfile").unlink()

    assert main(["--model", str(model), "--into", str(infrastructure)]) == 2

    error = capsys.readouterr().err
    assert "functions/model_evaluation/Dockerfile" in error
    assert "model_training" not in error
    assert (infrastructure / "functions/model_training/sample.py").is_file()


def test_a_missing_repository_is_an_error(tmp_path: Path, infrastructure: Path) -> None:
    assert main(["--model", str(tmp_path / "none"), "--into", str(infrastructure)]) == 2


def test_one_repository_for_both_is_left_alone(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(model), "--into", str(model / "functions" / "..")]) == 0
    assert "One repository" in capsys.readouterr().out
