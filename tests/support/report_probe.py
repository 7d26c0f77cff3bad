"""What tests ask a browser of the project's pages with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import browser
from browser import Seen

EXAMINE = """
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


def assert_no_text_is_cut(drawn: list[dict[str, Any]]) -> None:
    for figure in drawn:
        box = figure["box"]
        for text in figure["texts"]:
            inside = text["box"]
            for start, length in (("x", "width"), ("y", "height")):
                assert inside[start] >= box[start] - 1, (figure["title"], text)
                assert inside[start] + inside[length] <= box[start] + box[length] + 1, (figure["title"], text)


def look(page: Path, width: int, *, dark: bool = False) -> Seen:
    return browser.look(page, EXAMINE, width, dark=dark)
