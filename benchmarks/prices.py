"""AWS's list prices, each with its source, as `prices.json` has them."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import ROOT


def list_prices() -> dict[str, Any]:
    """Return all that the file says, among it the region and the day on which they were read."""
    prices: dict[str, Any] = json.loads((ROOT / "benchmarks" / "prices.json").read_text(encoding="utf-8"))
    return prices


def price_by_name() -> dict[str, float]:
    """Return what each thing costs in dollars that has one price."""
    return {name: each["price"] for name, each in list_prices().items() if "price" in each}
