"""The served champion: asked through its URL with a caller's rights, answered with those of its function's role."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.credentials import Credentials
from sklearn.datasets import load_diabetes

from common.model_file import load_model
from crosstrain.local.front import ADDRESS, Front
from crosstrain.local.server import REGION, LocalTrainingStack
from crosstrain.local.server import Credentials as Key
from crosstrain.training.endpoint import URL, Endpoint
from training_stacks import SERVED

from .conftest import Train

JSON = {"Content-Type": "application/json"}


def endpoint_for(stack: LocalTrainingStack, key: Key) -> Endpoint:
    credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token or None)
    return Endpoint(stack.outputs[URL], credentials, REGION, stack.aws.endpoint_url)


@pytest.fixture(scope="module")
def endpoint(training_stack: LocalTrainingStack) -> Endpoint:
    """Return the endpoint of the session's stack, for a data scientist."""
    return endpoint_for(training_stack, training_stack.data_scientist)


def told(answer: Any) -> Any:
    return json.loads(answer.body)


@pytest.mark.slow
def test_a_promoted_model_is_served(
    training_stack: LocalTrainingStack, endpoint: Endpoint, train: Train, tmp_path: Path
) -> None:
    before = endpoint.ask("GET", "/health")
    assert (before.status, told(before)["version"]) == (503, None)
    assert "has no champion yet" in told(before)["error"]

    trained = train("--estimator", "ridge", "--model-name", SERVED, "--json")
    assert trained.code == 0, trained.stderr

    data = load_diabetes(as_frame=True, scaled=False).frame.drop(columns="target")
    body = json.dumps({"rows": data.head(20).to_dict("records")}).encode()
    answer = endpoint.ask("POST", "/predictions", body, JSON)
    assert answer.status == 200, answer.body
    document = told(answer)
    assert (document["model_name"], document["version"]) == (SERVED, trained.document["run_id"])
    expected = load_model(tmp_path / "out/model.skops").predict(data.head(20))
    np.testing.assert_allclose([each["prediction"] for each in document["predictions"]], expected, rtol=1e-6)
    of_text = endpoint.ask(
        "POST", "/predictions", data.head(20).to_csv(index=False).encode(), {"Content-Type": "text/csv"}
    )
    assert told(of_text)["predictions"] == document["predictions"]
    assert told(endpoint.ask("GET", "/model"))["card"]["metrics"] == pytest.approx(trained.document["metrics"])
    # What the function has logged is in its own group, without a value of the rows.
    name = f"/aws/lambda/{training_stack.name}-scoring"
    events = training_stack.aws.client("logs").filter_log_events(logGroupName=name)["events"]
    assert any("rows scored" in each["message"] for each in events)


@pytest.fixture
def few_cold_workers(training_stack: LocalTrainingStack) -> Iterator[None]:
    """Let the function have four workers at most, none of which has begun."""
    functions, name = training_stack.aws.client("lambda"), training_stack.outputs["ScoringFunctionName"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=4)
    for changes in ({"COLD": uuid.uuid4().hex}, {}):
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | changes})
        if changes:
            yield
    functions.delete_function_concurrency(FunctionName=name)


@pytest.mark.slow
@pytest.mark.usefixtures("few_cold_workers")
def test_fifty_calls_at_once_on_a_cold_start_are_answered_or_told_to_come_again(
    endpoint: Endpoint, train: Train
) -> None:
    if endpoint.ask("GET", "/health").status != 200:
        assert train("--estimator", "ridge", "--model-name", SERVED).code == 0
    row = load_diabetes(as_frame=True, scaled=False).frame.drop(columns="target").head(1).to_dict("records")
    body, end = json.dumps({"rows": row}).encode(), time.monotonic() + 120

    def ask(_: int) -> tuple[set[int], Any]:
        statuses = set[int]()
        while 200 not in statuses:
            assert time.monotonic() < end
            answer = endpoint.ask("POST", "/predictions", body, JSON)
            statuses.add(answer.status)
            time.sleep(0.2)
        return statuses, told(answer)

    with ThreadPoolExecutor(50) as pool:
        answered = list(pool.map(ask, range(50)))
    # What is beyond the concurrency is told so; nobody gets an error of the function, and all get the same answer.
    assert set().union(*(statuses for statuses, _ in answered)) <= {200, 429}
    (first, *others) = [document["predictions"] for _, document in answered]
    assert all(each == first for each in others)


def test_whoever_has_no_right_to_ask_is_refused(training_stack: LocalTrainingStack, endpoint: Endpoint) -> None:
    nobody = training_stack.aws.create_user("nobody", {"Version": "2012-10-17", "Statement": [_ALLOWED_ELSEWHERE]})
    assert endpoint_for(training_stack, nobody).ask("GET", "/health").status == 403
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{endpoint.url}/health", timeout=20)  # noqa: S310 (of the embedded AWS)


_ALLOWED_ELSEWHERE = {
    "Effect": "Allow",
    "Action": ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"],
    "Resource": "arn:aws:lambda:us-east-1:000000000000:function:another",
}


@pytest.fixture
def front(endpoint: Endpoint) -> Iterator[Front]:
    """Serve on a free port of this machine."""
    with Front(endpoint, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def fetch(address: str, **headers: str) -> tuple[int, str, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = urllib.request.Request(address, headers=named)  # noqa: S310 (of this machine)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 (as above)
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def test_this_machines_own_server_signs_for_whoever_uses_it_here(front: Front) -> None:
    status, kind, page = fetch(f"{front.address}/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b"<form" in page
    assert fetch(f"{front.address}/nothing?x=1")[0] == 404
    assert fetch(f"{front.address}/", Origin=front.address, Sec_Fetch_Site="same-origin")[0] == 200
    for headers in (
        {"Host": "example.com"},
        {"Origin": "http://example.com"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        status, _, body = fetch(f"{front.address}/model", **headers)
        assert (status, b"error" in body) == (403, True), headers


def test_a_body_that_is_too_long_is_told_so_to_whoever_is_still_sending_it(front: Front) -> None:
    """7 MB: more than a Function URL takes."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{front.address}/predictions", data=bytes(7 << 20), timeout=20)  # noqa: S310 (of this machine)
    with caught.value as answer:
        assert (answer.code, b"more than 6 MB" in answer.read()) == (413, True)


def test_a_client_that_hangs_up_leaves_no_trace(front: Front, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())
    with socket.create_connection((ADDRESS, front.server_port)) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {ADDRESS}:{front.server_port}\r\n\r\n".encode())
        # Closed like this, it refuses whatever comes.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert fetch(f"{front.address}/")[0] == 200
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert capfd.readouterr().err == ""
