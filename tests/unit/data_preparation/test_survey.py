"""How a column is read, by all its texts."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from data_preparation.decisions import Decision, decide
from data_preparation.notation import Notation, read
from data_preparation.survey import Asked, Survey


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


FIRST = dt.datetime(2024, 3, 1)  # noqa: DTZ001 (times have no zone here)
DATES = {
    "2024-03-01 09:30:00+00": "",
    "2024-03-01 10:30:00+01": "",
    "[01/Mar/2024:09:30:00 +0000]": "day month-name year",
    "01MAR2024:09:30:00": "day month-name year",
    "01mar2024": "day month-name year",
    "1 mars 2024": "day month-name year",
    "1 de marzo de 2024": "day month-name year",
    "01/março/2024": "day month-name year",
    "1. 3. 2024": "day/month/year",
    "03.2024": "month.year",
}


@pytest.mark.parametrize("text", DATES)
def test_dates_are_read_as_logs_databases_and_people_write_them(text: str) -> None:
    other = text.replace("01", "31", 1).replace("1 ", "31 ", 1) if DATES[text] != "month.year" else "12.2023"
    decision = decided(text, other if DATES[text] else text, name="day")
    assert (decision.notation.kind, decision.notation.style) == ("timestamp", DATES[text])
    clock = dt.timedelta(hours=9, minutes=30) if ":" in text else dt.timedelta()
    assert read(pa.array([text]), decision.notation).to_pylist() == [FIRST + clock]


@pytest.mark.parametrize("words", ["12 market 2015", "3 Junction 2024", "5 ju 2020"])
def test_words_that_begin_like_a_month_are_none(words: str) -> None:
    assert decided(words, words).notation.kind == "text"


YEARS = {
    "many days in one year": ([f"{day:02}-03-24" for day in range(1, 29)], "day/month/yy", None),
    "many days behind one year": ([f"24-03-{day:02}" for day in range(1, 29)], "yy/month/day", "%d-%m-%y"),
    "as many days as years": ([f"{day:02}/12/{day:02}" for day in range(13, 29)], "day/month/yy", "%y/%m/%d"),
    "days that no month has": ([f"99-03-{day:02}" for day in range(1, 29)], "yy/month/day", None),
}


@pytest.mark.parametrize("case", YEARS)
def test_a_year_of_two_digits_is_what_varies_least_and_told(case: str) -> None:
    texts, style, option = YEARS[case]
    decision = decided(*texts, name="day", batch_rows=100)
    assert decision.notation.style == style
    assert "years of two digits" in decision.told[0]
    assert [f'"date_format": "{option}"' in each for each in decision.doubts] == [True] * (option is not None)


def test_the_option_that_a_doubt_names_is_heard() -> None:
    texts = ("02.03.24", "04.05.24")
    assert "%m.%d.%y" in decided(*texts).doubts[0]
    assert decided(*texts, asked=Asked(date_format="%m.%d.%y")).notation == Notation("timestamp", "%m.%d.%y")


COUNTED = {
    "seconds since 1970": ("1709285400", "1709285400.0"),
    "milliseconds since 1970": ("1709285400000", "1709285400000"),
    "days of Excel": ("45352.3958333333", "45353"),
}


@pytest.mark.parametrize("style", COUNTED)
def test_numbers_are_dates_if_the_request_says_so(style: str) -> None:
    decision = decided(*COUNTED[style], asked=Asked(kind="date"))
    assert decision.notation == Notation("timestamp", style, lenient=True)
    (first, _) = read(pa.array(COUNTED[style]), decision.notation).to_pylist()
    assert abs(first - FIRST - dt.timedelta(hours=9, minutes=30)) < dt.timedelta(seconds=1)


LOOKS = {
    "dates": ["Mon Mar 04 09:30:00 2024", "Tue Mar 05 09:30:00 2024"],
    "dates of months": ["Mar-24", "Apr-24"],
    "numbers": ["1.5", "2,5", "3.5", "4,5"],
}


@pytest.mark.parametrize("looks", LOOKS)
def test_what_is_kept_as_text_though_it_looks_like_more_is_told(looks: str) -> None:
    decision = decided(*LOOKS[looks])
    assert decision.notation.kind == "text"
    assert looks.split(maxsplit=1)[0] in decision.doubts[0]


BEFORE = {
    "a day first": (["02/03/2024"], Notation("timestamp", "day/month/year")),
    "a month first": (["02.03.2024"], Notation("timestamp", "month/day/year")),
    "a dot for thousands": (["1.234"], Notation("integer", "1.234,5")),
    "a dot for decimals": (["1.234"], Notation("float")),
}


@pytest.mark.parametrize("name", BEFORE)
def test_rows_to_score_are_read_as_training_was_written(name: str) -> None:
    texts, before = BEFORE[name]
    asked = Asked(kind="date" if before.kind == "timestamp" else "number", expected=before, hint=",")
    assert decided(*texts * 3, asked=asked).notation == before


UNITS = {"%": ["5 %", "0"], "$": ["$5", "7"], "Rs.": ["Rs. 1,200.50"], "": ["5", "INF"]}


@pytest.mark.parametrize("unit", UNITS)
def test_what_stands_beside_numbers_is_noted(unit: str) -> None:
    assert decided(*UNITS[unit]).notation.unit == unit
