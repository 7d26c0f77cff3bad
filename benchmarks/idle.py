"""What a stack costs in a month in which nothing is done: what the being there of each of its resources costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from samcli.yamlhelper import yaml_parse

from benchmarks import ROOT
from benchmarks.figures import Goal, Section
from benchmarks.options import Options
from benchmarks.prices import list_prices
from crosstrain.local.server import LocalAws

ALARM = "AWS::CloudWatch::Alarm"
FREE = (
    # Paid for by the request, message, event or second.
    "AWS::ApiGatewayV2::",
    "AWS::Events::",
    "AWS::Lambda::",
    "AWS::SNS::",
    "AWS::StepFunctions::",
    "AWS::ECS::",
    # No charge at all.
    "AWS::IAM::",
    "AWS::EC2::SecurityGroup",
)
STORED = ("AWS::DynamoDB::Table", "AWS::Logs::LogGroup", "AWS::S3::Bucket", "AWS::S3::BucketPolicy")
"""Paid for by what is stored and by the request: the table is one on demand."""
CALLED = ("AWS::Scheduler::Schedule",)
"""Paid for by the invocation, which a schedule makes by itself."""
ASKED: Mapping[str, str] = {
    "ServeModel": "houses-price",
    "JwtIssuer": "https://issuer.example",
    "JwtAudience": "callers",
    "CaptureShare": "10",
    "ScoringPrefix": "incoming/",
    "ScoringRequest": '{"model_name":"houses-price"}',
    "RetrainOn": "drift",
    "RetrainModel": "houses-price",
    "NotificationEmail": "mail@example.com",
}


def measure(_options: Options) -> Section:
    """Return what is there of a stack as it is by default, and of one that serves, captures, scores and retrains."""
    prices = list_prices()
    section = Section(f"A month idle ({prices['region']}, list prices read on {prices['read_on']})")
    rows = []
    with LocalAws() as aws:
        for what, parameters in (("by default", {}), ("all that serves, watches and retrains", ASKED)):
            name = f"idle-{len(parameters)}"
            aws.deploy_training_stack(ROOT / "template.yaml", name, {"RetentionPolicy": "Delete", **parameters})
            types = _types(aws, name) + _left_out(aws, name)
            cost, beyond, counted = _monthly(types, prices["idle"])
            rows.append((what, f"{sum(types.values())}", counted, f"${beyond:.2f}", f"${cost:.2f}"))
            section.goals.append(
                Goal(f"a month idle, {what}, beyond storage", f"${cost:.2f}, {counted}", "$0.00", cost == 0)
            )
    head = ("stack", "resources", "that cost while they are there", "without the free tier", "with it")
    section.tables.append((head, rows))
    section.notes.append(
        "Each resource of the deployed stack is looked up by its type; one that is not known ends the benchmark. "
        "Storage by the GB (objects, the registry's items, logs) is not in it, nor what schedules start."
    )
    return section


def _types(aws: LocalAws, stack: str) -> Counter[str]:
    return Counter(_deployed(aws, stack).values())


def _deployed(aws: LocalAws, stack: str) -> dict[str, str]:
    """Return the type of each resource by its logical id."""
    pages = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return {
        each["LogicalResourceId"]: each["ResourceType"] for page in pages for each in page["StackResourceSummaries"]
    }


def _left_out(aws: LocalAws, stack: str) -> Counter[str]:
    """Return the alarms on metric math, which the embedded AWS does not take, where their condition holds.

    Each metric of one is billed as an alarm: https://aws.amazon.com/cloudwatch/pricing/
    """
    resources = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))["Resources"]
    hold = {None, *(resources.get(each, {}).get("Condition") for each in _deployed(aws, stack))}
    alarms = (each for each in resources.values() if each["Type"] == ALARM and each.get("Condition") in hold)
    metrics = (metric for each in alarms for metric in each["Properties"].get("Metrics", ()))
    return Counter(ALARM for metric in metrics if "MetricStat" in metric)


def _monthly(types: Mapping[str, int], prices: Mapping[str, Mapping[str, Any]]) -> tuple[float, float, str]:
    """Return dollars with and without what an account has for nothing, and the resources in words.

    Raises
    ------
    ValueError
        If nobody has looked up what a type costs.
    """
    cost = beyond = 0.0
    counted = []
    for name, count in sorted(types.items()):
        if name in prices:
            price, free = float(prices[name]["price"]), int(prices[name]["free"])
            cost += price * max(0, count - free)
            beyond += price * count
            counted.append(f"{count} of {name.rpartition('::')[2].lower()} at ${price:.2f}, of which {free} are free")
        elif not name.startswith(FREE) and name not in (*STORED, *CALLED):
            raise ValueError(f"benchmarks/prices.json does not say what a {name} costs while it is there.")
    return cost, beyond, ", ".join(counted)
