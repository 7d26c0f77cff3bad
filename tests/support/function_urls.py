"""Requests as a Function URL hands them to its function.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

JSON = "application/json"


def request(
    method: str, path: str, body: str | bytes | None = None, content_type: str | None = JSON, **headers: str
) -> dict[str, Any]:
    """Return the event of a request; bytes come in base64, as what is no text does."""
    sent = {"host": "id.lambda-url.eu-west-1.on.aws", **({"content-type": content_type} if content_type else {})}
    is_encoded = isinstance(body, bytes)
    text = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": sent | {name.replace("_", "-"): value for name, value in headers.items()},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "id",
            "domainName": "id.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "id",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "t"},
            "requestId": "request-1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        **({} if text is None else {"body": text}),
        "isBase64Encoded": is_encoded,
    }


def as_wsgi(handler: Callable[[dict[str, Any], Any], dict[str, Any]]) -> Callable[..., Iterable[bytes]]:
    """Return a web application that hands each request to a function's handler, without a server in between."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = {name[5:].lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
        # A path comes in WSGI as the latin-1 of its bytes: https://peps.python.org/pep-3333/#unicode-issues
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        kind = environ.get("CONTENT_TYPE") or None
        answered = handler(request(environ["REQUEST_METHOD"], path, body, kind, **headers), SimpleNamespace())
        status = HTTPStatus(answered["statusCode"])
        start_response(f"{status.value} {status.phrase}", list(answered["headers"].items()))
        return [answered["body"].encode()]

    return answer
