"""The gate before the embedded AWS: whoever holds no key of this run gets nothing from it.

ministack, which is behind it, checks the signatures of users and roles, but takes every twelve digits for the key of a
root user, answers many unsigned requests and pages of any origin, and derives the keys of a function's role from names
that anybody knows. Here every request has to be signed, that of a root user with a secret of this run, and comes from
no page in a browser; functions have keys that nobody can derive, and runtime APIs answer nobody but a function.
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote
from uuid import uuid4

from ministack import app as ministack
from ministack.core import iam_evaluator, lambda_runtime, sigv4
from ministack.core.responses import _account_from_sts_session
from ministack.core.router import detect_service, extract_access_key_id
from ministack.services import apigateway, cognito, lambda_svc, sts

from crosstrain.local import GUARD_VARIABLE, corrections, task_containers, tasks

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Failure = tuple[str, str]

# The functions, which are children of this process, are not to inherit the secret.
_settings = json.loads(os.environ.pop(GUARD_VARIABLE))
_secret: str = _settings["root_secret"]
_hosts = frozenset(_settings["hosts"])
_registry_token: str = _settings["registry_token"]

_HEALTH = "/_ministack/health"
_INTERNAL = "/_ministack/"
_APIS = "/_aws/execute-api/"
# The public keys of a user pool, which anybody may have on AWS, too.
_PUBLIC_KEYS = "/.well-known/jwks.json"
# A browser sends one of them with every request that a page of another origin makes.
_BROWSER = ("origin", "sec-fetch-site", "sec-fetch-mode", "access-control-request-method")
# Two of one of these, and the gate could read one where ministack reads the other.
_SINGLE = (b"authorization", b"host", b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256")
_IN_ADDRESS = frozenset({"X-Amz-Credential", "x-amz-credential", "AWSAccessKeyId"})
_FORBIDDEN = "This AWS belongs to one run on this machine: "


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand on to ministack what is signed by a key of this run, and refuse all else (ASGI)."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    if scope["type"] == "http":
        failure = _refused_sight_unseen(scope)
        if failure is None and ministack._is_ecr_registry_path(scope["path"]):
            await _answer_engine(scope, receive, send)
            return
        if failure is None and not _is_for_anybody(scope) and not _is_for_a_token(scope):
            receive, body = await _read(receive)
            failure = _signature_failure(scope, body)
        if failure is not None:
            await _refuse(scope, send, failure)
            return
    await ministack.app(scope, receive, send)


def _refused_sight_unseen(scope: Scope) -> Failure | None:
    """Return why a request is refused whoever signed it."""
    names = [name.lower() for name, _ in scope["headers"]]
    if any(names.count(name) > 1 for name in _SINGLE):
        return "InvalidRequest", f"{_FORBIDDEN}a header that may be there once is there twice."
    headers = _headers(scope)
    if any(name in headers for name in _BROWSER):
        return "AccessDenied", f"{_FORBIDDEN}pages in a browser do not reach it."
    if headers.get("host") not in _hosts:
        return "AccessDenied", f"{_FORBIDDEN}it is not reached by that host name."
    return None


def _is_for_anybody(scope: Scope) -> bool:
    path = scope["path"]
    if scope["method"] != "GET" or not path.endswith(_PUBLIC_KEYS):
        return bool(path == _HEALTH)
    # What is no user pool, ministack takes for an object of S3.
    return cognito._get_pool_unscoped(path.removesuffix(_PUBLIC_KEYS).lstrip("/")) is not None


def _is_for_a_token(scope: Scope) -> bool:
    """Return whether ministack asks the caller for a token, as an HTTP API does on a route with such an authorizer."""
    if not scope["path"].startswith(_APIS):
        return False
    identity, _, rest = scope["path"].removeprefix(_APIS).partition("/")
    stage, _, path = rest.partition("/")
    return bool(apigateway.route_authorization_type(identity, stage, scope["method"], f"/{path}") == "JWT")


async def _answer_engine(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand on what a container engine asks of the registry with the password: engines know no signatures."""
    given = _headers(scope).get("authorization", "")
    if hmac.compare_digest(given.encode(), f"Basic {_registry_token}".encode()):
        # ministack reads an account from what it knows as authorization.
        headers = [each for each in scope["headers"] if each[0].lower() != b"authorization"]
        await ministack.app({**scope, "headers": headers}, receive, send)
        return
    challenge = [(b"www-authenticate", b'Basic realm="the embedded AWS"'), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 401, "headers": challenge})
    await send({"type": "http.response.body", "body": b""})


async def _read(receive: Receive) -> tuple[Receive, bytes]:
    """Return the body, and what hands it on."""
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
        messages.append(await receive())
    waiting = iter(messages)

    async def replay() -> MutableMapping[str, Any]:
        message = next(waiting, None)
        return await receive() if message is None else message

    return replay, b"".join(message.get("body", b"") for message in messages)


