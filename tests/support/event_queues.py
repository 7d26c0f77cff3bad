"""Queues that get what a stack on the embedded AWS announces."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosstrain.local.server import LocalTrainingStack


def event_queue(stack: LocalTrainingStack, name: str, kinds: list[str]) -> str:
    """Return the URL of a new queue that gets the stack's events of these kinds."""
    sqs, events = stack.aws.client("sqs"), stack.aws.client("events")
    url = str(sqs.create_queue(QueueName=name)["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=name, EventPattern=json.dumps({"source": ["crosstrain"], "detail-type": kinds}))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def received(stack: LocalTrainingStack, url: str, count: int) -> list[dict[str, Any]]:
    """Return at least so many events, and those that are one too many."""
    sqs, found = stack.aws.client("sqs"), []
    deadline, quiet = time.monotonic() + 30, False
    while (len(found) < count or not quiet) and time.monotonic() < deadline:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        quiet = not messages
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found
