"""Turns the columns of a data set into what an estimator is fitted on, inside the saved pipeline."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from common.conversion import MOST_CHARACTERS, Profile, feature_columns, feature_dtype, free_texts, is_large
from common.dates import HARMONICS, PERIODS, DateParts
from common.request import TrainingRequest

if TYPE_CHECKING:
    from common.texts import TextFeatures

LINEAR = frozenset({"linear_regression", "ridge", "logistic_regression"})
BOOSTING = frozenset({"hist_gradient_boosting", "xgboost"})
"""These split on missing values and on categories by themselves."""
TREES = BOOSTING | {"random_forest"}
MAX_NATIVE_CATEGORIES = 254
"""Trees get a column of more different texts as the target's means.

Boosting bins a category in one of 255 bins and keeps one bin for missing values. A forest that gets a
column for each text is slower, and no better.
"""
MAX_OWN_COLUMNS = 1000
"""Linear models get so many texts in columns of their own: these tell more than means, unless most are of few rows."""
MANY_LEVELS = "levels"
"""The transformer of such columns."""
MEANS_FOLDS = 5
GROUP_COLUMNS, GROUP_SHARE = 5, 1 / 32
"""How many columns of large data are scaled together: so many, or this share of them all, for each group takes time."""
MOST_WHOLE_NUMBERS = 25
"""Whole numbers of a range of so many values are categories of linear models, too: the hours of a day are 24."""


PENALISED = frozenset({"ridge", "logistic_regression"})
"""Of free texts these get each run of letters in a column of its own; all others get a few components."""
TEXT_COMPONENTS = 50
ROWS_PER_COMPONENT = 10
"""Of few rows fewer components, for a model follows what each of them happens to be."""
MOST_SPARSE_CHARACTERS = 30_000_000
"""In more texts than that, runs of letters would take more memory than most functions have: 40 bytes a character."""
TEXT_ROLES = frozenset({"categorical", "text"})


@dataclass(frozen=True)
class Added:
    """The columns of which features are made beside the columns themselves, unless the request says `plain`.

    Attributes
    ----------
    whole_numbers
        Of few values: a linear model gets a column for each value, beside the number.
    missing
        Numbers, booleans and times with missing values: all but boosting, which splits on them, get where they are.
    times
        All get the parts of the calendar.
    """

    whole_numbers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    times: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: TrainingRequest, profile: Profile) -> Self:
        """Return what is added for a request with every choice made."""
        if request.features == "plain":
            return cls()
        linear, boosting = request.estimator in LINEAR, request.estimator in BOOSTING
        columns = [each for each in feature_columns(profile) if each["role"] not in TEXT_ROLES]
        few = tuple(each["name"] for each in columns if linear and _has_few_values(each))
        # Of whole numbers of few values, a missing one is a value, too.
        missing = (each["name"] for each in columns if each["nulls"] and not boosting and each["name"] not in few)
        return cls(few, tuple(missing), tuple(each["name"] for each in columns if each["role"] == "timestamp"))

    def dense_columns(self, request: TrainingRequest) -> int:
        """Return how many columns are added at most, but for those of `whole_numbers`."""
        waves = 2 * HARMONICS if request.estimator in LINEAR else 1
        return len(self.missing) + len(self.times) * len(PERIODS) * waves


def made_columns(request: TrainingRequest, profile: Profile) -> int:
    """Return how many columns a linear model gets at most, of features without free texts and texts of many values."""
    columns, added = feature_columns(profile), Added.of(request, profile)
    texts = [int(each["distinct"]) + bool(each["nulls"]) for each in columns if each["role"] == "categorical"]
    values = [values_of(each) for each in columns if each["name"] in added.whole_numbers]
    return len(columns) - len(texts) + sum(texts) + sum(values) + added.dense_columns(request)


@dataclass(frozen=True)
class Made:
    """The columns that features become, about.

    Attributes
    ----------
    dense
        How many are numbers, or means or components of texts.
    sources, one_hot
        How many columns become one-hot ones, and how many that makes.
    """

    dense: int
    sources: int = 0
    one_hot: int = 0

    @classmethod
    def of(cls, request: TrainingRequest, profile: Profile) -> Self:
        """Return what an estimator gets of a request with every choice made; runs of letters apart."""
        columns, added = feature_columns(profile), Added.of(request, profile)
        dense = len(columns) + added.dense_columns(request) + component_columns(request, profile)
        if request.estimator in BOOSTING:
            return cls(dense)
        texts = categorical_columns(request, profile)
        categories = [int(column["distinct"]) for column in columns if column["name"] in texts]
        categories += [values_of(column) for column in columns if column["name"] in added.whole_numbers]
        return cls(dense - len(texts), len(categories), sum(categories))

    @property
    def columns(self) -> int:
        """How many there are."""
        return self.dense + self.one_hot

    @property
    def is_dense(self) -> bool:
        """Whether ColumnTransformer keeps all values, and not those alone that are not 0."""
        return bool(self.dense + self.sources >= ColumnTransformer([]).sparse_threshold * self.columns)

    @property
    def values(self) -> int:
        """How many values of a row are kept."""
        return self.columns if self.is_dense else self.dense + self.sources


def component_columns(request: TrainingRequest, profile: Profile) -> int:
    """Return in how many dense columns free texts are."""
    return 0 if has_runs(request, profile) else len(free_texts(profile)) * text_components(profile)


def values_of(column: Mapping[str, Any]) -> int:
    """Return how many different values a column of few whole numbers has at most; a missing one is one of them."""
    return int(column["max"] - column["min"]) + 1 + bool(column["nulls"])


def _has_few_values(column: dict[str, Any]) -> bool:
    """Return whether a column holds whole numbers of few values; of two values a number says all."""
    if column["role"] != "numeric" or column["kind"] != "integer":
        return False
    return bool(1 < column["max"] - column["min"] < MOST_WHOLE_NUMBERS)


def build_features(request: TrainingRequest, profile: Profile) -> ColumnTransformer:
    """Return the unfitted transformer of the features.

    Parameters
    ----------
    request
        With every choice made: names the estimator, and whether there are to be more features than columns.
    profile
        Says which columns are features, and their roles.
    """
    texts, many = texts_of(request, profile)
    categorical, numeric = categorical_columns(request, profile), numeric_columns(profile)
    if request.estimator in BOOSTING:
        # Neither imputing nor one-hot columns are needed.
        transformers = [*_unchanged(request, profile, numeric), ("categorical", _ordinal_encoder(), categorical)]
    else:
        transformers = [*_numeric(request, profile, numeric), ("categorical", _one_hot_encoder(), categorical)]
    transformers.append((MANY_LEVELS, _means_of_levels(request, profile), [name for name in texts if name in many]))
    added = Added.of(request, profile)
    transformers += _transformers_of(added, request)
    free = free_texts(profile)
    is_sparse = bool(free) and has_runs(request, profile)
    if free:
        transformers.append(("texts", _text_features(request, profile), free))
    features = ColumnTransformer(
        [each for each in transformers if each[2]], verbose_feature_names_out=added != Added() or bool(free)
    )
    if not texts and not added.whole_numbers and not is_sparse:
        # Without one-hot columns there is nothing to stack: a frame passes on as it is, an array would be copied.
        features.set_output(transform="pandas")
    return features


def _text_features(request: TrainingRequest, profile: Profile) -> TextFeatures:
    from common.texts import TextFeatures  # noqa: PLC0415 (most data have no such column)

    most = text_components(profile)
    return TextFeatures(components=None if has_runs(request, profile) else most, random_state=request.seed)


def has_runs(request: TrainingRequest, profile: Profile) -> bool:
    """Return whether an estimator gets each run of letters in a column of its own."""
    characters = profile["rows"]["train"] * sum(text_characters(profile))
    return request.estimator in PENALISED and characters <= MOST_SPARSE_CHARACTERS


def text_components(profile: Profile) -> int:
    """Return in how many components others get each free text, at most."""
    rows: int = profile["rows"]["train"]
    return max(1, min(TEXT_COMPONENTS, rows // ROWS_PER_COMPONENT))


def text_characters(profile: Profile) -> list[float]:
    """Return how many characters of each free text count, on average of all rows."""
    columns = (column for column in feature_columns(profile) if column["role"] == "text")
    return [min(column["characters"], MOST_CHARACTERS) for column in columns]


def _transformers_of(added: Added, request: TrainingRequest) -> list[tuple[str, Any, list[str]]]:
    """Return what makes the added features: behind all others, whose places stay."""
    dates: Any = DateParts(cyclic=request.estimator in LINEAR)
    if request.estimator == "random_forest":
        dates = Pipeline([("parts", dates), ("impute", SimpleImputer(keep_empty_features=True))])
    return [
        ("values", _one_hot_encoder(), list(added.whole_numbers)),
        ("missing", _missing_indicator(), list(added.missing)),
        ("dates", dates, list(added.times)),
    ]


def _missing_indicator() -> Pipeline:
    # Of all its columns, for none may be left where those that have gaps have them in the test part alone.
    narrow = FunctionTransformer(np.float32, feature_names_out="one-to-one")
    return Pipeline([("indicate", MissingIndicator(features="all")), ("narrow", narrow)])


def categorical_columns(request: TrainingRequest, profile: Profile) -> list[str]:
    """Return the columns of texts that are told apart."""
    texts, many = texts_of(request, profile)
    return [name for name in texts if name not in many]


def numeric_columns(profile: Profile) -> list[str]:
    """Return the columns of numbers, booleans and times."""
    return [column["name"] for column in feature_columns(profile) if column["role"] not in TEXT_ROLES]


def texts_of(request: TrainingRequest, profile: Profile) -> tuple[dict[str, int | str], frozenset[str]]:
    """Return how many different texts a column has, and the columns of too many for each to be told apart."""
    most = MAX_NATIVE_CATEGORIES if request.estimator in TREES else MAX_OWN_COLUMNS
    texts = {each["name"]: each["distinct"] for each in feature_columns(profile) if each["role"] == "categorical"}
    # A text says that there are more than are counted.
    many = (name for name, distinct in texts.items() if isinstance(distinct, str) or distinct > most)
    return texts, frozenset(many)


def _means_of_levels(request: TrainingRequest, profile: Profile) -> Pipeline:
    """Return what turns texts into the target's mean on the other rows of the same text, for each class of several.

    A row's own target is not among what it gets, nor is that of the rows in its fold: else a text of few rows would
    give its target away, and the model rely on that. Rare texts and those that training never saw are one level, and
    missing values another.
    """
    from sklearn.model_selection import KFold  # noqa: PLC0415 (most data have no such column)

    folds = KFold(MEANS_FOLDS, shuffle=True, random_state=request.seed)
    steps = [
        # Which levels it knows follows from the data (`_know_levels`).
        ("levels", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)),
        ("means", TargetEncoder(target_type="continuous" if request.problem == "regression" else "auto", cv=folds)),
    ]
    if request.estimator not in TREES:
        steps.append(("scale", StandardScaler(copy=False)))
    if request.estimator not in BOOSTING and is_large(profile):
        steps.append(("narrow", FunctionTransformer(np.float32, feature_names_out="one-to-one")))
    return Pipeline(steps)


def _unchanged(request: TrainingRequest, profile: Profile, names: list[str]) -> list[tuple[str, Any, list[str]]]:
    """Return the transformers of numbers for boosting: none, but where XGBoost's float32 would lose digits."""
    if request.estimator != "xgboost":
        return [("numeric", "passthrough", names)]
    wide = wide_columns(profile)
    # In their places among the others, for columns are drawn by them.
    return [
        (f"numeric_{number}", StandardScaler() if group[0] in wide else "passthrough", group)
        for number, group in enumerate(_groups(names, wide, large=False), 1)
    ]


