"""What is read of the files that a build leaves: the results of the project's own commands, and its reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosstrain.command import OperationFailedError
from crosstrain.rehearsal.codebuild.buildspec import Files
from crosstrain.rehearsal.codebuild.reports import RESULTS, read_report, read_results

IMAGES = {
    "data_preparation": {"action": "reuse", "why": "nothing of it has changed"},
    "model_training": {"action": "build", "why": "its contents are new"},
    "model_evaluation": {"action": "record", "why": "the registry has it, the ledger has not"},
}
SYSTEM_TEST = {
    "run_id": "r",
    "seconds": 7.0,
    "metric": "rmse",
    "value": 59.13245,
    "threshold": 62.0,
    "decision": "kept",
}


def leave(source: Path, name: str, content: object) -> None:
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_results_are_read_from_the_files_that_the_commands_leave(tmp_path: Path) -> None:
    leave(tmp_path, "build/images-report.json", IMAGES)
    leave(tmp_path, "build/release", "0123456789ab-ba9876543210\n")
    leave(tmp_path, "build/system-test.json", SYSTEM_TEST)

    assert read_results(tmp_path) == [
        "images built: model_training; used again: 2",
        "release 0123456789ab-ba9876543210",
        "rmse 59.1324 (threshold 62)",
    ]


def test_without_images_that_are_new_none_is_built(tmp_path: Path) -> None:
    leave(tmp_path, "build/images-report.json", {"model_training": {"action": "reuse", "why": "nothing has changed"}})
    assert read_results(tmp_path) == ["images built: none; used again: 1"]


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read_results(tmp_path) == []


@pytest.mark.parametrize("content", ["not JSON", [1], {}, {"metric": "rmse", "value": "low", "threshold": 1}])
def test_a_file_that_has_become_something_else_is_named(tmp_path: Path, content: object) -> None:
    leave(tmp_path, "build/system-test.json", content)
    (detail,) = read_results(tmp_path)
    assert detail.startswith("build/system-test.json is not what was expected: ")


def test_the_buildspecs_put_the_results_where_they_are_looked_for(project: Path) -> None:
    commands = "".join(path.read_text() for path in (project / "buildspec").glob("*.yml"))
    assert f"--report {next(iter(RESULTS))} " in commands
    for name in RESULTS:
        assert name in commands


def test_reports_have_to_be_there_and_to_be_reports(tmp_path: Path) -> None:
    tests = Files(("junit.xml",), "reports", discards_paths=False, file_format="JUNITXML")
    with pytest.raises(OperationFailedError, match=r"The report group unit-tests finds no junit\.xml in reports"):
        read_report(tmp_path, "unit-tests", tests)

    leave(tmp_path, "reports/junit.xml", "no XML")
    with pytest.raises(OperationFailedError, match="The report group unit-tests cannot be read"):
        read_report(tmp_path, "unit-tests", tests)

    leave(tmp_path, "reports/junit.xml", '<testsuites><testsuite tests="5" time="1.6"/></testsuites>')
    assert read_report(tmp_path, "unit-tests", tests) == "unit-tests: 5 tests in 2 s"

    leave(tmp_path, "reports/coverage.xml", '<coverage line-rate="0.931"/>')
    coverage = Files(("coverage.xml",), "reports", discards_paths=False, file_format="COBERTURAXML")
    assert read_report(tmp_path, "coverage", coverage) == "coverage: 93% of lines"
