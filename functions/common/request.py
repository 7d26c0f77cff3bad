"""The training request: the input document of an execution, validated in one place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_serializer

from common.errors import InvalidRequestError
from common.metric_table import METRIC_TABLE, METRICS, OF_POSITIVE_CLASS, Label, MetricName, Scoring

Problem = Literal["auto", "regression", "classification"]
Estimator = Literal[
    "auto", "linear_regression", "ridge", "logistic_regression", "random_forest", "hist_gradient_boosting", "xgboost",
    "custom", "blend",
]  # fmt: skip
ColumnKind = Literal["ignore", "number", "category", "text", "date", "boolean", "identifier"]
Features = Literal["auto", "plain"]
Adjust = Literal["auto", "always", "none"]
Compute = Literal["auto", "lambda", "task"]
PromoteIf = Literal["auto", "not_worse", "significant", "better", "non_inferior"]

ESTIMATORS: Mapping[str, tuple[str, ...]] = {
    "regression": ("ridge", "linear_regression", "random_forest", "hist_gradient_boosting", "xgboost"),
    "classification": ("logistic_regression", "random_forest", "hist_gradient_boosting", "xgboost"),
}
OF_ANY_PROBLEM = ("auto", "custom", "blend")
"""What is no estimator of scikit-learn's: a search, a model of one's own, and the weighted mean of several."""
SEARCH_TRIALS, SEARCH_SECONDS = 100, 60.0
"""How much is tried where the request asks for a search and does not say: trials, and processor seconds."""


class _Strict(BaseModel):
    """No unknown field, no silent conversion, no change after validation."""

    # Built at its first use: a run uses two of these models, and building each takes milliseconds of a cold start.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


# Estimators count in 32 bits.
_Count = Annotated[int, Field(ge=1, lt=2**31)]
_MAX_PROBLEMS = 8


# The defaults below say what scikit-learn takes; only what a request sets is passed on (`hyperparameters`).


class LinearRegressionParameters(_Strict):
    """Hyperparameters of `sklearn.linear_model.LinearRegression`."""

    fit_intercept: bool = True
    positive: bool = False


class RidgeParameters(_Strict):
    """Hyperparameters of `sklearn.linear_model.Ridge`."""

    alpha: Annotated[float, Field(ge=0)] = 1.0
    fit_intercept: bool = True
    solver: Literal["auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"] = "auto"
    max_iter: _Count | None = None
    tol: Annotated[float, Field(ge=0)] = 1e-4


class LogisticRegressionParameters(_Strict):
    """Hyperparameters of `sklearn.linear_model.LogisticRegression`."""

    C: Annotated[float, Field(gt=0)] = 1.0
    class_weight: Literal["balanced"] | None = None
    fit_intercept: bool = True
    max_iter: _Count = 100
    tol: Annotated[float, Field(gt=0)] = 1e-4


class RandomForestParameters(_Strict):
    """Hyperparameters of `sklearn.ensemble.RandomForestRegressor` and `RandomForestClassifier`."""

    n_estimators: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_depth: _Count | None = None
    min_samples_leaf: _Count = 1
    min_samples_split: Annotated[int, Field(ge=2, lt=2**31)] = 2
    max_features: Annotated[float, Field(gt=0, le=1)] | Literal["sqrt", "log2"] | None = None
    max_samples: Annotated[float, Field(gt=0, le=1)] | None = None
    class_weight: Literal["balanced"] | None = None


class HistGradientBoostingParameters(_Strict):
    """Hyperparameters of `sklearn.ensemble.HistGradientBoostingRegressor` and `HistGradientBoostingClassifier`."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    max_iter: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_leaf_nodes: Annotated[int, Field(ge=2, lt=2**31)] | None = 31
    max_depth: _Count | None = None
    min_samples_leaf: _Count = 20
    l2_regularization: Annotated[float, Field(ge=0)] = 0.0
    max_bins: Annotated[int, Field(ge=2, le=255)] = 255
    max_features: Annotated[float, Field(gt=0, le=1)] = 1.0
    early_stopping: bool | Literal["auto"] = "auto"
    n_iter_no_change: _Count = 10
    loss: Literal["squared_error", "absolute_error", "poisson", "gamma", "quantile"] = "squared_error"
    class_weight: Literal["balanced"] | None = None


