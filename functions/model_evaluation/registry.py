"""The registry's items of one evaluated model, in DynamoDB's own JSON, as the state machine writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.lineage import pack_names
from common.registry_item import Attribute
from common.storage import describe_files, pinned

LEAST_NUMBER = 1e-130
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html"""


@dataclass(frozen=True)
class Run:
    """What a run has made so far: its id and what the steps before evaluation handed on.

    Attributes
    ----------
    run_id
        The execution's name; it is the model's version.
    request
        The request with every choice made.
    prepared, model
        As data preparation and model training return them.
    """

    run_id: str
    request: Mapping[str, Any]
    prepared: Mapping[str, Any]
    model: Mapping[str, Any]


def registry_items(
    run: Run, evaluation: Mapping[str, Any], lineage: Mapping[str, Any], split: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the version's item and the champion's pointer that promoting it would write, with the version's `split`.

    Parameters
    ----------
    run
        The run.
    evaluation
        The document of `evaluation.json`, with `evaluation_uri` and `report_uri`.
    lineage
        `release`, `commit`, `image_digests` by function, and `data_fingerprint`.
    split
        The profile's; the next run inherits it.
    """
    request = run.request
    version = {
        "model_name": request["model_name"],
        "entry": f"version#{run.run_id}",
        "version": run.run_id,
        "run_id": run.run_id,
        "recorded_at": evaluation["evaluated_at"],
        "decision": evaluation["decision"],
        "rule": evaluation["rule"],
        "reason": evaluation["reason"],
        **{name: request[name] for name in ("dataset_uri", "target", "problem", "estimator", "metric")},
        "value": evaluation["value"],
        "metrics": evaluation["metrics"],
        "rows": run.prepared["rows"],
        **_files(run, evaluation),
        "compared_with": (evaluation["champion"] or {}).get("version"),
        # The names of thousands of columns would fill a state of the state machine.
        "split": json.dumps({**split, "columns": pack_names(split["columns"])}),
        **lineage,
    }
    champion = {
        "model_name": request["model_name"],
        "entry": "champion",
        "champion_version": run.run_id,
        "promoted_at": evaluation["evaluated_at"],
        "metric": request["metric"],
        "value": evaluation["value"],
        "model_uri": run.model["model_uri"],
        "target": request["target"],
    }
    return {"version": _map(version), "champion": _map(champion)}


def _files(run: Run, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return where all files are and what their readers insist on, each as the step says that has written it."""
    of_steps: tuple[tuple[Mapping[str, Any], tuple[str, ...]], ...] = (
        (run.prepared, ("train", "test", "profile")),
        (run.model, ("model", "info", "training_rows")),
        (evaluation, ("evaluation", "report")),
    )
    return describe_files({name: pinned(step, name) for step, names in of_steps for name in names})


def _map(values: Mapping[str, Any]) -> dict[str, Attribute]:
    """Return a mapping's attributes; what is None is left out, for Step Functions calls NULL by another name."""
    return {name: _attribute(value) for name, value in values.items() if value is not None}


def _attribute(value: Any) -> Attribute:
    match value:
        case str():
            return {"S": value}
        case int() | float() if math.isfinite(value):
            # 17 digits hold every float; DynamoDB takes 38, and nothing nearer to zero than 1e-130.
            return {"N": repr(value if abs(value) >= LEAST_NUMBER else 0)}
        case Mapping():
            return {"M": _map(value)}
    raise TypeError(f"{value!r} has no place in the registry")
