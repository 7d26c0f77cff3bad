"""The state machine's paths and promotions once more, by an engine that shares nothing with the embedded AWS.

The tests are those of the other modules, with this module's fixtures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ministack.services import stepfunctions

from .cases import PENDING_ERRORS
from .conftest import Machine, Metrics, Registry, asking, serving, with_pause
from .second_engine import REFERENCE, STACK, TABLE, SecondEngine, second_engine
from .test_approval import (  # noqa: F401
    ended_answers,
    test_a_better_champion_meanwhile_ends_it_without_another_question,
    test_a_champion_that_moves_meanwhile_is_compared_and_asked_about_again,
    test_a_question_that_cannot_be_announced_is_asked,
    test_a_refusal_rejects_with_its_reason,
    test_an_answer_that_is_none_is_refused,
    test_an_approval_promotes_and_is_recorded,
    test_nobody_is_asked_about_the_system_tests_model_or_what_is_rejected,
    test_what_nobody_approves_in_time_is_rejected,
    test_what_was_never_asked_is_told,
)
from .test_canary import (  # noqa: F401
    begun,
    ended_inputs,
    test_a_canary_ends_whatever_became_of_its_version,
    test_a_canary_that_may_not_be_is_refused,
    test_a_canary_that_never_comes_through_is_tried_three_times,
    test_a_challenger_becomes_the_champion_and_the_canary_is_over,
    test_a_move_that_cannot_be_announced_is_made,
    test_a_move_whose_answer_was_lost_is_told_as_made,
    test_a_registry_that_does_not_answer_moves_no_challenger,
    test_a_rejected_version_is_tried_in_the_shadow_alone,
    test_a_request_for_a_canary_that_is_none_is_refused,
    test_a_rollback_in_the_middle_wins,
    test_a_share_becomes_another_and_a_shadow_and_the_time_of_its_begin_stays,
    test_a_version_challenges_the_champion_and_the_execution_is_recorded,
    test_a_version_of_another_model_challenges_nobody,
    test_a_version_that_is_no_longer_promoted_is_not_given_rows,
    test_an_alarm_ends_the_canary_of_the_version_that_failed_and_only_once,
    test_an_alarm_from_before_a_canary_does_not_end_it,
    test_an_alarm_that_cannot_be_looked_at_begins_no_canary,
    test_an_alarm_that_was_about_the_challenger_before_does_not_end_the_next_ones_canary,
    test_another_challenger_is_neither_replaced_nor_promoted,
    test_metrics_that_cannot_be_read_leave_the_canary_and_fail,
    test_while_the_alarm_is_on_no_canary_of_its_model_begins,
)
from .test_paths import (  # noqa: F401
    ended_cases,
    ended_explanations,
    test_a_cause_of_any_form_is_told_in_words,
    test_a_domain_error_ends_the_run_at_once_under_its_name,
    test_a_functions_own_error_is_never_retried,
    test_a_run_that_comes_through_ends_with_the_decision,
    test_a_service_error_is_retried_until_it_is_over,
    test_any_other_error_ends_the_run_under_its_name,
    test_whatever_is_caught_can_be_explained,
)
from .test_promotion import (  # noqa: F401
    test_a_canary_that_begins_while_a_run_evaluates_is_the_one_that_its_promotion_ends,
    test_a_pointer_that_moved_there_and_back_is_not_the_one_that_was_compared,
    test_a_promotion_ends_a_canary_and_the_version_says_so_and_a_rejection_leaves_it,
    test_a_promotion_that_came_too_late_is_compared_with_the_new_champion,
    test_a_run_id_that_was_used_is_refused_before_anything_is_written,
    test_a_run_that_always_comes_too_late_gives_up_after_five_more_evaluations,
    test_an_answer_that_was_lost_is_found_out_whoever_was_promoted_since,
    test_comparisons_on_the_same_test_part_are_counted,
    test_the_split_of_the_champions_run_reaches_preparation,
    test_what_functions_return_does_not_say_under_which_name_a_model_is_recorded,
)
from .test_retraining import (  # noqa: F401
    champion,
    ended_retrainings,
    retrain,
    test_a_claim_whose_run_is_not_known_holds_for_a_moment,
    test_a_run_that_cannot_be_started_fails_aloud,
    test_a_run_that_goes_on_holds_the_claim_until_it_ends_whichever_way,
    test_a_training_that_fails_leaves_nothing_behind,
    test_an_input_that_is_none_starts_nothing,
    test_new_data_are_the_folder_and_the_last_object_of_an_upload_retrains,
    test_of_many_events_at_once_one_starts_a_run,
    test_the_budget_of_a_month_is_not_exceeded_and_the_next_month_has_its_own,
    test_what_is_retrained_is_the_request_of_the_champions_run,
    test_within_the_cool_down_only_a_person_retrains,
    test_without_a_champion_or_its_request_it_says_what_to_do,
)
from .test_rollback import (  # noqa: F401
    ended_rollbacks,
    test_a_champion_that_is_counted_for_the_first_time_after_it_was_read_stays,
    test_a_champion_that_moves_after_it_was_read_stays,
    test_a_champion_whose_moves_nobody_counted_is_moved_once,
    test_a_move_that_may_not_be_is_refused,
    test_a_move_whose_answer_was_lost_is_told_as_made_whoever_came_after_it,
    test_a_registry_that_does_not_answer_ends_it_with_the_step,
    test_a_rollback_that_cannot_be_announced_is_made,
    test_a_version_from_before_splits_were_recorded_says_nothing_of_one,
    test_a_version_of_another_model_is_unknown,
    test_a_version_that_is_no_longer_promoted_is_not_moved_to,
    test_an_earlier_version_is_the_champion_again_and_the_execution_is_recorded,
    test_an_input_that_is_none_is_refused_with_what_is_wrong,
    test_what_never_comes_through_is_tried_three_times,
    trained,
)
from .test_scoring import (  # noqa: F401
    REQUEST,
    test_a_new_object_is_put_into_the_request_and_a_folder_starts_nothing,
    test_a_piece_that_fails_is_told_and_ends_nothing,
    test_a_pinned_version_is_read_instead_of_the_champion,
    test_a_request_that_is_none_is_left_to_the_function_to_refuse,
    test_a_service_that_is_away_is_tried_again,
    test_earlier_batches_of_this_version_are_found_the_newest_first,
    test_scores_are_recorded_in_the_end,
    test_scores_that_cannot_be_announced_are_there,
    test_whatever_fails_is_told_with_the_step,
)
from .test_search import (  # noqa: F401
    test_a_round_of_one_trial_is_a_round,
    test_a_search_in_which_all_fail_ends_the_run_with_its_reason,
    test_a_trial_that_fails_is_told_and_ends_nothing,
    test_rounds_of_trials_are_made_until_nothing_is_left_and_the_best_is_trained,
    test_without_a_search_training_comes_at_once,
)

# The same paths run on the embedded AWS at every turn.
pytestmark = pytest.mark.slow

# What a function's error may be made of, whole or cut.
PIECES = [
    "a", "\\", '"', "\\\\", '\\"', "\\n", "\\/", "\\x", "\\u", "\\u12", "\\u00e9", "\\ud83d\\ude00", "\\ud83d",
    "\\uDE00", "\n", "\1", "\2", "\3", "$1", "é", "😀", "{", "}", '"errorMessage"', '"errorMessage": "',
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(project: Path, create_table: Callable[[Any, str, str], None]) -> Iterator[SecondEngine]:
    with second_engine(project) as started:
        create_table(started.client("dynamodb"), "ModelRegistry", TABLE)
        yield started


@pytest.fixture(scope="module")
def run_mocked(engine: SecondEngine) -> Machine:
    return engine.machine("training")


@pytest.fixture(scope="module")
def run_scripted(engine: SecondEngine) -> Machine:
    return engine.machine("scripted")


@pytest.fixture(scope="module")
def run_explaining(engine: SecondEngine) -> Machine:
    return engine.machine("explaining", StartAt="ExplainFailure")


@pytest.fixture(scope="module")
def rolling_back(engine: SecondEngine) -> Machine:
    return engine.machine("rollback", engine.rollback_definition)


@pytest.fixture(scope="module")
def scoring_batches(engine: SecondEngine) -> Machine:
    return engine.machine("scoring", engine.scoring_definition)


@pytest.fixture(scope="module")
def rolling_back_slowly(engine: SecondEngine) -> Machine:
    changed = with_pause(json.loads(engine.rollback_definition), seconds=1)
    return engine.machine("slow-rollback", json.dumps(changed))


@pytest.fixture(scope="module")
def challenging(engine: SecondEngine) -> Machine:
    # It waits truly.
    assert '"Seconds": 60' in engine.canary_definition
    return engine.machine("canary", engine.canary_definition.replace('"Seconds": 60', '"Seconds": 1'))


@pytest.fixture(scope="module")
def challenging_slowly(engine: SecondEngine) -> Machine:
    changed = with_pause(json.loads(engine.canary_definition), seconds=1, before="MoveChallenger")
    return engine.machine("slow-canary", json.dumps(changed))


@pytest.fixture(scope="module")
def challenging_served(engine: SecondEngine) -> Machine:
    return engine.machine("served-canary", serving(engine.canary_definition, "alarmed-served"))


@pytest.fixture
def metrics(engine: SecondEngine) -> Metrics:
    client = engine.client("cloudwatch")
    client.put_metric_alarm(
        AlarmName=f"{STACK}-challenger-errors",
        Namespace="Crosstrain",
        MetricName="ChallengerErrors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
    )
    return Metrics(client, STACK)


@pytest.fixture(scope="module")
def retraining(engine: SecondEngine) -> Machine:
    # It waits truly.
    assert "10 * 60" in engine.retraining_definition
    return engine.machine("retraining", engine.retraining_definition.replace("10 * 60", "1"))


@pytest.fixture(scope="module")
def run_approving(engine: SecondEngine) -> Machine:
    return engine.machine("approving", asking(engine.definition))


@pytest.fixture(scope="module")
def answering(engine: SecondEngine) -> Machine:
    return engine.machine("approval", engine.approval_definition)


@pytest.fixture
def registry(engine: SecondEngine) -> Registry:
    return Registry(engine.client("dynamodb"), TABLE)


@pytest.fixture
def announced(engine: SecondEngine) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return a function that returns the events which were announced since its last call."""
    sqs, events = engine.client("sqs"), engine.client("events")
    queue = sqs.create_queue(QueueName="bus")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="all", EventPattern=json.dumps({"source": ["crosstrain"]}))
    events.put_targets(Rule="all", Targets=[{"Id": "bus", "Arn": arn}])

    def receive() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in found]

    yield receive
    events.remove_targets(Rule="all", Ids=["bus"])


