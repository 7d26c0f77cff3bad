"""Which columns are free texts, what a part and a profile hold of them, and what the request changes."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.frames import load_part
from data_preparation.preparation import PreparedData
from data_preparation.profiling import ColumnSummary, infer_role

Make = Callable[..., PreparedData]
ROWS = 300
RANDOM = random.Random(0)  # noqa: S311 (no secret)


def some(words: str, least: int, most: int) -> Callable[[int], str]:
    """Return a function that makes a text of so many of the words."""
    return lambda _: " ".join(RANDOM.choices(words.split(), k=RANDOM.randint(least, most)))


FIRST = "Anna Ben Carla Dora Emil Fritz Gina Hugo Ida Jan Karl Lena Max Nora Otto Paul Rosa Sven Tina Udo"
LAST = "Smith Jones Maier Huber Rossi Novak Silva Kim Lopez Martin Weber Fischer Moreau Larsen Khan Okafor"
REMARKS = (
    "the order came late and box was broken but support helped me quickly so I would buy it again never works after "
    "two weeks battery screen fine cheap price delivery good bad nice very happy with this not recommend to anyone"
)
GERMAN = "Die Lieferung kam spät und der Karton war beschädigt aber die Hotline hat mir schnell geholfen nie wieder"
NAMES = {
    "codes": lambda n: f"{n % 7}A-{n:05}-X{n % 3}",
    "UUIDs": lambda n: str(uuid.UUID(int=n * 977)),
    "mails": lambda n: f"anna.smith{n}@example.org",
    "mails with names": lambda n: f"Anna Smith {n} <anna{n}@example.org>",
    "pages": lambda n: f"https://example.org/shop/item-{n}?from=news&the=other page",
    "paths": lambda n: f"/home/anna/my files/a report of {n}.txt",
    "family name first": lambda n: f"{RANDOM.choice(LAST.split())}, {RANDOM.choice(FIRST.split())} {n // 50 * 'A'}",
    "passengers": lambda _: (
        f"{some(LAST, 1, 1)(0)}, Mrs. {some(FIRST, 2, 2)(0)} ({some(FIRST, 2, 2)(0)} {some(LAST, 1, 1)(0)})"
    ),
    "small names": some((FIRST + " " + LAST).lower(), 2, 3),
    "addresses": lambda n: f"{n} {RANDOM.choice(LAST.split())} Street, Springfield, IL {60000 + n}",
    "addresses in capitals": lambda n: f"{n} {RANDOM.choice(LAST.split()).upper()} AVE APT {n % 40} SPRINGFIELD IL",
    "addresses the German way": lambda n: f"{RANDOM.choice(LAST.split())}straße {n}, 10115 Berlin",
    "titles": some("The Lord Of Rings Return King Star Wars Night Dark Knight Silent Godfather", 2, 6),
    "products": lambda n: f"Apple iPhone {n} Pro Max {2 ** (n % 4) * 64} GB Blue",
    "numbers": lambda n: f"{n} {n * 7} {n * 13} {n % 5} 12 15 99 100",
    "JSON": lambda n: json.dumps({"colour": "red", "size": n, "shape": "round", "state": "new", "owner": "anna"}),
    "lists": lambda n: str(["red", "green", "blue", f"a{n}", "white", "black"]),
    "phones": lambda n: f"+49 30 {n:07} ext {n % 9}",
    "hashes": lambda n: f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}",
    "Chinese names": lambda n: chr(0x4E00 + n) + chr(0x5E00 + n) + chr(0x6E00 + n),
    "few sentences": lambda n: f"the customer was {'not ' * (n % 10)}happy with what he got from us",
    "one word": some(REMARKS, 1, 1),
}
TEXTS = {
    "remarks": some(REMARKS, 5, 20),
    "with numbers and marks": lambda n: f'Order {n}: "{some(REMARKS, 5, 9)(n)}", he said... (see #{n})!',
    "German": some(GERMAN, 6, 12),
    "capitals": lambda n: some(REMARKS, 9, 14)(n).upper(),
    "accents": some("le colis est arrivé très tard et déjà cassé à l'intérieur je ne suis pas contente", 6, 12),
    "Cyrillic": some("посылка пришла поздно и была повреждена но поддержка помогла мне быстро очень рад", 5, 9),
    "Chinese": lambda n: "包裹来得很晚而且箱子坏了但是客服很快就帮助了我" + chr(0x4E00 + n) + "非常满意",
    # Many rows have the same one, and each is too long to be told apart from others as a whole.
    "pages of text": lambda n: f"{n % 40} " + " ".join([REMARKS] * 40),
}


def summary_of(texts: Sequence[str | None]) -> ColumnSummary:
    summary = ColumnSummary.of("x", "text")
    for begin in range(0, len(texts), 100):
        summary.add(pa.array(texts[begin : begin + 100], pa.string()))
    return summary


@pytest.mark.parametrize("what", NAMES)
def test_what_names_things_is_no_free_text(what: str) -> None:
    assert infer_role(summary_of([NAMES[what](n) for n in range(ROWS)]))[0] in ("identifier", "categorical")


@pytest.mark.parametrize("what", TEXTS)
def test_what_is_written_to_be_read_is_one(what: str) -> None:
    texts = [None if n % 50 == 3 else TEXTS[what](n) for n in range(ROWS)]
    assert infer_role(summary_of(texts)) == ("text", None)
    # Of a file after another the same is known.
    first, second = summary_of(texts[:200]), summary_of(texts[200:])
    first.merge(second)
    assert infer_role(first) == ("text", None)
    assert infer_role(summary_of(texts[:90]))[0] != "text", "of so few rows nothing is learnt"


def remarks(rows: int = ROWS) -> pd.DataFrame:
    texts = [None if n % 50 == 3 else TEXTS["remarks"](n) for n in range(rows)]
    return pd.DataFrame({"a": range(rows), "note": texts, "y": [n / 7 for n in range(rows)]})


def column(prepared: PreparedData) -> dict[str, Any]:
    return next(each for each in prepared.profile["columns"] if each["name"] == "note")


@pytest.mark.parametrize("as_parquet", [False, True])
def test_a_part_holds_the_texts_and_the_profile_none_of_them(prepared_data: Make, *, as_parquet: bool) -> None:
    data = remarks()
    prepared = prepared_data("regression", data, as_parquet=as_parquet)
    found = column(prepared)
    assert (found["role"], found["use"], found["dtype"], found["nulls"]) == ("text", "feature", "string", 6)
    assert found["characters"] == pytest.approx(data["note"].str.len().mean(), abs=0.1)
    assert 5 <= found["words"] <= 20
    assert "top" not in found
    (told,) = found["told"]
    assert told.startswith('"note" is read as free text. COLUMNS=\'{"note": "category"}\'')
    document = json.dumps(prepared.profile)
    assert not [text for text in data["note"].dropna() if text in document]
    handed_over = pd.concat([load_part(part, prepared.profile)[0] for part in (prepared.train, prepared.test)])
    assert handed_over["note"].dtype == "str"
    assert handed_over.sort_values("a")["note"].fillna("").tolist() == data["note"].fillna("").tolist()


@pytest.mark.parametrize(
    ("fields", "role", "use"),
    [
        ({"columns": {"note": "category"}}, "identifier", "dropped"),
        ({"columns": {"note": "identifier"}}, "identifier", "dropped"),
        ({"columns": {"note": "ignore"}}, "left out", "dropped"),
        ({"columns": {"note": "text"}}, "text", "feature"),
        ({"features": "plain"}, "identifier", "dropped"),
        ({"features": "plain", "columns": {"note": "text"}}, "text", "feature"),
    ],
)
def test_the_request_may_say_otherwise(prepared_data: Make, fields: dict[str, Any], role: str, use: str) -> None:
    found = column(prepared_data("regression", remarks(), **fields))
    assert (found["role"], found["use"]) == (role, use)
    # Nothing is told of what was asked for.
    assert "told" not in found
    assert (use == "dropped") == ("reason" in found)


def test_what_the_request_says_is_a_free_text_may_be_short_and_few(prepared_data: Make) -> None:
    data = remarks(60).assign(note=[f"red {n % 3}" for n in range(60)])
    found = column(prepared_data("regression", data, columns={"note": "text"}))
    assert (found["role"], found["use"], found["dtype"]) == ("text", "feature", "string")


def test_texts_that_seem_to_be_codes_at_first_are_read_once_more(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_preparation.profiling.SPOOLED_CHARACTERS", 500)
    monkeypatch.setattr("data_preparation.text_reading.BLOCK_BYTES", 1 << 14)
    data = remarks(4000)
    data.loc[:120, "note"] = [f"{n:012}-x" for n in range(121)]
    prepared = prepared_data("regression", data)
    assert column(prepared)["role"] == "text"
    notes = pd.concat([load_part(part, prepared.profile)[0] for part in (prepared.train, prepared.test)])["note"]
    assert sorted(notes.dropna()) == sorted(data["note"].dropna())


def test_a_row_group_holds_a_bounded_amount_of_text(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_preparation.parts.ROW_GROUP_BYTES", 4000)
    monkeypatch.setattr("data_preparation.text_reading.BLOCK_BYTES", 1 << 14)
    data = remarks(2000)
    prepared = prepared_data("regression", data)
    assert pq.ParquetFile(prepared.train).num_row_groups > 3
    notes = pd.concat([load_part(part, prepared.profile)[0] for part in (prepared.train, prepared.test)])["note"]
    assert sorted(notes.dropna()) == sorted(data["note"].dropna())
