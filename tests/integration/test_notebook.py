"""The notebook that the model comes from runs, and the training stack reaches the same score on the same split."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Train

pytestmark = pytest.mark.slow


def test_the_notebooks_score_is_the_pipelines_on_the_same_split(train: Train, project: Path, tmp_path: Path) -> None:
    # The packages of `make test` do not hold it.
    import nbformat  # noqa: PLC0415

    notebook = nbformat.read(project / "notebooks/exploration.ipynb", as_version=4)
    notebook.cells.append(
        nbformat.v4.new_code_cell("data.to_csv('diabetes.csv', index=False); print(repr(float(rmse)))")
    )
    nbformat.write(notebook, tmp_path / "exploration.ipynb")
    # The command runs the kernel in the notebook's folder.
    command = [str(Path(sys.executable).with_name("jupyter-execute")), "--inplace", "exploration.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rmse = float(nbformat.read(tmp_path / "exploration.ipynb", as_version=4).cells[-1].outputs[0]["text"])

    trained = train("--data", "diabetes.csv", "--target", "target", "--split-column", "split", "--json")
    assert trained.code == 0, trained.stderr
    assert trained.document["metrics"]["rmse"] == pytest.approx(rmse, rel=0, abs=1e-9)
    assert trained.document["rows"]["test"] == 89
