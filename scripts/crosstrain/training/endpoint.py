"""The endpoint of a stack that serves a model: requests to its Function URL, signed with the user's own settings.

https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.stack import DeployedStack

if TYPE_CHECKING:
    from botocore.credentials import Credentials

URL = "ScoringUrl"
_SECONDS = 40
"""How long an answer may take: the function has 30 seconds."""


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers by their names in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """Sends signed requests to a Function URL.

    Parameters
    ----------
    url : str
        Of the function, as the stack's output has it.
    credentials : botocore.credentials.Credentials
        Of whoever asks.
    region : str
        Of the function.
    embedded : str, optional
        Where an embedded AWS listens, which has no host names of its own.
    """

    def __init__(self, url: str, credentials: Credentials, region: str, embedded: str | None = None) -> None:
        self._credentials, self._region = credentials, region
        self._http = URLLib3Session(timeout=_SECONDS)
        function = (urlsplit(url).hostname or "").partition(".")[0]
        self.url = url.rstrip("/") if embedded is None else f"{embedded}/_aws/lambda-url/{function}"

    @classmethod
    def of(cls, stack: DeployedStack) -> Endpoint:
        """Return the endpoint of a stack.

        Raises
        ------
        BadInputError
            If it serves no model.
        OperationFailedError
            If there are no credentials to sign requests with.
        """
        if URL not in stack.outputs:
            raise BadInputError(
                f'The stack "{stack.name}" serves no model: deploy it with the parameter ServeModel, the name of one, '
                'or start the embedded AWS so: make local-aws ARGS="--parameter-overrides ServeModel=NAME".'
            )
        credentials, base = stack.session.get_credentials(), stack.session.client("lambda").meta.endpoint_url
        if credentials is None:
            raise OperationFailedError("There are no credentials to sign requests with: set AWS_PROFILE.")
        is_embedded = urlsplit(base).hostname == "127.0.0.1"
        return cls(stack.outputs[URL], credentials, str(stack.session.region_name), base if is_embedded else None)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request and return the answer, whatever its status is.

        Raises
        ------
        botocore.exceptions.HTTPClientError
            If nobody answers.
        """
        request = AWSRequest(method, f"{self.url}{path}", headers=dict(headers or {}), data=body)
        SigV4Auth(self._credentials.get_frozen_credentials(), "lambda", self._region).add_auth(request)
        answered = self._http.send(request.prepare())
        found = {name.lower(): value for name, value in answered.headers.items()}
        return Answer(answered.status_code, found, answered.content)
