"""A canary with the real function, state machines and bus: both versions answer, and a broken challenger goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.credentials import Credentials
from sklearn.datasets import load_diabetes

from common.storage import split_uri
from crosstrain.local.server import ACCOUNT, REGION, LocalTrainingStack
from crosstrain.training.endpoint import URL, Endpoint
from crosstrain.training.execution import outcome
from training_stacks import SERVED, physical_id

from .conftest import Command, Train

# Its parts are tested one by one.
pytestmark = pytest.mark.slow

TTL = 1
PATIENCE_SECONDS = 60
BODY = json.dumps(
    {"rows": load_diabetes(as_frame=True, scaled=False).frame.drop(columns="target").head(60).to_dict("records")}
).encode()


def forget(training_stack: LocalTrainingStack) -> None:
    """Empty the registry of the served model, which other tests serve, too."""
    dynamodb, table = training_stack.aws.client("dynamodb"), training_stack.outputs["ModelRegistryTableName"]
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="model_name = :name",
        ExpressionAttributeValues={":name": {"S": SERVED}},
    )
    for item in [item for page in pages for item in page["Items"]]:
        dynamodb.delete_item(TableName=table, Key={"model_name": item["model_name"], "entry": item["entry"]})


@pytest.fixture
def followed(training_stack: LocalTrainingStack) -> Iterator[None]:
    """Let workers follow the registry, which is empty before and after a test, within a second."""
    functions, name = training_stack.aws.client("lambda"), training_stack.outputs["ScoringFunctionName"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    forget(training_stack)
    for changes in ({"CHAMPION_TTL": str(TTL)}, {}):
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | changes})
        if changes:
            yield
            forget(training_stack)


@pytest.fixture
def ask(training_stack: LocalTrainingStack, followed: None) -> Callable[[], dict[str, Any]]:
    """Return a function that asks for predictions."""
    assert followed is None
    key = training_stack.data_scientist
    endpoint = Endpoint(
        training_stack.outputs[URL],
        Credentials(key.access_key_id, key.secret_access_key, key.session_token or None),
        REGION,
        training_stack.aws.endpoint_url,
    )

    def run() -> dict[str, Any]:
        answer = endpoint.ask("POST", "/predictions", BODY, {"Content-Type": "application/json"})
        # Whatever becomes of the challenger.
        assert answer.status == 200, answer.body
        document: dict[str, Any] = json.loads(answer.body)
        return document

    return run


def sides(answer: dict[str, Any]) -> list[str]:
    return [each.get("version", answer["version"]) for each in answer["predictions"]]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what has to come; the test fails when it does not."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def write_again(training_stack: LocalTrainingStack, models: Command, version: str) -> None:
    """Let the registry hold of a version's model what its file is not, as a damaged file would have it."""
    item = models("show", version, "--json").document
    training_stack.aws.client("dynamodb").update_item(
        TableName=training_stack.outputs["ModelRegistryTableName"],
        Key={"model_name": {"S": SERVED}, "entry": {"S": f"version#{version}"}},
        UpdateExpression="SET sha256.#model = :digest",
        ExpressionAttributeNames={"#model": "model"},
        ExpressionAttributeValues={":digest": {"S": "0" * 64}},
    )
    assert split_uri(item["model_uri"])[1].endswith("model.skops")


def test_a_canary_from_its_begin_to_its_ends(train: Train, models: Command, ask: Callable[[], dict[str, Any]]) -> None:
    options = ("--model-name", SERVED, "--promote-if", "better", "--json")
    first = train("--estimator", "ridge", "--hyperparameters", '{"alpha": 1000}', "--allow-baseline", "true", *options)
    second = train("--estimator", "ridge", "--hyperparameters", '{"alpha": 1}', *options)
    assert (first.code, second.code) == (0, 0), (first.stderr, second.stderr)
    one, two = first.document["run_id"], second.document["run_id"]
    assert models("rollback", SERVED, "--to", one).code == 0
    until(lambda: ask()["version"] == one)

    # Both answer, and each row is on the same side in all workers.
    begun = models("promote", SERVED, two, "--share", "50", "--reason", "to see", "--json")
    assert begun.code == 0, begun.stderr
    until(lambda: set(sides(ask())) == {one, two})
    expected = sides(ask())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(), range(4)))
    assert [sides(each) for each in answers] == [expected] * 4
    assert {each["version"] for each in answers} == {one}
    listed = models("list", "--model-name", SERVED, "--json").document
    assert (listed["challenger"]["version"], listed["challenger"]["share"]) == (two, 50)
    assert "challenger, 50 %" in models("list", "--model-name", SERVED).stdout

    # A rollback ends it, and so reaches the endpoint; of one that is over nothing can be promoted.
    assert models("stop-canary", SERVED).code == 0
    until(lambda: set(sides(ask())) == {one})
    assert models("promote", SERVED, two).code == 2
    assert models("promote", SERVED, two, "--share", "20").code == 0
    assert models("promote", SERVED, two, "--reason", "better").code == 0
    until(lambda: set(sides(ask())) == {two})
    assert models("champion", "--model-name", SERVED, "--json").document["previous_champion"] == one
    back = models("rollback", SERVED, "--json")
    assert back.document["to_version"] == one
    until(lambda: set(sides(ask())) == {one})


