"""What free texts are to a model: how often they hold short runs of letters, weighted and, for most, summed up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.validation import check_is_fitted, validate_data

from common.conversion import MOST_CHARACTERS
from common.errors import UntrustedModelError
from common.threads import few_threads

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int32]

NGRAMS = (3, 4)
"""How many letters a run has, within words: whatever the language, a word and its misspelling have most of them."""
BUCKETS = 1 << 18
"""Runs are numbered by a hash, so that no model holds a text, nor a part of one."""
MAX_TERMS = 10_000
"""So many runs a model knows, those that most texts have."""
LEAST_TEXTS = 2
"""What fewer texts have tells nothing of others."""
FITTED_ROWS = 20_000
"""How many rows, drawn, say which runs there are, how rare each is, and what they have in common."""
TOGETHER = 5_000
"""Of how many texts the runs are counted at once: 20 MB for texts of 200 characters."""
KEPT_CHARACTERS = 8_000_000
"""Of how many characters the runs are kept, for the next fold or the next shuffled copy: 75 MB."""
LEAST_CHARACTERS = 50
"""What a text counts for at least in this."""


class TextFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Turns texts into weights of the runs of letters that they hold (tf-idf), or into components of these.

    Only the first `MOST_CHARACTERS` of a text count, without regard to case. A missing text is an empty one, and what
    training never saw has weight 0.

    Parameters
    ----------
    components
        How many there are of each column, by truncated singular value decomposition (latent semantic analysis); None
        for the weights themselves, which are sparse: what linear models with a penalty do better with.
    random_state
        Of the draw of the rows and of the decomposition.

    Attributes
    ----------
    terms_
        For each column the numbers of the runs that it knows, ascending, shape (terms,).
    rarity_
        For each column the weight of each, its inverse document frequency, shape (terms,).
    components_
        For each column float32 of shape (components, terms); none where the weights are not summed up.

    References
    ----------
    S. Deerwester, S. Dumais, G. Furnas, T. Landauer and R. Harshman, "Indexing by latent semantic analysis", Journal of
    the American Society for Information Science 41, 1990.
    """

    def __init__(self, *, components: int | None = None, random_state: int | None = None) -> None:
        self.components = components
        self.random_state = random_state

    def fit(self, texts: pd.DataFrame | npt.NDArray[Any], y: Any = None) -> Self:  # noqa: ARG002 (a target is passed)
        """Find out which runs of letters the texts have.

        Parameters
        ----------
        texts
            Strings, None or NaN where one is missing, shape (rows, columns).
        """
        columns = _columns(self, texts, reset=True)
        self.terms_, self.rarity_, self.components_ = list[Places](), list[Floats](), list[Floats]()
        for column in columns:
            rows = np.random.default_rng(self.random_state).permutation(len(column))[:FITTED_ROWS]
            counts = _counts(column[np.sort(rows)])
            terms = _frequent(counts)
            known = _of_terms(counts, terms)
            weighting = TfidfTransformer(sublinear_tf=True).fit(known)
            self.terms_.append(terms)
            self.rarity_.append(weighting.idf_.astype(np.float32))
            if self.components is not None:
                self.components_.append(_decomposed(weighting.transform(known), self.components, self.random_state))
        return self

    def transform(self, texts: pd.DataFrame | npt.NDArray[Any]) -> Floats | sparse.csr_array:
        """Return the components, float32 of shape (rows, components), or the weights, sparse of shape (rows, terms).

        Those of the first column come first.

        Raises
        ------
        UntrustedModelError
            If a model's file names runs that are none.
        """
        check_is_fitted(self)
        columns = _columns(self, texts, reset=False)
        # Of its type: an object of a file may have attributes of any name.
        TextFeatures._check(self, len(columns))
        made = [self._of_column(at, column) for at, column in enumerate(columns)]
        if self.components is not None:
            return np.hstack(made)
        return made[0] if len(made) == 1 else sparse.csr_matrix(sparse.hstack(made))

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return a name for each column of `transform`."""
        names = getattr(self, "feature_names_in_", None) if input_features is None else input_features
        names = [f"x{at}" for at in range(self.n_features_in_)] if names is None else names
        word, each = ("run", self.terms_) if self.components is None else ("component", self.components_)
        return np.array(
            [f"{name} {word} {n + 1}" for name, of in zip(names, each, strict=True) for n in range(len(of))], object
        )

    def _of_column(self, at: int, column: npt.NDArray[np.object_]) -> Any:
        """Return what becomes of a column; equal texts are looked at once."""
        import pandas as pd  # noqa: PLC0415 (whoever has a frame has it, and loading a model does without)

        codes, different = pd.factorize(column, use_na_sentinel=False)
        weighting = TfidfTransformer(sublinear_tf=True)
        weighting.idf_ = self.rarity_[at]
        made = list[Any]()
        for begin in range(0, max(1, len(different)), TOGETHER):
            counts = _of_terms(_counts(different[begin : begin + TOGETHER]), self.terms_[at])
            weights = weighting.transform(counts, copy=False)
            made.append(weights if self.components is None else np.asarray(weights @ self.components_[at].T))
        if self.components is not None:
            return np.concatenate(made)[codes]
        whole = made[0] if len(made) == 1 else sparse.csr_matrix(sparse.vstack(made))
        # Where no text occurs twice, they are in their order.
        return whole if len(different) == len(codes) else whole[codes]

    def _check(self, columns: int) -> None:
        """Refuse, of a model's file that says what it likes, arrays that do not go together."""
        summed_up = self.components_ if self.components is not None else [None] * columns
        fits = len(self.terms_) == len(self.rarity_) == len(summed_up) == columns and all(
            terms.dtype == np.int32
            and terms.ndim == 1
            and 0 < len(terms) <= MAX_TERMS
            and terms.min() >= 0
            and terms.max() < BUCKETS
            and (np.diff(terms) > 0).all()
            and rarity.dtype == np.float32
            and rarity.shape == terms.shape
            and (of is None or (of.dtype == np.float32 and of.ndim == 2 and of.shape[1] == len(terms)))
            for terms, rarity, of in zip(self.terms_, self.rarity_, summed_up, strict=True)
        )
        if not fits:
            raise UntrustedModelError("The model file asks for features of texts that are none.")


