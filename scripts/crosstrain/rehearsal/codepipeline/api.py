"""The one call to CodePipeline that builds make, answered by the rehearsal, which is the CodePipeline here."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crosstrain.local.server import REGION
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.authorization import Authorizer, DeniedError

_TARGET = "CodePipeline_20150709.ListPipelineExecutions"
_KEY = re.compile(r"Credential=(?P<key>[^/]+)/")

Executions = Callable[[str], list[Mapping[str, Any]]]
"""Returns the executions of a pipeline: `pipelineExecutionId`, `status` and `startTime` (seconds since the epoch)."""


@contextmanager
def serve(authorizer: Authorizer, executions: Executions) -> Iterator[str]:
    """Yield the URL at which ListPipelineExecutions is answered, to whom may call it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            status, answer = _answer(self.headers, body, authorizer, executions)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: the calls are in the logs of those who make them."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(
    headers: Any, body: Mapping[str, Any], authorizer: Authorizer, executions: Executions
) -> tuple[int, Mapping[str, Any]]:
    if headers.get("X-Amz-Target") != _TARGET:
        return 400, {"__type": "UnknownOperationException", "message": f"not rehearsed: {headers.get('X-Amz-Target')}"}
    match = _KEY.search(headers.get("Authorization", ""))
    role = authorizer.role_of(match["key"]) if match else None
    if role is None:
        return 400, {"__type": "UnrecognizedClientException", "message": "The security token is invalid."}
    account, name = role.split(":")[4], role.rpartition("/")[2]
    arn = f"arn:aws:codepipeline:{REGION}:{account}:{body['pipelineName']}"
    try:
        authorizer.check(role, service_calls.LIST_EXECUTIONS, arn)
    except DeniedError:
        who = f"arn:aws:sts::{account}:assumed-role/{name}/codebuild"
        message = f"User: {who} is not authorized to perform: {service_calls.LIST_EXECUTIONS} on resource: {arn}"
        return 400, {"__type": "AccessDeniedException", "message": message}
    return 200, {"pipelineExecutionSummaries": executions(body["pipelineName"])}
