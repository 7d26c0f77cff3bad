"""Promotion: one sound champion whatever happens, every version recorded once, and everybody told."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from crosstrain.local.server import LocalTrainingStack
from crosstrain.training import execution
from state_events import follow

from .conftest import Gate, Machine, Registry

SLOW_STATES = ("PrepareData", "TrainModel", "EvaluateModel")


@pytest.mark.slow
def test_twenty_runs_at_once_leave_the_best_as_the_one_champion(run_scripted: Machine, registry: Registry) -> None:
    name, scores = "at-once", [(7 * index) % 20 + 1 for index in range(20)]
    started = [
        run_scripted.start({"model_name": name, "score": score, "seconds": {"EvaluateModel": 0.05}}, f"{name}-{score}")
        for score in scores
    ]
    results = [execution.outcome(run_scripted.sfn, arn) for arn in started]
    # No run is lost, every version is recorded once, and its record says what the run ended with.
    assert {result.status for result in results} == {"SUCCEEDED"}
    items = registry.items(name)
    versions = {entry: item for entry, item in items.items() if entry.startswith("version#")}
    assert set(versions) == {f"version#{name}-{score}" for score in scores}
    decisions = {}
    for result in results:
        assert result.output is not None
        decisions[result.output["run_id"]] = result.output["evaluation"]["decision"]
    assert decisions == {item["version"]["S"]: item["decision"]["S"] for item in versions.values()}
    promoted = {int(item["value"]["N"]) for item in versions.values() if item["decision"]["S"] == "promote"}
    assert items["champion"]["champion_version"]["S"] == f"{name}-{max(promoted)}"
    # Nobody gave up without having lost to others at least as often as promised.
    for item in versions.values():
        assert (
            item["decision"]["S"] == "promote"
            or item["reason"]["S"] == "contended"
            or max(promoted) >= int(item["value"]["N"])
        )


def test_a_promotion_that_came_too_late_is_compared_with_the_new_champion(
    run_scripted: Machine, registry: Registry, gate: Gate
) -> None:
    request = {"model_name": "late", "score": 5, **gate.before("EvaluateModel")}
    started = run_scripted.start(request, "late-1")
    events = follow(run_scripted.sfn, started)
    next(event for event in events if event.state == "EvaluateModel" and event.kind == "entered")
    registry.promote("late", "other", 3, moves=5)
    gate.open()
    entered = ["EvaluateModel", *(event.state for event in events if event.kind == "entered")]
    assert entered == [
        "EvaluateModel", "Decide", "Promote", "FindOwnVersion", "IsRecorded", "FindChampion", "HasChampion",
        "ReadChampion", "EvaluateModel", "Decide", "Promote", "AnnounceDecision", "Decided",
    ]  # fmt: skip
    assert registry.champion("late") == "late-1"
    assert registry.items("late")["version#late-1"]["reason"]["S"] == "compared with other"
    # The one that came between was the fifth move, this is the sixth.
    assert registry.items("late")["champion"]["moves"]["N"] == "6"
    assert registry.items("late")["version#late-1"]["move"]["N"] == "6"


def test_a_promotion_ends_a_canary_and_the_version_says_so_and_a_rejection_leaves_it(
    run_scripted: Machine, registry: Registry
) -> None:
    name = "challenged"
    registry.promote(name, "old", 3, moves=1)
    registry.challenge(name, "tried")
    _, rejected = run_scripted({"model_name": name, "score": 1})
    assert rejected.status == "SUCCEEDED", rejected
    assert registry.items(name)["champion"]["challenger_version"] == {"S": "tried"}
    _, promoted = run_scripted({"model_name": name, "score": 5})
    assert promoted.output is not None, promoted
    items = registry.items(name)
    assert registry.champion(name) == promoted.output["run_id"]
    assert not {each for each in items["champion"] if each.startswith("challenger")}
    assert items[f"version#{promoted.output['run_id']}"]["ended_challenger"] == {"S": "tried"}


def test_a_canary_that_begins_while_a_run_evaluates_is_the_one_that_its_promotion_ends(
    run_scripted: Machine, registry: Registry, gate: Gate
) -> None:
    name = "challenged-late"
    registry.promote(name, "old", 3, moves=1)
    started = run_scripted.start({"model_name": name, "score": 5, **gate.before("EvaluateModel")}, f"{name}-1")
    events = follow(run_scripted.sfn, started)
    next(event for event in events if event.state == "EvaluateModel" and event.kind == "entered")
    registry.challenge(name, "tried")
    gate.open()
    entered = [event.state for event in events if event.kind == "entered"]
    assert entered.count("EvaluateModel") == 1
    assert entered.count("Promote") == 2
    assert registry.champion(name) == f"{name}-1"
    assert registry.items(name)[f"version#{name}-1"]["ended_challenger"] == {"S": "tried"}


@pytest.mark.slow
def test_a_run_that_always_comes_too_late_gives_up_after_five_more_evaluations(
    run_scripted: Machine, registry: Registry, gate: Gate
) -> None:
    started = run_scripted.start({"model_name": "never", "score": 5, **gate.before("EvaluateModel")}, "never-1")
    seen: list[str] = []
    for event in follow(run_scripted.sfn, started):
        if event.kind == "entered":
            seen.append(event.state)
            if event.state == "EvaluateModel":
                # Somebody else is promoted during each evaluation.
                registry.promote("never", f"other-{len(seen)}", 1, moves=len(seen))
                gate.open(seen.count("EvaluateModel") - 1)
    assert seen.count("EvaluateModel") == 7  # the first, five more, and one that records that it gave up
    assert seen[-3:] == ["Reject", "AnnounceDecision", "Decided"]
    result = execution.outcome(run_scripted.sfn, started)
    assert result.output is not None
    assert (result.output["evaluation"]["decision"], result.output["evaluation"]["reason"]) == ("reject", "contended")
    assert str(registry.champion("never")).startswith("other-")


@pytest.mark.slow
@pytest.mark.parametrize("successor", [None, "other"])
@pytest.mark.parametrize("decision", ["promote", "reject"])
def test_an_answer_that_was_lost_is_found_out_whoever_was_promoted_since(
    run_scripted: Machine, registry: Registry, gate: Gate, decision: str, successor: str | None
) -> None:
    """What was announced, what is recorded and what the run ends with are one decision."""
    name = f"lost-{decision}-{successor}"
    script = {"model_name": name, "score": 5, "decision": "promote", **gate.before("EvaluateModel")}
    started = run_scripted.start(script, f"{name}-1")
    events = follow(run_scripted.sfn, started)
    next(event for event in events if event.state == "EvaluateModel" and event.kind == "entered")
    # What an attempt leaves whose answer never came, perhaps of an earlier evaluation that had decided otherwise.
    registry.promote(name, f"{name}-1", 5, moves=1, decision=decision)
    if successor or decision == "reject":
        registry.promote(name, successor or "before", 7, moves=2)
    gate.open()
    entered = [event.state for event in events if event.kind == "entered"]
    assert entered == ["Decide", "Promote", "FindOwnVersion", "IsRecorded", "AnnounceDecision", "Decided"]
    result = execution.outcome(run_scripted.sfn, started)
    assert result.output is not None
    assert result.output["evaluation"]["decision"] == decision
    assert result.output["evaluation"]["reason"] == "recorded"
    assert result.output["evaluation"]["value"] == 5
    expected = successor or (f"{name}-1" if decision == "promote" else "before")
    assert registry.champion(name) == expected


def test_a_pointer_that_moved_there_and_back_is_not_the_one_that_was_compared(
    run_scripted: Machine, registry: Registry, gate: Gate
) -> None:
    registry.promote("back", "a", 1, moves=1)
    started = run_scripted.start({"model_name": "back", "score": 5, **gate.before("EvaluateModel")}, "back-1")
    events = follow(run_scripted.sfn, started)
    next(event for event in events if event.state == "EvaluateModel" and event.kind == "entered")
    registry.promote("back", "a", 1, moves=3)
    gate.open()
    assert [event.state for event in events if event.kind == "entered"].count("EvaluateModel") == 1
    assert registry.items("back")["champion"]["moves"]["N"] == "4"


def test_a_run_id_that_was_used_is_refused_before_anything_is_written(
    run_scripted: Machine, registry: Registry
) -> None:
    """Step Functions knows a name for 90 days, and the files of a run are there for longer."""
    registry.put(model_name="#runs", entry="used-1", started_at="2025-01-01T00:00:00Z")
    started = run_scripted.start({"model_name": "used", "score": 5}, "used-1")
    result = execution.outcome(run_scripted.sfn, started)
    assert (result.status, result.error) == ("FAILED", "RunIdInUseError")
    assert result.cause == "ClaimRun: The run id used-1 was used before: start the execution under another name."
    assert registry.items("used") == {}


def test_comparisons_on_the_same_test_part_are_counted(run_scripted: Machine, registry: Registry) -> None:
    counts = []
    for _ in range(3):
        _, result = run_scripted({"model_name": "counted", "score": 1})
        assert result.output is not None
        counts.append(result.output["comparisons"])
    assert counts == [1, 2, 3]
    assert registry.items("counted")[f"test_part#{'0' * 16}"]["comparisons"]["N"] == "3"


def test_the_split_of_the_champions_run_reaches_preparation(run_scripted: Machine, registry: Registry) -> None:
    registry.promote("split", "a", 1, moves=1)
    registry.client.update_item(
        TableName=registry.table,
        Key={"model_name": {"S": "split"}, "entry": {"S": "champion"}},
        UpdateExpression="SET #split = :split, target = :target",
        ExpressionAttributeNames={"#split": "split"},
        ExpressionAttributeValues={":split": {"S": '{"by": "rows"}'}, ":target": {"S": "price"}},
    )
    _, result = run_scripted({"model_name": "split", "score": 1})
    assert result.output is not None
    assert result.output["prepared"]["given"] == {"version": "a", "target": "price", "split": '{"by": "rows"}'}


@pytest.mark.slow
@pytest.mark.parametrize("decision", ["promote", "reject"])
@pytest.mark.parametrize("name", ["own", None])
def test_what_functions_return_does_not_say_under_which_name_a_model_is_recorded(
    run_scripted: Machine, registry: Registry, decision: str, name: str | None
) -> None:
    """Whoever commits to the model repository writes the functions."""
    registry.promote("victim", "safe", 1, moves=1)
    named = {"model_name": name} if name is not None else {}

    _, result = run_scripted({**named, "claims": "victim", "score": 9, "decision": decision})

    assert result.status == "SUCCEEDED", result
    assert result.output is not None
    assert set(registry.items("victim")) == {"champion", "version#safe"}
    assert registry.champion("victim") == "safe"
    assert registry.items(name or "default")[f"version#{result.output['run_id']}"]["decision"]["S"] == decision


@pytest.mark.slow
@pytest.mark.parametrize("state", SLOW_STATES)
def test_a_run_that_is_stopped_in_a_step_changes_nothing(
    run_scripted: Machine, registry: Registry, gate: Gate, state: str
) -> None:
    name = f"stopped-in-{state}"
    first = _promoted(run_scripted, name)
    started = run_scripted.start({"model_name": name, "score": 2, **gate.before(state)}, f"{name}-2")
    next(each for each in follow(run_scripted.sfn, started) if (each.state, each.kind) == (state, "entered"))
    run_scripted.sfn.stop_execution(executionArn=started)
    gate.open()
    # The function that was at work ends, and whatever would come after it has had its time.
    gate.wait_for_answer()
    time.sleep(0.3)
    assert registry.champion(name) == first
    assert set(registry.items(name)) - {f"test_part#{'0' * 16}"} == {"champion", f"version#{first}"}


@pytest.mark.slow
def test_runs_that_are_stopped_around_their_promotion_leave_the_champion_sound(
    run_scripted: Machine, registry: Registry
) -> None:
    """Each at another time, from before the move is made until after it."""
    delays = [0.19 + 0.005 * step for step in range(12)]
    with ThreadPoolExecutor(len(delays)) as pool:
        firsts = list(pool.map(lambda delay: _promoted(run_scripted, f"stopped-after-{delay:.3f}"), delays))
    # Two at a time: side by side they would all come later than they are to be.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda delay: _stop_after(run_scripted, f"stopped-after-{delay:.3f}", delay), delays))
    time.sleep(0.3)
    for delay, first in zip(delays, firsts, strict=True):
        name = f"stopped-after-{delay:.3f}"
        items = registry.items(name)
        pointed = items["champion"]["champion_version"]["S"]
        assert pointed in (first, f"{name}-2")
        # Pointer and record go together, or neither is there.
        assert (f"version#{name}-2" in items) == (pointed == f"{name}-2")
        assert items[f"version#{pointed}"]["version"]["S"] == pointed


def _stop_after(run_scripted: Machine, name: str, delay: float) -> None:
    started = run_scripted.start({"model_name": name, "score": 2, "seconds": {"EvaluateModel": 0.2}}, f"{name}-2")
    events = follow(run_scripted.sfn, started, sleep=lambda _: time.sleep(0.002))
    next(each for each in events if (each.state, each.kind) == ("EvaluateModel", "entered"))
    time.sleep(delay)
    with contextlib.suppress(ClientError):  # it may have ended already
        run_scripted.sfn.stop_execution(executionArn=started)


def _promoted(run_scripted: Machine, name: str) -> str:
    _, result = run_scripted({"model_name": name, "score": 1})
    assert result.output is not None
    assert result.output["evaluation"]["decision"] == "promote"
    return str(result.output["run_id"])


def test_events_are_announced_and_people_are_told_in_words(
    training_stack: LocalTrainingStack, run_scripted: Machine, run_mocked: Machine, registry: Registry
) -> None:
    aws, name = training_stack.aws, "told-in-words"
    sqs, events, sns = aws.client("sqs"), aws.client("events"), aws.client("sns")
    bus, mail = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("bus", "mail"))
    arns = [
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        for url in (bus, mail)
    ]
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arns[1]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=mail, Attributes={"Policy": policy})
    events.put_rule(Name="all", EventPattern=json.dumps({"source": ["crosstrain"]}))
    events.put_targets(Rule="all", Targets=[{"Id": "bus", "Arn": arns[0]}])
    sns.subscribe(
        TopicArn=training_stack.outputs["NotificationTopicArn"],
        Protocol="sqs",
        Endpoint=arns[1],
        Attributes={"RawMessageDelivery": "true"},
    )
    for _ in range(2):
        _, result = run_scripted({"model_name": name, "score": 1})
        assert result.status == "SUCCEEDED", result
    _, failed = run_mocked(case="InvalidDatasetInTrainModel")
    assert failed.status == "FAILED"
    promoted = registry.champion(name)
    registry.promote(name, "worse", 0, moves=2)
    read = {"champion_version": "worse", "moves": 2}
    request = {"model_name": name, "version": promoted, "reason": 'it "drifts"', "expected": read}
    _, rolled_back = Machine(aws.client("stepfunctions"), training_stack.outputs["RollbackStateMachineArn"])(request)
    assert rolled_back.output is not None, rolled_back

    # Runs of other tests announce themselves, too.
    of = (name, "InvalidDatasetInTrainModel-")
    told = [json.loads(body) for body in _receive(sqs, bus, 4, of)]
    assert {event["source"] for event in told} == {"crosstrain"}
    # A queue keeps no order.
    details = {event["detail-type"]: event["detail"] for event in told}
    assert set(details) == {"Model Promoted", "Model Rejected", "Training Failed", "Model Rolled Back"}
    assert details["Model Promoted"] == {
        "stack": training_stack.name,
        "model_name": name,
        "version": details["Model Promoted"]["version"],
        "metric": "score",
        "value": 1,
        "rule": "better",
        "reason": "compared with None",
        "report_uri": "s3://scripted/report.html",
    }
    assert details["Training Failed"]["error"] == "InvalidDatasetError"
    assert details["Model Rolled Back"] == {
        "stack": training_stack.name,
        "model_name": name,
        "from_version": "worse",
        "to_version": promoted,
        "reason": "it 'drifts'",
        "execution": rolled_back.output["execution"],
    }
    mails = sorted(_receive(sqs, mail, 3, of))
    assert mails[0].strip('"').startswith(f"The model {name} has a new champion, scripted-")
    told_back = f"The model {name} was rolled back to {promoted}, from worse. The reason: it 'drifts'."
    assert mails[1].strip('"') == f"{told_back} (Stack {training_stack.name})"
    assert mails[2].strip('"').startswith("The training run InvalidDatasetInTrainModel-")
    assert "failed in TrainModel with InvalidDatasetError: The data set has no rows." in mails[2]


def _receive(sqs: Any, url: str, count: int, of: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=1).get("Messages", [])
        for message in messages:
            if any(each in message["Body"] for each in of):
                found.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert len(found) == count, found
    return found
