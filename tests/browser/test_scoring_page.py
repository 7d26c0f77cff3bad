"""The page of scoring in a real browser: a form of the schema, filled, that asks and shows what comes back."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from browser import DESKTOP, PHONE, Seen, look, needs_chromium
from scoring.page import PAGE, POLICY

pytestmark = needs_chromium

HOSTILE = "<img src=x onerror=\"document.title = 'run'\">"
NUMBER, TEXT = {"type": ["number", "null"], "description": "A number."}, {"type": ["string", "null"]}
ROW = {
    "required": ["size", "kind", "garden", HOSTILE],
    "properties": {
        "size": NUMBER,
        "kind": {**TEXT, "description": "A text.", "examples": ["flat", HOSTILE]},
        "garden": {"type": ["boolean", "null"], "description": "True or false."},
        HOSTILE: {**TEXT, "description": HOSTILE},
    },
    "example": {"size": 42.5, "kind": "flat", "garden": True, HOSTILE: None},
}
DOCUMENT = {
    "info": {"title": "houses", "version": "run-1", "description": 'Predicts "price".'},
    "components": {"schemas": {"Row": ROW}},
}
SCORED = {
    "model_name": "houses",
    "version": "run-1",
    "predictions": [{"prediction": HOSTILE, "probabilities": {HOSTILE: 0.75, "b": 0.25}}],
    "warnings": [HOSTILE],
}
INTERVAL = {**SCORED, "predictions": [{"prediction": 210340.5, "low": 200000.0, "high": 220000.0}]}
PROBLEM = {"row": 1, "column": "size", "reason": "it is a text, and the model takes a number"}
REFUSED = {"error": 'Row 1, column "size" cannot be scored.', "problems": [PROBLEM]}
# What is found once the page has asked and shown what came back.
EXAMINE = """
  const wait = (seconds, then) => setTimeout(then, 1000 * seconds);
  wait(1, () => {
    page.querySelector("form").requestSubmit();
    wait(1, () => {
      const paper = colour(view.getComputedStyle(page.body).backgroundColor);
      const ink = (element) => contrast(colour(view.getComputedStyle(element).color), paper);
      const fields = [...page.querySelectorAll("input, select")];
      document.getElementById("found").textContent = JSON.stringify({
        title: page.title,
        fields: Object.fromEntries(fields.map((each) => [each.name, each.value])),
        invalid: fields.filter((each) => each.getAttribute("aria-invalid") === "true").map((each) => each.name),
        labelled: fields.every((each) => each.labels.length === 1),
        answer: page.getElementById("answer").textContent,
        asked: view.asked,
        images: page.images.length,
        wide: root.scrollWidth - view.innerWidth,
        contrast: Math.min(...[...page.querySelectorAll("h1, p, small, label, a")].map(ink)),
        loaded: view.performance.getEntriesByType("resource").map((each) => each.name),
      });
    });
  });
  return { pending: true };
"""


def seen(folder: Path, answer: Any, *, status: int = 200, width: int = DESKTOP, dark: bool = False) -> Seen:
    """Open the page under its policy, with answers in place of the network."""
    answers = json.dumps({"openapi.json": [200, DOCUMENT], "predictions": [status, answer]}).replace("<", "\\u003c")
    stub = f"""
      const answers = {answers};
      window.asked = [];
      window.fetch = async (path, options = {{}}) => {{
        window.asked.push([path, options.body || null]);
        const [status, document] = answers[path];
        return {{ ok: status === 200, json: async () => document }};
      }};
    """
    digest = base64.b64encode(hashlib.sha256(stub.encode()).digest()).decode()
    # A browser takes this one from a header alone.
    policy = POLICY.replace("; frame-ancestors 'none'", "").replace("script-src ", f"script-src 'sha256-{digest}' ")
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}"><script>{stub}</script>'
    page = folder / "page.html"
    page.write_text(PAGE.replace("<meta charset", f"{head}<meta charset", 1), encoding="utf-8")
    return look(page, EXAMINE, width, dark=dark)


def test_the_form_is_filled_and_what_comes_back_is_shown(tmp_path: Path) -> None:
    found = seen(tmp_path, SCORED).found
    assert found["title"] == "houses"
    assert found["fields"] == {"size": "42.5", "kind": "flat", "garden": "true", HOSTILE: ""}
    assert found["labelled"]
    assert found["asked"][0] == ["openapi.json", None]
    path, body = found["asked"][1]
    assert (path, json.loads(body)) == ("predictions", {"rows": [ROW["example"]]})
    assert "75.0 %" in found["answer"]
    assert "Version run-1" in found["answer"]


def test_an_interval_and_a_refusal_are_shown(tmp_path: Path) -> None:
    assert "between 200,000 and 220,000" in seen(tmp_path, INTERVAL).found["answer"]
    refused = seen(tmp_path, REFUSED, status=422).found
    assert refused["answer"].startswith(REFUSED["error"])
    assert refused["invalid"] == ["size"]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_reads_well_and_runs_nothing_of_the_data(tmp_path: Path, width: int, *, dark: bool) -> None:
    what = seen(tmp_path, SCORED, width=width, dark=dark)
    assert what.console == []
    assert what.found["wide"] <= 0
    # https://www.w3.org/TR/WCAG22/#contrast-minimum
    assert what.found["contrast"] >= 4.5
    assert (what.found["images"], what.found["loaded"], what.found["title"]) == (0, [], "houses")
