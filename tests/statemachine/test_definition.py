"""What holds for the state machine's definition without running it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from common.capacity import TASK_SECONDS
from common.job import HEARTBEAT_SECONDS
from common.request import TrainingRequest
from scoring import challenger, measures
from scoring.batch import ServiceUnavailableError
from scoring.batch_plan import MOST_PIECES

SERVICE_ERRORS = {
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}
# The first calls of a function whose image Lambda has let go after idle weeks.
# https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
PENDING_ERRORS = {"Lambda.CodeArtifactUserPendingException", "Lambda.ResourceConflictException"}
PREPARATION_IN_PIECES = ("PlanPreparation", "MergeScans", "FinishPreparation")
PIECES = ("ScanPiece", "WritePiece")
DOMAIN_ERRORS = {"InvalidRequestError", "InvalidDatasetError", "UntrustedModelError"}
STEPS = ("PrepareData", *PREPARATION_IN_PIECES, "PlanSearch", "TrainTrial", "TrainModel", "EvaluateModel")
REGISTRY_CALLS = (
    "ClaimRun", "FindSplit", "CountComparison", "FindChampion", "ReadChampion", "Promote", "FindOwnVersion", "Reject",
    "WaitForApproval",
    "FindChallenger",
)  # fmt: skip
# What leads any error to the one place that makes it readable.
EXPLAINED: dict[str, Any] = {
    "ErrorEquals": ["States.ALL"],
    "Output": "{% $merge([$states.errorOutput, {'step': $states.context.State.Name}]) %}",
    "Next": "ExplainFailure",
}
# What does not fit a function goes this way, and ends as a function's error does where the way is closed.
TOO_LARGE = {
    "ErrorEquals": [
        "TooLargeForFunctionError", "Sandbox.Timedout", "Lambda.Unknown", "Runtime.ExitError", "Runtime.OutOfMemory",
        "States.Timeout",
    ],
    "Output": "{% $merge([$states.input, {'large': {'step': $states.context.State.Name, "
    "'Error': $states.errorOutput.Error, 'Cause': $substring("
    "$states.errorOutput.Cause ? $string($states.errorOutput.Cause) : '', 0, 6000)}}]) %}",
    "Next": "IsTaskOpen",
}  # fmt: skip
LARGE = ("FinishPreparation", "PlanSearch", "TrainModel", "EvaluateModel")
# What one call has no room or time for goes on in pieces.
IN_PIECES = {
    "ErrorEquals": ["TooLargeForFunctionError", "Sandbox.Timedout"],
    "Output": "{% $states.input %}",
    "Next": "PlanPreparation",
}
ANNOUNCEMENTS = ("AnnounceDecision", "AnnounceFailure", "AnnounceQuestion")
# Of the state machine that rolls back.
ROLLBACK_CALLS = ("FindChampion", "FindVersion", "FindOwnRollback", "MoveChampion")
# Of the state machine that scores.
SCORING_STEPS = ("PlanScoring", "ScorePiece", "CompareWithProfile")
SCORING_CALLS = ("ClaimRun", "FindChampion", "ReadVersion", "FindEarlierBatches", "RecordScores")
# What may have been carried out all the same.
OPEN = {
    "DynamoDb.TransactionCanceledException",
    "DynamoDb.InternalServerErrorException",
    "DynamoDb.SdkClientException",
    "States.Timeout",
}


@pytest.fixture(scope="module")
def text(project: Path) -> str:
    return (project / "statemachine" / "training.asl.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def states(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["States"]
    # Those of a trial and of a piece, too.
    for name in ("MakeTrials", "ScanPieces", "WritePieces"):
        found = found | found[name]["ItemProcessor"]["States"]
    return found


@pytest.fixture(scope="module")
def template(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml_parse((project / "template.yaml").read_text(encoding="utf-8"))
    return found


def test_every_task_is_known_and_ends_in_time(states: dict[str, Any]) -> None:
    tasks = {name: state for name, state in states.items() if state["Type"] == "Task"}
    assert set(tasks) == {
        *STEPS,
        *PIECES,
        *REGISTRY_CALLS,
        *ANNOUNCEMENTS,
        "StoreEvent",
        "RunTask",
        "StoreTrial",
        "RunTrial",
    }
    # Only a person may take days, and what does not fit a function hours.
    for name in ("WaitForApproval", "RunTask", "RunTrial"):
        tasks.pop(name)
    assert all(0 < state["TimeoutSeconds"] <= 960 for state in tasks.values())


def test_a_run_outlasts_the_days_that_a_person_may_take(text: str, template: dict[str, Any]) -> None:
    days = template["Parameters"]["ApprovalDays"]["MaxValue"]
    assert json.loads(text)["TimeoutSeconds"] > days * 86_400 + 7 * 3_600


@pytest.mark.parametrize("name", [*REGISTRY_CALLS, *ANNOUNCEMENTS])
def test_a_service_call_is_retried_with_jitter_and_a_cap(states: dict[str, Any], name: str) -> None:
    (retrier,) = states[name]["Retry"]
    assert retrier["JitterStrategy"] == "FULL"
    assert retrier["MaxDelaySeconds"] <= 60
    # What a condition has decided stays decided.
    assert not {error for error in retrier["ErrorEquals"] if "Conditional" in error or "Canceled" in error}


@pytest.mark.parametrize("name", REGISTRY_CALLS)
def test_a_registry_that_does_not_answer_ends_the_run(states: dict[str, Any], name: str) -> None:
    assert states[name]["Catch"][-1] == EXPLAINED


def test_an_announcement_that_fails_changes_nothing(states: dict[str, Any]) -> None:
    for name, end in zip(ANNOUNCEMENTS, ("Decided", "RunFailed", "WaitForApproval"), strict=True):
        (catcher,) = states[name]["Catch"]
        assert (catcher["ErrorEquals"], catcher["Next"], states[name]["Next"]) == (["States.ALL"], end, end)


@pytest.mark.parametrize("step", STEPS)
def test_a_task_outlasts_its_function(states: dict[str, Any], template: dict[str, Any], step: str) -> None:
    limits = [parameter["MaxValue"] for name, parameter in template["Parameters"].items() if name.endswith("Timeout")]

    # Else the state machine gives up on a function that is still running, and writing.
    assert states[step]["TimeoutSeconds"] > max(limits)


@pytest.mark.parametrize("step", STEPS)
def test_only_service_errors_are_retried(states: dict[str, Any], step: str) -> None:
    pending, retrier = states[step]["Retry"]

    # Until Lambda has prepared the image again: minutes, if need be, and nobody else waits for it.
    assert set(pending["ErrorEquals"]) == PENDING_ERRORS
    waits = [pending["IntervalSeconds"] * pending["BackoffRate"] ** each for each in range(pending["MaxAttempts"])]
    assert 300 < sum(waits) < 600
    assert "JitterStrategy" not in pending
    assert set(retrier["ErrorEquals"]) == SERVICE_ERRORS
    assert retrier["JitterStrategy"] == "FULL"
    assert 0 < retrier["MaxAttempts"] <= 10
    assert retrier["IntervalSeconds"] <= retrier["MaxDelaySeconds"] <= 60
    assert retrier["BackoffRate"] > 1


@pytest.mark.parametrize("step", STEPS)
def test_every_error_is_caught_and_leads_to_the_one_fail_state(states: dict[str, Any], step: str) -> None:
    if step == "TrainTrial":
        large, caught = states[step]["Catch"]
        assert large["ErrorEquals"] == TOO_LARGE["ErrorEquals"]
        # A trial that fails ends nothing.
        assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], "TrialFailed")
    else:
        others = [IN_PIECES] if step == "PrepareData" else [TOO_LARGE] if step in LARGE else []
        assert states[step]["Catch"] == [*others, EXPLAINED]
    assert states["MakeTrials"]["Catch"] == [EXPLAINED]
    assert states["ExplainFailure"]["Next"] == "AnnounceFailure"
    assert states["RunFailed"]["Type"] == "Fail"


@pytest.mark.parametrize(
    ("name", "error", "target"),
    [
        ("Promote", "DynamoDb.TransactionCanceledException", "FindOwnVersion"),
        ("Reject", "DynamoDb.ConditionalCheckFailedException", "FindOwnVersion"),
    ],
)
def test_what_a_condition_has_decided_goes_its_own_way(
    states: dict[str, Any], name: str, error: str, target: str
) -> None:
    decided, _ = states[name]["Catch"]

    # What has no answer may still have been carried out.
    unanswered = ["DynamoDb.InternalServerErrorException", "DynamoDb.SdkClientException", "States.Timeout"]
    assert decided == {"ErrorEquals": [error, *unanswered], "Output": "{% $states.input %}", "Next": target}


@pytest.mark.parametrize("step", LARGE)
def test_a_task_does_what_its_function_would_have_done(states: dict[str, Any], step: str) -> None:
    function = states[step]
    asked = function["Arguments"].removeprefix("{% ").removesuffix(" %}")
    assert asked in states["StoreEvent"]["Arguments"]["Body"]
    of_image = {"FinishPreparation": "DataPreparation", "EvaluateModel": "ModelEvaluation"}.get(step, "ModelTraining")
    assert f"'{step}': '${{{of_image}Task}}'" in states["RunTask"]["Arguments"]["TaskDefinition"]
    (taken_up,) = (each for each in states["TakeUpStep"]["Choices"] if f"'{step}'" in each["Condition"])
    assert taken_up["Next"] == function["Next"]


def test_a_trial_and_a_piece_run_as_tasks_as_steps_do(states: dict[str, Any], scoring: dict[str, Any]) -> None:
    step = states["RunTask"]
    asked = re.findall(r"'(\w+)': ", states["StoreTrial"]["Arguments"]["Body"])
    assert asked == [*states["MakeTrials"]["ItemSelector"]]
    asked = re.findall(r"'(\w+)': ", json.dumps(scoring["RunPiece"]["Arguments"]["Overrides"]))
    assert asked == [*scoring["ScorePieces"]["ItemSelector"]]
    for task, end in ((states["RunTrial"], "TrialFailed"), (scoring["RunPiece"], "PieceFailed")):
        for field in ("Resource", "TimeoutSeconds", "HeartbeatSeconds"):
            assert task[field] == step[field]
        for field in ("Cluster", "LaunchType", "NetworkConfiguration"):
            assert task["Arguments"][field] == step["Arguments"][field]
        assert {each["Next"] for each in task["Catch"]} == {end}
        assert [each["ErrorEquals"] for each in task["Catch"]] == [each["ErrorEquals"] for each in step["Catch"]]
    assert scoring["ScorePiece"]["Catch"][0]["ErrorEquals"] == TOO_LARGE["ErrorEquals"]
    # A task that has used its trial's seconds ends, and would do so again.
    assert "JobDiedError" not in json.dumps(states["RunTrial"]["Retry"])


def test_a_task_is_waited_for_as_long_as_it_may_take(states: dict[str, Any]) -> None:
    task = states["RunTask"]
    assert task["TimeoutSeconds"] == TASK_SECONDS
    assert HEARTBEAT_SECONDS * 5 < task["HeartbeatSeconds"] < task["TimeoutSeconds"]
    # Of an error it is told which step it was.
    assert task["Catch"][-1] == {
        **EXPLAINED,
        "Output": EXPLAINED["Output"].replace("$states.context.State.Name", "$states.input.large.step"),
    }
    # 8,192 characters for all overrides: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
    (container,) = task["Arguments"]["Overrides"]["ContainerOverrides"]
    assert [each["Name"] for each in container["Environment"]] == [
        "TASK_TOKEN", "EVENT", "CROSSTRAIN_TASK_CPU", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("map_", "piece", "failed"),
    [("ScanPieces", "ScanPiece", "PieceNotScanned"), ("WritePieces", "WritePiece", "PieceNotWritten")],
)
def test_a_piece_is_retried_as_steps_are_and_once_if_its_call_was_ended(
    states: dict[str, Any], map_: str, piece: str, failed: str
) -> None:
    *usual, ended = states[piece]["Retry"]
    assert usual == states["MergeScans"]["Retry"]
    assert ended["MaxAttempts"] == 1
    (caught,) = states[piece]["Catch"]
    assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], failed)
    assert states[map_]["Catch"] == [EXPLAINED]
    # What calls tell each other is not in the payload, which holds 256 KiB.
    assert states[map_]["Output"] == "{% $states.input %}"


def test_what_prepares_in_pieces_returns_what_one_call_does(states: dict[str, Any]) -> None:
    for field in ("Output", "Next"):
        assert states["FinishPreparation"][field] == states["PrepareData"][field]


def test_no_error_of_the_functions_own_is_retried(states: dict[str, Any]) -> None:
    errors = pytest.importorskip("common.errors")
    classes = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    retried = {
        name for state in states.values() for retrier in state.get("Retry", ()) for name in retrier["ErrorEquals"]
    }

    assert classes >= DOMAIN_ERRORS
    assert not retried & classes
    # It would stand for any error of a function; the announcements call none.
    assert not {
        name
        for step in STEPS
        for retrier in states[step]["Retry"]
        for name in retrier["ErrorEquals"]
        if name.startswith("States.")
    }


def test_a_function_gets_what_it_reads_and_no_more(states: dict[str, Any]) -> None:
    # An earlier evaluation's answer would come along each time that another run has promoted meanwhile.
    keys = re.findall(r"'(\w+)': ", states["EvaluateModel"]["Arguments"])

    assert keys == ["run_id", "request", "prepared", "model", "champion", "comparisons", "contended"]


def test_no_regular_expression_repeats_a_group(text: str) -> None:
    # Engines that match by recursion, as Java's does, run out of stack after a thousand rounds: a message that has
    # many escapes would end a run without its reason.
    assert not re.findall(r"\)(?:[*+]|\{\d)", text)


def test_every_state_is_reached(text: str, states: dict[str, Any]) -> None:
    reached = set(re.findall(r'"(?:Next|Default|StartAt)": "(\w+)"', text))

    assert reached == set(states)


def test_nothing_in_the_definition_belongs_to_an_account(text: str) -> None:
    assert "arn:" not in text
    assert "s3://" not in text
    assert not re.search(r"\d{12}", text)


def test_the_template_defines_each_substitution_and_no_other(text: str, template: dict[str, Any]) -> None:
    machine = template["Resources"]["TrainingStateMachine"]["Properties"]

    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(machine["DefinitionSubstitutions"])


def test_the_name_of_a_model_that_the_input_leaves_open_is_the_requests_own(states: dict[str, Any]) -> None:
    """Which champion a run may replace is not left to what data preparation returns."""
    default = TrainingRequest.model_fields["model_name"].default
    assert f"$states.input.request.model_name : '{default}'" in states["PrepareData"]["Output"]["request"]


@pytest.fixture(scope="module")
def rollback_text(project: Path) -> str:
    return (project / "statemachine" / "rollback.asl.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rollback(rollback_text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rollback_text)["States"]
    return found


def test_every_task_of_a_rollback_is_known_and_somebody_waits_for_it(rollback: dict[str, Any]) -> None:
    tasks = {name: state for name, state in rollback.items() if state["Type"] == "Task"}
    assert set(tasks) == {*ROLLBACK_CALLS, "AnnounceRollback"}
    for state in tasks.values():
        assert 0 < state["TimeoutSeconds"] <= 20
        (retrier,) = state["Retry"]
        assert retrier["JitterStrategy"] == "FULL"
        assert retrier["MaxDelaySeconds"] <= 30
        assert not {error for error in retrier["ErrorEquals"] if "Conditional" in error or "Canceled" in error}


def test_whatever_a_rollback_calls_an_error_is_caught(rollback: dict[str, Any]) -> None:
    for name in ROLLBACK_CALLS:
        caught = rollback[name]["Catch"][-1]
        assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], "RollbackFailed")
    (unheard,) = rollback["AnnounceRollback"]["Catch"]
    assert (unheard["ErrorEquals"], unheard["Next"]) == (["States.ALL"], "RolledBack")
    assert rollback["RollbackFailed"]["Type"] == "Fail"


def test_a_move_that_may_have_been_made_is_looked_for_before_it_is_called_failed(rollback: dict[str, Any]) -> None:
    unclear, _ = rollback["MoveChampion"]["Catch"]
    assert set(unclear["ErrorEquals"]) == OPEN
    path = ["LetOthersFinish", "FindChampion", "FindVersion", "FindOwnRollback", "CheckMove"]
    assert [unclear["Next"], *(rollback[name]["Next"] for name in path[:-1])] == path
    # Before anything is refused.
    assert rollback["CheckMove"]["Choices"][0]["Next"] == "ReadRollback"
    assert {each["Next"] for each in rollback["CheckMove"]["Choices"][1:]} == {"RollbackFailed"}


def test_a_rollback_records_nothing_that_is_claimed(rollback: dict[str, Any]) -> None:
    """Of the input it takes the name, the version and the reason; who asks is not among its fields."""
    written = json.dumps([rollback[name] for name in ("BeginRollback", "DescribeMove", "MoveChampion")])
    taken = set(re.findall(r"\$states\.input\.request\.(\w+)", written))
    assert taken == {"model_name", "version", "reason"}
    assert "'execution': {'S': $states.context.Execution.Id}" in written


def test_every_state_of_a_rollback_is_reached_and_nothing_of_it_belongs_to_an_account(
    rollback_text: str, rollback: dict[str, Any], template: dict[str, Any]
) -> None:
    assert set(re.findall(r'"(?:Next|Default|StartAt)": "(\w+)"', rollback_text)) == set(rollback)
    assert "arn:" not in rollback_text
    assert not re.search(r"\d{12}", rollback_text)
    assert not re.findall(r"\)(?:[*+]|\{\d)", rollback_text)
    machine = template["Resources"]["RollbackStateMachine"]["Properties"]
    assert machine["Type"] == "STANDARD"
    assert set(re.findall(r"\$\{(\w+)\}", rollback_text)) == set(machine["DefinitionSubstitutions"])


def test_the_input_of_a_rollback_takes_the_names_that_a_request_takes(rollback_text: str) -> None:
    pattern = next(
        each.pattern for each in TrainingRequest.model_fields["model_name"].metadata if hasattr(each, "pattern")
    )
    assert pattern == r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
    assert (
        "> 64 or $contains($states.input.model_name, /^[_-]/) or $contains($states.input.model_name, /[^A-Za-z0-9_-]/)"
        in rollback_text
    )


@pytest.fixture(scope="module")
def scoring_text(project: Path) -> str:
    return (project / "statemachine" / "scoring.asl.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scoring(scoring_text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scoring_text)["States"]
    return found | found["ScorePieces"]["ItemProcessor"]["States"]


def test_every_task_of_scoring_is_known_ends_in_time_and_is_retried(scoring: dict[str, Any]) -> None:
    tasks = {name: state for name, state in scoring.items() if state["Type"] == "Task"}
    assert set(tasks) == {*SCORING_STEPS, *SCORING_CALLS, "AnnounceScores", "AnnounceFailure", "RunPiece"}
    for name in SCORING_STEPS:
        pending, throttled, retrier = tasks[name]["Retry"]
        assert set(pending["ErrorEquals"]) == PENDING_ERRORS
        # Where many objects arrive at once, as many runs share the account's calls.
        assert throttled["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
        # A service's failure alone, whoever meets it.
        others = {*SERVICE_ERRORS, ServiceUnavailableError.__name__} - {*throttled["ErrorEquals"]}
        assert set(retrier["ErrorEquals"]) == others
        # The function may run for 900 seconds.
        assert tasks[name]["TimeoutSeconds"] == 960
        # An attempt is three events of the history, and each piece has those around them.
        attempts = 1 + sum(each["MaxAttempts"] for each in tasks[name]["Retry"])
        assert MOST_PIECES * (3 * attempts + 8) < 25_000
    # After one call, a task: one event more for each attempt, that it was submitted, and four for two states.
    attempts = 1 + sum(each["MaxAttempts"] for each in tasks["RunPiece"]["Retry"])
    assert MOST_PIECES * (3 + 4 * attempts + 8 + 4) < 25_000
    for name in SCORING_CALLS:
        (retrier,) = tasks[name]["Retry"]
        assert retrier["JitterStrategy"] == "FULL"
        assert not {error for error in retrier["ErrorEquals"] if "Conditional" in error}


def test_whatever_scoring_meets_is_caught(scoring: dict[str, Any]) -> None:
    for name in (*SCORING_STEPS, *SCORING_CALLS, "ScorePieces", "RunPiece"):
        caught = scoring[name]["Catch"][-1]
        if name in ("ScorePiece", "RunPiece"):
            assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], "PieceFailed")
        else:
            assert caught == EXPLAINED, name
    assert scoring["AnnounceScores"]["Catch"][-1]["Next"] == "Scored"


def test_scoring_and_training_tell_of_failures_alike(scoring: dict[str, Any], states: dict[str, Any]) -> None:
    for name in ("ExplainFailure", "RunFailed"):
        assert scoring[name] == states[name]
    told = json.dumps(states["AnnounceFailure"]).replace("Training Failed", "Scoring Failed")
    assert json.loads(told) == scoring["AnnounceFailure"]


def test_every_state_of_scoring_is_reached_and_nothing_of_it_belongs_to_an_account(
    scoring_text: str, scoring: dict[str, Any], template: dict[str, Any]
) -> None:
    assert set(re.findall(r'"(?:Next|Default|StartAt)": "(\w+)"', scoring_text)) == set(scoring)
    assert "arn:" not in scoring_text
    assert not re.search(r"\d{12}", scoring_text)
    assert not re.findall(r"\)(?:[*+]|\{\d)", scoring_text)
    machine = template["Resources"]["BatchScoringStateMachine"]["Properties"]
    assert set(re.findall(r"\$\{(\w+)\}", scoring_text)) == set(machine["DefinitionSubstitutions"])


def test_what_all_pieces_may_say_fits_a_state(scoring: dict[str, Any]) -> None:
    characters = re.search(r", 0, (\d+)\)\) %\}$", scoring["PieceFailed"]["Output"]["error"])
    assert characters
    # A character has up to three bytes, and a state hands on 256 KiB.
    assert MOST_PIECES * (3 * int(characters[1]) + 30) < 256 << 10


def test_the_role_of_scoring_records_what_the_definition_writes(scoring_text: str, template: dict[str, Any]) -> None:
    (policy,) = template["Resources"]["BatchScoringRole"]["Properties"]["Policies"]
    (record,) = (each for each in policy["PolicyDocument"]["Statement"] if each.get("Sid") == "RecordScores")
    allowed = record["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"]
    written = re.findall(r"[\"'](\w+)[\"']: \{[\"'][SN][\"']:", scoring_text)
    assert {*written} == {*allowed}


@pytest.mark.parametrize(
    ("name", "machine", "end"),
    [
        ("retraining", "RetrainingStateMachine", "RetrainingFailed"),
        ("approval", "ApprovalStateMachine", "ApprovalFailed"),
    ],
)
def test_a_state_machine_that_people_and_events_start_waits_for_no_call_for_ever(
    project: Path, template: dict[str, Any], name: str, machine: str, end: str
) -> None:
    text = (project / f"statemachine/{name}.asl.json").read_text(encoding="utf-8")
    states = json.loads(text)["States"]
    for state in (each for each in states.values() if each["Type"] == "Task"):
        assert 0 < state["TimeoutSeconds"] <= 60
        (retrier,) = state["Retry"]
        assert retrier["JitterStrategy"] == "FULL"
        assert not {error for error in retrier["ErrorEquals"] if "Conditional" in error}
        # An announcement that fails changes nothing; of any other call it is told.
        silent = "EventBridge" in state["Resource"]
        assert (state["Catch"][-1]["ErrorEquals"], state["Catch"][-1]["Next"]) == (
            ["States.ALL"],
            "Done" if silent else end,
        )
    assert set(re.findall(r'"(?:Next|Default|StartAt)": "(\w+)"', text)) == set(states)
    assert "arn:" not in text
    assert not re.search(r"\d{12}", text)
    assert not re.findall(r"\)(?:[*+]|\{\d)", text)
    properties = template["Resources"][machine]["Properties"]
    assert properties["Type"] == "STANDARD"
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(properties["DefinitionSubstitutions"])


def test_a_retraining_writes_what_its_role_may_write(project: Path, template: dict[str, Any]) -> None:
    text = (project / "statemachine/retraining.asl.json").read_text(encoding="utf-8")
    written = {
        "model_name",
        "entry",
        *re.findall(r"(\w+) = :", " ".join(re.findall(r'"UpdateExpression": "(.*)"', text))),
    }
    (statements,) = (
        each["PolicyDocument"]["Statement"]
        for each in template["Resources"]["RetrainingRole"]["Properties"]["Policies"]
    )
    (allowed,) = (each["Condition"] for each in statements if each["Sid"] == "ClaimRetrainings")
    assert written | {"claims"} == set(allowed["ForAllValues:StringEquals"]["dynamodb:Attributes"])


@pytest.fixture(scope="module")
def canary_text(project: Path) -> str:
    return (project / "statemachine" / "canary.asl.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def canary(canary_text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(canary_text)["States"]
    return found


def test_every_task_of_a_canary_ends_in_time_and_whatever_it_calls_an_error_is_caught(canary: dict[str, Any]) -> None:
    tasks = {name: state for name, state in canary.items() if state["Type"] == "Task"}
    assert set(tasks) == {
        "FindChampion", "FindVersion", "FindOwnMove", "FindErrors", "FindAlarm", "MoveChallenger", "AnnounceMove",
    }  # fmt: skip
    for name, state in tasks.items():
        assert 0 < state["TimeoutSeconds"] <= 20
        (retrier,) = state["Retry"]
        assert (retrier["JitterStrategy"], retrier["MaxDelaySeconds"]) == ("FULL", 30)
        caught = state["Catch"][-1]
        # A move that nobody hears of is made.
        end = "ChallengerMoved" if name == "AnnounceMove" else "CanaryFailed"
        assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], end)
    unclear, _ = tasks["MoveChallenger"]["Catch"]
    assert set(unclear["ErrorEquals"]) == OPEN
    path = ["LetOthersFinish", "FindChampion", "FindVersion", "FindOwnMove", "CheckMove"]
    assert [unclear["Next"], *(canary[name]["Next"] for name in path[:-1])] == path
    assert canary["CheckMove"]["Choices"][0]["Next"] == "ReadMove"


def test_a_canary_records_nothing_that_is_claimed(canary: dict[str, Any]) -> None:
    written = json.dumps([canary[name] for name in ("BeginMove", "DescribeMove", "MoveChallenger")])
    taken = set(re.findall(r"\$states\.input\.request\.(\w+)", written))
    assert taken == {"action", "model_name", "version", "share", "shadow", "reason", "alarm"}
    assert "'execution': {'S': $states.context.Execution.Id}" in written


def test_every_state_of_a_canary_is_reached_and_nothing_of_it_belongs_to_an_account(
    canary_text: str, canary: dict[str, Any], template: dict[str, Any]
) -> None:
    assert set(re.findall(r'"(?:Next|Default|StartAt)": "(\w+)"', canary_text)) == set(canary)
    assert "arn:" not in canary_text
    assert not re.search(r"\d{12}", canary_text)
    assert not re.findall(r"\)(?:[*+]|\{\d)", canary_text)
    machine = template["Resources"]["CanaryStateMachine"]["Properties"]
    assert machine["Type"] == "STANDARD"
    assert set(re.findall(r"\$\{(\w+)\}", canary_text)) == set(machine["DefinitionSubstitutions"])


def test_the_metric_that_is_looked_at_is_the_one_that_scoring_writes_and_the_alarm_is_on(
    canary: dict[str, Any], template: dict[str, Any]
) -> None:
    asked, alarm = canary["FindErrors"]["Arguments"], template["Resources"]["ChallengerErrorsAlarm"]["Properties"]
    (name,) = canary["FindAlarm"]["Arguments"]["AlarmNames"]
    assert alarm["AlarmName"] == {"Fn::Sub": name.replace("${StackName}", "${AWS::StackName}")}
    for each in (asked, alarm):
        assert (each["Namespace"], each["MetricName"]) == (measures.NAMESPACE, challenger.ERRORS)
    assert [each["Name"] for each in alarm["Dimensions"]] == ["stack", "model_name"]
    assert [each["Name"] for each in asked["Dimensions"]] == ["stack", "model_name", challenger.VERSION]
