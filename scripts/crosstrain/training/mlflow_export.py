"""Writes a version of a model as MLflow reads it: a model, and the run that made it in a file store.

MLflow is not needed for that, and its requirements would not go with this project's. Of what is written, the model is
documented (https://mlflow.org/docs/latest/ml/model/); the file store is a few lines of text for each run, in a layout
that is not changed any more (https://mlflow.org/docs/latest/self-hosting/migrate-from-file-store).
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import skops.io
import yaml

from common.conversion import Profile, feature_columns
from crosstrain.command import BadInputError, OperationFailedError, check_name, reason_of
from crosstrain.files import PROJECT
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.models import Document, Models
from crosstrain.training.prediction import Model, Origin, fetch
from crosstrain.training.registry import Item, recorded_at

FILES = {
    "model.skops": "model",
    "profile.json": "profile",
    "model.json": "info",
    "evaluation.json": "evaluation",
    "report.html": "report",
}
"""What is taken of a version; the report goes beside the model, the others into it."""
CODE = (
    "functions/common",
    "functions/data_preparation",
    "functions/scoring",
    "scripts/crosstrain",
    "scripts/crosstrain/training",
)
"""The folders that `crosstrain.training.pyfunc` imports from."""
LIBRARIES = ("boto3", "mlflow>=3", "pyarrow", "pydantic", "rich")
"""What the model needs besides the libraries that it was fitted with; MLflow limits pyarrow."""
PINNED = ("numpy", "pandas", "scikit-learn", "scipy", "skops")
"""What it needs as it was in training."""

_EXPERIMENT = "1"
_FINISHED, _LOCAL = 3, 4
"""MLflow's numbers of a run that has ended well, and of a source on somebody's machine."""
_LONGEST_PARAMETER = 6000
_TYPES = {"integer": "long", "text": "string", "boolean": "boolean", "timestamp": "datetime"}
_ARROW_TYPES = {pa.float64(): "double", pa.int64(): "long", pa.bool_(): "boolean", pa.string(): "string"}


@dataclass(frozen=True)
class _Version:
    """A version of a model: what the registry and its files say of it, and its files, in a folder."""

    item: Item
    folder: Path
    is_champion: bool

    def document(self, name: str) -> Document:
        content: Document = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return content

    @property
    def run_id(self) -> str:
        """An id as MLflow has them, the same for each export of the version."""
        name = f"{self.item['model_name']}/{self.item['version']}/{self.item['sha256']['model']}"
        return uuid.uuid5(uuid.NAMESPACE_URL, name).hex


def export(models: Models, mlflow: str, model: str | None = None) -> Document:
    """Write a version of a model, and its run, to a folder that MLflow reads.

    Parameters
    ----------
    models
        The models of a stack.
    mlflow : str
        The folder, which is made, or is empty.
    model : str, optional
        `NAME` for the champion, `NAME@VERSION` or `@VERSION`; the champion of the only model, if not given.

    Returns
    -------
    dict
        `model_name`, `version`, `decision`, and where what is: `model`, `tracking` and `run_id`.

    Raises
    ------
    BadInputError
        If there is no such model or version, or the folder is not empty.
    OperationFailedError
        If a file of the version is gone or not the one that was recorded, or nothing can be written.
    """
    target = _free(mlflow)
    item = _find(models, model)
    pointer = models.registry.champion(item["model_name"])
    is_champion = pointer is not None and pointer["champion_version"] == item["version"]
    with tempfile.TemporaryDirectory() as fetched:
        version = _Version(item, Path(fetched), is_champion)
        origin = fetch(models.stack, item["model_name"], item["version"], version.folder, FILES)
        _write_whole(version, target, origin)
    return {
        "model_name": item["model_name"],
        "version": item["version"],
        "decision": item["decision"],
        "model": str(target / "artifacts/model"),
        "tracking": str(target / "mlruns"),
        "run_id": version.run_id,
    }


def _free(folder: str) -> Path:
    check_name(folder, "the folder for MLflow")
    path = Path(folder)
    if path.is_dir() and not any(path.iterdir()):
        return path
    if path.exists() or path.is_symlink():
        raise BadInputError(f'"{folder}" is there already, and nothing is overwritten: name a new or an empty folder.')
    return path


def _find(models: Models, model: str | None) -> Item:
    name, _, version = (model or "").partition("@")
    if version:
        return models.registry.find_version(version, name or None)
    return models.registry.champion_version(name or models.registry.only_model())[1]


def _write_whole(version: _Version, target: Path, origin: Origin) -> None:
    """Write all of it, or nothing."""
    with errors_of_functions():
        model = Model.load(version.folder, origin)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as draft:
            whole = Path(draft) / "whole"
            _write_model(version, model, whole / "artifacts/model")
            shutil.copyfile(version.folder / "report.html", whole / "artifacts/report.html")
            # The store knows its files by their absolute names.
            _write_run(version, whole / "mlruns", (target.absolute() / "artifacts").as_uri())
            whole.replace(target)
    except OSError as error:
        raise OperationFailedError(f'"{target}" cannot be written: {reason_of(error)}.') from error


# The model


def _write_model(version: _Version, model: Model, folder: Path) -> None:
    data, info = folder / "data", version.document("model.json")
    data.mkdir(parents=True)
    for name in FILES.keys() - {"report.html"}:
        shutil.copyfile(version.folder / name, data / name)
    for source in CODE:
        package = folder / "code" / Path(source).relative_to(Path(source).parts[0])
        package.mkdir(parents=True)
        for module in sorted((PROJECT / source).glob("*.py")):
            shutil.copyfile(module, package / module.name)
    versions = info.get("versions", {})
    pinned = [f"{name}=={versions[name]}" if name in versions else name for name in PINNED]
    _write_text(folder / "requirements.txt", "\n".join(sorted([*LIBRARIES, *pinned])) + "\n")
    _write_yaml(
        folder / "python_env.yaml",
        {
            "python": platform.python_version(),
            "build_dependencies": ["pip"],
            "dependencies": ["-r requirements.txt"],
        },
    )
    example = _example(model.profile)
    _write_text(folder / "input_example.json", json.dumps(example, ensure_ascii=False))
    _write_text(folder / "serving_input_example.json", json.dumps({"dataframe_split": example}, ensure_ascii=False))
    _write_yaml(folder / "MLmodel", _described(version, model, versions.get("scikit-learn")))


def _described(version: _Version, model: Model, scikit_learn: str | None) -> Document:
    """Return what `MLmodel` says: how to load the model, with all that prediction does and as a pipeline alone."""
    item = version.item
    outputs = [_column(field.name, _ARROW_TYPES[field.type]) for field in model.schema]
    inputs = [_column(each["name"], _type_of(each)) for each in feature_columns(model.profile)]
    return {
        "artifact_path": "model",
        "flavors": {
            "python_function": {
                "code": "code",
                "data": "data",
                "env": {"virtualenv": "python_env.yaml"},
                "loader_module": "crosstrain.training.pyfunc",
                "python_version": platform.python_version(),
            },
            "sklearn": {
                "code": "code",
                "pickled_model": "data/model.skops",
                "serialization_format": "skops",
                "sklearn_version": scikit_learn,
                # What there is beyond the list of skops itself, and has been looked at when it was loaded.
                "skops_trusted_types": skops.io.get_untrusted_types(file=version.folder / "model.skops"),
            },
        },
        "metadata": _known(
            {name: item.get(name) for name in ("model_name", "version", "data_fingerprint", "release", "commit")}
        )
        | {"sha256": item["sha256"]["model"]},
        "model_uuid": version.run_id,
        "run_id": version.run_id,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
        },
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None},
        "utc_time_created": f"{recorded_at(item):%Y-%m-%d %H:%M:%S.%f}",
    }


def _column(name: str, type_: str) -> Document:
    return {"name": name, "type": type_, "required": True}


def _type_of(column: Mapping[str, Any]) -> str:
    """Return MLflow's type of a feature: of whole numbers some of which are missing pandas makes floats."""
    kind = "text" if column["role"] == "categorical" else column["kind"]
    return "double" if kind == "integer" and column["nulls"] else _TYPES.get(kind, "double")