def _columns(
    transformer: TextFeatures, texts: pd.DataFrame | npt.NDArray[Any], *, reset: bool
) -> list[npt.NDArray[np.object_]]:
    checked: Any = validate_data(transformer, texts, reset=reset, skip_check_array=True)
    series = [checked.iloc[:, at] for at in range(checked.shape[1])] if hasattr(checked, "iloc") else list(checked.T)
    return [np.asarray(each, dtype=object) for each in series]


def _counts(texts: npt.NDArray[np.object_]) -> sparse.csr_matrix:
    """Return how often each text has each run, shape (texts, `BUCKETS`)."""
    return _kept().of([each[:MOST_CHARACTERS] if isinstance(each, str) else "" for each in texts])


class _Kept:
    """Counts the runs of texts, and keeps the counts: folds, shuffled copies and test parts hold the same texts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hashing = HashingVectorizer(
            analyzer="char_wb",
            ngram_range=NGRAMS,
            n_features=BUCKETS,
            alternate_sign=False,
            norm=None,
            dtype=np.float32,
        )
        self._forget()

    def _forget(self) -> None:
        self._places: dict[str, int] = {}
        self._counts = sparse.csr_matrix((0, BUCKETS), dtype=np.float32)
        self._characters = 0

    def of(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return the counts of texts, in their order."""
        with self._lock:
            new = [each for each in dict.fromkeys(texts) if each not in self._places]
            if self._characters + _size(new) > KEPT_CHARACTERS:
                self._forget()
                new = list(dict.fromkeys(texts))
            if _size(new) > KEPT_CHARACTERS:
                return self._hashing.transform(texts)
            if new:
                self._places.update((each, at) for at, each in enumerate(new, len(self._places)))
                self._counts = sparse.csr_matrix(sparse.vstack([self._counts, self._hashing.transform(new)]))
                self._characters += _size(new)
            return self._counts[[self._places[each] for each in texts]]


def _size(texts: Sequence[str]) -> int:
    return sum(max(len(each), LEAST_CHARACTERS) for each in texts)


@cache
def _kept() -> _Kept:
    return _Kept()


def _frequent(counts: sparse.csr_matrix) -> Places:
    """Return the runs that most texts have, ascending; of equally frequent ones those of the lowest numbers."""
    texts = np.bincount(counts.indices, minlength=BUCKETS)
    found = np.flatnonzero(texts >= LEAST_TEXTS)
    frequent = found[np.argsort(-texts[found], kind="stable")[:MAX_TERMS]]
    # Where there is none, one that is always 0: a transformer has to make something.
    return np.sort(frequent if len(frequent) else [0]).astype(np.int32)


def _of_terms(counts: sparse.csr_matrix, terms: Places) -> sparse.csr_matrix:
    """Return the counts of some runs, shape (texts, terms)."""
    places = np.full(BUCKETS, -1, np.int32)
    places[terms] = np.arange(len(terms), dtype=np.int32)
    found = places[counts.indices]
    known = found >= 0
    starts = np.concatenate([[0], np.cumsum(known)])[counts.indptr]
    return sparse.csr_matrix((counts.data[known], found[known], starts), shape=(counts.shape[0], len(terms)))


def _decomposed(weights: sparse.csr_matrix, components: int, seed: int | None) -> Floats:
    """Return the directions in which texts differ most, shape (components, terms); fewer of few texts."""
    most = min(components, *weights.shape)
    # One thread: several add up in any order.
    with few_threads():
        _, _, directions = randomized_svd(weights, most, n_iter=5, random_state=seed)
    return np.ascontiguousarray(directions, dtype=np.float32)
