"""The embedded AWS is nobody else's: what another user of this machine, or a page in a browser, gets from it."""

from __future__ import annotations

import hashlib
import http.client
import json
import stat
from contextlib import closing, suppress
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

import psutil
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.session import Session

from crosstrain.local import GUARD_VARIABLE
from crosstrain.local.server import ACCOUNT, REGION, ROOT, Credentials, LocalAws, LocalTrainingStack

pytestmark = pytest.mark.slow
_SERVICES = {
    "s3": "list_buckets",
    "sts": "get_caller_identity",
    "iam": "list_users",
    "dynamodb": "list_tables",
    "lambda": "list_functions",
    "stepfunctions": "list_state_machines",
    "cloudformation": "list_stacks",
}


def ask(aws: LocalAws, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, list[str]]:
    """Return the status, the body and the names of the headers of what a request is answered."""
    with closing(http.client.HTTPConnection(urlsplit(aws.endpoint_url).netloc, timeout=10)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), [name.lower() for name in answer.headers]


def signed(aws: LocalAws, path: str, credentials: Credentials = ROOT, service: str = "s3") -> dict[str, str]:
    """Return the headers that sign a GET request."""
    unsigned = AWSRequest(
        "GET", aws.endpoint_url + path, headers={"x-amz-content-sha256": hashlib.sha256().hexdigest()}
    )
    keys = Session()
    keys.set_credentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    SigV4Auth(keys.get_credentials(), service, REGION).add_auth(unsigned)
    return dict(unsigned.headers.items())


@pytest.fixture(scope="module")
def address(local_aws: LocalAws) -> str:
    """Return the path of an object that a request signed by root can read."""
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="guarded")
    for key in ("secret", ".well-known/jwks.json"):
        s3.put_object(Bucket="guarded", Key=key, Body=b"precious")
    return "/guarded/secret"


def test_what_is_signed_is_answered(local_aws: LocalAws, address: str) -> None:
    """The attacks below fail for what they are."""
    assert ask(local_aws, "GET", address, signed(local_aws, address))[:2] == (200, b"precious")


@pytest.mark.parametrize("service", _SERVICES)
@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(ACCOUNT, "local"),
        Credentials("000000000000", "test"),
        Credentials("test", "test"),
        Credentials("AKIAIOSFODNN7EXAMPLE", "x"),
        Credentials("ASIAIOSFODNN7EXAMPLE", "x", "x"),
    ],
    ids=lambda credentials: credentials.access_key_id,
)
def test_keys_that_this_run_did_not_make_open_nothing(
    local_aws: LocalAws, service: str, credentials: Credentials
) -> None:
    client = local_aws._new_client(service, credentials, REGION)
    with pytest.raises(ClientError, match=r"SignatureDoesNotMatch|InvalidSignature|InvalidA|InvalidC|Unrecognized"):
        getattr(client, _SERVICES[service])()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/guarded/secret", "/", "/_ministack/reset", "/_ministack/config", "/_ministack/ses/messages",
        "/2015-03-31/functions/x/invocations", "/_ministack/cfn-response/x", "/oauth2/authorize", "/_ministack/health/",
        "/guarded/.well-known/jwks.json", "/_aws/execute-api/0a1b2c3d/$default/model",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("address")
def test_what_is_not_signed_gets_nothing(local_aws: LocalAws, method: str, path: str) -> None:
    status, body, _ = ask(local_aws, method, path)
    assert status == 403
    assert b"precious" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Access-Control-Request-Method": "PUT"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_no_page_in_a_browser_reaches_it_though_it_had_a_key(
    local_aws: LocalAws, address: str, method: str, headers: dict[str, str]
) -> None:
    status, body, names = ask(local_aws, method, address, {**signed(local_aws, address), **headers})
    assert (status, b"precious" in body) == (403, False)
    assert not [name for name in names if name.startswith("access-control-")]


