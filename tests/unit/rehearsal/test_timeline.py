"""The timeline as a document: what is in it, where its bars are, and that nothing of a log gets out of its place."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State
from crosstrain.rehearsal.report.timeline import render, ticks, write_timeline

BEGIN = 1795400000.0
HOSTILE = "</code></pre><script>document.title = 'run'</script><img src=x onerror=\"alert(1)\">\x1b[2J\u202e"


def rehearsal(*seconds: float) -> RehearsalRecord:
    """Return a rehearsal of actions that ran one after the other."""
    record = RehearsalRecord("execution-1", BEGIN, accounts={"tools": "000000000001"})
    end = BEGIN
    for number, each in enumerate(seconds):
        record.actions.append(
            ActionRecord(f"Stage{number}", f"Action{number}", "CodeBuild", 1, State.SUCCEEDED, end, end + each)
        )
        end += each
    record.ended = end
    return record


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Take note of a text."""
        self.text += data

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        """Return the attributes of the elements of a class."""
        return [attributes for _, attributes in self.found if name in (attributes.get("class") or "").split()]


def bars(page: str) -> list[tuple[float, float]]:
    """Return where each bar begins and how wide it is, in percent; each stage comes before its actions."""
    places = [str(bar["style"]) for bar in Elements(page).of_class("bar")]
    numbers = [re.fullmatch(r"left: min\(([\d.]+)%, 100% - 3px\); width: ([\d.]+)%", place) for place in places]
    return [(float(match[1]), float(match[2])) for match in numbers if match]


def test_bars_stand_where_the_actions_ran(tmp_path: Path) -> None:
    page = render(rehearsal(10, 30, 60), tmp_path)
    assert bars(page)[1::2] == [(0, 10), (10, 30), (40, 60)]
    assert bars(page)[::2] == bars(page)[1::2]


def test_a_stage_reaches_from_its_first_action_to_its_last(tmp_path: Path) -> None:
    record = rehearsal(10, 30, 60)
    for action in record.actions[:2]:
        action.stage = "Both"
    assert bars(render(record, tmp_path)) == [(0, 40), (0, 10), (10, 30), (40, 60), (40, 60)]


def test_the_table_says_what_the_picture_shows(tmp_path: Path) -> None:
    record = rehearsal(10, 72)
    record.actions[0].details = ["release 3f2a-9d10"]
    text = " ".join(Elements(render(record, tmp_path)).text.split())
    assert "Stage0 Action0 CodeBuild ✓ succeeded 0.0 s 10.0 s release 3f2a-9d10" in text
    assert "Stage1 Action1 CodeBuild ✓ succeeded 10.0 s 1 min 12 s" in text


def test_what_failed_and_why_comes_before_everything_else(tmp_path: Path) -> None:
    record = rehearsal(10, 30, 60)
    _, failed, skipped = record.actions
    failed.state, failed.cause, failed.log = State.FAILED, "It is broken.\nMend it.", tmp_path / "logs/a b.log"
    skipped.state, skipped.started, skipped.ended = State.NOT_RUN, None, None
    record.not_rehearsed = ["No image was built."]

    page = render(record, tmp_path)
    elements = Elements(page)

    order = [
        "Failed",
        "Stage1 / Action1 failed",
        "It is broken.\nMend it.",
        "No image was built.",
        "When each action ran",
    ]
    places = [elements.text.index(each) for each in order]
    assert places == sorted(places)
    assert {"href": "logs/a%20b.log"} in [attributes for tag, attributes in elements.found if tag == "a"]
    # What did not run has no bar.
    assert len(bars(page)) == 4


def test_a_log_outside_the_folder_is_named_and_not_linked(tmp_path: Path) -> None:
    record = rehearsal(1)
    record.actions[0].log = Path("/elsewhere/a.log")
    elements = Elements(render(record, tmp_path))
    assert "/elsewhere/a.log" in elements.text
    assert not any(tag == "a" for tag, _ in elements.found)


def test_nothing_of_a_log_becomes_an_element(tmp_path: Path) -> None:
    record = rehearsal(10, 30)
    record.execution_id = HOSTILE
    record.not_rehearsed = [HOSTILE]
    action = record.actions[1]
    action.stage = action.name = action.provider = action.last_line = HOSTILE
    action.state, action.cause, action.details = State.FAILED, HOSTILE, [HOSTILE]
    action.log = tmp_path / "javascript:alert(1)"

    elements = Elements(page := render(record, tmp_path))

    harmless = Elements(render(rehearsal(1), tmp_path))
    assert {tag for tag, _ in elements.found} <= {tag for tag, _ in harmless.found} | {"pre", "code", "a", "ul", "li"}
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    assert "\x1b" not in page
    assert "\u202e" not in page
    links = [attributes["href"] for tag, attributes in elements.found if tag == "a"]
    assert set(links) == {"javascript%3Aalert%281%29"}


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    page = render(rehearsal(1, 2), tmp_path)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in Elements(page).found}
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page


@pytest.mark.parametrize("seconds", [(), (0.0,)])
def test_a_rehearsal_that_took_no_time_has_a_page(seconds: tuple[float, ...], tmp_path: Path) -> None:
    path = tmp_path / "timeline.html"
    write_timeline(rehearsal(*seconds), path)
    assert len(bars(path.read_text("utf-8"))) == 2 * len(seconds)


@pytest.mark.parametrize("total", [0.001, 0.9, 1.0, 5.9, 47, 104, 380, 3599, 3600, 50_000, 500_000])
def test_an_axis_has_a_few_marks_at_whole_steps(total: float) -> None:
    marks = ticks(total)
    assert marks[0] == 0
    assert len(marks) <= 7
    assert len({after - before for before, after in pairwise(marks)}) <= 1
    assert marks[-1] <= total
    if total > 2:
        assert len(marks) >= 2