def test_the_reference_implementation_is_the_published_one() -> None:
    # `npm pack jsonata@2.0.6` has it in package/jsonata.min.js.
    digest = "3616231ac3b165ea2b3e0840c94bbc0bf86b4c73202b644576693fd74dfbd762"
    assert hashlib.sha256(REFERENCE.read_bytes()).hexdigest() == digest


@given(begin=st.sampled_from(['{"errorMessage": "', ""]), pieces=st.lists(st.sampled_from(PIECES), max_size=14))
def test_any_cause_is_explained_and_both_engines_agree(engine: SecondEngine, begin: str, pieces: list[str]) -> None:
    expression = json.loads(engine.definition)["States"]["ExplainFailure"]["Output"]["cause"][2:-2].strip()
    caught = {"Error": "E", "Cause": begin + "".join(pieces)}
    states = json.dumps({"input": caught})

    explained = engine.evaluate(f"($parse := function($text) {{$eval($text)}}; $states := {states}; {expression})")

    assert explained
    assert explained == stepfunctions._evaluate_jsonata(expression, caught)


def test_events_are_announced(
    run_scripted: Machine, run_mocked: Machine, announced: Callable[[], list[dict[str, Any]]]
) -> None:
    _, promoted = run_scripted({"model_name": "told", "score": 1})
    assert promoted.output is not None
    (event,) = announced()
    assert (event["source"], event["detail-type"]) == ("crosstrain", "Model Promoted")
    assert event["detail"] == {
        "stack": STACK,
        "model_name": "told",
        "version": promoted.output["run_id"],
        "metric": "score",
        "value": 1,
        "rule": "better",
        "reason": "compared with None",
        "report_uri": "s3://scripted/report.html",
    }

    run_scripted({"model_name": "told", "score": 1})
    assert [event["detail-type"] for event in announced()] == ["Model Rejected"]

    run_mocked(case="EscapedMessageInPrepareData")
    (event,) = announced()
    assert event["detail-type"] == "Training Failed"
    # What would break the sentence that a rule puts it into is replaced.
    assert event["detail"].pop("run_id").startswith("EscapedMessageInPrepareData-")
    assert event["detail"] == {
        "stack": STACK,
        "step": "PrepareData",
        "error": "InvalidDatasetError",
        "cause": "The column 'größe' / holds 😀 and more.",
    }


