"""The training stack on an embedded AWS, as tests look into it."""

from __future__ import annotations

from pathlib import Path

from crosstrain.local.server import LocalAws, LocalTrainingStack

SERVED = "served"
"""The model whose champion the session's training stack serves."""

RETRAINED = "retrained"
"""The model that events retrain in the session's training stack, and those of this folder of its bucket."""
RETRAINED_PREFIX = "data/retrained/"


def physical_id(stack: LocalTrainingStack, logical_id: str) -> str:
    """Return the name that a resource of the template has in a stack."""
    cloudformation = stack.aws.client("cloudformation")
    detail = cloudformation.describe_stack_resource(StackName=stack.name, LogicalResourceId=logical_id)
    return str(detail["StackResourceDetail"]["PhysicalResourceId"])


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
