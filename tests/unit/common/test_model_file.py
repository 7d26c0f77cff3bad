"""Model files: the same each time, and none that does anything but predict is loaded. Each attack makes its file."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from common import conversion
from common.errors import UntrustedModelError
from common.frames import load_part
from common.model_file import load_model, save_model
from common.request import ESTIMATORS, parse_request
from common.storage import digest_of
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit

CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]
FEW_TREES: dict[str, dict[str, Any]] = {"random_forest": {"n_estimators": 5}}
LABELS: dict[str, Any] = {
    "texts": ["a", "b"],
    "three texts": ["a", "b", "c"],
    "numbers": [1, 2],
    "truths": [True, False],
    "large numbers": [2**60, 2**60 + 1],
}


def table(labels: list[Any] | None = None, rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "amount": random.normal(10, 3, rows),
            "count": pd.array(random.integers(0, 300, rows), dtype="Int64"),
            "exact": random.normal(size=rows) * 1e-42 + 1e300 * 0,
            "kind": random.choice(["x", "y", "z"], rows),
            "flag": random.choice([True, False], rows),
            "when": pd.date_range("2026-01-01", periods=rows, freq="h"),
        }
    )
    frame.loc[3:9, "count"] = None
    score = frame["amount"] + 3 * (frame["kind"] == "x")
    if labels is None:
        return frame.assign(y=score)
    places = pd.qcut(score, len(labels), labels=False)
    return frame.assign(y=[labels[place] for place in places])


def trained(folder: Path, frame: pd.DataFrame, suffix: str = "csv", **fields: Any) -> tuple[Pipeline, pd.DataFrame]:
    """Train on a frame, and return the fitted pipeline and the test part's features."""
    folder.mkdir(parents=True)
    path = folder / f"data.{suffix}"
    frame.to_parquet(path, index=False) if suffix == "parquet" else frame.to_csv(path, index=False)
    request = parse_request({"dataset_uri": "s3://bucket/x", "target": "y", "search_trials": 0, **fields})
    prepared = prepare([SourceFile(path.name, path)], request, folder)
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    return model.pipeline, load_part(prepared.test, prepared.profile)[0]


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
@pytest.mark.parametrize("large", [False, True])
def test_every_model_of_ours_is_loaded_and_predicts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, estimator: str, *, large: bool
) -> None:
    if large:
        monkeypatch.setattr(conversion, "EXACT_VALUES", 10)
    for name, labels in LABELS.items() if problem == "classification" else {"values": None}.items():
        fields = {"problem": problem, "estimator": estimator, "hyperparameters": FEW_TREES.get(estimator, {})}
        pipeline, features = trained(tmp_path / name, table(labels), **fields)
        loaded = load_model(save_model(pipeline, tmp_path / "model.skops"))
        np.testing.assert_array_equal(loaded.predict(features), pipeline.predict(features))