def test_scores_are_announced(scoring_batches: Machine, announced: Callable[[], list[dict[str, Any]]]) -> None:
    _, result = scoring_batches(REQUEST, case="SomethingMoved")
    ready, drifted = sorted(announced(), key=lambda event: event["detail-type"], reverse=True)
    assert (ready["source"], ready["detail-type"]) == ("crosstrain", "Scores Ready")
    assert ready["detail"] == {
        "stack": STACK,
        "model_name": "mocked",
        "version": "v1",
        "run_id": (result.output or {})["run_id"],
        "dataset_uri": "s3://bucket/data/in/",
        "rows": 90,
        "failed_objects": 0,
        "manifest_uri": "s3://bucket/scoring/r/manifest.json",
        "drift_uri": "s3://bucket/scoring/r/drift.json",
        "drift_page_uri": "s3://bucket/scoring/r/drift.html",
    }
    assert drifted["detail-type"] == "Data Drifted"
    assert drifted["detail"] == {
        **ready["detail"],
        "changed": 1,
        "changed_columns": ["'si/ze'"],
        "reason": "Since training 1 of 2 columns has changed: 'si/ze' (PSI 3).",
    }

    scoring_batches(REQUEST, case="NothingMoved")
    assert [event["detail-type"] for event in announced()] == ["Scores Ready"]
    scoring_batches(REQUEST, case="InvalidRequestInPlanScoring")
    assert [event["detail-type"] for event in announced()] == ["Scoring Failed"]


