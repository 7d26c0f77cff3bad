"""A server on this machine that hands requests on to an endpoint, signed: for browsers and tools that cannot sign.

It listens on the loopback address alone, and answers no page of another origin, whose requests a browser would send
here as well: they would be signed with the user's rights.
"""

from __future__ import annotations

import http.server
import json
import socket
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError

from crosstrain.command import BadInputError, OperationFailedError, reason_of
from crosstrain.training.endpoint import Answer, Endpoint

ADDRESS = "127.0.0.1"
MAX_BYTES = 6 << 20
"""What a Function URL takes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
_MOST_UNREAD = 64 << 20
# What of a request and an answer is another's business than the connection's.
_ASKED = ("Content-Type", "Content-Encoding", "Accept")
_ANSWERED = (
    "content-type",
    "content-security-policy",
    "cache-control",
    "x-content-type-options",
    "allow",
    "retry-after",
)
# What a browser says of requests that a page of its own origin makes, or nobody's page.
_OWN_SITE = ("same-origin", "none")


class Front(http.server.ThreadingHTTPServer):
    """The server; `serve_forever` serves.

    Parameters
    ----------
    endpoint
        Answers.
    port : int
        Of the loopback address; 0 for any that is free.

    Raises
    ------
    BadInputError
        If the port cannot be had.
    """

    daemon_threads = True
    request_queue_size = 128
    """How many callers may wait to be heard; beyond five, which is http.server's own number, they would be cut off."""

    def __init__(self, endpoint: Endpoint, port: int) -> None:
        self.endpoint = endpoint
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "there is no such port"
            raise BadInputError(f"Nothing can be served at {ADDRESS}:{port} ({reason}): name another PORT.") from error
        self.address = f"http://{ADDRESS}:{self.server_port}"
        self.hosts = frozenset(f"{name}:{self.server_port}" for name in (ADDRESS, "localhost"))

    def server_bind(self) -> None:
        """Bind without a look at what the machine is called, which takes seconds where no name server answers."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong with a request, unless it is that the client has hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_any(self) -> None:
        """Hand a request on, unless somebody else's page makes it."""
        refused = self._refused()
        if refused is not None:
            # What is left of its body would be read as another request.
            self.close_connection = True
            self._answer(refused)
            self._read_rest()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name in _ASKED if (value := self.headers.get(name)) is not None}
        try:
            answer = self.server.endpoint.ask(self.command, self.path.partition("?")[0], body, headers)
        except (BotoCoreError, OperationFailedError) as error:
            answer = _told(HTTPStatus.BAD_GATEWAY, f"The endpoint does not answer: {error}")
        self._answer(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_any  # noqa: N815 (as http.server asks)

    def _refused(self) -> Answer | None:
        own = {f"http://{host}" for host in self.server.hosts}
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            return _told(HTTPStatus.FORBIDDEN, "It is not reached by that host name.")
        if self.headers.get("Origin") not in (None, *own) or self.headers.get("Sec-Fetch-Site") not in (
            None,
            *_OWN_SITE,
        ):
            return _told(HTTPStatus.FORBIDDEN, "Pages of other origins do not reach it.")
        lengths = self.headers.get_all("Content-Length", ["0"])
        if (
            "Transfer-Encoding" in self.headers
            or len(lengths) > 1
            or not (lengths[0].isascii() and lengths[0].isdigit())
        ):
            return _told(HTTPStatus.LENGTH_REQUIRED, "A body comes with its length.")
        if len(lengths[0]) > 12 or int(lengths[0]) > MAX_BYTES:
            return _told(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body has more than {MAX_BYTES >> 20} MB.")
        return None

    def _read_rest(self) -> None:
        """Read a body that nobody looks at: whoever is still sending it does not see the answer before."""
        length = self.headers.get("Content-Length", "0")
        left = min(int(length), _MOST_UNREAD) if length.isascii() and length.isdigit() and len(length) <= 12 else 0
        while left and (read := self.rfile.read(min(left, 1 << 16))):
            left -= len(read)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name in _ANSWERED:
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as http.server calls it)
        """Say nothing: the function logs each request."""


def _told(status: HTTPStatus, message: str) -> Answer:
    headers: Mapping[str, str] = {"content-type": "application/json"}
    return Answer(status, headers, json.dumps({"error": message}).encode())