def digest(folder: Path, problem: str, estimator: str, suffix: str = "csv") -> str:
    """Train on the same rows, and return the digest of the model's file."""
    frame = table(None if problem == "regression" else ["a", "b", "c"])
    pipeline, _ = trained(folder, frame, suffix, estimator=estimator, hyperparameters=FEW_TREES.get(estimator, {}))
    return digest_of(save_model(pipeline, folder / "model.skops"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """Return the digests of some models that another process has trained, in which two threads work."""
    some = [(problem, estimator) for problem, estimator in CHOICES if estimator in ("random_forest", "ridge")]
    program = (
        "import json, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_model_file as t\n"
        "pairs = json.loads(sys.argv[3])\n"
        "print(json.dumps([t.digest(Path(sys.argv[2], *pair), *pair) for pair in pairs]))"
    )
    arguments = [str(Path(__file__).parent), str(tmp_path_factory.mktemp("elsewhere")), json.dumps(some)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(zip(some, json.loads(done.stdout), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_the_same_data_make_the_same_file_whatever_file_they_came_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: dict[tuple[str, str], str],
    problem: str,
    estimator: str,
) -> None:
    digests = {elsewhere[problem, estimator]} if (problem, estimator) in elsewhere else set()
    for threads, suffix in ((1, "csv"), (2, "parquet")):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        digests.add(digest(tmp_path / suffix, problem, estimator, suffix))
    assert len(digests) == 1


def shout(_: Any) -> None:
    """Stand for code that a model file smuggles in."""
    raise AssertionError("code from a model file was run")


def in_a_pipeline(model: Any, features: Any = None) -> Pipeline:
    return Pipeline([("features", features or StandardScaler()), ("model", model)])


def in_columns(model: Any) -> Pipeline:
    """Return a pipeline as training makes it."""
    return in_a_pipeline(model, ColumnTransformer([("numeric", StandardScaler(), ["a"])]))


def reader_of_files(tmp_path: Path) -> Pipeline:
    """Return what reads any file of the machine, all of it of types that skops trusts by itself."""
    (tmp_path / "secret").write_text("secret words")
    dummy = DummyClassifier(constant=CountVectorizer(input="filename"))
    return in_a_pipeline(VotingClassifier([("dummy", dummy)]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: in_a_pipeline(Ridge(), FunctionTransformer(shout)), r"test_model_file\.shout"),
        (reader_of_files, "CountVectorizer|VotingClassifier"),
        (lambda _: in_a_pipeline(DummyClassifier()), "DummyClassifier"),
        (lambda _: in_a_pipeline(Ridge(), FunctionTransformer(np.load)), "numpy"),
        (lambda _: in_a_pipeline(np.random.default_rng(0)), "Generator"),
        (lambda _: in_a_pipeline(np.array([object()], dtype=object)), "."),
    ],
)
def test_a_type_that_no_pipeline_of_ours_holds_is_named_and_nothing_is_made(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    try:
        skops.io.dump(make(tmp_path), tmp_path / "model.skops")
    except Exception:  # noqa: BLE001 (what skops does not even write is no attack)
        return
    with pytest.raises(UntrustedModelError, match=message):
        load_model(tmp_path / "model.skops")


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text", Ridge(), Pipeline([("model", Ridge())]), StandardScaler()])
def test_what_is_no_pipeline_of_features_and_a_model_is_refused(tmp_path: Path, value: Any) -> None:
    skops.io.dump(value, tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match="holds no pipeline"):
        load_model(tmp_path / "model.skops")


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"\x80\x04\x95pickle"])
def test_what_is_no_skops_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.skops").write_bytes(content)
    with pytest.raises(UntrustedModelError, match="cannot be read as a skops file"):
        load_model(tmp_path / "model.skops")


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "schema", ["[]", '{"__loader__": "NoSuchNode", "protocol": 2}', "{", DEEP, '{"file": "9.npy"}']
)
def test_a_schema_of_nonsense_is_untrusted(tmp_path: Path, schema: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(UntrustedModelError):
        load_model(tmp_path / "model.skops")


def repacked(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Return a copy of a model file with changed members."""
    other = path.with_suffix(".changed")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return other


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pipeline, _ = trained(tmp_path / "data", table(), estimator="ridge")
    return save_model(pipeline, tmp_path / "model.skops")


def test_what_unpacks_to_more_than_it_is_is_refused_before_it_is_unpacked(model: Path) -> None:
    """Three megabytes once unpacked to 6.3 GB."""
    bomb = repacked(
        model, lambda name, content: content + b" " * 50_000_000 * (name == "schema.json"), zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 200_000
    with pytest.raises(UntrustedModelError, match="no archive as training writes it"):
        load_model(bomb)


def test_an_array_that_says_to_be_larger_than_its_file_takes_no_memory(model: Path) -> None:
    def enlarged(name: str, content: bytes) -> bytes:
        if name != "0.npy":
            return content
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**45,)})
        return file.getvalue() + b"\0" * 8

    with pytest.raises(UntrustedModelError, match="not as large as it says"):
        load_model(repacked(model, enlarged))


@pytest.mark.parametrize("name", ["../../etc/passwd", "run.py", "0.npy"])
def test_members_that_training_does_not_write_are_refused(model: Path, name: str) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(model, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name, b"x")
    with pytest.raises(UntrustedModelError, match="no archive as training writes it"):
        load_model(model)


def forest() -> Any:
    random = np.random.default_rng(0)
    return RandomForestRegressor(n_estimators=2, random_state=0).fit(
        random.normal(size=(80, 3)), random.normal(size=80)
    )


def boosting() -> Any:
    random = np.random.default_rng(0)
    features = np.column_stack([random.normal(size=(200, 2)), random.integers(0, 5, 200)])
    model = HistGradientBoostingRegressor(max_iter=3, categorical_features=[2], random_state=0)
    return model.fit(features, features[:, 2] * (features[:, 2] % 2) + features[:, 0])


def set_node(place: int, field: str, value: int) -> Callable[[Any], None]:
    def change(nodes: Any) -> None:
        nodes[field][place] = value

    return change


TREES = {
    "a child beyond the end": set_node(0, "left_child", 10_000_000),
    "a child before the start": set_node(0, "right_child", -7),
    "a loop": set_node(1, "left_child", 0),
    "a node that is its own child": set_node(0, "left_child", 0),
    "a feature that is none": set_node(0, "feature", 2_000_000),
    "a feature below none": set_node(0, "feature", -9),
    "half a leaf": set_node(0, "left_child", -1),
}


@pytest.mark.parametrize("what", TREES)
def test_a_trees_nodes_lead_nowhere_but_into_it(tmp_path: Path, what: str) -> None:
    """Such files killed the process with SIGSEGV, or kept it busy for ever."""
    estimator = forest()
    state = estimator.estimators_[0].tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    TREES[what](state["nodes"])
    estimator.estimators_[0].tree_.__setstate__(state)
    skops.io.dump(in_columns(estimator), tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match="The model file holds a tree"):
        load_model(tmp_path / "model.skops")


def test_a_tree_of_another_number_of_nodes_than_there_are_is_not_looked_at(tmp_path: Path) -> None:
    estimator = forest()
    skops.io.dump(in_columns(estimator), tmp_path / "model.skops")

    def more(name: str, content: bytes) -> bytes:
        # Under an id of its own: skops makes an object once that appears twice.
        said = re.compile(r'("node_count": \{[^}]*"content": )"\d+"([^}]*"__id__": )\d+')
        if name != "schema.json":
            return content
        return said.sub(r'\g<1>"-5"\g<2>1', content.decode(), count=1).encode()

    changed = repacked(tmp_path / "model.skops", more)
    with pytest.raises(UntrustedModelError, match="another number of nodes than it says"):
        load_model(changed)


PREDICTORS: dict[str, Callable[[Any], None]] = {
    "a child beyond the end": lambda each: each.nodes["left"].__setitem__(0, 4_000_000),
    "a loop": lambda each: each.nodes["right"].__setitem__(0, 0),
    "a feature that is none": lambda each: each.nodes["feature_idx"].__setitem__(0, 4_000_000),
    "categories that are not there": lambda each: (
        each.nodes["is_categorical"].__setitem__(0, 1), each.nodes["bitset_idx"].__setitem__(0, 4_000_000)
    )[0],
}  # fmt: skip


@pytest.mark.parametrize("what", PREDICTORS)
def test_a_boosted_trees_nodes_lead_nowhere_but_into_it(tmp_path: Path, what: str) -> None:
    estimator = boosting()
    PREDICTORS[what](estimator._predictors[0][0])
    vars(estimator).pop("_feature_subsample_rng")
    skops.io.dump(in_columns(estimator), tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match="The model file holds a tree"):
        load_model(tmp_path / "model.skops")


@pytest.mark.parametrize("value", [70_000_000.0, -3.0, float("nan")])
def test_a_category_without_a_bin_is_refused(tmp_path: Path, value: float) -> None:
    estimator = boosting()
    # Categories come first.
    estimator._bin_mapper.bin_thresholds_[0][0] = value
    vars(estimator).pop("_feature_subsample_rng")
    skops.io.dump(in_columns(estimator), tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match="category that has no bin"):
        load_model(tmp_path / "model.skops")


def test_the_generator_of_a_fit_is_not_saved(tmp_path: Path) -> None:
    pipeline, _ = trained(tmp_path / "data", table(), estimator="hist_gradient_boosting")
    path = save_model(pipeline, tmp_path / "model.skops")
    with zipfile.ZipFile(path) as archive:
        assert "RandomGeneratorNode" not in json.dumps(json.loads(archive.read("schema.json")))