def go_off(training_stack: LocalTrainingStack, now: datetime) -> str:
    """Put the event of the alarm on the bus, and return the alarm's name.

    Nobody but AWS may name a source of its own, so the rule that is deployed has a twin with another one.
    """
    events, name = training_stack.aws.client("events"), physical_id(training_stack, "ChallengerErrorsAlarm")
    rule = physical_id(training_stack, "ChallengerErrorsRule")
    pattern = json.loads(events.describe_rule(Name=rule)["EventPattern"])
    assert pattern["source"] == ["aws.cloudwatch"]
    events.put_rule(Name=f"{rule}-twin", EventPattern=json.dumps(pattern | {"source": ["by-hand"]}))
    events.put_targets(Rule=f"{rule}-twin", Targets=events.list_targets_by_rule(Rule=rule)["Targets"])
    entry = {
        "Source": "by-hand",
        "DetailType": "CloudWatch Alarm State Change",
        "Time": now,
        "Resources": [f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}"],
        "Detail": json.dumps({"alarmName": name, "state": {"value": "ALARM"}}),
    }
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    events.remove_targets(Rule=f"{rule}-twin", Ids=["end"])
    events.delete_rule(Name=f"{rule}-twin")
    return name


def test_a_broken_challenger_leaves_the_champions_answers_and_its_alarm_ends_the_canary(
    training_stack: LocalTrainingStack, train: Train, models: Command, ask: Callable[[], dict[str, Any]]
) -> None:
    name = ("--model-name", SERVED)
    for estimator in ("ridge", "linear_regression"):
        trained = train("--estimator", estimator, *name, "--allow-baseline", "true", "--json")
        assert trained.code == 0, trained.stderr
    champion = models("champion", *name, "--json").document["version"]
    others = [each["version"] for each in models("list", *name, "--json").document["versions"]]
    challenger = next(version for version in others if version != champion)
    assert models("promote", SERVED, challenger, "--shadow").code == 0
    write_again(training_stack, models, challenger)
    until(lambda: any("cannot be used" in each for each in ask()["warnings"]))
    assert set(sides(ask())) == {champion}
    logs = training_stack.aws.client("logs")
    events = logs.filter_log_events(logGroupName=f"/aws/lambda/{training_stack.name}-scoring")["events"]
    (error, *_) = [json.loads(each["message"]) for each in events if "ChallengerErrors" in each["message"]]
    assert (error["stack"], error["model_name"], error["version"]) == (training_stack.name, SERVED, challenger)

    # The embedded AWS takes no metrics from a log, and its alarms look at none: both are put by hand.
    names = {"stack": training_stack.name, "model_name": SERVED, "version": challenger}
    now = datetime.now(UTC)
    datum = {"MetricName": "ChallengerErrors", "Value": 1, "Timestamp": now}
    training_stack.aws.client("cloudwatch").put_metric_data(
        Namespace="Crosstrain",
        MetricData=[datum | {"Dimensions": [{"Name": key, "Value": value} for key, value in names.items()]}],
    )
    alarm = go_off(training_stack, now)
    until(lambda: models("list", *name, "--json").document["challenger"] is None)
    ended = models("list", *name, "--json").document["canaries"][0]
    assert (ended["action"], ended["challenger_version"]) == ("end", challenger)
    assert ended["reason"] == f"The alarm {alarm} went off: the challenger failed."
    assert outcome(training_stack.client("stepfunctions"), ended["execution"]).status == "SUCCEEDED"
    until(lambda: not ask()["warnings"])
