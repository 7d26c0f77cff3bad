"""The templates follow the rules of AWS Control Tower, by AWS CloudFormation Guard, but for those that say why not."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delivery_templates import TEMPLATES
from template_policies import resolved

pytestmark = pytest.mark.slow

PACKAGE = "tools/cfn-guard/node_modules/@cdklabs/cdk-validator-cfnguard"
# The rules that are not followed, and why: of log groups, of buckets, and of each template.
LOGS = {
    "cloudwatch_log_group_encrypted": "logs always are; with a key of the customer, who loses it loses the logs",
    "cloudwatch_log_group_retention_period": "LogRetentionDays says for how long; config/prod.json says a year",
}
BUCKETS = {
    "s3_bucket_logging_enabled": "access logs need a second bucket; the account's trail can record who reads what",
    "s3_bucket_object_lock_enabled": "a lock would keep people from deleting their own data; versions are kept",
}
EXCEPTIONS: dict[str, dict[str, str]] = {
    "template.yaml": {
        **LOGS,
        **BUCKETS,
        "api_gw_v2_access_logs_enabled": "the function logs each request; such logs need rights on *",
        "ecs_task_definition_memory_hard_limit": "the size of a task is the limit, and each run says its own",
        "ecs_task_definition_nonroot_user": "a task's disk at /tmp belongs to root; the rest is read-only to it, too",
        "lambda_inside_vpc": "functions talk to S3 and CloudWatch Logs alone; a VPC costs by the hour",
        "s3_bucket_default_encryption_kms": "SSE-S3; a key would need a grant for each function and each reader",
        "step_functions_state_machine_tracing_enabled": "it needs a right on *; history and logs tell a run's story",
    },
    "tools-account.yaml": {
        **BUCKETS,
        "s3_event_notifications_enabled": "nothing waits for objects: each build is told what the one before has made",
        "kms_create_grant_aws_service": "the policy gives nobody the right to make grants",
    },
    "pipeline.yaml": {
        **LOGS,
        "codebuild_project_environment_privileged": "Docker needs it, where images are built and nowhere else",
    },
    "target-account.yaml": {},
}

Guard = Callable[[dict[str, Any]], set[str]]


@pytest.fixture(scope="module")
def guard(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Guard:
    """Return a function that returns the rules that a resolved template does not follow."""
    systems = {"linux": "ubuntu", "darwin": "macos"}
    if sys.platform not in systems:
        pytest.skip(f"cfn-guard comes for {', '.join(systems)}, not for {sys.platform}")
    subprocess.run(["make", "--silent", "tools/cfn-guard/.venv/.ready"], cwd=project, check=True, timeout=600)  # noqa: S607
    machine = "aarch64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    program = project / PACKAGE / "bin" / systems[sys.platform] / machine / "cfn-guard"
    program.chmod(0o755)

    def run(template: dict[str, Any]) -> set[str]:
        path = tmp_path_factory.mktemp("guard") / "template.json"
        path.write_text(json.dumps(template))
        rules = project / PACKAGE / "rules/control-tower"
        options = ["--structured", "--output-format", "json", "--show-summary", "none"]
        done = subprocess.run(
            [program, "validate", "--data", path, "--rules", rules, *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        # 19 says that a rule is not followed.
        assert done.returncode in (0, 19), done.stderr
        failed = (each["Rule"]["name"] for report in json.loads(done.stdout) for each in report["not_compliant"])
        return {name.removesuffix("_check") for name in failed}

    return run


@pytest.mark.parametrize("file", TEMPLATES)
def test_every_rule_is_followed_but_those_that_are_excepted(guard: Guard, project: Path, file: str) -> None:
    assert guard(resolved(project, file)) == EXCEPTIONS[file].keys()


def test_it_would_find_something(guard: Guard, project: Path) -> None:
    template = resolved(project, "tools-account.yaml")
    template["Resources"]["ArtifactBucket"]["Properties"]["PublicAccessBlockConfiguration"]["BlockPublicAcls"] = False
    template["Resources"]["ArtifactKey"]["Properties"]["EnableKeyRotation"] = False
    assert {"s3_bucket_level_public_access_prohibited", "kms_key_rotation_enabled"} <= guard(template)
