"""Resolving a release: the whole process, against one that makes a DynamoDB client and ends."""

from __future__ import annotations

from benchmarks import ROOT
from benchmarks.figures import Section, Spread, at_most, interleaved, ratio
from benchmarks.options import Options
from benchmarks.processes import seconds_of
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.ledger import Ledger, Release, release_id
from crosstrain.local.server import LocalAws

TABLE = "ledger"


def measure(options: Options) -> Section:
    """Return seconds of `resolve_images.py` with the release in a ledger of the embedded AWS."""
    section = Section("Resolving a release")
    with LocalAws() as aws:
        dynamodb = aws.client("dynamodb")
        dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        commits = ("1" * 40, "2" * 40)
        images = {
            name: f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{name.lower()}@sha256:{'0' * 64}"
            for name in FUNCTIONS.values()
        }
        release = Release(release_id(*commits), images, 1, *commits)
        Ledger(dynamodb, TABLE).record_release(release)
        script = str(ROOT / "scripts" / "resolve_images.py")
        environment = aws.environment()
        commands = {
            "resolve": [script, release.id, "--ledger", TABLE, "--format", "json", "--skip-registry"],
            "client": ["-c", "import boto3; boto3.client('dynamodb')"],
        }
        for command in commands.values():
            seconds_of(command, environment)
        seconds = interleaved(
            options.process_repeats,
            {name: lambda _, it=command: seconds_of(it, environment) for name, command in commands.items()},
        )
    quotient = ratio(seconds["resolve"], seconds["client"])
    section.goals = [at_most("resolve_images.py / a process that makes a client", quotient, 1.2)]
    section.tables.append(
        (
            ("", "seconds"),
            [
                ("resolve_images.py, one read of the ledger included", Spread.of(seconds["resolve"]).text()),
                ("`import boto3; boto3.client('dynamodb')`", Spread.of(seconds["client"]).text()),
            ],
        )
    )
    return section