def test_a_rollback_is_announced(
    rolling_back: Machine, registry: Registry, announced: Callable[[], list[dict[str, Any]]]
) -> None:
    _, result = rolling_back({**trained(registry, "told-back"), "reason": 'it "drifts" \\\n since  May'})
    assert result.output is not None
    (event,) = announced()
    assert (event["source"], event["detail-type"]) == ("crosstrain", "Model Rolled Back")
    assert event["detail"] == {
        "stack": STACK,
        "model_name": "told-back",
        "from_version": "b",
        "to_version": "a",
        "reason": "it 'drifts' / since May",
        "execution": result.output["execution"],
    }
    # What is recorded is what was said.
    assert registry.items("told-back")[result.output["entry"]]["reason"]["S"] == 'it "drifts" \\\n since  May'


def test_a_canary_is_announced_and_a_promotion_as_one(
    challenging: Machine, rolling_back: Machine, registry: Registry, announced: Callable[[], list[dict[str, Any]]]
) -> None:
    request = begun(registry, "told-canary")
    _, result = challenging({**request, "reason": 'it "is" \\\n better'})
    assert result.output is not None, result
    told = {each["detail-type"]: each["detail"] for each in announced()}
    assert told == {
        "Canary Ended": {
            "stack": STACK,
            "model_name": "told-canary",
            "champion_version": "b",
            "challenger_version": "a",
            "share": None,
            "shadow": False,
            "reason": "it 'is' / better",
            "execution": result.output["execution"],
            "outcome": "promoted",
        },
        "Model Promoted": {
            "stack": STACK,
            "model_name": "told-canary",
            "version": "a",
            "metric": "rmse",
            "value": 97,
            "rule": "canary",
            "reason": "It was the challenger. The reason: it 'is' / better.",
            "report_uri": "recorded",
        },
    }
    # One that ends with a rollback is told in its reason.
    begun(registry, "told-canary")
    back = {"champion_version": "b", "moves": 2}
    rolling_back({"model_name": "told-canary", "version": "a", "reason": "worse", "expected": back})
    (event,) = announced()
    assert event["detail"]["reason"] == "worse; the canary of a has ended with it"


@pytest.mark.parametrize("error", ["Lambda.TooManyRequestsException", *PENDING_ERRORS[:1]])
def test_retries_wait_as_declared(engine: SecondEngine, run_scripted: Machine, error: str) -> None:
    retriers = json.loads(engine.definition)["States"]["TrainModel"]["Retry"]
    (retrier,) = (each for each in retriers if error in each["ErrorEquals"])
    engine.waits.clear()

    _, result = run_scripted({"model_name": f"waited-{error}", "errors": {"TrainModel": [error] * 9}})

    assert result.error == error
    longest = [
        min(retrier["IntervalSeconds"] * retrier["BackoffRate"] ** number, retrier.get("MaxDelaySeconds", float("inf")))
        for number in range(retrier["MaxAttempts"])
    ]
    if "JitterStrategy" in retrier:
        assert len(engine.waits) == len(longest)
        assert all(0 <= waited <= most for waited, most in zip(engine.waits, longest, strict=True))
        assert engine.waits != longest
    else:
        assert engine.waits == longest


def test_a_function_that_is_too_slow_times_out(engine: SecondEngine) -> None:
    states = json.loads(engine.definition)["States"]
    states["PrepareData"]["TimeoutSeconds"] = 1

    events, result = engine.machine("impatient", States=states)({"seconds": {"PrepareData": 2}})

    assert (result.error, result.cause) == ("Timeout", "PrepareData: no cause was given.")
    assert [event.error for event in events if event.kind == "failed"] == ["States.Timeout"]
