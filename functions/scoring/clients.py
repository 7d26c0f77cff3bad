"""Clients of the services that a worker asks besides S3."""

from __future__ import annotations

import functools
from typing import Any

import boto3


@functools.cache
def client(service: str) -> Any:
    """Return the worker's one client of a service: to make one takes longer than most calls."""
    return boto3.client(service)  # type: ignore[call-overload]  # it knows literal names alone
