"""What a search tries, when it ends, and what it takes for the best."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from common.errors import InvalidDatasetError, InvalidRequestError
from common.hyperparameters import HYPERPARAMETERS
from common.metric_table import METRIC_TABLE
from common.request import ESTIMATORS, TrainingRequest, parse_request
from model_training.blend_choice import Blend
from model_training.folds import rows_to_try
from model_training.memory import check_memory
from model_training.model import PORTFOLIO
from model_training.proposals import propose
from model_training.search import PATIENCE, Plan, blend_candidates, plan, that_fits, with_blend
from model_training.space import Space
from model_training.spaces import space_of
from model_training.trial import OUT_OF_TIME, Trial, Tried

Score = Callable[[Trial], float | None]


METRICS_OF_CLASSES = ["f1", "f1_macro", "balanced_accuracy", "recall", "precision"]


def profile(rows: int = 1000, problem: str = "regression", **target: Any) -> dict[str, Any]:
    columns = [
        {"name": f"x{number}", "use": "feature", "role": "numeric", "dtype": "float64", "kind": "float", "nulls": 0}
        for number in range(5)
    ]
    columns.append({"name": "y", "use": "target", "min": -9.0, "max": 9.0, "mean": 0.0, "std": 3.0, **target})
    classes = [{"label": "a", "rows": rows // 2}, {"label": "b", "rows": rows // 2}]
    return {
        "columns": columns,
        "rows": {"train": rows},
        "split": {"by": "rows"},
        "left_open": [],
        "problem": problem,
        "classes": classes if problem == "classification" else None,
    }


def request(problem: str = "regression", **fields: Any) -> TrainingRequest:
    return parse_request({"dataset_uri": "s3://bucket/x", "target": "y", "problem": problem, **fields}).resolve(problem)


def next_plan(asked: TrainingRequest, done: list[Tried], at_once: int = 4, **fields: Any) -> Plan:
    given = {"memory_mb": 10_240, "most_seconds": 500.0, **fields}
    described = given.pop("profile", None) or profile(problem=str(asked.problem))
    return plan(asked, described, done, at_once=at_once, **given)


def searched(asked: TrainingRequest, score: Score, seconds: float = 0.1, **fields: Any) -> tuple[Plan, list[Tried]]:
    """Search to the end; a trial has the score that a function gives it, None for a failure."""
    done: list[Tried] = []
    while (planned := next_plan(asked, done, **fields)).trials:
        for trial in planned.trials:
            value = score(trial)
            error = "it does not fit" if value is None else None
            done.append(
                Tried(
                    trial.number, trial.estimator, trial.hyperparameters, value, 0.1, seconds, seconds / 5, 800, error
                )
            )
    return planned, done


def quality(trial: Trial) -> float:
    """Return a loss that has its least at 0.02 of a forest's smallest share of features."""
    return {"ridge": 3.0, "hist_gradient_boosting": 2.0}.get(
        trial.estimator, 1.0 + abs(trial.hyperparameters.get("max_features", 1.0) - 0.4)
    )


def test_the_first_round_is_one_of_each_and_then_what_else_is_known_to_be_good() -> None:
    first = next_plan(request(), [], at_once=4)
    assert [trial.estimator for trial in first.trials] == [*PORTFOLIO["regression"], "ridge"]
    assert [trial.number for trial in first.trials] == [0, 1, 2, 3]
    assert first.trials[0].hyperparameters == {}
    assert sum(trial.seconds for trial in first.trials) == pytest.approx(60)
    assert (first.chosen, first.record) == (None, None)


@pytest.mark.parametrize(
    ("problem", "metric"),
    [("regression", "rmse"), ("regression", "mae"), ("regression", "pinball"), ("classification", "log_loss")],
)
def test_a_search_goes_where_it_is_better_and_tries_nothing_that_a_request_could_not_say(
    problem: str, metric: str
) -> None:
    ended, done = searched(request(problem, metric=metric, search_trials=40), quality)
    assert ended.record is not None
    best = min(done, key=lambda each: (each.score, each.number))
    assert ended.chosen == {"estimator": "random_forest", "hyperparameters": best.hyperparameters}
    assert ended.record["best"] == best.number
    assert quality(Trial(0, best.estimator, best.hyperparameters, 0, 0)) < 1.1
    assert [each.number for each in done] == list(range(len(done)))
    for each in done:
        HYPERPARAMETERS[each.estimator].model_validate(each.hyperparameters)
    assert [Tried(**each) for each in json.loads(json.dumps(ended.record["trials"]))] == done


