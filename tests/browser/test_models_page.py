"""The page of all models in a real browser: it fits a phone, it runs nothing of a registry, it loads nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from browser import DESKTOP, PHONE, assert_no_text_is_cut, look_at_figures, needs_chromium
from crosstrain.training.models import Models
from crosstrain.training.models_page import write_page
from crosstrain.training.stack import DeployedStack

pytestmark = needs_chromium

TABLE, BUCKET, REGION = "models", "artifacts", "eu-west-1"
HOSTILE = "</text></svg><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
LONG = "name-without-a-space-" + "n" * 200
VERSIONS = 26


@pytest.fixture(scope="module")
def models(create_table: Callable[..., None]) -> Iterator[Models]:
    """Return the models of a registry whose texts try to get out of the page."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": REGION,
        }.items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        session = boto3.Session()
        session.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        create_table(session.client("dynamodb"), "ModelRegistry", TABLE)
        for name in ("houses-price", HOSTILE, LONG):
            fill(session, name)
        yield Models.of(DeployedStack(HOSTILE, {"ModelRegistryTableName": TABLE}, session))


def fill(session: boto3.Session, name: str) -> None:
    """Record versions of a model, every third one promoted, and a rollback."""
    s3, table = session.client("s3"), boto3.resource("dynamodb").Table(TABLE)
    champion, moves = None, 0
    for number in range(VERSIONS):
        text = "It is better." if name == "houses-price" else name
        version = f"202611{number + 1:02}T151012-22f89fbf"
        rmse, promoted = 50.123 - number / 3, number % 3 == 0
        ends = json.dumps({"interval": {"low": rmse - 4, "high": rmse + 5}}).encode()
        key = f"{hashlib.sha256(name.encode()).hexdigest()[:8]}/{version}/evaluation.json"
        s3.put_object(Bucket=BUCKET, Key=key, Body=ends)
        item: dict[str, Any] = {
            "model_name": name, "entry": f"version#{version}", "version": version, "run_id": version,
            "recorded_at": f"2026-11-{number + 1:02}T15:10:12.000Z",
            "decision": "promote" if promoted else "reject", "rule": "not_worse", "reason": text,
            "dataset_uri": f"s3://{BUCKET}/data/{name}/houses.csv", "data_fingerprint": "0f" * 32, "target": text,
            "problem": "regression", "estimator": "hist_gradient_boosting", "metric": "rmse",
            "value": Decimal(repr(round(rmse, 6))), "rows": {"in": 1000, "used": 990, "train": 790, "test": 200},
            "release": "20261128T150000-0123456789ab", "commit": "0123456789abcdef" * 2,
            "image_digests": {"model_training": "sha256:" + "0" * 64},
            "model_uri": f"s3://{BUCKET}/runs/{version}/model/20261128T153012-22f89fbf/model.skops",
            "evaluation_uri": f"s3://{BUCKET}/{key}", "sha256": {"evaluation": hashlib.sha256(ends).hexdigest()},
        }  # fmt: skip
        if promoted:
            moves += 1
            item |= {"move": moves} | ({"compared_with": champion} if champion else {})
            previous, champion = champion, version
        table.put_item(Item=item)
    table.put_item(
        Item={
            "model_name": name, "entry": "rollback#1", "recorded_at": "2026-11-28T00:00:00.000Z", "move": moves + 1,
            "from_version": champion, "to_version": previous, "reason": name,
            "execution": "arn:aws:states:eu-west-1:123456789012:execution:crosstrain-rollback:20261128T000000-22f89fbf",
        }
    )  # fmt: skip
    table.put_item(
        Item={
            "model_name": name,
            "entry": "champion",
            "champion_version": previous,
            "moves": moves + 1,
            "promoted_at": "x",
        }
    )


@pytest.fixture(scope="module")
def page(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page, with all that is folded open: what is hidden cannot be looked at."""
    path = tmp_path_factory.mktemp("page") / "models.html"
    drift = {"houses-price": [(HOSTILE, LONG)]}
    write_page(models, output=str(path), limit=20, reports=str(path.parent), drift=drift)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<details>", "<details open>"), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [PHONE, 400, DESKTOP])
def test_it_is_drawn_within_the_page_and_nothing_in_it_runs(page: Path, width: int) -> None:
    seen = look_at_figures(page, width)
    assert seen.console == []
    assert seen.found["resources"] == []
    assert seen.found["loaders"] == 0
    assert seen.found["title"] == f"Models of {HOSTILE}"
    assert seen.found["text"].count(HOSTILE) > 40
    assert seen.found["overflow"] <= 0
    assert seen.found["outside"] == []
    # Of each model one of its champions and one of its metric.
    assert len(seen.found["figures"]) == 6
    for figure in seen.found["figures"]:
        assert figure["box"]["width"] > 250, figure["title"]
        assert figure["marks"] > 10, figure["title"]
    assert_no_text_is_cut(seen.found["figures"])
    assert min(text["pixels"] for figure in seen.found["figures"] for text in figure["texts"]) >= 9


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read_in_light_and_dark(page: Path, *, dark: bool) -> None:
    found = look_at_figures(page, DESKTOP, dark=dark).found
    assert (sum(found["paper"][:3]) < 150) == dark
    assert len(found["contrasts"]) > 300
    assert min(found["contrasts"]) >= 4.5
    assert min(text["contrast"] for figure in found["figures"] for text in figure["texts"]) >= 4.5
