"""A function in place of a real one: each attempt ends as the execution's input says.

It speaks the Lambda runtime API itself, so that an error can have any type, those of the Lambda service included.
"""

import http.client
import json
import os
from collections import Counter

STEP = os.environ["STEP"]
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
PATH = "/2018-06-01/runtime/invocation"


def call(method: str, path: str, document: object = None) -> tuple[str, bytes]:
    """Call the runtime API, and return the id of the invocation with the body."""
    connection = http.client.HTTPConnection(API)
    connection.request(method, PATH + path, json.dumps(document) if method == "POST" else None)
    response = connection.getresponse()
    return response.getheader("Lambda-Runtime-Aws-Request-Id", ""), response.read()


def main() -> None:
    """Answer invocations for ever; the attempts of a run are counted here, in the one process that serves it."""
    attempts: Counter[str] = Counter()
    while True:
        invocation, body = call("GET", "/next")
        event = json.loads(body)
        errors = event["request"]["errors"].get(STEP, [])
        attempt = attempts[event["run_id"]]
        attempts[event["run_id"]] += 1
        if attempt < len(errors):
            failure = {"errorType": errors[attempt], "errorMessage": f"attempt {attempt + 1}", "stackTrace": []}
            call("POST", f"/{invocation}/error", failure)
        else:
            answer = {"request": event["request"], "prepared": {}, "decision": "promote", "attempts": attempt + 1}
            call("POST", f"/{invocation}/response", answer)


if __name__ == "__main__":
    main()
