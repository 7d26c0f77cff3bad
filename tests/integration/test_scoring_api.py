"""The HTTP API beside the scoring's URL: whoever bears a token of its issuer is answered, and nobody else."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from crosstrain.local.server import LocalAws, LocalTrainingStack
from training_stacks import token, token_issuer, token_of


def ask(stack: LocalTrainingStack, path: str, bearer: str | None, body: Any = None) -> tuple[int, Any]:
    """Return the status and the document that the API answers, which is reached by its id on the embedded AWS."""
    identity = stack.outputs["ScoringApiUrl"].removeprefix("https://").removeprefix("http://").partition(".")[0]
    request = urllib.request.Request(  # noqa: S310 (of the embedded AWS)
        f"{stack.aws.endpoint_url}/_aws/execute-api/{identity}/$default/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            **({} if bearer is None else {"Authorization": f"Bearer {bearer}"}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 (as above)
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_token_lets_its_bearer_in(local_aws: LocalAws, training_stack: LocalTrainingStack) -> None:
    bearer = token(local_aws, training_stack)
    status, document = ask(training_stack, "openapi.json", bearer)
    if status == 503:
        # No test before this one has trained the model: the function itself says so.
        assert "has no champion yet" in document["error"]
    else:
        assert (status, document["openapi"]) == (200, "3.1.0")
    # What is said of the request is said by the function, so the path and the body have reached it.
    assert ask(training_stack, "predictions", bearer, {"row": []})[0] in (422, 503)


def forged(bearer: str) -> str:
    head, claims, signature = bearer.split(".")
    document = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed = base64.urlsafe_b64encode(json.dumps({**document, "email": "another"}).encode()).decode().rstrip("=")
    return f"{head}.{changed}.{signature}"


@pytest.mark.parametrize("kind", ["none", "no token", "forged", "of another issuer"])
def test_no_other_is_answered(local_aws: LocalAws, training_stack: LocalTrainingStack, kind: str) -> None:
    mine = token(local_aws, training_stack)
    another = token_issuer(local_aws)
    bearers = {
        "none": None,
        "no token": "secret",
        "forged": forged(mine),
        "of another issuer": token_of(local_aws, another["JwtIssuer"].rpartition("/")[2], another["JwtAudience"]),
    }
    status, document = ask(training_stack, "model", bearers[kind])
    assert (status, document) == (401, {"message": "Unauthorized"})
