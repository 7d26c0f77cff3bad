"""A function in place of a real one: each attempt ends as the execution's input says.

It speaks the Lambda runtime API itself, so that an error can have any type, those of the Lambda service included.
"""

import http.client
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60
PATH = "/2018-06-01/runtime/invocation"


def call(method: str, path: str, document: object = None) -> tuple[str, bytes]:
    """Call the runtime API, and return the id of the invocation with the body."""
    # The embedded AWS's runtime API is below a path that only the function knows.
    address, slash, below = os.environ["AWS_LAMBDA_RUNTIME_API"].partition("/")
    connection = http.client.HTTPConnection(address)
    connection.request(method, slash + below + PATH + path, json.dumps(document) if method == "POST" else None)
    response = connection.getresponse()
    return response.getheader("Lambda-Runtime-Aws-Request-Id", ""), response.read()


def main() -> None:
    """Answer invocations for ever; the attempts of a run are counted here, in the one process that serves it."""
    attempts: Counter[str] = Counter()
    while True:
        invocation, body = call("GET", "/next")
        event = json.loads(body)
        attempt = attempts[event["run_id"]]
        attempts[event["run_id"]] += 1
        outcome, document = answer(os.environ["STEP"], event, attempt)
        call("POST", f"/{invocation}/{outcome}", document)
        if held := event.get("request", {}).get("held", {}).get(os.environ["STEP"]):
            Path(f"{held}.answered").touch()


def answer(step: str, event: Any, attempt: int) -> tuple[str, dict[str, Any] | None]:
    """Return what an attempt, counted from 0, ends with: `error` or `response`, and its document."""
    if task := event.get("task"):
        searched = {"plan_search": planned, "train_trial": tried}
        return searched[task](event) if task in searched else in_pieces(task, event)
    errors = event["request"].get("errors", {}).get(step, [])
    time.sleep(event["request"].get("seconds", {}).get(step, 0))
    wait_for_gate(event["request"].get("held", {}).get(step), attempt)
    if attempt < len(errors):
        message = event["request"].get("message", f"attempt {attempt + 1}")
        return "error", {"errorType": errors[attempt], "errorMessage": message, "stackTrace": []}
    answers = {"PrepareData": prepared, "TrainModel": trained, "EvaluateModel": evaluated}
    return "response", {**answers[step](event), "attempts": attempt + 1}


def wait_for_gate(path: str | None, attempt: int) -> None:
    """Wait until a test opens the gate of this attempt, or of all (`conftest.Gate`)."""
    end = time.monotonic() + PATIENCE_SECONDS
    while path and not (os.path.exists(path) or os.path.exists(f"{path}.{attempt}")):  # noqa: PTH110 (it is asked often)
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.005)


def prepared(event: Any) -> dict[str, Any]:
    """Make a choice that the input leaves open; `claims` is the name of a model that it lays hands on."""
    request = event["request"]
    name = request.get("claims") or request.get("model_name", "scripted")
    return {
        "request": {**request, "model_name": name, "seed": 42},
        "prepared": {"test_part": "0" * 16, "given": event["champion"]},
    }


def in_pieces(task: str, event: Any) -> tuple[str, dict[str, Any] | None]:
    """Prepare in as many `pieces` as the input says; `piece_errors` has the errors of a task's attempts by piece.

    Several processes serve pieces: their attempts are counted by files in the folder `marks`.
    """
    if task == "plan_pieces":
        # The other tasks are told nothing but what this one returns.
        folder = json.dumps({**event["request"], "given": event["champion"]})
        return "response", {"folder": folder, "count": event["request"]["pieces"], "round": 0, "again": False}
    pieces = event["pieces"]
    script = json.loads(pieces["folder"])
    if task == "merge_scans":
        again = pieces["round"] < script.get("scanned_again", 0)
        return "response", {**pieces, "round": pieces["round"] + again, "again": again}
    if task == "finish_pieces":
        if error := script.get("errors", {}).get("FinishPreparation"):
            return "error", {"errorType": error, "errorMessage": script["message"], "stackTrace": []}
        return "response", prepared({"request": script, "champion": script["given"]})
    errors = script.get("piece_errors", {}).get(task, {}).get(str(event["piece"]), [])
    for attempt, error in enumerate(errors, 1):
        mark = Path(script["marks"]) / f"{task}-{event['piece']}-{attempt}"
        if not mark.exists():
            mark.touch()
            return "error", {"errorType": error, "errorMessage": f"attempt {attempt}", "stackTrace": []}
    return "response", None


def planned(event: Any) -> tuple[str, dict[str, Any]]:
    """Plan the rounds of trials that the input tells of; the best of all trials is the last one that has a score."""
    done, made = event["done"], 0
    for size in event["request"]["rounds"]:
        if len(done) == made:
            trials = [
                {"number": made + each, "estimator": "e", "hyperparameters": {}, "seconds": 1.5} for each in range(size)
            ]
            return "response", {"trials": trials, "chosen": None, "record": None}
        made += size
    scored = [each["number"] for each in done if "score" in each]
    if not scored:
        return "error", {"errorType": "InvalidDatasetError", "errorMessage": "None of the trials could be fitted."}
    chosen = {"estimator": "e", "hyperparameters": {"number": max(scored)}}
    return "response", {"trials": [], "chosen": chosen, "record": {"trials": done}}


def tried(event: Any) -> tuple[str, dict[str, Any]]:
    """Make a trial, which fails in the way that the input says of its number."""
    number = event["trial"]["number"]
    error = event["request"].get("fails", {}).get(str(number))
    if error:
        return "error", {"errorType": error, "errorMessage": f"trial {number}", "stackTrace": []}
    return "response", {"number": number, "score": number / 10, "estimator": "e", "hyperparameters": {}}


def trained(event: Any) -> dict[str, Any]:
    """Train a model whose URI tells its score."""
    uri = f"s3://scripted/{event['request'].get('score', 0)}/{event['run_id']}"
    return {"model_uri": uri, **({"search": event["search"]} if "search" in event else {})}


def evaluated(event: Any) -> dict[str, Any]:
    """Decide as the input says, or for the higher score, and hand on the registry's items."""
    request, champion = event["request"], event["champion"]
    score = request.get("score", 0)
    better = champion is None or score > float(champion["item"]["value"]["N"])
    decision = request.get("decision") or ("promote" if better and not event["contended"] else "reject")
    reason = "contended" if event["contended"] else f"compared with {champion and champion['version']}"
    key = {"model_name": {"S": request.get("claims", request["model_name"])}}
    entry = "champion" if "claims" in request else f"version#{event['run_id']}"
    version = {**key, "entry": {"S": entry}, "version": {"S": event["run_id"]}}
    pointer = {**key, "entry": {"S": "champion"}, "champion_version": {"S": event["run_id"]}}
    return {
        "metric": "score",
        "value": score,
        "decision": decision,
        "rule": "better",
        "reason": reason,
        "report_uri": "s3://scripted/report.html",
        "evaluation_uri": "s3://scripted/evaluation.json",
        "registry": {
            "version": {
                **version,
                "decision": {"S": decision},
                "rule": {"S": "better"},
                "reason": {"S": reason},
                "value": {"N": str(score)},
                "report_uri": {"S": "s3://scripted/report.html"},
                "evaluation_uri": {"S": "s3://scripted/evaluation.json"},
            },
            "champion": {**pointer, "model_uri": {"S": event["model"]["model_uri"]}, "value": {"N": str(score)}},
        },
    }


if __name__ == "__main__":
    main()
