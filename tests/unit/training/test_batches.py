"""What `make score` says before anything is started, and where it puts what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import score as command
from crosstrain.command import OperationFailedError
from crosstrain.training import batches


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """Return a file of rows."""
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "nowhere.csv"], '"nowhere.csv" does not exist.'),
        (["--data", "s3://bucket/in/"], "name the deployed stack to score with"),
        (["--data", "ROWS"], "No stack is named"),
        (["--data", "ROWS", "--from", "out"], "say --trust"),
        (["--data", "ROWS", "--from", "out", "--stack", "s"], "leave the stack, the version and the model's name out"),
        (["--data", "ROWS", "--from", "nowhere", "--trust"], 'There is no model.json of a run in "nowhere"'),
        (["--data", "ROWS", "--model-name", "a b"], '"model_name" is'),
        (["--data", "ROWS", "--read", '{"seperator": ";"}'], '"read.seperator" is unknown. Did you mean "separator"?'),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    rows: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([rows if each == "ROWS" else each for each in arguments]) == 2
    printed = capsys.readouterr()
    assert told in " ".join(printed.err.split())
    assert printed.out == ""


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    assert batches._within(tmp_path, "day=1/a.csv") == tmp_path / "day=1/a.csv"
    with pytest.raises(OperationFailedError, match="have no place in a folder"):
        batches._within(tmp_path, "../../a.csv")


def test_what_is_told_of_a_run_names_what_was_left_out_up_to_a_number() -> None:
    result: dict[str, Any] = {
        "rows": 1234,
        "model_name": "houses",
        "version": "v1",
        "objects": {"scored": 2, "empty": 1, "failed": 12},
        "failed": [[f"{number}.csv", "broken"] for number in range(12)],
        "empty": [["e.csv", "no rows"]],
        "reason": "Nothing has changed.",
        "out": "scores/r",
        "uri": "s3://bucket/scoring/r/",
    }
    lines = command._lines(result)
    assert ("Objects", "2 scored, 1 empty, 12 failed") in lines
    assert [text for name, text in lines if name == "Not scored"][-2:] == [
        "9.csv: broken", "and 2 more, in manifest.json",
    ]  # fmt: skip
    assert ("Empty", "e.csv: no rows") in lines
    assert lines[-1] == ("On S3", "s3://bucket/scoring/r/")
    assert command._lines({**result, "uri": None})[-1] == ("Predictions", "scores/r")
