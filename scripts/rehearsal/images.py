"""What functions run from: images in containers or, without a container engine, folders of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from local_aws import LocalAws


class Images(Protocol):
    """What a rehearsal asks of whatever builds and runs the images.

    Attributes
    ----------
    not_rehearsed : list of str
        Plain sentences: what is not proved with it.
    """

    not_rehearsed: list[str]

    def aws_options(self) -> dict[str, Any]:
        """Return the options with which the embedded AWS is to be started."""

    def start(self, aws: LocalAws) -> None:
        """Take note of the embedded AWS, which runs now."""

    def build_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables by which a build finds a container engine."""

    def adapt(self, template: dict[str, Any]) -> None:
        """Let a packaged training template be deployed, in place."""

    def bring(self, account: str, uris: list[str]) -> None:
        """Fetch images by digest to where functions of an account run."""