@pytest.mark.parametrize("query", ["X-Amz-Credential=999999999999", "AWSAccessKeyId=999999999999"])
def test_a_request_has_one_key(local_aws: LocalAws, address: str, query: str) -> None:
    """The signature of one key does not let in what is done in the name of another."""
    path = f"{address}?{query}"
    assert ask(local_aws, "GET", path, signed(local_aws, path))[0] != 200


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/a/manifests/b", "/v2/a/blobs/uploads/"])
@pytest.mark.parametrize("given", [None, "wrong", "signature"])
def test_nobody_pushes_or_pulls_images_without_the_password(local_aws: LocalAws, path: str, given: str | None) -> None:
    """A role's signature does not do either: the registry would ask for no rights."""
    headers = {"wrong": {"Authorization": "Basic QVdTOmxvY2Fs"}, "signature": signed(local_aws, path, service="ecr")}
    status, body, _ = ask(local_aws, "GET", path, headers.get(given or ""))
    assert (status, body) == (401, b"")


def test_the_password_opens_the_registry(local_aws: LocalAws) -> None:
    assert ask(local_aws, "GET", "/v2/", {"Authorization": local_aws.registry.authorization})[0] == 200
    assert stat.S_IMODE(local_aws.registry.folder.parent.stat().st_mode) == 0o700


def test_what_only_its_root_user_may_do(training_stack: LocalTrainingStack) -> None:
    """What ministack has for itself knows no policies."""
    path = "/_ministack/lambda-code/x"
    status, body, _ = ask(
        training_stack.aws, "GET", path, signed(training_stack.aws, path, training_stack.data_scientist)
    )
    assert (status, b"only its root user" in body) == (403, True)


@pytest.fixture
def functions(training_stack: LocalTrainingStack) -> list[psutil.Process]:
    """Run a function, and return the processes of functions that wait for the next event."""
    client = training_stack.aws.client("lambda")
    for function in client.list_functions()["Functions"]:
        if "DataPreparation" in function["FunctionName"]:
            client.invoke(FunctionName=function["FunctionName"], Payload=b"{}")
    assert training_stack.aws._server is not None
    return psutil.Process(training_stack.aws._server.pid).children(recursive=True)


@pytest.mark.usefixtures("functions")
def test_the_keys_of_a_function_cannot_be_derived_from_names(training_stack: LocalTrainingStack) -> None:
    """Ministack makes them of the function's ARN and its role's."""
    for function in training_stack.aws.client("lambda").list_functions()["Functions"]:
        digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
        secret, token = (hashlib.sha256(f"{use}:{digest}".encode()).hexdigest() for use in ("secret", "token"))
        derived = Credentials(f"ASIA{digest[:16].upper()}", secret, token)
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            training_stack.aws._new_client("sts", derived, REGION).get_caller_identity()


def test_functions_do_not_have_the_root_secret(functions: list[psutil.Process]) -> None:
    assert functions
    for process in functions:
        with suppress(psutil.NoSuchProcess):
            environment = process.environ()
            assert GUARD_VARIABLE not in environment
            assert ROOT.secret_access_key not in json.dumps(environment)


def test_a_runtime_api_answers_no_process_but_a_functions(
    training_stack: LocalTrainingStack, functions: list[psutil.Process]
) -> None:
    """Whoever asks for the next event takes it from the function, and may answer in its place."""
    del functions
    assert training_stack.aws._server is not None
    own = urlsplit(training_stack.aws.endpoint_url).port
    server = psutil.Process(training_stack.aws._server.pid)
    listening = [each.laddr for each in server.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert {each.ip for each in listening} == {"127.0.0.1"}
    ports = [each.port for each in listening if each.port != own]
    assert ports
    for port in ports:
        with pytest.raises(HTTPError, match="403"):
            request.urlopen(f"http://127.0.0.1:{port}/2018-06-01/runtime/invocation/next", timeout=5)


def test_its_folder_is_for_nobody_else(local_aws: LocalAws) -> None:
    assert stat.S_IMODE(local_aws.directory.stat().st_mode) == 0o700
