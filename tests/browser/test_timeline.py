"""The timeline in a real browser: no text lies on another, it fits a phone, it runs nothing of a log, loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import browser
from browser import DESKTOP, PHONE, needs_chromium
from crosstrain.rehearsal.report.records import ActionRecord, RehearsalRecord, State
from crosstrain.rehearsal.report.timeline import write_timeline

pytestmark = needs_chromium

BEGIN = 1795400000.0
HOSTILE = "</code><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
LONG = "SystemTestOfAModelWhoseNameNobodyWouldChooseButSomebodyWill" * 2
# What is to be known of a timeline.
EXAMINE = """
  const all = (selector) => [...page.querySelectorAll(selector)].filter((each) => each.getClientRects().length);
  const style = (each) => view.getComputedStyle(each);
  const paper = colour(style(page.body).backgroundColor);
  // What a text really covers, line by line, not the box that it could fill.
  const boxes = (each) => {
    const range = page.createRange();
    range.selectNodeContents(each);
    return [...range.getClientRects()].map(({ left, right, top, bottom }) => [left, right, top, bottom]);
  };
  const box = (each) => {
    const { left, right, top, bottom } = each.getBoundingClientRect();
    return [left, right, top, bottom];
  };
  const things = [
    ...all(".chart .label, .chart .time, .chart .tick, .chart .mark")
      .map((each) => [each.textContent.trim(), boxes(each)]),
    ...all(".chart .bar").map((each, index) => ["bar " + index, [box(each)]]),
  ];
  const meet = ([a, b, c, d], [e, f, g, h]) => a < f - 0.5 && e < b - 0.5 && c < h - 0.5 && g < d - 0.5;
  const overlaps = [];
  things.forEach(([one, first], index) => things.slice(index + 1).forEach(([other, second]) => {
    if (first.some((each) => second.some((more) => meet(each, more)))) overlaps.push([one, other]);
  }));
  const [left, right] = box(all(".chart .track")[0]);
  const escapes = (each) => box(each)[0] < left - 1 || box(each)[1] > right + 1;
  return {
    title: page.title,
    text: page.body.innerText,
    overflow: root.scrollWidth - root.clientWidth,
    outside: all("body *").filter((each) => !each.closest(".scroll")
      && each.getBoundingClientRect().right > root.clientWidth + 1).map((each) => each.outerHTML.slice(0, 80)),
    resources: view.performance.getEntriesByType("resource").map((each) => each.name),
    overlaps,
    bars: all(".chart .action .bar").map((each) => each.getBoundingClientRect().width),
    escaped: all(".chart .bar").filter(escapes).length,
    ticks: all(".chart .tick").length,
    paper,
    contrasts: all("h1, h2, p, li, dt, dd, th, td, caption, code, a, .label, .time, .mark, .tick").map((each) =>
      contrast(colour(style(each).color), paper)),
    barContrasts: all(".chart .bar").map((each) => contrast(colour(style(each).outlineWidth !== "0px"
      && style(each).outlineStyle !== "none" ? style(each).outlineColor : style(each).backgroundColor), paper)),
  };
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of actions of a tenth of a second and of minutes, of long names, and of logs that break out."""
    seconds = [0.1, 0.4, 304.0, 38.2, 1.9, 3.4, 9.8, None, None]
    stages = ["Source", "Source", "Build", "Verify", *["Test"] * 3, *["Production"] * 2]
    record = RehearsalRecord("execution-1", BEGIN, accounts={"tools": "000000000001", "test": "222222222222"})
    end = BEGIN
    for number, (stage, each) in enumerate(zip(stages, seconds, strict=True)):
        action = ActionRecord(stage, f"Action{number}", "CloudFormation", 1, State.NOT_RUN, last_line=HOSTILE)
        if each is not None:
            action.state, action.started, action.ended = State.SUCCEEDED, end, end + each
            end += each
        record.actions.append(action)
    failed = record.actions[6]
    failed.name, failed.state, failed.cause, failed.details = LONG, State.FAILED, f"{HOSTILE}\nMend it.", [LONG]
    record.not_rehearsed = [HOSTILE, LONG]
    record.ended = end
    path = tmp_path_factory.mktemp("timeline") / "timeline.html"
    write_timeline(record, path)
    return path


def look(page: Path, width: int, *, dark: bool = False) -> dict[str, Any]:
    return browser.look(page, EXAMINE, width, dark=dark).found


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_text_lies_on_another_and_nothing_is_wider_than_the_page(page: Path, width: int) -> None:
    found = look(page, width)
    assert found["overlaps"] == []
    assert found["overflow"] <= 0
    assert found["outside"] == []
    # The shortest can be seen, and none leaves its axis.
    assert len(found["bars"]) == 7
    assert min(found["bars"]) >= 3
    assert found["escaped"] == 0
    assert found["ticks"] >= 2


def test_nothing_of_a_log_runs_and_nothing_is_loaded(page: Path) -> None:
    found = look(page, DESKTOP)
    assert found["title"] == "Failed: rehearsal execution-1"
    assert found["resources"] == []
    assert found["text"].count(HOSTILE) >= 5


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read_in_light_and_dark(page: Path, *, dark: bool) -> None:
    found = look(page, DESKTOP, dark=dark)
    assert (sum(found["paper"][:3]) < 150) == dark
    assert len(found["contrasts"]) > 60
    assert min(found["contrasts"]) >= 4.5
    # WCAG 2.2, 1.4.11: what is no text.
    assert min(found["barContrasts"]) >= 3


def test_the_probe_sees_texts_that_lie_on_each_other(tmp_path: Path) -> None:
    (tmp_path / "timeline.html").write_text(
        "<!DOCTYPE html><body style='background: white'><div class='chart'><div class='track'></div>"
        "<span class='label' style='position: absolute; top: 0'>one</span>"
        "<span class='time' style='position: absolute; top: 4px'>two</span>"
        "<div style='width: 900px'>wide</div></div><script>document.title = 'run'</script>",
        encoding="utf-8",
    )
    found = look(tmp_path / "timeline.html", PHONE)
    assert found["overlaps"] == [["one", "two"]]
    assert found["overflow"] > 500
    assert found["title"] == "run"
