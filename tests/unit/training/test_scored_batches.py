"""What the page of models says of the newest batch of each champion."""

from __future__ import annotations

from typing import Any

from crosstrain.training.registry import Registry
from crosstrain.training.scored_batches import drift_of_champions

from .test_registry import dynamodb, pointer, put, registry, version

__all__ = ["dynamodb", "registry"]


def batch(at: str, scored_version: str, **fields: Any) -> dict[str, Any]:
    return {
        "model_name": "default",
        "entry": f"scores#{at}-run",
        "scored_version": scored_version,
        "scored_at": at,
        "rows": 1234,
        "failed": 0,
        "columns": 10,
        "changed": 2,
        "drifted": "yes",
        "reason": "Since training 2 of 10 columns have changed.",
        "page_uri": "s3://bucket/scoring/run/drift.html",
        **fields,
    }


def test_the_newest_batch_of_the_champion_is_told(registry: Registry, dynamodb: Any) -> None:
    put(dynamodb, version("a", 1), version("b", 2), pointer("b"))
    assert drift_of_champions(registry) == {}
    put(
        dynamodb,
        batch("2026-01-01T00:00:00Z", "b"),
        batch("2026-01-02T00:00:00Z", "b", psi=0.512, psi_column="size", threshold=0.1),
        # Of a version that was the champion before.
        batch("2026-01-03T00:00:00Z", "a"),
    )
    ((name, facts),) = drift_of_champions(registry).items()
    assert name == "default"
    assert facts == [
        ("newest batch", "2026-01-02T00:00:00Z"),
        ("rows", "1,234"),
        ("objects that could not be scored", "0"),
        ("columns that have changed", "2 of 10"),
        ("largest PSI", '0.51 of "size"; it counts from 0.1 on'),
        ("what has changed", "Since training 2 of 10 columns have changed."),
        ("comparison", "s3://bucket/scoring/run/drift.html"),
    ]
    assert drift_of_champions(registry, "unknown") == {}
    # The entries of batches are no versions.
    assert registry.model_names() == ["default"]
    assert [each["version"] for each in registry.versions("default")] == ["b", "a"]
