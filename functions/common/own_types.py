"""The types that a model of your own (model_training/model.py) brings into a model file: none, as the project comes.

A file may hold each of them, whoever has made it, so look at what they do with attributes that somebody has forged:
skops makes the object without a call of `__init__`, and sets what the file says.
"""

from __future__ import annotations

from collections.abc import Mapping

ESTIMATORS: Mapping[str, str | None] = {}
"""What the pipeline may end in, and what its trees are: `{"sklearn.linear_model._huber.HuberRegressor": None}`."""
OTHERS: frozenset[str] = frozenset()
"""What else is in the pipeline: transformers, losses, …"""
