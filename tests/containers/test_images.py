"""Each image answers as it will on Lambda, and holds what its function needs and nothing else."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from samcli.yamlhelper import yaml_parse

import function_urls
from common.storage import split_uri
from crosstrain.delivery.functions import FUNCTIONS, STEPS
from thread_meeting import MEETING

if TYPE_CHECKING:
    import docker

PROBE = Path(__file__).with_name("probe.py").read_text()
STEP = Path(__file__).with_name("step.py").read_text()
# Runs inside the container, so that no port is published: starts what the image starts, and invokes it once.
INVOKE = """
import json, subprocess, sys, time, urllib.error, urllib.request
event, *command = sys.argv[1:]
url = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
emulator = subprocess.Popen(command, stdout=sys.stderr)
while emulator.poll() is None:
    try:
        reply = urllib.request.urlopen(url, event.encode(), timeout=60)
    except urllib.error.HTTPError as error:
        reply = error
    except urllib.error.URLError:
        time.sleep(0.1)
        continue
    sys.exit(print(reply.read().decode()))
sys.exit("the emulator ended")
"""
# Runs inside the container as Step Functions: starts a job, and prints what it answers at last.
WAIT = """
import http.server, json, os, subprocess, sys
class StepFunctions(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked.append((self.headers["X-Amz-Target"].partition(".")[2], json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
asked = []
server = http.server.HTTPServer(("127.0.0.1", 0), StepFunctions)
server.timeout = 60
given = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "EVENT": sys.argv[1], "TASK_TOKEN": "token"}
job = subprocess.Popen(sys.argv[2:], env={**os.environ, **given}, stdout=sys.stderr)
while not asked or asked[-1][0] == "SendTaskHeartbeat":
    server.handle_request()
print(json.dumps({"asked": asked, "exit": job.wait(60)}))
"""
# What Lambda gives an image: a user that owns nothing, a read-only disk but for /tmp. No network, which it does give,
# shows that none is needed here.
LAMBDA: dict[str, Any] = {
    "user": "1000:1000",
    "read_only": True,
    "tmpfs": {"/tmp": ""},  # noqa: S108, it is the container's
    "network_mode": "none",
    "ipc_mode": "none",  # without /dev/shm
    "environment": {
        "ARTIFACT_BUCKET": "crosstrain-artifacts",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3538",
        "IMAGE_URI": "built-by-sam",
        "RELEASE": "unreleased",
        "MODEL_NAME": "default",
        "MODEL_REGISTRY_TABLE": "registry",
        "CHAMPION_TTL": "60",
        "STACK_NAME": "crosstrain",
        "CAPTURE_SHARE": "0",
        "PRIVATE_COLUMNS": "",
    },
}
# What Fargate gives a task of this template: the image's own user, who has to be root to write to the disk at /tmp.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bind-mounts.html
FARGATE = {
    **{name: LAMBDA[name] for name in ("read_only", "network_mode")},
    "tmpfs": {"/tmp": "mode=0755"},  # noqa: S108, it is the container's
    "environment": {
        **LAMBDA["environment"],
        **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "of-nobody"),
    },
}
# Megabytes over the base image, measured with a quarter to spare: growth past them is a dependency nobody asked for.
LARGEST = {"data_preparation": 230, "model_training": 500, "model_evaluation": 500, "scoring": 470}


@pytest.fixture
def run(engine: Any, images: dict[str, Any]) -> Callable[..., Any]:
    """Return a call that runs Python source in a function's image and returns the JSON document it prints."""

    def run_source(function: str, source: str, *arguments: str) -> Any:
        command = ["-c", source, *arguments]
        written = engine.containers.run(images[function], command, entrypoint="python3", remove=True, **LAMBDA)
        # What a handler puts for CloudWatch comes first.
        return json.loads(written.splitlines()[-1])

    return run_source


@pytest.fixture
def found(run: Callable[..., Any], function: str) -> dict[str, Any]:
    """Return what the probe finds in the function's image."""
    return dict(run(function, PROBE, function))


def test_an_invocation_is_answered_with_the_name_of_the_error(
    run: Callable[..., Any], images: dict[str, Any], function: str
) -> None:
    event = {"run_id": "r1", "request": {}} if function in STEPS else function_urls.request("GET", "/nowhere")
    config = images[function].attrs["Config"]

    answer = run(function, INVOKE, json.dumps(event), *config["Entrypoint"], *config["Cmd"])

    if function in STEPS:
        assert answer["errorType"] == "InvalidRequestError", answer
    else:
        assert answer["statusCode"] == 404, answer


@pytest.mark.parametrize("logical_id", ["ModelTrainingTask", "ModelEvaluationTask"])
def test_a_task_answers_with_the_name_of_the_error(
    engine: docker.DockerClient, images: dict[str, Any], project: Path, logical_id: str
) -> None:
    definition = yaml_parse((project / "template.yaml").read_text())["Resources"][logical_id]["Properties"]
    (container,) = definition["ContainerDefinitions"]
    function = container["Command"][0].partition(".")[0]
    command = ["-c", WAIT, json.dumps({"run_id": "r1", "request": {}}), *container["EntryPoint"], *container["Command"]]

    written = engine.containers.run(images[function], command, entrypoint="python3", remove=True, **FARGATE)

    found = json.loads(written)
    assert found["asked"][0] == ["SendTaskHeartbeat", {"taskToken": "token"}]
    call, answer = found["asked"][-1]
    assert (call, answer["error"], found["exit"]) == ("SendTaskFailure", "InvalidRequestError", 1)


@pytest.mark.parametrize(
    ("estimator", "hyperparameters"),
    [("ridge", {}), ("random_forest", {"n_estimators": 3}), ("hist_gradient_boosting", {"max_iter": 3})],
)
def test_what_was_removed_is_missed_by_no_step(
    run: Callable[..., Any], estimator: str, hyperparameters: dict[str, int]
) -> None:
    rows = [f"{number},{'abc'[number % 3]},{number * 2.5}" for number in range(60)]
    objects = {"data/a.csv": _encoded("\n".join(["size,area,price", *rows]).encode())}
    request = {"dataset_uri": "s3://bucket/data/a.csv", "target": "price", "estimator": estimator}
    event: dict[str, Any] = {"run_id": "r1", "request": {**request, "hyperparameters": hyperparameters}}

    prepared, objects = run("data_preparation", STEP, "data_preparation", json.dumps(event), json.dumps(objects))
    event |= prepared
    event["model"], objects = run("model_training", STEP, "model_training", json.dumps(event), json.dumps(objects))
    evaluated, objects = run("model_evaluation", STEP, "model_evaluation", json.dumps(event), json.dumps(objects))

    assert evaluated["metrics"]["rmse"] >= 0
    assert split_uri(evaluated["evaluation_uri"])[1] in objects

    for item in evaluated["registry"].values():
        objects[f"registry/{item['entry']['S']}"] = _encoded(json.dumps(item).encode())
    for kind, body in (("application/json", '{"rows": [{"size": 3, "area": "a"}]}'), ("text/csv", "size,area\n3,a\n")):
        asked = json.dumps(function_urls.request("POST", "/predictions", body, kind))
        answer, _ = run("scoring", STEP, "scoring", asked, json.dumps(objects))
        assert answer["statusCode"] == 200, answer


def test_trees_are_fitted_in_threads_without_shared_memory(run: Callable[..., Any]) -> None:
    found = run("model_training", MEETING, "2")
    assert (found["shm"], found["met"]) == (False, [0, 1])


def test_modules_are_imported_from_bytecode_alone(found: dict[str, Any], function: str) -> None:
    assert f"{function}.app" in found["imported"]
    assert found["compiled_at_import"] == []
    assert found["sources"] > 500
    assert found["without_bytecode"] == []


def test_only_the_functions_own_package_is_there(found: dict[str, Any], function: str) -> None:
    others = {"common", *FUNCTIONS} & set(found["entries"])

    # A reader of data sets reads rows of CSV.
    assert others == {"common", function} | ({"data_preparation"} if function == "scoring" else set())


def test_nothing_is_left_over_from_the_build(found: dict[str, Any]) -> None:
    assert found["tests"] == []
    assert found["build_files"] == []
    assert found["unreadable"] == []
    assert "bin" not in found["entries"]


def test_an_image_is_its_base_and_a_task_root(
    engine: Any, images: dict[str, Any], base_image: str, function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base, image = engine.images.get(base_image).attrs, images[function].attrs
    layers = base["RootFS"]["Layers"]
    megabytes = (image["Size"] - base["Size"]) / 1e6

    with capsys.disabled():
        print(f"\n{function}: {megabytes:.0f} MB over a base of {base['Size'] / 1e6:.0f} MB")
    # No cache of pip can be outside the task root: the image is made of the base's layers and two that fill it.
    assert image["RootFS"]["Layers"][: len(layers)] == layers
    assert image["Config"]["Cmd"] == [f"{function}.app.handler"]
    assert megabytes < LARGEST[function]


def _encoded(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()