def _numeric(request: TrainingRequest, profile: Profile, names: list[str]) -> list[tuple[str, Pipeline, list[str]]]:
    """Return the transformers of the numbers: one, or several, that keep digits, or on large data time and memory.

    A forest casts what it gets to float32: of what does not fit it gets scaled numbers, in their places among the
    others, for it draws features by them.

    On large data one float64 column makes a whole group float64: such columns are in groups of their own, which are
    float32 once scaled. And scaling takes four times what its group holds.
    """
    forest, large = request.estimator == "random_forest", is_large(profile)
    if not (forest or large):
        return [("numeric", _numeric_steps(scale=True), names)]
    wide = wide_columns(profile)
    transformers = []
    for number, group in enumerate(_groups(names, wide, large=large), 1):
        is_wide = group[0] in wide
        steps = _numeric_steps(scale=is_wide or not forest, narrow=is_wide and large)
        transformers.append((f"numeric_{number}", steps, group))
    return transformers


def wide_columns(profile: Profile) -> frozenset[str]:
    """Return the numbers that float32 does not do for."""
    numeric = (column for column in feature_columns(profile) if column["role"] not in TEXT_ROLES)
    return frozenset(column["name"] for column in numeric if feature_dtype(column, large=True) == "float64")


def _groups(names: list[str], wide: Collection[str], *, large: bool) -> Iterator[list[str]]:
    """Yield groups of columns, of which all are wide or none is: on large data small ones, with the wide ones last."""
    most = max(GROUP_COLUMNS, int(GROUP_SHARE * len(names)))
    for _, run in groupby(sorted(names, key=wide.__contains__) if large else names, wide.__contains__):
        group = list(run)
        size = most if large else len(group)
        yield from (group[at : at + size] for at in range(0, len(group), size))


def _numeric_steps(*, scale: bool, narrow: bool = False) -> Pipeline:
    steps = [("impute", SimpleImputer(keep_empty_features=True))]
    if scale:
        # Imputing has made a copy, which scaling may write into.
        steps.append(("scale", StandardScaler(copy=False)))
    if narrow:
        steps.append(("narrow", FunctionTransformer(np.float32, feature_names_out="one-to-one")))
    return Pipeline(steps)


def _one_hot_encoder() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", dtype=np.float32)


def _ordinal_encoder() -> OrdinalEncoder:
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        max_categories=MAX_NATIVE_CATEGORIES,
        dtype=np.float32,
    )
