"""The state machine on a second engine: moto runs the states, the JavaScript implementation of JSONata the expressions.

Nothing of it is the embedded AWS's. moto's interpreter comes from LocalStack and misses an evaluator for JSONata. Step
Functions follows JSONata 2.0.6, so that very version of the reference implementation is put in its place:
https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
import quickjs
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.dynamodb.responses import DynamoHandler
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task import mock_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk import (
    StateTaskServiceAwsSdk,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_sfn import (
    StateTaskServiceSfn,
)
from moto.stepfunctions.parser.asl.jsonata import jsonata
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend import execution
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.mocking.mock_config import (
    MockedResponse,
    MockedResponseReturn,
    MockedResponseThrow,
    MockTestCase,
    StateMockedResponses,
)
from samcli.yamlhelper import yaml_parse

from turns import one_at_a_time

from .cases import FUNCTIONS
from .conftest import Machine
from .scripted_function import answer

REFERENCE = Path(__file__).with_name("jsonata") / "jsonata.min.js"
REGION, ACCOUNT = "us-east-1", "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/state-machine"
STACK, TABLE = "second-engine", "registry"
# What others start as the training state machine.
TRAINING = "scripted"
# moto defines $parse by $eval, which takes any expression and which Step Functions lacks. $parse takes JSON alone.
EVALUATE = """
async function evaluate(text) {
    outcome = {error: "The expression has not come to an end."};
    try {
        const expression = jsonata(text);
        expression.registerFunction("eval", text => JSON.parse(text));
        outcome = {value: await expression.evaluate(null)};
    } catch (error) {
        outcome = {error: error.message};
    }
}
"""


class Jsonata:
    """The reference implementation of JSONata; a JavaScript engine belongs to one thread."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._thread.submit(self._load).result()

    def _load(self) -> None:
        self._engine = quickjs.Context()
        self._engine.eval(REFERENCE.read_text(encoding="utf-8"))
        self._engine.eval(EVALUATE)

    def __call__(self, expression: str) -> Any:
        """Return the value of an expression; of one without a value, None."""
        return self._thread.submit(self._evaluate, expression).result()

    def _evaluate(self, expression: str) -> Any:
        self._engine.get("evaluate")(expression)
        while self._engine.execute_pending_job():
            pass
        outcome = json.loads(self._engine.eval("JSON.stringify(outcome)"))
        if "error" in outcome:
            raise ValueError(outcome["error"])
        return outcome.get("value")


class StepFunctions:
    """A client of moto's Step Functions, with the named cases of mock_config.json, and a history as AWS pages it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.cases: dict[str, str] = {}
        self.mocks = json.loads(Path(__file__).with_name("mock_config.json").read_text(encoding="utf-8"))

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> Any:  # noqa: A002, N803
        """Start an execution of `<state machine ARN>`, or of `<state machine ARN>#<case>`."""
        arn, _, self.cases[name] = stateMachineArn.partition("#")
        return self.client.start_execution(stateMachineArn=arn, name=name, input=input)

    def get_execution_history(self, *, reverseOrder: bool, maxResults: int, **arguments: Any) -> Any:  # noqa: ARG002, N803
        """Return all events in one page and in the order that is asked for; moto knows neither."""
        events = self.client.get_execution_history(**arguments)["events"]
        return {"events": sorted(events, key=lambda event: event["id"], reverse=reverseOrder)}

    def worker(self, evaluation_details: Any, **arguments: Any) -> ExecutionWorker:
        """Return what runs an execution, with its mocked results: moto knows them, but not how to ask for them."""
        details = evaluation_details.execution_details
        # What a state starts has no case.
        case, machine = self.cases.get(details.name), details.arn.split(":")[-2]
        mocked = self._mocked(machine, case) if case else None
        return ExecutionWorker(evaluation_details, mock_test_case=mocked, **arguments)

    def _mocked(self, machine: str, case: str) -> MockTestCase:
        states = self.mocks["StateMachines"][machine]["TestCases"][case]
        results = {
            state: [_result(span, result) for span, result in self.mocks["MockedResponses"][name].items()]
            for state, name in states.items()
        }
        return MockTestCase(
            machine, case, [StateMockedResponses(state, states[state], each) for state, each in results.items()]
        )


def _result(span: str, result: dict[str, Any]) -> MockedResponse:
    first, _, last = span.partition("-")
    numbers = int(first), int(last or first)
    if "Throw" in result:
        return MockedResponseThrow(*numbers, error=result["Throw"]["Error"], cause=result["Throw"]["Cause"])
    # What a Lambda task looks for its result in.
    return MockedResponseReturn(*numbers, payload={"Payload": result["Return"]})


class Functions:
    """The scripted functions in place of moto's, which run in containers."""

    def __init__(self) -> None:
        self.attempts: dict[str, Counter[str]] = defaultdict(Counter)

    def invoke(
        self, arn: str, _qualifier: object, body: str, _headers: object, response_headers: dict[str, str]
    ) -> str:
        """Answer an invocation as the Lambda service does."""
        step, event = arn.rpartition(":")[2], json.loads(body)
        attempt = self.attempts[step][event["run_id"]]
        self.attempts[step][event["run_id"]] += 1
        outcome, document = answer(step, event, attempt)
        if outcome == "error":
            response_headers["x-amz-function-error"] = "Unhandled"
        return json.dumps(document)