class XgboostParameters(_Strict):
    """Hyperparameters of XGBoost's trees (`common.boosted`); what it calls an objective is the `loss`, as above."""

    n_estimators: Annotated[int, Field(ge=1, le=10_000)] = 100
    learning_rate: Annotated[float, Field(gt=0)] = 0.3
    max_depth: Annotated[int, Field(ge=1, le=16)] = 6
    max_leaves: Annotated[int, Field(ge=2, le=2**16)] | None = None
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_bin: Annotated[int, Field(ge=2, le=256)] = 256
    loss: Literal["squared_error", "absolute_error", "poisson", "gamma", "quantile"] = "squared_error"
    class_weight: Literal["balanced"] | None = None


class CustomParameters(_Strict):
    """Hyperparameters of the model of `model_training/model.py`, which alone knows their names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | int | float | str | None]


class BlendMember(_Strict):
    """One of the models that a blend is made of."""

    estimator: Annotated[str, Field(min_length=1)]
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    # Their sum and each one's share of it are numbers, too.
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0


class BlendParameters(_Strict):
    """What a blend is made of: the weighted mean of its members is predicted."""

    members: Annotated[list[BlendMember], Field(min_length=2, max_length=10)]


HYPERPARAMETERS: Mapping[str, type[_Strict]] = {
    "linear_regression": LinearRegressionParameters,
    "ridge": RidgeParameters,
    "logistic_regression": LogisticRegressionParameters,
    "random_forest": RandomForestParameters,
    "hist_gradient_boosting": HistGradientBoostingParameters,
    "xgboost": XgboostParameters,
    "custom": CustomParameters,
    "blend": BlendParameters,
}
OF_ONE_PROBLEM: Mapping[str, str] = {"loss": "regression", "class_weight": "classification"}
"""Hyperparameters that estimators of one problem have alone."""


# What each directive of `strptime` says of a date, of those that data preparation reads.
_DATE_PARTS: Mapping[str, str] = {
    "%d": "d", "%m": "m", "%b": "b", "%B": "b", "%Y": "Y", "%y": "y", "%F": "Ymd", "%a": "", "%A": "", "%H": "H",
    "%I": "H", "%M": "M", "%S": "S", "%f": "f", "%p": "p", "%T": "HMS", "%z": "z", "%Z": "z", "%%": "",
}  # fmt: skip


class ReadOptions(_Strict):
    """How the files of a data set are to be read; what is open is found out from the files, and told."""

    separator: Annotated[str, Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="the characters between two values of a row"
    )
    decimal: Literal[".", ","] | None = Field(default=None, description="the character before the decimals of a number")
    thousands: Literal[",", ".", " ", "'", ""] | None = Field(
        default=None, description="the character between the thousands of a number; an empty text for none"
    )
    encoding: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the encoding of text files, as Python calls it: utf-8, cp1252, utf-16"
    )
    na_values: list[str] | None = Field(
        default=None, description="more texts or numbers that stand for a missing value, in all columns"
    )
    skip_rows: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="how many lines stand above the header"
    )
    skip_footer: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="how many rows at the end are no data, such as a total"
    )
    header: bool | list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, description="false for files without a header, or the names of the columns"
    )
    date_format: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="how dates are written, as strptime has it: %d/%m/%Y"
    )
    sheet: Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="the sheet of a workbook, by its name or its number"
    )
    trim: bool = Field(default=False, description="whether texts that differ by spaces around them are the same")
    unite: bool = Field(
        default=False, description="whether files with different columns are united; what one lacks is missing there"
    )


_DATASET_URI = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$"
_MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class TrainingRequest(_Strict):
    """The input document of one training run.

    `problem`, `estimator` and `metric` may be open (`auto`, `None`); data preparation closes them with
    `resolve`, so that the later steps only ever see concrete values.

    Examples
    --------
    >>> parse_request({"dataset_uri": "s3://bucket/houses.csv", "target": "price"}).seed
    42
    """

    # What the flags of scripts/train.py say, and what the README is checked against.
    dataset_uri: Annotated[str, Field(pattern=_DATASET_URI)] = Field(
        description="a CSV, .csv.gz or Parquet object on S3, or a prefix of them that ends in a slash"
    )
    target: Annotated[str, Field(min_length=1)] = Field(description="the column to predict")
    read: ReadOptions = Field(
        default_factory=ReadOptions,
        description='how the files are to be read, such as {"separator": ";", "decimal": ","}; the rest is found out',
    )
    columns: dict[str, ColumnKind] = Field(
        default_factory=dict,
        description='what columns are, such as {"zip": "category", "note": "ignore"}: ignore, number, category, text '
        "(a free text), date, boolean or identifier",
    )
    weight_column: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="a column of numbers that say how much each row counts"
    )
    problem: Problem = Field(
        default="auto", description="the kind of problem; auto tells it by the other choices and the target"
    )
    estimator: Estimator = Field(
        default="auto", description="the estimator; auto tries several and takes the best of them"
    )
    hyperparameters: dict[str, Any] = Field(
        default_factory=dict, description='what scikit-learn is to take for the estimator, such as {"alpha": 0.5}'
    )
    adjust: Adjust = Field(
        default="auto",
        description="whether probabilities are calibrated, and the decision for a class is tuned for the metric, where "
        "that is better on held-out folds: auto does so after a search alone",
    )
    interval: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="the share of the rows whose target an interval around each prediction of a number is to hold, "
        "such as 0.9; found out on held-out folds",
    )
    features: Features = Field(
        default="auto",
        description="what a model is fitted on: auto adds to the columns the parts of dates, where values are missing "
        "and, for linear models, a column for each of a few whole numbers, and reads texts of several words as free "
        "texts; plain adds nothing",
    )
    search_trials: Annotated[int, Field(ge=0, le=300)] | None = Field(
        default=None,
        description="how many estimators and hyperparameters are tried at most; 0 for none: the first estimator that "
        f"fits the problem, or the one that is named, as it is. {SEARCH_TRIALS} for auto",
    )
    search_seconds: Annotated[float, Field(ge=0, le=36_000)] | None = Field(
        default=None,
        description="how many processor seconds the trials may take together; 0 for none. "
        f"{SEARCH_SECONDS:.0f} for auto",
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.2, description="the share of test rows")
    training_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="the share of the other rows that is trained on, drawn by the seed; the rest is left out. For more "
        "rows than training has room or time for",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=42, description="the seed of the estimator and of whatever else is drawn, but for the split"
    )
    split_column: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="a column that holds train and test, to split by"
    )
    split_key: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None,
        description="columns whose equal rows stay together in one part, such as a customer or a city; an empty list "
        "for none, whatever the champion's run had",
    )
    split_time: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="a column of times or numbers whose last rows are the test part"
    )
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        default=None, description="another one draws another test part; the champion's, else 0"
    )
    metric: MetricName | None = Field(default=None, description="the metric that decides")
    pos_label: Label | None = Field(
        default=None,
        description="the class that " + ", ".join(OF_POSITIVE_CLASS) + " are of; of two classes the rarer one, of more "
        "none",
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.5, description="the quantile that pinball is of")
    threshold: float | None = Field(
        default=None, description="the value that the metric must reach; else the model is rejected"
    )
    promote_if: PromoteIf = Field(
        default="auto",
        description="the rule against the champion: auto is not_worse where the data differ from the champion's, and "
        "significant on the same data",
    )
    margin: Annotated[float, Field(ge=0)] = Field(
        default=0.01, description="for not_worse and non_inferior, the share of the champion's loss that does not count"
    )
    minimum_improvement: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="for better and significant, how much better than the champion the model must be"
    )
    allow_baseline: bool = Field(
        default=False, description="whether a model may be promoted that is not clearly better than a constant"
    )
    replace_unusable_champion: bool = Field(
        default=False, description="whether a champion that cannot be compared is replaced all the same"
    )
    compute: Compute = Field(
        default="auto",
        description="where steps run: auto takes a function, and for what does not fit one a task of the size that it "
        "needs; lambda takes no task; task trains and evaluates as one, whatever the size, and makes those trials of a "
        "search as tasks that fit no function: others would wait a minute each for their task to start. Data too large "
        "for one are prepared in pieces by several functions, whatever this says; task puts the pieces together as one",
    )
    model_name: Annotated[str, Field(pattern=_MODEL_NAME)] = Field(
        default="default",
        description="the name under which versions are compared; a command that starts a run names the model after the "
        "data and the target",
    )

    @field_serializer("read")
    def _without_defaults(self, read: ReadOptions) -> dict[str, Any]:
        """Return what is said of the files, for most of it hardly ever is."""
        return read.model_dump(exclude_defaults=True)

    def fitting_problems(self) -> tuple[str, ...]:
        """Return the problems that the other choices leave open."""
        return tuple(
            problem
            for problem in METRICS
            if self.problem in ("auto", problem)
            and (self.metric is None or self.metric in METRICS[problem])
            and self.estimator in (*OF_ANY_PROBLEM, *ESTIMATORS[problem])
            and (self.interval is None or problem == "regression")
            and all(OF_ONE_PROBLEM.get(name, problem) == problem for name in self.hyperparameters)
        )

    def with_positive_class(self, profile: Mapping[str, Any]) -> TrainingRequest:
        """Return the request with the positive class that data preparation has found, and the profile alone tells."""
        return self.model_copy(update={"pos_label": profile["pos_label"]})

    def learns_of_folds(self, *, searched: bool) -> bool:
        """Return whether a run is to learn of the chosen model's errors on held-out folds, which takes more fits."""
        if self.problem == "regression":
            return self.interval is not None
        return self.adjust == "always" or (self.adjust == "auto" and searched)

    @property
    def scoring(self) -> Scoring:
        """What some metrics have to know besides predictions and truth."""
        return Scoring(self.pos_label, self.quantile)

    def resolve(self, problem: str, classes: Mapping[Any, int] | None = None) -> TrainingRequest:
        """Return the request with every open choice made for `problem` (`regression` or `classification`).

        Parameters
        ----------
        problem
            Of the target.
        classes
            How many rows each class has; None where there are none, or nobody has counted.

        Raises
        ------
        InvalidRequestError
            If the estimator, the metric or the positive class does not fit the problem or the classes.
        """
        trials, seconds = self._budget()
        chosen: dict[str, Any] = {
            "problem": problem,
            "estimator": ESTIMATORS[problem][0] if self.estimator == "auto" and not trials else self.estimator,
            "metric": self.metric or METRICS[problem][0],
            "search_trials": trials,
            "search_seconds": seconds,
        }
        if classes is not None and problem == "classification":
            chosen["pos_label"] = _positive_class(self, classes)
        return _checked(self.model_copy(update=chosen))

    def _budget(self) -> tuple[int, float]:
        """Return how many trials there are at most, and how many seconds they have; none where nothing is searched."""
        searched = self.estimator == "auto" or self.search_trials or self.search_seconds
        if not searched or self.search_trials == 0 or self.search_seconds == 0:
            return 0, 0.0
        return self.search_trials or SEARCH_TRIALS, self.search_seconds or SEARCH_SECONDS

    def with_choice(self, estimator: str, hyperparameters: Mapping[str, Any]) -> TrainingRequest:
        """Return the request for one estimator with hyperparameters besides those that it says.

        Raises
        ------
        InvalidRequestError
            If they do not fit the problem or the estimator.
        """
        chosen = {"estimator": estimator, "hyperparameters": {**hyperparameters, **self.hyperparameters}}
        return _checked(self.model_copy(update=chosen))

    def members(self) -> list[tuple[TrainingRequest, float]]:
        """Return for each member of a blend the request for it alone, and its weight.

        Raises
        ------
        InvalidRequestError
            If one does not fit the problem, or is a blend itself.
        """
        found = list[tuple[TrainingRequest, float]]()
        for member in self.hyperparameters["members"]:
            if member["estimator"] in ("auto", "blend"):
                raise InvalidRequestError(f'"{member["estimator"]}" cannot be a member of a blend: name an estimator.')
            if member["estimator"] not in HYPERPARAMETERS:
                known = did_you_mean(member["estimator"], [name for name in HYPERPARAMETERS if name != "blend"])
                raise InvalidRequestError(f'A member of the blend is "{member["estimator"]}".{known}')
            chosen = {"estimator": member["estimator"], "hyperparameters": member.get("hyperparameters", {})}
            found.append((_checked(self.model_copy(update=chosen)), member.get("weight", 1.0)))
        return found


