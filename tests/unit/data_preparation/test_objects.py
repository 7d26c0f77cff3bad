"""The listing of a data set: how many calls it takes, and how much memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any, cast

from data_preparation.objects import list_objects

FOLDER, PAGE = "data/many/", 1000
# Of a function of the usual size, 1,769 MB, what a million objects may take.
MOST_BYTES = 1000


class Pages:
    """An S3 whose folder has so many empty objects, told page by page."""

    def __init__(self, objects: int) -> None:
        self.objects, self.asked = objects, 0

    def get_paginator(self, operation: str) -> Pages:
        """Return what asks for one page after another."""
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **_: str) -> Iterator[dict[str, Any]]:
        """Yield pages of a thousand, S3's own number."""
        for begin in range(0, self.objects, PAGE):
            self.asked += 1
            keys = (f"{FOLDER}part-{number:07}.csv" for number in range(begin, begin + PAGE))
            yield {"Contents": [{"Key": key, "Size": 0, "ETag": f'"{key[-11:]:0>32}"'} for key in keys]}


def test_a_million_objects_are_listed_in_a_thousand_calls_and_fit_the_memory_of_a_function() -> None:
    s3 = Pages(20_000)
    tracemalloc.start()
    try:
        listing = list_objects(cast("Any", s3), f"s3://bucket-1/{FOLDER}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert s3.asked == len(listing.objects) // PAGE == 20
    assert peak / len(listing.objects) < MOST_BYTES
