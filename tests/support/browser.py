"""Chromium, to look at the pages that the project writes: each test says in JavaScript what it wants to know of one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

PHONE, DESKTOP = 360, 1280
# Loads a page in a frame of the width that is asked for, and writes down what `examine` finds there.
_PROBE = """<!DOCTYPE html>
<title>probe</title>
<iframe id="frame" src="PAGE" style="width: WIDTHpx; height: 900px; border: 0"></iframe>
<pre id="found"></pre>
<script>
const colour = (value) => (value.match(/[\\d.]+/g) || []).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const examine = (view, page, root) => {
EXAMINE
};
window.onload = () => {
  const view = document.getElementById("frame").contentWindow, page = view.document;
  const found = examine(view, page, page.documentElement);
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>
"""


# What is to be known of a page with figures, such as a report.
PAGE_OF_FIGURES = """
  const paper = colour(view.getComputedStyle(page.body).backgroundColor);
  const all = (selector, of = page) => [...of.querySelectorAll(selector)];
  const box = (element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return { x, y, width, height };
  };
  const scale = (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return {
    title: page.title,
    text: page.body.innerText,
    overflow: root.scrollWidth - root.clientWidth,
    outside: all("body *").filter((each) => !each.closest(".scroll") && !each.closest("svg")
      && each.getBoundingClientRect().right > root.clientWidth + 1).map((each) => each.outerHTML.slice(0, 80)),
    resources: view.performance.getEntriesByType("resource").map((each) => each.name),
    loaders: all("script, img, link, iframe, object, embed, image").length,
    paper,
    figures: all("figure").map((figure) => {
      const svg = figure.querySelector("svg");
      return {
        title: figure.querySelector("strong").textContent,
        box: box(svg),
        marks: all("path, circle", svg).filter((each) => each.getBoundingClientRect().width > 0)
          .flatMap((each) => (each.getAttribute("d") || "M").match(/M/g)).length,
        texts: all("text", svg).map((each) => ({
          text: each.textContent,
          box: box(each),
          pixels: parseFloat(view.getComputedStyle(each).fontSize) * scale(svg),
          contrast: contrast(colour(view.getComputedStyle(each).fill), paper),
        })),
      };
    }),
    contrasts: all("h1, h2, p, th, td, figcaption, .note, caption").map((each) =>
      contrast(colour(view.getComputedStyle(each).color), paper)),
  };
"""


@dataclass(frozen=True)
class Seen:
    """What was found in a page, and what the browser wrote to its console."""

    found: dict[str, Any]
    console: list[str]


def look(page: Path, examine: str, width: int, *, dark: bool = False) -> Seen:
    """Open a page, with no network, in a frame of a width in pixels.

    Parameters
    ----------
    page
        The file; the probe is written beside it.
    examine : str
        The body of a JavaScript function of the frame's `view`, its `page` and the page's `root`, which returns what is
        to be known; `colour`, `luminance` and `contrast` are there.
    """
    assert CHROMIUM is not None
    folder = page.parent
    probe = folder / "probe.html"
    text = _PROBE.replace("PAGE", page.name).replace("WIDTH", str(width)).replace("EXAMINE", examine)
    probe.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # Whatever is asked of the network fails.
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--proxy-server=127.0.0.1:9",
            f"--user-data-dir={folder / 'browser'}",
            "--allow-file-access-from-files",  # else the probe may not look into the page
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={DESKTOP + 40},1000",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=5000",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found is not None, done.stderr
    assert found[1], done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(json.loads(html.unescape(found[1])), console)


def look_at_figures(page: Path, width: int, *, dark: bool = False) -> Seen:
    """Look at a page by `PAGE_OF_FIGURES`."""
    return look(page, PAGE_OF_FIGURES, width, dark=dark)


def assert_no_text_is_cut(drawn: list[dict[str, Any]]) -> None:
    """See that each text of the figures that `PAGE_OF_FIGURES` has found lies within its figure."""
    for figure in drawn:
        box = figure["box"]
        for text in figure["texts"]:
            inside = text["box"]
            for start, length in (("x", "width"), ("y", "height")):
                assert inside[start] >= box[start] - 1, (figure["title"], text)
                assert inside[start] + inside[length] <= box[start] + box[length] + 1, (figure["title"], text)
