"""The training stack on an embedded AWS, as tests look into it."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from crosstrain.local.server import REGION, LocalAws, LocalTrainingStack

SERVED = "served"
"""The model whose champion the session's training stack serves."""

RETRAINED = "retrained"
"""The model that events retrain in the session's training stack, and those of this folder of its bucket."""
RETRAINED_PREFIX = "data/retrained/"

LARGEST_CLUSTER = "2"
"""How many tasks may grow trees together in the session's training stack."""


def physical_id(stack: LocalTrainingStack, logical_id: str) -> str:
    """Return the name that a resource of the template has in a stack."""
    cloudformation = stack.aws.client("cloudformation")
    detail = cloudformation.describe_stack_resource(StackName=stack.name, LogicalResourceId=logical_id)
    return str(detail["StackResourceDetail"]["PhysicalResourceId"])


def token_issuer(aws: LocalAws) -> dict[str, str]:
    """Make a user pool and return the parameters by which a stack takes its tokens."""
    cognito = aws.client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="callers")["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="caller", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
    )
    return {
        "JwtIssuer": f"https://cognito-idp.{REGION}.amazonaws.com/{pool}",
        "JwtAudience": client["UserPoolClient"]["ClientId"],
    }


def token(aws: LocalAws, stack: LocalTrainingStack) -> str:
    """Return a token of a caller that the stack's HTTP API lets in."""
    given = aws.client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"][0]["Parameters"]
    values = {each["ParameterKey"]: each["ParameterValue"] for each in given}
    pool, client = values["JwtIssuer"].rpartition("/")[2], values["JwtAudience"]
    return token_of(aws, pool, client)


def token_of(aws: LocalAws, pool: str, client: str) -> str:
    """Return a token that a user pool gives a new user by a client of it."""
    cognito = aws.client("cognito-idp")
    name, password = f"caller-{uuid4().hex[:8]}", f"Aa1-{uuid4().hex}"
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    answer = cognito.admin_initiate_auth(
        UserPoolId=pool,
        ClientId=client,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": password},
    )
    return str(answer["AuthenticationResult"]["IdToken"])


class MockedAws(LocalAws):
    """An embedded AWS whose state machines can run with mocked results.

    Parameters
    ----------
    mock_config : Path
        A mock configuration file as Step Functions Local takes it: an execution of `<state machine ARN>#<case>` gets
        the mocked results of that case.
    """

    def __init__(self, mock_config: Path) -> None:
        super().__init__()
        self._mock_config = mock_config

    def _server_environment(self, port: int) -> dict[str, str]:
        return super()._server_environment(port) | {"SFN_MOCK_CONFIG": str(self._mock_config.resolve())}
