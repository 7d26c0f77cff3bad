"""Why a build failed: its command, the lines that tools mark as errors, and the right that was missing."""

from __future__ import annotations

from crosstrain.rehearsal.codebuild.failures import explain_failure

PROGRESS = ["phase pre_build", "phase build", "failed build 2 make lint ARGS='a b'"]


def test_the_command_and_the_marked_lines_are_told() -> None:
    log = "+ make lint\nF401 `os` imported but unused\n --> scripts/new.py:1:8\nFound 1 error.\n"
    assert str(explain_failure(2, PROGRESS, log)) == (
        "`make lint ARGS='a b'` ended with status 2 in phase build: "
        "F401 `os` imported but unused | --> scripts/new.py:1:8"
    )


def test_without_a_marked_line_the_last_ones_are_told() -> None:
    log = "one\ntwo\n\nthree\nfour\nfive\n"
    assert str(explain_failure(1, [], log)).endswith("`the shell` ended with status 1: two | three | four | five")


def test_a_right_that_was_missing_is_told_with_the_statement_to_add() -> None:
    log = (
        "error: An error occurred (AccessDeniedException) when calling the PutItem operation: User: "
        "arn:aws:sts::000000000001:assumed-role/builder/codebuild is not authorized to perform: dynamodb:PutItem "
        "on resource: arn:aws:dynamodb:us-east-1:000000000001:table/ledger"
    )
    text = str(explain_failure(1, PROGRESS, log))
    assert "builder may not dynamodb:PutItem on arn:aws:dynamodb:us-east-1:000000000001:table/ledger" in text
    assert '"Action": "dynamodb:PutItem"' in text