def test_choices_of_words_are_varied_as_numbers_are() -> None:
    def balanced(trial: Trial) -> float:
        return quality(trial) - 0.5 * (trial.hyperparameters.get("class_weight") == "balanced")

    asked = request("classification", metric="f1_macro", search_trials=60)
    ended, done = searched(asked, lambda trial: -balanced(trial))
    assert ended.chosen is not None
    assert ended.chosen["hyperparameters"]["class_weight"] == "balanced"
    later = [each.hyperparameters.get("class_weight") for each in done[len(done) // 2 :]]
    assert later.count("balanced") > len(later) / 2


def test_higher_is_better_where_the_metric_says_so() -> None:
    ended, done = searched(request(metric="r2", search_trials=8), lambda trial: trial.number / 10)
    assert ended.record is not None
    assert ended.record["best"] == done[-1].number == 7


def test_the_same_search_is_made_again() -> None:
    assert searched(request(search_trials=20), quality) == searched(request(search_trials=20), quality)
    _, other = searched(request(search_trials=20, seed=7), quality)
    assert other != searched(request(search_trials=20), quality)[1]


def test_of_equals_the_first_and_simplest_is_taken() -> None:
    ended, _ = searched(request(), lambda _: 1.0)
    assert ended.chosen == {"estimator": "ridge", "hyperparameters": {}}


def test_a_named_estimator_is_searched_with_what_the_request_says_of_it() -> None:
    asked = request(estimator="random_forest", hyperparameters={"min_samples_leaf": 3}, search_trials=10)
    ended, done = searched(asked, lambda trial: float(trial.hyperparameters["max_features"]) if trial.number else 9.0)
    assert {each.estimator for each in done} == {"random_forest"}
    assert {each.hyperparameters["min_samples_leaf"] for each in done} == {3}
    assert len(done) == 10
    assert ended.record is not None
    assert ended.record["ended"] == "10 trials were made"


def test_what_has_nothing_to_vary_ends_when_all_was_tried() -> None:
    ended, done = searched(request(estimator="linear_regression", search_trials=10), lambda _: 1.0)
    assert len(done) == 1
    assert ended.record is not None
    assert ended.record["ended"] == "there is nothing else to vary"


@pytest.mark.parametrize(
    ("fields", "seconds", "trials", "reason"),
    [
        ({"search_trials": 5}, 0.1, 5, "5 trials were made"),
        ({"search_seconds": 10}, 1.0, 8, "the 10 seconds were used"),
        ({"search_seconds": 10}, 30.0, 4, "the 10 seconds were used"),
    ],
)
def test_the_budget_ends_a_search(fields: dict[str, Any], seconds: float, trials: int, reason: str) -> None:
    ended, done = searched(request(**fields), quality, seconds)
    assert ended.record is not None
    assert (len(done), ended.record["ended"]) == (trials, reason)


def test_a_search_that_finds_nothing_better_ends() -> None:
    ended, done = searched(request(search_trials=300), lambda trial: 1.0 + trial.number)
    assert ended.record is not None
    assert PATIENCE <= len(done) <= PATIENCE + 4
    assert ended.record["ended"].startswith("no trial was better")


def test_a_trial_that_fails_is_told_and_the_others_go_on() -> None:
    ended, done = searched(request(), lambda trial: None if trial.estimator == "ridge" else quality(trial))
    assert ended.record is not None
    assert {each.error for each in done if each.estimator == "ridge"} == {"it does not fit"}
    assert ended.chosen is not None
    assert ended.chosen["estimator"] == "random_forest"


def test_a_search_without_any_score_says_why() -> None:
    with pytest.raises(InvalidDatasetError, match=r"None of \d+ trials could be fitted and scored: it does not fit"):
        searched(request(), lambda _: None)


def test_seconds_that_do_not_do_for_one_trial_are_told_with_the_way_out() -> None:
    first = next_plan(request(search_seconds=1), [])
    slow = [
        Tried(each.number, each.estimator, each.hyperparameters, seconds=each.seconds, error=f"{OUT_OF_TIME}: 0 of 5")
        for each in first.trials
    ]
    with pytest.raises(InvalidRequestError, match="search_seconds is 1, and none of 4 trials ended"):
        next_plan(request(search_seconds=1), slow)


def test_who_asked_for_no_search_gets_the_model_without_one_where_no_trial_ends_and_is_told() -> None:
    left_open = {**profile(), "left_open": ["search"]}
    slow = [
        Tried(each.number, each.estimator, each.hyperparameters, seconds=each.seconds, error=f"{OUT_OF_TIME}: 0 of 5")
        for each in next_plan(request(), [], profile=left_open).trials
    ]
    ended = next_plan(request(), slow, profile=left_open)
    assert (ended.trials, ended.chosen) == ([], {"estimator": "ridge", "hyperparameters": {}})
    assert ended.record is not None
    assert ended.record["best"] is None
    (told,) = ended.record["told"]
    assert told == (
        "search_seconds is 60, and none of 4 trials ended in its share of that (each had 15.0 s): raise it, or train "
        "without a search (search_trials 0). ridge was fitted without a search."
    )
    assert not blend_candidates(ended, request(), left_open, 500)
    assert ended.document()["best"] is None


def test_a_trial_whose_process_ended_says_why_that_may_be() -> None:
    failed = {"number": 3, "estimator": "random_forest", "hyperparameters": {}, "seconds": 15.0}
    ended = Tried.of({**failed, "error": "Runtime.ExitError: Runtime exited before returning a response"})
    assert str(ended.error).endswith("a response (it took more time or memory than a trial has)")
    assert Tried.of({**failed, "error": "ValueError: no"}).error == "ValueError: no"


def test_what_training_has_no_time_for_is_not_chosen_and_that_is_told() -> None:
    _, done = searched(request(search_trials=4), quality)
    slow = [replace(each, fit_seconds=10.0) if each.estimator == "random_forest" else each for each in done]
    ended = next_plan(request(search_trials=4), slow, profile=profile(rows=100_000), most_seconds=500)
    assert ended.chosen is not None
    assert ended.record is not None
    assert ended.chosen["estimator"] == "hist_gradient_boosting"
    (told,) = ended.record["told"]
    assert told.startswith(
        "Trial 2 (random_forest) was better, and its fit on all 100,000 rows would take about 1,250 s"
    )
    with pytest.raises(InvalidDatasetError, match="would take about"):
        next_plan(request(search_trials=4), slow, profile=profile(rows=100_000), most_seconds=0.001)


def test_an_estimator_that_does_not_fit_the_memory_is_not_tried() -> None:
    large = profile(rows=15_000_000)
    tried = {each.estimator for each in next_plan(request(), [], profile=large, memory_mb=2000).trials}
    assert tried <= {"ridge", "xgboost"}
    with pytest.raises(InvalidDatasetError, match="ModelTrainingMemory"):
        next_plan(request(), [], profile=large, memory_mb=400)


def test_where_the_boosting_of_scikit_learn_does_not_fit_the_memory_the_other_one_is_tried_and_told() -> None:
    large = profile(rows=50_000_000)
    chosen = {each.estimator for each in next_plan(request(), [], profile=large, memory_mb=4000).trials}
    assert "xgboost" in chosen
    assert "hist_gradient_boosting" not in chosen
    done = [Tried(0, "xgboost", {}, 1.0, seconds=60.0, fitted_rows=10**9)]
    record = next_plan(request(), done, profile=large, memory_mb=4000).record
    assert record is not None
    assert "xgboost" in record["estimators"]
    (told,) = record["told"]
    assert told.startswith("xgboost was tried in place of hist_gradient_boosting, whose fit on all rows needs about ")
    small = next_plan(request(), done, profile=profile(rows=1000)).record
    assert small is not None
    assert not small["told"]


def test_more_time_is_for_more_rows() -> None:
    many = profile(rows=1_000_000)
    assert rows_to_try(request(), many) == 20_000
    assert rows_to_try(request(search_seconds=600), many) == 200_000
    assert rows_to_try(request(search_seconds=1), many) == 3000
    assert rows_to_try(request(), profile(rows=100)) == 100


@pytest.mark.parametrize("metric", list(METRIC_TABLE))
def test_every_space_starts_with_what_a_request_may_say(metric: str) -> None:
    problem = METRIC_TABLE[metric].problem
    asked = request(problem, metric=metric)
    for name in ESTIMATORS[problem]:
        space = space_of(name, asked, profile(problem=problem, min=0.0, mean=1.0))
        for start in space.starts:
            chosen = asked.with_choice(name, start)
            assert chosen.hyperparameters == start
        assert set(space.varied) <= set(HYPERPARAMETERS[name].model_fields)
    assert asdict(Tried(0, "ridge", {}))["score"] is None


def losses(metric: str, **target: Any) -> list[Any]:
    """Return the losses that boosting starts with: None for that of scikit-learn."""
    asked = request(metric=metric, quantile=0.9)
    space = space_of("hist_gradient_boosting", asked, profile(**target))
    started = list(dict.fromkeys(each.get("loss") for each in space.starts))
    varied = space.varied.get("loss")
    assert (varied is not None) == (len(started) > 1)
    assert varied is None or set(varied.choices) == {each or "squared_error" for each in started}
    return started


def test_the_loss_follows_the_metric_and_the_target() -> None:
    skewed = {"min": 0.0, "mean": 4.0, "std": 3.0}
    assert [losses(metric) for metric in ("mae", "medae", "mape")] == [[None, "absolute_error"]] * 3
    assert losses("pinball") == ["quantile", "squared_error"]
    assert [losses(metric, **skewed) for metric in ("rmse", "rmsle", "r2")] == [[None, "poisson"]] * 3
    assert losses("rmse", **{**skewed, "min": -0.1}) == [None]
    assert losses("rmse", **{**skewed, "std": 1.9}) == [None]
    assert losses("rmse", **{**skewed, "std": None}) == [None]


@pytest.mark.parametrize("metric", METRICS_OF_CLASSES)
def test_classes_are_balanced_in_a_fit_where_the_metric_is_of_labels(metric: str) -> None:
    asked = request("classification", metric=metric)
    for name in ESTIMATORS["classification"]:
        space = space_of(name, asked, profile(problem="classification"))
        assert [each.get("class_weight") for each in space.starts[:2]] == [None, "balanced"]
        assert ("class_weight" in space.varied) == (name != "logistic_regression")
        plain = space_of(name, request("classification", metric="log_loss"), profile(problem="classification"))
        assert all("class_weight" not in each for each in (*plain.starts, plain.varied))


def test_of_what_the_request_says_no_start_is_tried_twice() -> None:
    asked = request(estimator="ridge", hyperparameters={"alpha": 2.0}, search_trials=10)
    _, done = searched(asked, lambda _: 1.0)
    assert [each.hyperparameters for each in done] == [{"alpha": 2.0}]


@pytest.mark.slow
@pytest.mark.parametrize("longest", [{}, {"name": "n" * 5000}])
def test_what_the_state_machine_hands_on_is_never_more_than_it_takes(longest: dict[str, Any]) -> None:
    asked = request(search_trials=300, search_seconds=3600)
    folder = f"s3://{'b' * 63}/runs/{'r' * 80}/trials/000/20261128T153012-22f89fbf"
    done, planned = [], next_plan(asked, [])
    while planned.trials:
        for trial in planned.trials:
            tried = Tried(trial.number, trial.estimator, {**trial.hyperparameters, **longest}, 1 / (trial.number + 3))
            kept = {"uri": f"{folder}/out_of_fold.npy", "sha256": "0" * 64}
            done.append(replace(tried, deviation=1 / 3, seconds=0.123, uri=f"{folder}/trial.json", outputs=kept))
        between = len(json.dumps([planned.document(), [asdict(each) for each in done]]))
        assert between < 256 * 1024
        planned = next_plan(asked, done)
    assert planned.record is not None
    if longest:
        assert planned.record["ended"] == "the state machine could hand on no more trials"
    else:
        assert len(done) > 240
        assert len(json.dumps(planned.document())) < 250_000


def test_a_request_that_leaves_no_room_for_a_trial_is_refused() -> None:
    long = request(columns={f"column {number}": "ignore" for number in range(10_000)})
    with pytest.raises(InvalidRequestError, match="too long for a search"):
        next_plan(long, [])


def test_a_search_in_which_all_fail_does_not_go_on_for_ever() -> None:
    with pytest.raises(InvalidDatasetError, match=f"None of {-(-PATIENCE // 4) * 4} trials"):
        searched(request(search_trials=300), lambda _: None)


def test_what_is_too_slow_alone_takes_no_other_out_of_a_blend() -> None:
    _, done = searched(request(search_trials=4), quality)
    # Of the four the first one is the worst, and the third the best.
    slow = [replace(each, fit_seconds=10.0 if each.number == 2 else 0.1) for each in done]
    ended = next_plan(request(search_trials=4), slow, profile=profile(rows=100_000))
    found = blend_candidates(ended, request(), profile(rows=100_000), 500)
    assert [each.number for each in found] == [1, 0, 3]
    assert ended.record is not None
    assert found[0].number == ended.record["best"]
    assert [each.number for each in blend_candidates(ended, request(), profile(rows=100_000), 30)] == [1, 0]


def test_a_blend_that_needs_more_memory_than_there_is_is_not_taken_and_told() -> None:
    described, asked = profile(rows=100_000), request(search_trials=3)
    ended, done = searched(asked, quality, profile=described, most_seconds=1e6)
    assert [each.estimator for each in done][2] == "random_forest"
    blended = with_blend(ended, Blend({0: 0.5, 2: 0.5}, 0.5, 0.1))
    assert that_fits(blended, ended, asked, described, 10_240) is blended
    kept = that_fits(blended, ended, asked, described, 400)
    assert kept.chosen == ended.chosen
    assert kept.record is not None
    assert kept.record["blend"] is None
    assert kept.record["told"][0].startswith("A blend of trials was better. 100,000 training rows")


def test_what_needs_a_task_is_searched_where_nothing_fits_a_function_or_a_task_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    described, asked = profile(rows=2_000_000), request(search_trials=4)

    def estimators(memory_mb: int, **fields: str) -> set[str]:
        found = plan(asked.model_copy(update=fields), described, [], at_once=4, memory_mb=memory_mb, most_seconds=1e6)
        return {each.estimator for each in found.trials}

    assert "random_forest" not in estimators(1500)
    assert "random_forest" in estimators(1500, compute="task")
    # Nothing fits that: a task has the room for each.
    assert "random_forest" in estimators(301)


def test_a_blend_that_needs_a_task_is_taken_where_one_is_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    described, asked = profile(rows=100_000), request(search_trials=3)
    ended, _ = searched(asked, quality, profile=described, most_seconds=1e6)
    blended = with_blend(ended, Blend({0: 0.5, 2: 0.5}, 0.5, 0.1))
    kept = that_fits(blended, ended, asked, described, 400)
    assert kept.record is not None
    assert kept.record["told"] == [
        "A blend of trials was better, and its fits do not fit a function: with the compute task it is taken."
    ]
    for_task = asked.model_copy(update={"compute": "task"})
    assert that_fits(blended, ended, for_task, described, 400) is blended


def test_what_no_function_has_the_time_for_is_left_to_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    _, done = searched(request(search_trials=4), quality)
    slow = [replace(each, fit_seconds=100.0) for each in done]
    with pytest.raises(InvalidDatasetError, match="more than the"):
        next_plan(request(search_trials=4), slow, profile=profile(rows=100_000), most_seconds=10.0)
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    ended = next_plan(request(search_trials=4), slow, profile=profile(rows=100_000), most_seconds=10.0)
    assert ended.record is not None
    assert "a task has the time for it" in ended.record["told"][0]
    with pytest.raises(InvalidDatasetError, match="more than the"):
        next_plan(request(search_trials=4, compute="lambda"), slow, profile=profile(rows=100_000), most_seconds=10.0)


def test_the_forests_of_a_blend_take_memory_together() -> None:
    forest = {"estimator": "random_forest", "hyperparameters": {"min_samples_leaf": 5}}
    described = profile(rows=1_000_000)
    alone = request(estimator="random_forest", hyperparameters=forest["hyperparameters"])
    check_memory(alone, described, 4500)
    with pytest.raises(InvalidDatasetError, match="for blend"):
        check_memory(request(estimator="blend", hyperparameters={"members": [forest] * 3}), described, 4500)


def test_a_search_never_asks_for_more_rows_than_a_call_has_time_for() -> None:
    assert rows_to_try(request(search_seconds=36_000), profile(rows=10**8)) == 600_000


@pytest.mark.parametrize("fewest", [9, 10])
def test_boosting_is_not_stopped_early_where_a_class_is_too_rare(fewest: int) -> None:
    described = profile(problem="classification")
    described["classes"][1]["rows"] = fewest
    space = space_of("hist_gradient_boosting", request("classification"), described)
    stopped = [each.get("early_stopping", "auto") for each in space.starts]
    assert stopped == ([False, False] if fewest == 9 else [True, "auto", "auto"])
    assert space.varied["early_stopping"].choices == ((False,) if fewest == 9 else (False, True))


def test_the_steps_of_what_varies_are_kept_and_starts_may_be_of_another_kind() -> None:
    space = Space(
        ({"depth": None, "share": "all"},),
        {"depth": IntDistribution(10, 50, step=20), "share": FloatDistribution(0.0, 1.0, step=0.5)},
    )
    done = [Tried(0, "custom", {"depth": None, "share": "all"}, 1.0)]
    for number in range(1, 12):
        ((name, values),) = propose(request(estimator="custom"), {"custom": space}, done, 1)
        done.append(Tried(number, name, values, 1.0))
    assert {each.hyperparameters["depth"] for each in done[1:]} <= {10, 30, 50}
    assert {each.hyperparameters["share"] for each in done[1:]} <= {0.0, 0.5, 1.0}