def _example(profile: Profile) -> Document:
    """Return a row that nobody has measured: means, first times and most frequent values, as the profile has them."""
    columns = feature_columns(profile)
    values = [_example_value(column, _type_of(column)) for column in columns]
    return {"columns": [column["name"] for column in columns], "data": [values]}


def _example_value(column: Mapping[str, Any], type_: str) -> Any:
    if type_ in ("string", "boolean"):
        frequent: Sequence[Any] = [each["value"] for each in column.get("top", ())]
        return frequent[0] if frequent else {"string": "", "boolean": False}[type_]
    if type_ == "datetime":
        # MLflow takes times without an offset.
        return str(column.get("min", "1970-01-01T00:00:00"))[:19]
    mean = column.get("mean") or 0.0
    return round(mean) if type_ == "long" else mean


# The run


def _write_run(version: _Version, store: Path, artifact_uri: str) -> None:
    item, info = version.item, version.document("model.json")
    at, name = int(recorded_at(item).timestamp() * 1000), str(item["model_name"])
    experiment = store / _EXPERIMENT
    run = experiment / version.run_id
    _write_yaml(
        experiment / "meta.yaml",
        {
            "artifact_location": artifact_uri,
            "creation_time": at,
            "experiment_id": _EXPERIMENT,
            "last_update_time": at,
            "lifecycle_stage": "active",
            "name": name,
        },
    )
    _write_yaml(
        run / "meta.yaml",
        {
            "artifact_uri": artifact_uri,
            "end_time": at,
            "entry_point_name": "",
            "experiment_id": _EXPERIMENT,
            "lifecycle_stage": "active",
            "run_id": version.run_id,
            "run_name": item["version"],
            "run_uuid": version.run_id,
            "source_name": "",
            "source_type": _LOCAL,
            "source_version": "",
            "start_time": at,
            "status": _FINISHED,
            "tags": [],
            "user_id": "",
        },
    )
    # Without this folder MLflow takes none for a run, wherever its files are.
    (run / "artifacts").mkdir()
    _write_entries(run / "metrics", {key: f"{at} {value!r} 0\n" for key, value in _metrics(version).items()})
    _write_entries(run / "params", {key: _as_text(value) for key, value in info.get("parameters", {}).items()})
    _write_entries(run / "tags", _tags(version))


