"""checkov finds nothing in the templates, and whatever it does not look at says why."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from samcli.yamlhelper import yaml_parse

pytestmark = pytest.mark.slow

TEMPLATES = ["template.yaml", "tools-account.yaml", "pipeline.yaml", "target-account.yaml"]
SKIPS = re.compile(r"^skip-check:\n(?P<lines>(?:  .*\n)+)", re.MULTILINE)

Scan = Callable[..., Any]


@pytest.fixture(scope="module")
def scan(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """Return a function that runs checkov with the project's configuration, changed, and returns its report."""
    subprocess.run(["make", "--silent", "tools/checkov/.venv/.ready"], cwd=project, check=True, timeout=300)  # noqa: S607

    def run(**changes: Any) -> Any:
        configuration = yaml.safe_load((project / ".checkov.yaml").read_text(encoding="utf-8"))
        # A quiet report tells no passed and no skipped checks.
        configuration |= {"quiet": False, "output": ["json"], **changes}
        path = tmp_path_factory.mktemp("checkov") / "configuration.yaml"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        done = subprocess.run(
            [project / "tools/checkov/.venv/bin/checkov", "--config-file", path],
            cwd=project,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def unfiltered(scan: Scan) -> Any:
    """Return the report on all templates without the skips that hold everywhere."""
    # An empty list would leave the project's own in force.
    return scan(**{"skip-check": ["none"]})


def branches(value: Any, *, condition: bool) -> Any:
    """Return the template with each `!If` replaced by the branch of a condition that is true, or false, everywhere."""
    if isinstance(value, dict):
        if set(value) == {"Fn::If"}:
            return branches(value["Fn::If"][1 if condition else 2], condition=condition)
        kept = {key: branches(item, condition=condition) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item != {"Ref": "AWS::NoValue"}}
    if isinstance(value, list):
        kept_items = [branches(item, condition=condition) for item in value]
        return [item for item in kept_items if item != {"Ref": "AWS::NoValue"}]
    return value


def test_every_template_is_parsed_and_nothing_is_found(scan: Scan) -> None:
    report = scan()

    assert report["summary"]["failed"] == 0
    assert report["summary"]["parsing_errors"] == 0
    assert {check["file_path"] for check in report["results"]["passed_checks"]} == {f"/{name}" for name in TEMPLATES}


def test_it_would_find_something(scan: Scan, project: Path, tmp_path: Path) -> None:
    """It sees through the language extensions: the bucket is checked though a parameter sets its deletion policy."""
    source = (project / "template.yaml").read_text(encoding="utf-8")
    broken = source.replace("BlockPublicAcls: true", "BlockPublicAcls: false")
    assert broken != source
    (tmp_path / "template.yaml").write_text(broken, encoding="utf-8")

    failed = scan(file=[str(tmp_path / "template.yaml")])["results"]["failed_checks"]

    assert {(check["check_id"], check["resource"]) for check in failed} == {
        ("CKV_AWS_53", "AWS::S3::Bucket.ArtifactBucket")
    }


@pytest.mark.parametrize("condition", [True, False])
def test_nothing_is_found_in_either_branch_of_a_condition(
    scan: Scan, project: Path, tmp_path: Path, condition: bool
) -> None:
    """It leaves out the checks of a policy with `!If` in it, without a word: each branch is shown to it by itself."""
    files = []
    policies = set()
    for name in TEMPLATES:
        template = branches(yaml_parse((project / name).read_text(encoding="utf-8")), condition=condition)
        policies |= {key for key, value in template["Resources"].items() if value["Type"].startswith("AWS::IAM::")}
        path = (tmp_path / name).with_suffix(".json")
        path.write_text(json.dumps(template, indent=2), encoding="utf-8")
        files.append(str(path))

    report = scan(file=files)

    assert report["results"]["failed_checks"] == []
    # CKV_AWS_110: no privilege escalation.
    examined = {
        check["resource"].partition(".")[2]
        for check in report["results"]["passed_checks"]
        if check["check_id"] == "CKV_AWS_110"
    }
    # It says nothing of a policy that is a resource of its own: the policy lint, which has the same rule, reads them.
    assert policies - examined == {"HttpApiPolicy", "TaskPolicy"}


def test_every_skip_of_a_resource_has_a_comment_and_is_needed(project: Path, unfiltered: Any) -> None:
    declared = {
        (f"/{name}", f"{resource['Type']}.{key}", skip["id"], skip.get("comment", "").strip())
        for name in TEMPLATES
        for key, resource in yaml_parse((project / name).read_text(encoding="utf-8"))["Resources"].items()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    }

    assert declared
    assert [skip for skip in declared if not skip[3]] == []
    assert declared == {
        (
            check["file_path"],
            check["resource"],
            check["check_id"],
            check["check_result"]["suppress_comment"],
        )
        for check in unfiltered["results"]["skipped_checks"]
    }


def test_no_skip_hides_in_a_comment_of_a_template(project: Path) -> None:
    for name in TEMPLATES:
        assert "checkov:skip" not in (project / name).read_text(encoding="utf-8"), name


def test_every_skip_for_all_has_a_comment_and_is_needed(project: Path, unfiltered: Any) -> None:
    source = (project / ".checkov.yaml").read_text(encoding="utf-8")
    found = SKIPS.search(source)
    assert found
    lines = [line.strip() for line in found["lines"].splitlines()]
    skipped = [line.removeprefix("- ") for line in lines[1::2]]

    assert all(re.match(r"# .{20,}", line) for line in lines[0::2])
    assert skipped == yaml.safe_load(source)["skip-check"]
    assert set(skipped) == {check["check_id"] for check in unfiltered["results"]["failed_checks"]}