class Waits(list[float]):
    """The seconds that a retry would have waited, in place of the `time` that moto waits with."""

    def sleep(self, seconds: float) -> None:
        """Note what would have been waited."""
        self.append(seconds)


class SecondEngine:
    """What the tests run the state machine with; `second_engine()` starts one."""

    def __init__(self, project: Path, evaluate: Jsonata) -> None:
        self.definition, self.evaluate, self.waits = _definition(project, "TrainingStateMachine"), evaluate, Waits()
        self.rollback_definition = _definition(project, "RollbackStateMachine")
        self.canary_definition = _definition(project, "CanaryStateMachine")
        self.retraining_definition = _definition(project, "RetrainingStateMachine")
        self.approval_definition = _definition(project, "ApprovalStateMachine")
        self.scoring_definition = _definition(project, "BatchScoringStateMachine")
        self.sfn = StepFunctions(self.client("stepfunctions"))

    def client(self, service: str) -> Any:
        """Return a client of a service of moto."""
        return boto3.client(service, region_name=REGION)

    def machine(self, name: str, of: str | None = None, **changes: Any) -> Machine:
        """Return a state machine by its definition, that of training unless another is given, with fields changed."""
        definition = json.dumps({**json.loads(of or self.definition), **changes})
        created = self.sfn.client.create_state_machine(name=name, definition=definition, roleArn=ROLE)
        return Machine(self.sfn, created["stateMachineArn"])


@contextlib.contextmanager
def second_engine(project: Path) -> Iterator[SecondEngine]:
    """Start moto with an evaluator for JSONata, scripted functions and retries that do not wait."""
    config = {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
    with mock_aws(config=config), pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        engine, functions = SecondEngine(project, Jsonata(thread)), Functions()
        patch.setattr(jsonata, "_eval_jsonata", engine.evaluate)
        # Parsed once, not for each execution.
        patch.setattr(AmazonStateLanguageParser, "parse", functools.cache(AmazonStateLanguageParser.parse))
        patch.setattr(retrier_decl, "time", engine.waits)
        patch.setattr(execution, "ExecutionWorker", engine.sfn.worker)
        # A mocked error may be one of Step Functions' own, as a timeout is.
        patch.setattr(mock_eval_utils, "CustomErrorName", ErrorName)
        for task in (StateTaskServiceAwsSdk, StateTaskServiceSfn):
            patch.setattr(task, "_normalise_parameters", _as_the_api_names_them)
        patch.setattr(StateTaskServiceAwsSdk, "_normalise_response", _as_a_state_names_them)
        patch.setattr(DynamoHandler, "call_action", one_at_a_time(DynamoHandler.call_action))
        patch.setattr(LambdaSimpleBackend, "invoke", lambda _, *arguments: functions.invoke(*arguments))
        yield engine


def _as_the_api_names_them(task: StateTaskServiceAwsSdk | StateTaskServiceSfn, parameters: dict[str, Any]) -> None:
    """Let a state's names of parameters begin as Step Functions' API has them; moto hands them on as they are.

    https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
    """
    if task.resource.api_name in ("sfn", "states"):
        for name in list(parameters):
            value = parameters.pop(name)
            parameters[name[0].lower() + name[1:]] = value if isinstance(value, str) else json.dumps(value)


def _as_a_state_names_them(task: StateTaskServiceAwsSdk, response: dict[str, Any]) -> None:
    """Let what Step Functions' API answers begin as a state reads it."""
    if task.resource.api_name == "sfn":
        for name in list(response):
            response[name[0].upper() + name[1:]] = response.pop(name)


def _definition(project: Path, logical_id: str) -> str:
    """Return a definition with the substitutions of the template."""
    template = yaml_parse((project / "template.yaml").read_text(encoding="utf-8"))
    machine = template["Resources"][logical_id]["Properties"]
    definition = (project / machine["DefinitionUri"]).read_text(encoding="utf-8")
    defaults = {name: str(each["Default"]) for name, each in template["Parameters"].items() if "Default" in each}
    for name, value in machine["DefinitionSubstitutions"].items():
        definition = definition.replace(f"${{{name}}}", _resolved(value, defaults))
    return definition


def _resolved(value: Any, defaults: dict[str, str]) -> str:
    training = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{TRAINING}"
    names = {**defaults, "ModelRegistry": TABLE, "AWS::StackName": STACK, "TrainingStateMachine": training}
    names["ArtifactBucket"] = "artifacts"
    arns = {logical_id: f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{step}" for step, logical_id in FUNCTIONS.items()}
    match value:
        case {"Ref": name}:
            return names[name]
        case {"Fn::GetAtt": [name, "Arn"]}:
            return arns[name]
        case {"Fn::Sub": str(text)}:
            text = text.replace("${AWS::Partition}", "aws").replace("${AWS::StackName}", STACK)
            return text.replace("${ArtifactBucket}", names["ArtifactBucket"])
        # A stack with the defaults has no tasks.
        case {"Fn::If": ["HasTasks", _, str(other)]}:
            return other
    raise NotImplementedError(value)
