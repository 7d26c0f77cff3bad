"""What evaluation needs grows with rows by what is held of each, and is told before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from common.capacity import Need
from common.errors import InvalidDatasetError, TooLargeForFunctionError
from model_evaluation.memory import check_memory, model_bytes, needed_memory_mb


def profile(rows: int, columns: int = 30, classes: int = 0, label: Any = "yes") -> dict[str, Any]:
    features = [{"name": f"f{each}", "use": "feature", "role": "numeric"} for each in range(columns)]
    kind = "text" if isinstance(label, str) else "integer"
    return {
        "rows": {"train": 4 * rows, "test": rows},
        "columns": [*features, {"name": "y", "use": "target", "kind": kind}],
        "problem": "classification" if classes else "regression",
        "classes": [{"label": label, "rows": 1} for _ in range(classes)] or None,
    }


def test_ten_million_test_rows_fit_a_usual_function_and_wide_ones_do_as_well() -> None:
    assert needed_memory_mb(profile(10**7), 0) < 1500
    # Beyond a block only what is held of a row counts, however wide it is.
    assert needed_memory_mb(profile(10**7, 3000), 0) == needed_memory_mb(profile(10**7), 0)


@pytest.mark.parametrize(("rows", "measured"), [(2_000, 391), (200_000, 511), (600_000, 609)])
def test_it_is_about_what_was_measured(rows: int, measured: int) -> None:
    assert needed_memory_mb(profile(rows), 0) == pytest.approx(measured, rel=0.1)


def test_classes_long_labels_and_models_count() -> None:
    few, many = needed_memory_mb(profile(10**6, classes=2), 0), needed_memory_mb(profile(10**6, classes=40), 0)
    assert many - few == pytest.approx(38 * 30 * 10**6 / 2**20, abs=1)
    longer = needed_memory_mb(profile(10**6, classes=2, label="x" * 103), 0)
    assert longer - few == pytest.approx(400 * 10**6 / 2**20, abs=1)
    assert needed_memory_mb(profile(10**6, classes=2, label=1), 0) < few
    assert needed_memory_mb(profile(10**6), 100 << 20) - needed_memory_mb(profile(10**6), 0) == 400
    assert model_bytes({"bytes": {"model": 7}}, None, {}, {"bytes": None}, {"bytes": {"model": "9"}}) == 7


def test_what_does_not_fit_goes_another_way_or_is_refused_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    data = profile(10**7)
    need = Need(needed_memory_mb(data, 0))
    check_memory(data, need, need.memory_mb, "auto")
    with pytest.raises(InvalidDatasetError, match=r"^10,000,000 test rows need about 1,\d{3} MB .* has 1,024 MB: "):
        check_memory(data, need, 1024, "auto")
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    with pytest.raises(TooLargeForFunctionError, match=r"\[cpu=4096 memory=8192\]$"):
        check_memory(data, need, 1024, "auto")
    with pytest.raises(InvalidDatasetError, match="make the test part smaller by test_fraction"):
        check_memory(data, need, 1024, "lambda")
