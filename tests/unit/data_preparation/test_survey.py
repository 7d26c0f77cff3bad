"""How a column is read, by all its texts."""

from __future__ import annotations

import pyarrow as pa
import pytest

from data_preparation.survey import Asked, Decision, Survey, decide


def decided(*texts: str, name: str = "x", asked: Asked | None = None, batch_rows: int = 2) -> Decision:
    """Return how a column of texts is read that come in small batches."""
    asked = asked or Asked()
    survey = Survey.of(asked)
    for at in range(0, len(texts), batch_rows):
        survey.add(pa.array(texts[at : at + batch_rows], pa.string()), at)
    return decide(name, survey, asked)


def test_mostly_numbers_with_a_text_are_an_error_that_names_the_way_out() -> None:
    problem = decided("1", "2.5", "-3e4", "forty", name="age").problem
    assert problem is not None
    assert 'Column "age" mixes numbers and text: 3 of 4 values are numbers, and that in row 4 is none.' in problem
    assert 'COLUMNS=\'{"age": "number"}\' takes the others for missing' in problem
    assert "forty" not in problem


def test_mostly_dates_with_a_text_are_an_error() -> None:
    problem = decided("2024-01-31", "2024-02-01", "some day", name="day").problem
    assert problem is not None
    assert 'Column "day" mixes dates and text: 2 of 3' in problem


@pytest.mark.parametrize("texts", [["1", "2", "K", "L"], ["007", "008"], ["a", "b"], ["inf", "Infinity", "ok"]])
def test_codes_and_words_are_texts(texts: list[str]) -> None:
    decision = decided(*texts)
    assert (decision.notation.kind, decision.problem) == ("text", None)


def test_unknown_is_missing_among_numbers_and_a_value_among_labels() -> None:
    assert decided("1", "2", "unknown").notation.kind == "integer"
    assert decided("1", "2", "unknown", asked=Asked(is_label=True)).problem is not None
    assert decided("true", "False", "unknown", asked=Asked(is_label=True)).notation.kind == "text"


@pytest.mark.parametrize(
    ("texts", "kind", "offset"),
    [
        ([str(2**60 + 1), str(2**60 + 2)], "integer", 2**60),
        (["1", str(2**60 + 2)], "integer", 0),
        (["1", str(2**70)], "float", 0),
        ([str(2**70), str(2**70 + 1)], "integer", 2**70),
        ([str(-(2**70)), str(2**60)], "float", 0),
    ],
)
def test_whole_numbers_that_no_float_holds_are_read_less_what_they_have_in_common(
    texts: list[str], kind: str, offset: int
) -> None:
    notation = decided(*texts).notation
    assert (notation.kind, notation.offset) == (kind, offset)
    assert decided(*texts, asked=Asked(is_label=True)).notation.offset == 0