def _signature_failure(scope: Scope, body: bytes) -> Failure | None:
    """Return the code and the message of a signature that does not hold."""
    headers, query = _headers(scope), _query(scope)
    if not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        return "AccessDenied", f"{_FORBIDDEN}each request is to be signed, in its header (AWS4-HMAC-SHA256)."
    signature = sigv4.parse_header_signature(headers)
    if isinstance(signature, tuple):
        return signature
    # ministack could take the caller from the address.
    if signature.access_key_id != extract_access_key_id(headers, query) or not _IN_ADDRESS.isdisjoint(query):
        return "InvalidRequest", f"{_FORBIDDEN}a request has one key, in its header."
    secret = _secret_of(signature.access_key_id, headers.get("x-amz-security-token", ""))
    if isinstance(secret, tuple):
        return secret
    if scope["path"].startswith(_INTERNAL) and not _is_root(signature.access_key_id):
        return "AccessDenied", f"{_FORBIDDEN}only its root user may do this."
    path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    failure: Failure | None = sigv4.request_time_failure(signature) or sigv4.header_signature_failure(
        signature, secret, scope["method"], path, query, headers, body
    )
    return failure


def _secret_of(key: str, token: str) -> str | Failure:
    if iam_evaluator.is_root_access_key(key):
        return _secret if _is_root(key) else ("InvalidClientTokenId", "The security token in the request is invalid.")
    try:
        account = _account_from_sts_session(key) or iam_evaluator.find_iam_access_key_account(key)
    except iam_evaluator.AmbiguousAccessKeyError:
        account = None
    if account is None:
        return "InvalidClientTokenId", "The security token included in the request is invalid."
    credential = iam_evaluator.resolve_credential(key, account, token)
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        return credential.code, credential.message
    return str(credential.secret_access_key)


def _is_root(key: str) -> bool:
    return len(key) == 12 and key.isascii() and key.isdigit()


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), sigv4.decode_header_value(value)
        # Signed as the values joined by a comma alone.
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


def _query(scope: Scope) -> dict[str, list[str]]:
    return parse_qs(scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)


async def _refuse(scope: Scope, send: Send, failure: Failure) -> None:
    """Answer in the form of the service that was asked, so that its client can read the reason."""
    headers = _headers(scope)
    service = detect_service(scope["method"], scope["path"], headers, _query(scope))
    error = iam_evaluator.AuthError(*failure)
    status, answered, body = ministack._credential_failure(service, "", str(uuid4()), error, headers)
    lines = [(name.encode("latin-1"), str(value).encode("latin-1")) for name, value in answered.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _execution_credentials(config: dict[str, Any]) -> dict[str, str]:
    """Return the keys of a session of a function's role."""
    return _session_of(config.get("Role", ""), config["FunctionArn"], config.get("FunctionName", "function"))


def _session_of(role: str, holder: str, session: str) -> dict[str, str]:
    """Register a session of a role for whoever has this ARN, and return its keys, which the root secret makes."""
    account, name, session = holder.split(":")[4], role.rsplit("/", 1)[-1], session[:64]
    derived = {
        use: hmac.new(_secret.encode(), f"{use}:{holder}:{role}".encode(), hashlib.sha256).hexdigest()
        for use in ("key", "secret", "token")
    }
    key = f"ASIA{derived['key'][:16].upper()}"
    sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
            "UserId": f"{name}:{session}",
            "SecretAccessKey": derived["secret"],
            "SessionToken": derived["token"],
        },
    )
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": derived["secret"],
        "AWS_SESSION_TOKEN": derived["token"],
    }


def _worker_environment(*arguments: Any) -> dict[str, str]:
    """Lead a function to its runtime API by a path that nobody else knows, for that API asks for no secret."""
    environment: dict[str, str] = _ministacks_worker_environment(*arguments)
    environment["AWS_LAMBDA_RUNTIME_API"] += _runtime_path
    return environment


def _parse_request(handler: http.server.BaseHTTPRequestHandler) -> bool:
    """Refuse what does not come by that path."""
    if not _parse_any_request(handler):
        return False
    if handler.path.startswith(f"{_runtime_path}/"):
        return True
    handler.send_error(http.HTTPStatus.FORBIDDEN)
    return False


corrections.apply()
if _settings["containers"]:
    task_containers.apply(_session_of, **_settings["containers"])
else:
    tasks.apply(_session_of)
_runtime_path = f"/{secrets.token_urlsafe(30)}"
_ministacks_worker_environment = lambda_svc._provided_worker_env
_parse_any_request = http.server.BaseHTTPRequestHandler.parse_request
lambda_svc._provided_worker_env = _worker_environment
# ministack has no servers of this kind but its functions' runtime APIs.
http.server.BaseHTTPRequestHandler.parse_request = _parse_request  # type: ignore[assignment, method-assign]
lambda_runtime.execution_credentials = lambda_svc.execution_credentials = _execution_credentials
