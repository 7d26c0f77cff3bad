"""Features of free texts: the same each time, of any rows at once, and in the file of a model that is checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import skops.io
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from common import conversion, texts
from common.errors import UntrustedModelError
from common.frames import load_part
from common.model_file import load_model, save_model
from common.request import ESTIMATORS, parse_request
from common.storage import digest_of
from common.texts import MAX_TERMS, TextFeatures
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from free_texts import BAD, GOOD, remarks, table
from model_training import features
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]
CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]


def column(*values: Any) -> npt.NDArray[np.object_]:
    return np.array(values, dtype=object).reshape(-1, 1)


def dense(made: Any) -> npt.NDArray[np.float32]:
    return np.asarray(made.toarray() if sparse.issparse(made) else made)


BOTH = pytest.mark.parametrize("components", [None, 5])


def test_the_weights_are_those_of_scikit_learn() -> None:
    data = [text or "" for text in remarks(200)]
    made = dense(TextFeatures(random_state=0).fit_transform(column(*data)))
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=2, sublinear_tf=True)
    expected = vectorizer.fit_transform(data).toarray()
    assert made.dtype == np.float32
    # In another order, for they are numbered by a hash.
    np.testing.assert_allclose(made @ made.T, expected @ expected.T, atol=1e-6)


@BOTH
def test_a_missing_text_is_an_empty_one_and_what_training_never_saw_weighs_nothing(components: int | None) -> None:
    fitted = TextFeatures(components=components, random_state=0).fit(column(*remarks(100)))
    assert not dense(fitted.transform(column(None, np.nan, "", "  ", "ЖЖЖЖ", "\0", 7))).any()
    said = dense(fitted.transform(column("Great!", "great")))
    assert said.any()
    # Marks are letters, too, but case is none.
    np.testing.assert_array_equal(dense(fitted.transform(column("GREAT"))), said[1:])


@BOTH
def test_a_row_becomes_the_same_whatever_rows_are_beside_it(
    monkeypatch: pytest.MonkeyPatch, components: int | None
) -> None:
    data = column(*remarks(300))
    fitted = TextFeatures(components=components, random_state=0).fit(data)
    whole = dense(fitted.transform(data))
    np.testing.assert_array_equal(dense(fitted.transform(data[:7])), whole[:7])
    order = np.random.default_rng(0).integers(0, len(data), 500)
    np.testing.assert_array_equal(dense(fitted.transform(data[order])), whole[order])
    as_frame = pd.DataFrame({"x": pd.Series(data[:, 0], dtype="str")})
    np.testing.assert_array_equal(dense(fitted.transform(as_frame.to_numpy(object))), whole)
    # Whatever is kept of texts that were seen before, and however many are looked at together.
    for kept, together in ((0, 10), (1000, 300), (20_000, 64)):
        monkeypatch.setattr(texts, "KEPT_CHARACTERS", kept)
        monkeypatch.setattr(texts, "TOGETHER", together)
        texts._kept.cache_clear()
        np.testing.assert_array_equal(dense(fitted.transform(data)), whole)
        np.testing.assert_array_equal(dense(fitted.transform(data[order])), whole[order])
    texts._kept.cache_clear()


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "KEPT_CHARACTERS", 5_000)
    texts._kept.cache_clear()
    for seed in range(10):
        TextFeatures(random_state=0).fit(column(*remarks(60, seed)))
        assert texts._kept()._characters <= 5_000
        assert len(texts._kept()._places) == texts._kept()._counts.shape[0] <= 100
    texts._kept.cache_clear()


def test_only_the_beginning_of_a_text_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_CHARACTERS", 20)
    fitted = TextFeatures(random_state=0).fit(column(*remarks(100)))
    begin, whole = "the box came broken ", "the box came broken great fine works"
    np.testing.assert_array_equal(dense(fitted.transform(column(begin))), dense(fitted.transform(column(whole))))


@pytest.mark.parametrize(
    "values", [[None] * 20, [""] * 20, ["a"] * 20, ["one text"], [f"{n * 7919}" for n in range(9)]]
)
@BOTH
def test_of_nothing_in_common_something_is_made(values: list[Any], components: int | None) -> None:
    fitted = TextFeatures(components=components, random_state=0).fit(column(*values))
    made = fitted.transform(column("some text", None))
    assert made.shape == (2, len(fitted.get_feature_names_out()))
    assert made.shape[1] >= 1


def test_columns_are_side_by_side_and_say_what_they_are() -> None:
    frame = pd.DataFrame({"note": remarks(100), "reply": remarks(100, 1)}).astype("str")
    fitted = TextFeatures(components=3, random_state=0).fit(frame)
    assert fitted.get_feature_names_out().tolist() == [
        f"{name} component {n}" for name in ("note", "reply") for n in (1, 2, 3)
    ]
    alone = TextFeatures(components=3, random_state=0).fit_transform(frame[["reply"]])
    np.testing.assert_array_equal(fitted.transform(frame)[:, 3:], alone)


def test_the_most_frequent_runs_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_TERMS", 10)
    data = column(*remarks(200))
    fitted = TextFeatures(random_state=0).fit(data)
    assert fitted.terms_[0].shape == (10,)
    # Those of words that nearly all rows have.
    assert (dense(fitted.transform(data)) > 0).mean() > 0.2


def trained(prepared: PreparedData) -> Any:
    return fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
@pytest.mark.parametrize("large", [False, True])
def test_every_model_learns_from_texts_and_its_file_predicts_the_same(
    prepared_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, estimator: str, *, large: bool
) -> None:
    if large:
        monkeypatch.setattr(conversion, "EXACT_VALUES", 10)
        monkeypatch.setattr(features, "MOST_SPARSE_CHARACTERS", 10)
    prepared = prepared_data(problem, table(problem), estimator=estimator)
    pipeline = trained(prepared)
    test, target = load_part(prepared.test, prepared.profile)
    assert pipeline.score(test, target) > 0.8
    without = test.assign(note=pd.Series([None] * len(test), dtype="str"))
    assert pipeline.score(without, target) < 0.75
    loaded = load_model(save_model(pipeline, tmp_path / "model.skops"))
    ask = "predict" if problem == "regression" else "predict_proba"
    np.testing.assert_array_equal(getattr(loaded, ask)(test), getattr(pipeline, ask)(test))


REPEATED = ["ridge", "hist_gradient_boosting"]


def digest(folder: Path, estimator: str) -> str:
    """Train on the same rows, and return the digest of the model's file."""
    folder.mkdir()
    table().to_csv(folder / "data.csv", index=False)
    request = {"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, "problem": "regression"}
    prepared = prepare(
        [SourceFile("data.csv", folder / "data.csv")], parse_request({**request, "estimator": estimator}), folder
    )
    return digest_of(save_model(trained(prepared), folder / "model.skops"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the digests of models that another process has trained, in which two threads work."""
    program = (
        "import json, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_texts as t\n"
        "print(json.dumps({each: t.digest(Path(sys.argv[2], each), each) for each in t.REPEATED}))"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path_factory.mktemp("elsewhere"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("estimator", REPEATED)
def test_the_same_data_make_the_same_file_in_another_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: dict[str, str], estimator: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert {digest(tmp_path / str(number), estimator) for number in range(2)} == {elsewhere[estimator]}


def test_no_part_of_a_text_is_in_a_models_file(prepared_data: Make, tmp_path: Path) -> None:
    path = save_model(trained(prepared_data("regression", table(), estimator="ridge")), tmp_path / "model.skops")
    content = path.read_bytes()
    assert b"note" in content
    assert not [word for word in (GOOD + " " + BAD).split() if word.encode() in content]


FORGED: dict[str, Callable[[TextFeatures], None]] = {
    "a run beyond the last": lambda each: each.terms_[0].__setitem__(-1, texts.BUCKETS),
    "a run below the first": lambda each: each.terms_[0].__setitem__(0, -1),
    "a run twice": lambda each: each.terms_[0].__setitem__(1, each.terms_[0][0]),
    "numbers of another type": lambda each: each.terms_.__setitem__(0, each.terms_[0].astype(np.float64)),
    "too many runs": lambda each: each.terms_.__setitem__(0, np.arange(MAX_TERMS + 1, dtype=np.int32)),
    "no run": lambda each: each.terms_.__setitem__(0, np.zeros(0, np.int32)),
    "weights of fewer runs": lambda each: each.rarity_.__setitem__(0, each.rarity_[0][:-1]),
    "weights of two dimensions": lambda each: each.rarity_.__setitem__(0, each.rarity_[0].reshape(1, -1)),
    "components of fewer runs": lambda each: each.components_.__setitem__(0, each.components_[0][:, 1:].copy()),
    "components of one dimension": lambda each: each.components_.__setitem__(0, each.components_[0][0].copy()),
    "another column": lambda each: each.terms_.append(each.terms_[0]),
    "a column less": lambda each: each.components_.clear(),
    "a check of its own": lambda each: vars(each).update(_check=np.float64, terms_=[np.array([1 << 30], np.int32)]),
}


@pytest.mark.parametrize("what", FORGED)
def test_arrays_of_a_file_that_do_not_go_together_are_refused(tmp_path: Path, what: str) -> None:
    fitted = TextFeatures(components=4, random_state=0).fit(column(*remarks(100)))
    FORGED[what](fitted)
    skops.io.dump(fitted, tmp_path / "forged.skops")
    loaded = skops.io.load(
        tmp_path / "forged.skops", trusted=skops.io.get_untrusted_types(file=tmp_path / "forged.skops")
    )
    with pytest.raises(UntrustedModelError, match="features of texts that are none"):
        loaded.transform(column("the box"))