def parse_request(document: Any) -> TrainingRequest:
    """Validate the input document of an execution.

    Raises
    ------
    InvalidRequestError
        Naming the fields that are wrong, eight at most, with the nearest valid name where one is close.
    """
    return _checked(_validated(TrainingRequest, document))


class ScoringRequest(_Strict):
    """The input document of a run of batch scoring.

    Examples
    --------
    >>> parse_scoring_request({"dataset_uri": "s3://bucket/incoming/", "model_name": "houses"}).output_format
    'parquet'
    """

    dataset_uri: Annotated[str, Field(pattern=_DATASET_URI)] = Field(
        description="an object with rows on S3, or a prefix of them that ends in a slash"
    )
    model_name: Annotated[str, Field(pattern=_MODEL_NAME)] = Field(description="the model that scores")
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")] | None = Field(
        default=None, description="one of its versions; the champion, if not given"
    )
    keep: list[Annotated[str, Field(min_length=1)]] | Literal["all"] = Field(
        default_factory=list, description="the columns that are written before the predictions, or all of them"
    )
    output_format: Literal["parquet", "csv"] = Field(
        default="parquet", description="what the predictions are written as"
    )
    read: ReadOptions | None = Field(
        default=None, description="how the files are to be read, if not as training's were said to be"
    )


