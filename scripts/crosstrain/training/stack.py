"""A deployed stack, and how a command finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from crosstrain.command import BadInputError

STACK_VARIABLE = "CROSSTRAIN_STACK"


@dataclass(frozen=True)
class DeployedStack:
    """A stack that is deployed to AWS, or to the embedded AWS, and a session that reaches it.

    Attributes
    ----------
    name : str
        The name of the stack.
    outputs : mapping
        The outputs of the stack.
    session : boto3.Session
        Makes clients with the user's own settings.
    """

    name: str
    outputs: Mapping[str, str]
    session: boto3.Session

    @classmethod
    def describe(cls, session: boto3.Session, name: str) -> DeployedStack:
        """Return the stack of a name.

        Raises
        ------
        BadInputError
            If there is none.
        """
        try:
            stacks = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise BadInputError(f'There is no stack "{name}" in this account and region: deploy it first.') from error
        return cls(name, {each["OutputKey"]: each["OutputValue"] for each in stacks[0].get("Outputs", [])}, session)

    def output(self, key: str) -> str:
        """Return the value of an output.

        Raises
        ------
        BadInputError
            If the stack has no such output.
        """
        if key not in self.outputs:
            raise BadInputError(
                f'The stack "{self.name}" has no output {key}: it is no training stack, or one of an older template, '
                "which has to be deployed again."
            )
        return self.outputs[key]


def find_stack(name: str | None) -> DeployedStack:
    """Return a deployed stack by its name or, without one, the stack that `CROSSTRAIN_STACK` names.

    Raises
    ------
    BadInputError
        If no stack is named, there is none of this name, or the user's settings do not reach AWS.
    """
    chosen = name or os.environ.get(STACK_VARIABLE)
    if not chosen:
        raise BadInputError(
            "No stack is named: say --stack NAME for a stack on AWS, or keep `make local-aws` running in another "
            f"terminal and set here what it prints, {STACK_VARIABLE} included."
        )
    try:
        return DeployedStack.describe(boto3.Session(), chosen)
    except BotoCoreError as error:
        raise BadInputError(f"AWS cannot be called: {str(error).rstrip('.')}. {_way_out(error)}") from error


def _way_out(error: BotoCoreError) -> str:
    if isinstance(error, HTTPClientError | NoConnectionError) and "AWS_ENDPOINT_URL" in os.environ:
        return "AWS_ENDPOINT_URL is set: see whether `make local-aws` is still running, and set what it prints."
    return "Set AWS_PROFILE and AWS_REGION."
