"""The request: what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidRequestError
from common.hyperparameters import HYPERPARAMETERS
from common.metric_table import METRICS
from common.request import ESTIMATORS, OF_ANY_PROBLEM, SEARCH_SECONDS, SEARCH_TRIALS, parse_request
from common.validation import did_you_mean
from data_preparation.notation import _DIRECTIVES, date_pattern


def blend_of(*members: dict[str, Any]) -> dict[str, Any]:
    return {"estimator": "blend", "hyperparameters": {"members": list(members)}}


SMALLEST = {"dataset_uri": "s3://bucket/houses.csv", "target": "price"}


def test_defaults_are_those_of_the_contract() -> None:
    assert parse_request(SMALLEST).model_dump() == {
        **SMALLEST,
        "read": {},
        "columns": {},
        "weight_column": None,
        "problem": "auto",
        "estimator": "auto",
        "search_trials": None,
        "search_seconds": None,
        "hyperparameters": {},
        "adjust": "auto",
        "interval": None,
        "features": "auto",
        "test_fraction": 0.2,
        "training_fraction": 1.0,
        "seed": 42,
        "split_column": None,
        "split_key": None,
        "split_time": None,
        "split_seed": None,
        "metric": None,
        "pos_label": None,
        "quantile": 0.5,
        "threshold": None,
        "promote_if": "auto",
        "margin": 0.01,
        "minimum_improvement": 0.0,
        "allow_baseline": False,
        "replace_unusable_champion": False,
        "compute": "auto",
        "model_name": "default",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targett": "x"}, '"targett" is unknown. Did you mean "target"?'),
        ({"target": ""}, "\"target\" is '': string should have at least 1 character."),
        ({"dataset_uri": "houses.csv"}, "\"dataset_uri\" is 'houses.csv'"),
        ({"problem": "regresion"}, '"problem" is "regresion". Did you mean "regression"?'),
        ({"metric": "rsme"}, 'Did you mean "rmse"'),
        ({"metric": "accuracy", "problem": "regression"}, "does not fit regression: use rmse or mae or medae or mape"),
        ({"estimator": "ridge", "problem": "classification"}, "does not fit classification: use logistic_regression"),
        ({"estimator": "blend"}, 'A "blend" needs its members'),
        (blend_of({"estimator": "ridge"}), "list should have at least 2 items"),
        (blend_of({"estimator": "ridge"}, {"estimator": "blend"}), '"blend" cannot be a member of a blend'),
        (blend_of({"estimator": "ridge"}, {"estimator": "logistic_regression"}), "for different problems"),
        (
            blend_of({"estimator": "ridge"}, {"estimator": "rigde"}),
            'A member of the blend is "rigde". Did you mean "ridge"',
        ),
        (blend_of({"estimator": "ridge"}, {"estimator": "ridge", "weight": 1e308}), "less than or equal to 1000000"),
        (
            blend_of({"estimator": "ridge"}, {"estimator": "random_forest", "hyperparameters": {"alpha": 1.0}}),
            '"alpha" is unknown',
        ),
        ({"search_trials": 5, "search_seconds": 0}, "which is 0, for none: drop one"),
        ({"search_trials": 0, "search_seconds": 5.0}, "which is 0, for none: drop one"),
        ({"search_trials": 301}, '"search_trials" is 301'),
        ({"estimator": "ridge", "metric": "accuracy"}, "are for different problems"),
        ({"estimator": "random_forrest"}, 'Did you mean "random_forest"?'),
        ({"estimator": "ridge", "hyperparameters": {"alpah": 1.0}}, '"alpah" is unknown. Did you mean "alpha"?'),
        ({"estimator": "ridge", "hyperparameters": {"alpha": -1.0}}, '"alpha" is -1.0'),
        ({"estimator": "ridge", "hyperparameters": {"alpha": "1"}}, "\"alpha\" is '1'"),
        ({"hyperparameters": {"alpha": 1.0}}, '"hyperparameters" needs "estimator"'),
        (
            {
                "problem": "classification",
                "estimator": "hist_gradient_boosting",
                "hyperparameters": {"loss": "poisson"},
            },
            'The hyperparameter "loss" is for regression, and something else in the request is not',
        ),
        ({"metric": "f1", "interval": 0.9}, '"interval" is for regression, and something else in the request is not'),
        ({"problem": "classification", "interval": 0.9}, '"interval" is for regression'),
        ({"interval": 90.0}, '"interval" is 90.0: input should be less than 1'),
        ({"interval": 0.0}, '"interval" is 0.0'),
        (
            {"metric": "rmse", "estimator": "random_forest", "hyperparameters": {"class_weight": "balanced"}},
            'The hyperparameter "class_weight" is for classification',
        ),
        (
            {"estimator": "hist_gradient_boosting", "hyperparameters": {"loss": "gamma", "class_weight": "balanced"}},
            'The hyperparameter "loss" is for regression',
        ),
        ({"estimator": "hist_gradient_boosting", "hyperparameters": {"loss": "poison"}}, 'Did you mean "poisson"?'),
        ({"test_fraction": 0}, '"test_fraction" is 0'),
        ({"test_fraction": 1.0}, '"test_fraction" is 1.0'),
        ({"test_fraction": float("nan")}, '"test_fraction" is nan'),
        ({"seed": -1}, '"seed" is -1'),
        ({"seed": 1.5}, '"seed" is 1.5'),
        ({"split_column": "price"}, "cannot be both the target and the split column"),
        ({"split_column": "part", "split_key": ["city"]}, "split_column and split_key are different ways to split"),
        ({"split_key": ["city"], "split_time": "day"}, "split_key and split_time are different ways to split"),
        ({"weight_column": "price"}, '"price" cannot be both the target and the weight column.'),
        ({"weight_column": "w", "split_column": "w"}, '"w" cannot be both the split column and the weight column.'),
        ({"weight_column": "w", "split_key": ["a", "w"]}, '"w" cannot be both the key column and the weight column.'),
        ({"weight_column": "w", "split_time": "w"}, '"w" cannot be both the time column and the weight column.'),
        ({"columns": {"price": "ignore"}}, '"columns" ignores the target "price"'),
        ({"columns": {"w": "ignore"}, "weight_column": "w"}, '"columns" ignores the weight column "w"'),
        ({"columns": {"s": "ignore"}, "split_column": "s"}, '"columns" ignores the split column "s"'),
        ({"columns": {"k": "ignore"}, "split_key": ["k"]}, '"columns" ignores the key column "k"'),
        ({"columns": {"zip": "categry"}}, '"columns.zip" is "categry". Did you mean "category"?'),
        ({"read": {"seperator": ";"}}, '"read.seperator" is unknown. Did you mean "separator"?'),
        ({"read": {"separator": ""}}, "\"read.separator\" is '': string should have at least 1 character."),
        ({"read": {"decimal": ";"}}, '"read.decimal" is ";". Known: ".", ",".'),
        ({"read": {"thousands": ";"}}, '"read.thousands" is ";". Known: ",", ".", " ", "\'", "".'),
        ({"read": {"decimal": ",", "thousands": ","}}, '"read.decimal" and "read.thousands" are both ","'),
        ({"read": {"encoding": "utf-9"}}, '"read.encoding" is "utf-9", which Python does not know'),
        ({"read": {"encoding": "base64"}}, '"read.encoding" is "base64", which Python does not know'),
        ({"read": {"header": ["a", "b", "a"]}}, '"read.header" names "a" twice'),
        ({"read": {"date_format": "%d.%Q.%Y"}}, '"read.date_format" has %Q, which is not known. Known: %d'),
        ({"read": {"date_format": "%d.%m."}}, '"read.date_format" is "%d.%m.": a date needs one year'),
        ({"quantile": 1.0}, '"quantile" is 1.0'),
        ({"pos_label": "yes", "problem": "regression"}, '"pos_label" names a class, and a regression has none'),
        ({"pos_label": 1, "metric": "pinball"}, '"pos_label" names a class, and a regression has none'),
        ({"pos_label": True, "estimator": "ridge"}, '"pos_label" names a class, and a regression has none'),
        ({"pos_label": ["yes"]}, '"pos_label" is a JSON array'),
        ({"promote_if": "equal"}, '"promote_if" is "equal".'),
        ({"model_name": "a/b"}, "\"model_name\" is 'a/b'"),
    ],
)
def test_a_wrong_field_is_named_with_the_way_out(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request({**SMALLEST, **change})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "format_",
    [
        *(f"%Y {directive}" for directive in _DIRECTIVES),
        *("%d/%m/%y", "%H:%M", "%I:%M %p %F", "%F %T", "%F %H:%T", "%Y-%m-%m", "%j %Y", "%% %Y", "%Y %q", "%Y %"),
    ],
)
def test_a_date_format_is_taken_where_data_preparation_reads_by_it(format_: str) -> None:
    document = {**SMALLEST, "read": {"date_format": format_}}
    try:
        date_pattern(format_)
    except ValueError:
        with pytest.raises(InvalidRequestError, match="date_format"):
            parse_request(document)
    else:
        assert parse_request(document).read.date_format == format_


def test_every_missing_field_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r'"dataset_uri" is missing\. "target" is missing\.'):
        parse_request({})


@pytest.mark.parametrize("document", [None, [], "text", 1])
def test_what_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(InvalidRequestError, match="must be a JSON object"):
        parse_request(document)


@pytest.mark.parametrize("problem", METRICS)
def test_resolving_closes_every_open_choice_but_what_a_search_finds(problem: str) -> None:
    request = parse_request(SMALLEST).resolve(problem)
    assert (request.problem, request.metric) == (problem, METRICS[problem][0])
    assert (request.estimator, request.search_trials, request.search_seconds) == ("auto", SEARCH_TRIALS, SEARCH_SECONDS)
    # What data preparation hands on is a valid request again.
    assert parse_request(request.model_dump()) == request

    single = parse_request({**SMALLEST, "search_trials": 0}).resolve(problem)
    assert single.estimator == ESTIMATORS[problem][0]
    assert parse_request(single.model_dump()) == single


@pytest.mark.parametrize(
    ("fields", "trials", "seconds"),
    [
        ({}, SEARCH_TRIALS, SEARCH_SECONDS),
        ({"search_trials": 0}, 0, 0),
        ({"search_seconds": 0}, 0, 0),
        ({"search_trials": 7}, 7, SEARCH_SECONDS),
        ({"search_seconds": 7}, SEARCH_TRIALS, 7),
        ({"estimator": "ridge"}, 0, 0),
        ({"estimator": "ridge", "search_trials": 7}, 7, SEARCH_SECONDS),
        ({"estimator": "ridge", "search_seconds": 7}, SEARCH_TRIALS, 7),
        ({"estimator": "ridge", "search_trials": 7, "search_seconds": 9}, 7, 9),
    ],
)
def test_a_search_is_for_auto_and_for_whoever_asks_for_one(fields: dict[str, Any], trials: int, seconds: float) -> None:
    request = parse_request({**SMALLEST, **fields}).resolve("regression")
    assert (request.search_trials, request.search_seconds) == (trials, seconds)
    assert (request.estimator == "auto") == ("estimator" not in fields and trials > 0)


def test_a_choice_is_checked_as_if_it_had_been_asked_for() -> None:
    request = parse_request({**SMALLEST, "estimator": "ridge", "hyperparameters": {"alpha": 2.0}}).resolve("regression")
    chosen = request.with_choice("ridge", {"alpha": 5.0, "tol": 0.1})
    # What the request says stays.
    assert chosen.hyperparameters == {"alpha": 2.0, "tol": 0.1}
    with pytest.raises(InvalidRequestError, match='"C" is unknown'):
        request.with_choice("ridge", {"C": 1.0})
    with pytest.raises(InvalidRequestError, match="does not fit regression"):
        request.with_choice("logistic_regression", {})


@pytest.mark.parametrize(
    ("classes", "asked", "chosen"),
    [
        ({"no": 9, "yes": 3}, None, "yes"),
        ({"no": 3, "yes": 9}, None, "no"),
        # Of two that are equally frequent the last one.
        ({0: 5, 1: 5}, None, 1),
        ({False: 5, True: 9}, None, False),
        ({"a": 1, "b": 2, "c": 3}, None, None),
        ({"a": 1, "b": 2, "c": 3}, "c", "c"),
        # What a command line hands on is a text.
        ({0: 5, 1: 9}, "1", 1),
        ({0.0: 5, 1.0: 9}, 1, 1.0),
        ({0.5: 5, 1.5: 9}, "1.5", 1.5),
        ({False: 5, True: 9}, "True", True),
        ({"1": 5, "x": 9}, 1, "1"),
    ],
)
def test_the_positive_class_is_the_one_asked_for_or_the_rarer_of_two(
    classes: dict[Any, int], asked: Any, chosen: Any
) -> None:
    request = parse_request({**SMALLEST, "pos_label": asked}).resolve("classification", classes)
    assert (request.pos_label, type(request.pos_label)) == (chosen, type(chosen))
    assert parse_request(request.model_dump()).scoring == request.scoring


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pos_label": "maybe"}, '"pos_label" is \'maybe\', which is none of the 3 classes of "price"'),
        ({"metric": "f1"}, 'The metric "f1" is of one class, and "price" has 3: say by pos_label which one is meant'),
        ({"metric": "average_precision"}, "or choose f1_macro"),
    ],
)
def test_a_positive_class_that_nobody_knows_is_refused_without_the_classes(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request({**SMALLEST, **fields}).resolve("classification", {"secret a": 1, "secret b": 2, "secret c": 3})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_choice_that_does_not_fit_the_problem_found_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="rmse"):
        parse_request({**SMALLEST, "metric": "rmse"}).resolve("classification")


@pytest.mark.parametrize(
    ("name", "value", "problem"), [("loss", "poisson", "regression"), ("class_weight", "balanced", "classification")]
)
def test_a_hyperparameter_of_one_problem_says_which_it_is(name: str, value: str, problem: str) -> None:
    request = parse_request({**SMALLEST, "estimator": "hist_gradient_boosting", "hyperparameters": {name: value}})
    assert request.fitting_problems() == (problem,)


def test_every_estimator_has_its_hyperparameters() -> None:
    built_in = {name for names in ESTIMATORS.values() for name in names}
    assert set(HYPERPARAMETERS) == built_in | set(OF_ANY_PROBLEM) - {"auto"}


def test_near_names_come_first_and_all_names_where_none_is_near() -> None:
    assert did_you_mean("Prise", ["price", "rooms"]) == ' Did you mean "price"?'
    assert did_you_mean("zzz", ["price", "rooms"]) == ' Known: "price", "rooms".'


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": nested(100_000)}, '"target" is a JSON array: input should be a valid string.'),
        ({"split_key": nested(100_000)}, '"split_key" is a JSON array'),
        ({"unknown": nested(100_000)}, '"unknown" is unknown'),
        ({"estimator": "ridge", "hyperparameters": {"alpha": nested(100_000)}}, '"alpha" is a JSON array'),
        ({"estimator": "ridge", "hyperparameters": {"alpha": {"a": nested(100_000)}}}, '"alpha" is a JSON object'),
        ({"hyperparameters": nested(100_000)}, '"hyperparameters" is a JSON array'),
        ({"seed": 10**5000}, '"seed" is a whole number of 16,610 bits: input should be less than 4294967296.'),
        ({"pos_label": 10**5000}, '"pos_label" is a whole number of 16,610 bits, more than a class label holds.'),
        ({"pos_label": "a\ud800"}, r"\ud800"),
        ({"threshold": 10**5000}, '"threshold" is a whole number of 16,610 bits'),
        ({"estimator": "ridge", "hyperparameters": {"max_iter": 2**31}}, "should be less than 2147483648"),
        ({"estimator": "ridge", "hyperparameters": {"alpha": float("inf")}}, '"alpha" is inf'),
        ({"margin": float("nan")}, '"margin" is nan'),
        ({"target": "a\ud800"}, r"\ud800"),
        ({"estimator": "\ud800"}, r"\ud800"),
        ({"\ud800": 1}, r"\ud800"),
        ({"estimator": "ridge", "hyperparameters": {"\ud800": 1}}, r"\ud800"),
        ({"split_column": "a\u2028b", "target": "a\u2028b"}, '"a b" cannot be both'),
        ({f"field {number}": 1 for number in range(100_000)}, "So are 99,992 more."),
    ],
)
def test_a_request_of_the_worst_kind_ends_in_one_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request({**SMALLEST, **change})
    assert message in str(caught.value)
    assert len(str(caught.value)) <= 2001
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode()


def test_of_many_wrong_fields_the_first_are_named_and_the_others_counted() -> None:
    with pytest.raises(InvalidRequestError, match=r"So are 15 more\.$"):
        parse_request({**SMALLEST, **dict.fromkeys("abcdefghijklmnopqrstuvw", 1)})
