"""The page of all models: what it says, that nothing of the registry gets out of its place, and that it stays small."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import boto3
import pytest

from crosstrain.training.models import Models
from crosstrain.training.models_page import write_page
from crosstrain.training.stack import DeployedStack
from models import main

from .conftest import BUCKET, TABLE, Record

HOSTILE = [
    "<script>document.title = 'run'</script>",
    '"><img src=x onerror="document.title = 1">',
    "</text></svg><iframe srcdoc='x'>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnirts\x00",
]
VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, ids, links and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.texts = (list[str]() for _ in range(5))
        self.attributes = set[str]()
        self.feed(text)
        self.close()
        assert self.open == [], "elements are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.links += [str(value) for name, value in attrs if name in ("href", "src", "action", "srcdoc")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element without contents."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element, which has to be the one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take in a text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All texts, in one line."""
        return " ".join(" ".join(self.texts).split())


def evaluation(low: float, high: float) -> bytes:
    return json.dumps({"interval": {"low": low, "high": high}}).encode()


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def written(models: Models, folder: Path, **options: Any) -> Page:
    write_page(
        models, **{"output": str(folder / "models.html"), "limit": 30, "reports": str(folder / "out"), **options}
    )
    return page_of(folder / "models.html")


@pytest.mark.usefixtures("registered")
def test_it_tells_champions_decisions_intervals_and_lineage(
    record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record("run-e", 0.8, rule="significant", reason="It is better.", files={"evaluation": evaluation(0.71, 0.89)})
    assert main(["rollback", "default", "--reason", "worse in use"]) == 0
    capsys.readouterr()
    assert main(["page", "--output", str(tmp_path / "models.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'models.html'}: 1 models, 5 versions.\n"
    page = page_of(tmp_path / "models.html")
    for told in (
        "rmse of version 4 (run-d)",
        "95 % interval 0.71 to 0.89",
        "no interval: the registry does not record its evaluation",
        "significant",
        "It is better.",
        "worse in use",
        "↩ rollback",
        "4 promoted, 1 rejected",
        "Fingerprint of the data (SHA-256) f1",
        "Release 2026-01-02.1",
        "Image digest of model_training sha256:model",
        f"Model file s3://{BUCKET}/runs/run-d/model/model.skops",
        "100 in, 99 used, 1 dropped, 79 train, 20 test",
        "Version 4 has been the champion since 2026-02-01 00:00. Changes shown: 5, rollbacks among them: 1.",
        "From 3.0 (version 1) to 0.80 (version 5), the newest on top. Lower is better.",
    ):
        assert told in page.text, told
    # Each promotion and the rollback, newest first.
    table = page.text.partition("Changes of the champion, the newest first")[2].partition("Versions")[0]
    order = [table.index(each) for each in ("5 run-e 4 run-d", "4 run-d 5 run-e", "none 1 run-a")]
    assert order == sorted(order)
    # There is no drift that nobody has looked at.
    assert "Drift" not in page.text


def test_an_empty_registry_is_a_sentence(stack: DeployedStack, tmp_path: Path) -> None:
    assert main(["page", "--output", str(tmp_path / "models.html")]) == 0
    page = page_of(tmp_path / "models.html")
    assert "The registry holds no model yet: train one first." in page.text
    assert "table" not in page.tags
    assert stack.name in page.text


def test_a_model_that_was_never_promoted_has_no_champion(record: Record, stack: DeployedStack, tmp_path: Path) -> None:
    record("run-a", 1.0, decision="reject", value=None, metrics={})
    page = written(Models.of(stack), tmp_path)
    assert "No version was ever promoted, so there is no champion." in page.text
    assert "rmse undefined" in page.text
    assert "svg" not in page.tags


@pytest.mark.slow
@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_of_the_registry_becomes_more_than_text(
    record: Record, stack: DeployedStack, tmp_path: Path, hostile: str
) -> None:
    record("run-a", 1.0, model_name="plain")
    record("run-a", 1.0, model_name="other")
    expected = written(Models.of(stack), tmp_path)
    table = boto3.resource("dynamodb").Table(TABLE)
    for item in table.scan()["Items"]:
        if item["model_name"] == "other":
            table.delete_item(Key={name: item[name] for name in ("model_name", "entry")})
    names = ("reason", "rule", "estimator", "target", "problem", "release", "commit", "dataset_uri", "data_fingerprint")
    record(
        hostile,
        1.0,
        model_name=hostile,
        run_id=hostile,
        metric=hostile,
        rows={hostile: 1, "in": 1, "test": 1},
        image_digests={"model_training": hostile},
        evaluation_uri=hostile,
        report_uri=hostile,
        **dict.fromkeys(names, hostile),
    )
    table.put_item(
        Item={
            "model_name": hostile, "entry": "rollback#1", "recorded_at": "2026-02-01T00:00:00.000Z", "reason": hostile,
            "from_version": hostile, "to_version": hostile, "move": 2, "execution": hostile,
        }
    )  # fmt: skip
    drift = {hostile: [(hostile, hostile)]}
    page = written(Models.of(stack), tmp_path, drift=drift)
    # The same elements, but for the hostile model's rule, its rollback and its drift.
    assert set(page.tags) - {"br"} == set(expected.tags) - {"br"}
    assert not {"script", "img", "iframe", "image", "link"} & set(page.tags)
    assert page.attributes == expected.attributes
    assert all(link.startswith("#model-") for link in page.links)
    assert "\u202e" not in page.text
    assert "\x00" not in page.text
    shown = hostile.replace("\u202e", "\N{REPLACEMENT CHARACTER}").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    assert page.text.count(shown) > 15
    assert "Drift" in page.text


def test_it_needs_nothing_and_lets_nothing_run(registered: Models, tmp_path: Path) -> None:
    write_page(registered, output=str(tmp_path / "models.html"), limit=30, reports="out")
    text = (tmp_path / "models.html").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert text.startswith("<!DOCTYPE html>")
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    assert text.count("http") == text.count("http-equiv") + text.count("http://www.w3.org/2000/svg")
    assert "url(" not in text


def test_who_cannot_see_or_has_no_mouse_finds_everything(registered: Models, record: Record, tmp_path: Path) -> None:
    record("run-x", 1.0, model_name="another")
    page = written(registered, tmp_path)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.removeprefix("#") in page.ids
    text = (tmp_path / "models.html").read_text(encoding="utf-8")
    assert text.count("<svg") == text.count('role="img" aria-label="') == 4
    assert text.count('class="scroll"') == text.count('role="region" tabindex="0" aria-label="') == 5
    assert page.tags.count("th") == text.count('scope="')
    assert page.tags.count("caption") == page.tags.count("table")
    assert page.tags.count("summary") == page.tags.count("details") == 5


def test_of_many_versions_the_newest_and_the_champion_are_shown_and_the_option_is_named(
    record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record("run-champion", 1.0)
    for number in range(30):
        record(f"run-{number:02}", 1.0, decision="reject")
    for number in range(3):
        record(f"one-{number}", 1.0, model_name=f"model-{number}")
    small, larger = (tmp_path / name for name in ("small.html", "larger.html"))
    assert main(["page", "--output", str(small), "--limit", "2"]) == 0
    told = capsys.readouterr().out
    assert "2 models, 4 versions." in told
    assert "Left out, for the page would be too long: 2 models and 28 versions." in told
    page = page_of(small)
    assert "2 of 4 models are shown, the first by name: --limit 4 shows all of them" in page.text
    assert "3 of 31 versions are shown, the newest and the champion: --limit 31 shows all of them" in page.text
    assert {"run-champion", "run-29", "run-28"} <= set(page.text.split())
    assert "run-27" not in page.text
    assert main(["page", "--output", str(larger), "--limit", "3", "--model-name", "default", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["models"], document["versions"], document["models_left_out"]) == (1, 4, 0)
    # A version more takes so much.
    assert abs(larger.stat().st_size - small.stat().st_size) < 10_000


def test_of_many_changes_the_last_are_shown_and_the_option_is_named(
    record: Record, stack: DeployedStack, tmp_path: Path
) -> None:
    for number in range(25):
        record(f"run-{number:02}", 1.0)
    page = written(Models.of(stack), tmp_path, limit=4)
    assert "Changes of the champion, the newest first: 4 of 25; --limit 25 shows all" in page.text
    assert "Changes shown: the last 20 of 25, rollbacks among them: 0." in page.text


def test_reports_on_this_machine_are_linked_by_their_digest(
    record: Record, stack: DeployedStack, tmp_path: Path
) -> None:
    for name, text in {"out": "a", "out/run b": "b", "out/run-c": "changed"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").write_text(text)
    for name in "abc":
        record(f"run-{name}", 1.0, files={"report": name.encode()})
    page = written(Models.of(stack), tmp_path)
    assert [link for link in page.links if not link.startswith("#")] == ["out/run%20b/report.html", "out/report.html"]


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_an_interval_is_of_the_recorded_evaluation_or_missing_with_the_reason(
    record: Record, stack: DeployedStack, tmp_path: Path, what: str
) -> None:
    record("run-a", 1.0, files={"evaluation": evaluation(0.9, 1.1)})
    s3 = stack.session.client("s3")
    if what == "gone":
        s3.delete_object(Bucket=BUCKET, Key="runs/run-a/evaluation")
    else:
        s3.put_object(Bucket=BUCKET, Key="runs/run-a/evaluation", Body=evaluation(0.1, 0.2))
    page = written(Models.of(stack), tmp_path)
    reasons = {"changed": "is not the one that was recorded", "gone": "is gone or may not be read"}
    assert f"no interval: its evaluation {reasons[what]}" in page.text
    assert "95 % interval" not in page.text.replace("95 % intervals", "")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "--limit is a number from 1 on, not 0."),
        (["--output", "."], 'The page cannot be written to ".", which is a folder: name a file with --output.'),
        (["--output", "no/models.html"], "which would lie in a folder that is not there: name a file with --output."),
        (["--model-name", "defautl"], 'There is no model "defautl". Did you mean "default"?'),
    ],
)
def test_what_cannot_be_written_is_told_in_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["page", *arguments]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert message in shown.err
    assert list(tmp_path.iterdir()) == []


def test_versions_of_an_earlier_project_and_other_metrics_have_their_place(
    record: Record, stack: DeployedStack, tmp_path: Path
) -> None:
    old = dict.fromkeys(("release", "commit", "split", "sha256", "image_digests"))
    record("run-a", 1.0, **old)
    for number, metric in enumerate(("mae", "r2", "accuracy", "log_loss")):
        record(f"run-{number}", 0.5, metric=metric, value=Decimal("0.5"))
    page = written(Models.of(stack), tmp_path)
    assert "Release missing: not recorded" in page.text
    # Of the champions, and of the three newest metrics.
    assert page.tags.count("svg") == 4
    assert hashlib.sha256(b"model").hexdigest() in page.text
