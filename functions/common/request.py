"""The training request: the input document of an execution, validated in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_serializer

from common.errors import InvalidRequestError
from common.hyperparameters import HYPERPARAMETERS, OF_ONE_PROBLEM
from common.metric_table import METRIC_TABLE, METRICS, OF_POSITIVE_CLASS, Label, MetricName, Scoring
from common.reading_options import ReadOptions, check_read
from common.validation import Strict, did_you_mean, sentence, shown, validated

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


DATASET_URI = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$"
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class TrainingRequest(Strict):
    """The input document of one training run.

    `problem`, `estimator` and `metric` may be open (`auto`, `None`); data preparation closes them with
    `resolve`, so that the later steps only ever see concrete values.

    Examples
    --------
    >>> parse_request({"dataset_uri": "s3://bucket/houses.csv", "target": "price"}).seed
    42
    """

    # What the flags of scripts/train.py say, and what the README is checked against.
    dataset_uri: Annotated[str, Field(pattern=DATASET_URI)] = Field(
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
    model_name: Annotated[str, Field(pattern=MODEL_NAME)] = Field(
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
    return _checked(validated(TrainingRequest, document))


def _positive_class(request: TrainingRequest, classes: Mapping[Any, int]) -> Any:
    """Return the label of the positive class as the data have it: the one that is asked for, or the rarer of two."""
    asked = request.pos_label
    if asked is not None:
        # A command line knows no types: there the whole number 1 is the text "1".
        found = [each for each in classes if type(each) is type(asked) and each == asked]
        found += [each for each in classes if _written(each) == _written(asked)]
        if not found:
            raise InvalidRequestError(
                f'"pos_label" is {shown(asked)}, which is none of the {len(classes):,} classes of "{request.target}": '
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
    text = label if isinstance(label, str) else shown(label)
    return text.lower() if text.lower() in ("true", "false") else text


def _checked(request: TrainingRequest) -> TrainingRequest:
    """Check what one field says against another."""
    _check_columns(request)
    _check_positive_class(request)
    check_read(request.read)
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
            raise InvalidRequestError(sentence(f"hyperparameters of {request.estimator}", error, parameters)) from error
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
        raise InvalidRequestError(f'"pos_label" is {shown(request.pos_label)}, more than a class label holds.')
    # What pydantic refuses in fields that hold nothing but texts.
    if isinstance(request.pos_label, str) and any("\ud800" <= each <= "\udfff" for each in request.pos_label):
        raise InvalidRequestError(f'"pos_label" is {shown(request.pos_label)}, which holds half a character.')
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
