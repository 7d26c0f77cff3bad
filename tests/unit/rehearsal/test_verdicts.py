"""What earlier builds found counts for the same sources alone."""

from __future__ import annotations

from pathlib import Path

from crosstrain.rehearsal.codebuild.verdicts import Verdicts, verdict_key


def test_a_verdict_is_found_again_by_its_key_alone(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "verified")
    key, other = verdict_key(["a", "b"], "buildspec/verify.yml"), verdict_key(["a", "c"], "buildspec/verify.yml")
    assert verdicts.find(key) is None

    verdicts.save(key, ["unit-tests: 5 tests in 2 s"])

    assert Verdicts(tmp_path / "verified").find(key) == ["unit-tests: 5 tests in 2 s"]
    assert verdicts.find(other) is None


def test_each_source_and_the_buildspec_count() -> None:
    keys = {verdict_key(digests, name) for digests in (["a", "b"], ["b", "a"], ["ab"]) for name in ("one", "two")}
    assert len(keys) == 6