def in_utc(time: datetime) -> datetime:
    """Return a time in UTC.

    Raises
    ------
    ValueError
        If there was nothing to look at yet.
    """
    if time.year < _FIRST_YEAR:
        raise ValueError(f"It is before {_FIRST_YEAR}, when there was nothing to look at.")
    return time.astimezone(UTC)


_FIRST_YEAR = 2000
Time = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A time with its offset, in UTC whichever that was."""


class FeedbackRequest(_Strict):
    """What is asked of feedback: which labels belong to which predictions.

    Examples
    --------
    >>> parse_feedback_request({"model_name": "houses", "labels_uri": "s3://bucket/data/sold.csv", "keys": ["id"]}).keys
    ['id']
    """

    model_name: Annotated[str, Field(pattern=_MODEL_NAME)] = Field(description="the model that has predicted")
    labels_uri: Annotated[str, Field(pattern=_DATASET_URI)] = Field(
        description="an object with labels on S3, or a prefix of them that ends in a slash"
    )
    keys: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, description="the columns that tell which label belongs to which prediction"
    )
    target: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the column of the labels; the target of training, if not given"
    )
    predictions_uri: Annotated[str, Field(pattern=_DATASET_URI)] | None = Field(
        default=None,
        description="the manifest of a run of batch scoring, or files of predictions; captured requests, if not given",
    )
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")] | None = Field(
        default=None, description="the version that has predicted; the run's or else the champion, if not given"
    )
    since: Time | None = Field(default=None, strict=False, description="from when on requests were captured")
    until: Time | None = Field(default=None, strict=False, description="before when requests were captured")
    read: ReadOptions | None = Field(
        default=None, description="how the labels are to be read, if not as training's files were said to be"
    )


def parse_feedback_request(document: Any) -> FeedbackRequest:
    """Validate what is asked of feedback.

    Raises
    ------
    InvalidRequestError
        As `parse_request` does.
    """
    return _with_checked_read(_validated(FeedbackRequest, document))


def parse_scoring_request(document: Any) -> ScoringRequest:
    """Validate the input document of a run of batch scoring.

    Raises
    ------
    InvalidRequestError
        As `parse_request` does.
    """
    return _with_checked_read(_validated(ScoringRequest, document))


_Request = TypeVar("_Request", bound=_Strict)
_OfReading = TypeVar("_OfReading", FeedbackRequest, ScoringRequest)


def _validated(kind: type[_Request], document: Any) -> _Request:
    if not isinstance(document, dict):
        raise InvalidRequestError(f"The request must be a JSON object, not {type(document).__name__}.")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InvalidRequestError(_sentence("request", error, kind)) from error


def _with_checked_read(request: _OfReading) -> _OfReading:
    if request.read is not None:
        _check_read(request.read)
    return request


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean "…"?` with the nearest names, or the list of what is known where none is near."""
    names = [str(each) for each in known]
    by_folded = {each.casefold().strip(): each for each in names}
    near = difflib.get_close_matches(name.casefold().strip(), list(by_folded), n=3, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(f'"{by_folded[each]}"' for each in near) + "?"
    shown = ", ".join(f'"{each}"' for each in names[:12]) + (", …" if len(names) > 12 else "")
    return f" Known: {shown}."


def _positive_class(request: TrainingRequest, classes: Mapping[Any, int]) -> Any:
    """Return the label of the positive class as the data have it: the one that is asked for, or the rarer of two."""
    asked = request.pos_label
    if asked is not None:
        # A command line knows no types: there the whole number 1 is the text "1".
        found = [each for each in classes if type(each) is type(asked) and each == asked]
        found += [each for each in classes if _written(each) == _written(asked)]
        if not found:
            raise InvalidRequestError(
                f'"pos_label" is {_shown(asked)}, which is none of the {len(classes):,} classes of "{request.target}": '
                "write one as the data have it."
            )
        return found[0]
    if len(classes) == 2:
        # Of two that are equally frequent the last one: true, 1, yes.
        return min(sorted(classes, reverse=True), key=classes.__getitem__)
    if request.metric is not None and METRIC_TABLE[request.metric].needs_positive_class:
        raise InvalidRequestError(
            f'The metric "{request.metric}" is of one class, and "{request.target}" has {len(classes):,}: say by '
            "pos_label which one is meant, against all others, or choose f1_macro."
        )
    return None


def _written(label: Label) -> str:
    """Return how a label is written, whatever its type: a boolean in any case, a whole number without decimals."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = label if isinstance(label, str) else _shown(label)
    return text.lower() if text.lower() in ("true", "false") else text


def _checked(request: TrainingRequest) -> TrainingRequest:
    """Check what one field says against another."""
    _check_columns(request)
    _check_positive_class(request)
    _check_read(request.read)
    chosen = [name for name in ("split_column", "split_key", "split_time") if getattr(request, name)]
    if len(chosen) > 1:
        raise InvalidRequestError(f"{' and '.join(chosen)} are different ways to split: choose one.")
    problem = request.problem
    if problem != "auto":
        for word, choice, fitting in (
            ("metric", request.metric, METRICS[problem]),
            ("estimator", request.estimator, (*ESTIMATORS[problem], *OF_ANY_PROBLEM)),
        ):
            if choice is not None and choice not in fitting:
                raise InvalidRequestError(f'The {word} "{choice}" does not fit {problem}: use {" or ".join(fitting)}.')
    if not request.fitting_problems():
        raise _contradiction(request)
    _check_budget(request)
    if request.hyperparameters:
        if request.estimator == "auto":
            raise InvalidRequestError('"hyperparameters" needs "estimator": say which estimator they are for.')
        parameters = HYPERPARAMETERS[request.estimator]
        try:
            checked = parameters.model_validate(request.hyperparameters)
        except ValidationError as error:
            raise InvalidRequestError(
                _sentence(f"hyperparameters of {request.estimator}", error, parameters)
            ) from error
        # As validated: for scikit-learn the whole number 1 means one row, and the float 1.0 all of them.
        request = request.model_copy(update={"hyperparameters": checked.model_dump(exclude_unset=True)})
    if request.estimator == "blend":
        _check_members(request)
    return request


def _check_budget(request: TrainingRequest) -> None:
    """Refuse a search that is asked for and given nothing to make it with."""
    if (request.search_trials == 0) != (request.search_seconds == 0) and None not in (
        request.search_trials, request.search_seconds
    ):  # fmt: skip
        raise InvalidRequestError(
            'One of "search_trials" and "search_seconds" asks for a search, and the other one, which is 0, for none: '
            "drop one of them."
        )


def _check_members(request: TrainingRequest) -> None:
    if "members" not in request.hyperparameters:
        raise InvalidRequestError(
            'A "blend" needs its members: "hyperparameters": {"members": [{"estimator": "ridge"}, {"estimator": '
            '"random_forest", "weight": 2.0}]}.'
        )
    fitting = [member.fitting_problems() for member, _ in request.members()]
    if not any(all(problem in each for each in fitting) for problem in METRICS):
        raise InvalidRequestError("The members of the blend are for different problems.")


def _contradiction(request: TrainingRequest) -> InvalidRequestError:
    """Return the error of choices that no problem fits."""
    if request.interval is not None:
        return InvalidRequestError(
            '"interval" is for regression, and something else in the request is not: take one of them out.'
        )
    named = next((name for name in request.hyperparameters if name in OF_ONE_PROBLEM), None)
    if named is None:
        return InvalidRequestError(
            f'The metric "{request.metric}" and the estimator "{request.estimator}" are for different problems.'
        )
    return InvalidRequestError(
        f'The hyperparameter "{named}" is for {OF_ONE_PROBLEM[named]}, and something else in the request is not: take '
        "one of them out."
    )


def _check_positive_class(request: TrainingRequest) -> None:
    """Refuse a class where the other choices ask for a regression, and one that no data have."""
    if isinstance(request.pos_label, int) and request.pos_label.bit_length() > 64:
        raise InvalidRequestError(f'"pos_label" is {_shown(request.pos_label)}, more than a class label holds.')
    # What pydantic refuses in fields that hold nothing but texts.
    if isinstance(request.pos_label, str) and any("\ud800" <= each <= "\udfff" for each in request.pos_label):
        raise InvalidRequestError(f'"pos_label" is {_shown(request.pos_label)}, which holds half a character.')
    if request.pos_label is not None and request.fitting_problems() == ("regression",):
        raise InvalidRequestError(
            '"pos_label" names a class, and a regression has none: take it out, or choose the problem, the metric and '
            "the estimator of a classification."
        )


def _check_columns(request: TrainingRequest) -> None:
    """Refuse a column that is named for two things that exclude each other."""
    if request.split_column == request.target:
        raise InvalidRequestError(f'"{request.target}" cannot be both the target and the split column.')
    named = [
        ("target", request.target),
        ("split column", request.split_column),
        ("time column", request.split_time),
        *(("key column", name) for name in request.split_key or ()),
    ]
    for word, name in named:
        if name is not None and name == request.weight_column:
            raise InvalidRequestError(f'"{name}" cannot be both the {word} and the weight column.')
    for word, name in [*named, ("weight column", request.weight_column)]:
        if name is not None and request.columns.get(name) == "ignore":
            raise InvalidRequestError(f'"columns" ignores the {word} "{name}": take it out there, or name another one.')


def _check_read(read: ReadOptions) -> None:
    """Refuse what no file can be read by; what the files themselves have to show is found out with them."""
    if read.encoding is not None:
        try:
            # Python's other codecs, such as base64, are no encodings of text, and this refuses them too.
            "a".encode(read.encoding)
        except (LookupError, ValueError) as error:
            raise InvalidRequestError(
                f'"read.encoding" is "{read.encoding}", which Python does not know: utf-8, cp1252 and utf-16 are some '
                "that it does."
            ) from error
    if read.date_format is not None:
        _check_date_format(read.date_format)
    if read.decimal is not None and read.decimal == read.thousands:
        raise InvalidRequestError(
            f'"read.decimal" and "read.thousands" are both "{read.decimal}": they have to differ.'
        )
    names = read.header if isinstance(read.header, list) else []
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise InvalidRequestError(f'"read.header" names "{twice}" twice: each column needs a name of its own.')


def _check_date_format(format_: str) -> None:
    directives = re.findall("%.", format_)
    unknown = next((each for each in directives if each not in _DATE_PARTS), None)
    if unknown is not None:
        known = ", ".join(_DATE_PARTS)
        raise InvalidRequestError(f'"read.date_format" has {unknown}, which is not known. Known: {known}.')
    parts = "".join(_DATE_PARTS[each] for each in directives)
    if len(set(parts)) < len(parts) or not {"Y", "y"} & set(parts):
        raise InvalidRequestError(
            f'"read.date_format" is "{format_}": a date needs one year, %Y or %y, and each of its parts once.'
        )


def _sentence(subject: str, error: ValidationError, model: type[BaseModel]) -> str:
    problems = []
    details = error.errors(include_url=False)
    for detail in details[:_MAX_PROBLEMS]:
        name = _name(detail["loc"]) or subject
        if detail["type"] == "extra_forbidden":
            known = ReadOptions if name.startswith("read.") else model
            problems.append(f'"{name}" is unknown.{did_you_mean(str(detail["loc"][-1]), known.model_fields)}')
        elif detail["type"] == "missing":
            problems.append(f'"{name}" is missing.')
        elif detail["type"] == "literal_error" and isinstance(detail["input"], str):
            # As Python writes them: a comma is among them, and an apostrophe in double quotes.
            quoted = re.findall(r"""'([^']*)'|"([^"]*)\"""", detail["ctx"]["expected"])
            names = ["".join(each) for each in quoted]
            problems.append(f'"{name}" is "{detail["input"]}".{did_you_mean(detail["input"], names)}')
        else:
            problems.append(f'"{name}" is {_shown(detail["input"])}: {detail["msg"][0].lower()}{detail["msg"][1:]}.')
    more = len(details) - _MAX_PROBLEMS
    if more > 0:
        problems.append(f"So are {more:,} more.")
    return f"The {subject} cannot be used: " + " ".join(dict.fromkeys(problems))


def _name(location: tuple[int | str, ...]) -> str:
    """Return what a field is called: of an object among the fields, with that field's name before it."""
    nested = location[:1] in (("read",), ("columns",))
    return ".".join(map(str, location[: 2 if nested else 1]))


def _shown(value: Any) -> str:
    """Return what a field holds, as Python writes it, where that has an end: lists may nest a hundred thousand deep."""
    if isinstance(value, dict):
        return "a JSON object"
    if isinstance(value, list):
        return "a JSON array"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length():,} bits"
    return repr(value)