def _metrics(version: _Version) -> dict[str, float]:
    item, interval = version.item, version.document("evaluation.json").get("interval") or {}
    ends = {f"{item['metric']}_{end}": interval.get(end) for end in ("low", "high")}
    rows = {f"rows_{name}": count for name, count in item["rows"].items()}
    return {name: float(value) for name, value in _known({**item["metrics"], **ends, **rows}).items()}


def _tags(version: _Version) -> dict[str, str]:
    item = version.item
    names = ("model_name", "version", "decision", "rule", "reason", "metric", "estimator", "problem", "target")
    origin = ("dataset_uri", "data_fingerprint", "split", "release", "commit", "compared_with")
    digests = {f"image_digest.{name}": digest for name, digest in (item.get("image_digests") or {}).items()}
    tags = _known({name: item.get(name) for name in (*names, *origin)} | digests)
    own = {"champion": "true" if version.is_champion else "false", "mlflow.runName": item["version"]}
    return {name: str(value) for name, value in tags.items()} | own | {"sha256": item["sha256"]["model"]}


def _as_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= _LONGEST_PARAMETER else text[: _LONGEST_PARAMETER - 1] + "…"


def _known(document: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if value is not None}


def _write_entries(folder: Path, entries: Mapping[str, str]) -> None:
    """Write a file for each entry, which is how the store keeps them."""
    folder.mkdir()
    for name, text in entries.items():
        # It is a file's name, and must lead nowhere else.
        if not re.fullmatch(r"\w[\w.-]{0,199}", name):
            raise OperationFailedError(
                f'The model has a metric or a parameter "{name}", a name that MLflow cannot keep.'
            )
        _write_text(folder / name, text)


def _write_yaml(path: Path, document: Document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_text(path, yaml.safe_dump(document, allow_unicode=True))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
