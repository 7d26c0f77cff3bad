"""Metrics of CloudWatch, written into the log in its embedded metric format: no call is made for them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "Crosstrain"
NO_VERSION = "none"
"""What the dimension says where no version is known, for an empty one is refused."""
_DIMENSION_CHARACTERS = 200
Measures = Mapping[str, float | None]
_UNITS = {
    "Latency": MetricUnit.Milliseconds,
    **dict.fromkeys(("LargestPsi", "LiveMetric", "ChallengerDifference"), MetricUnit.NoUnit),
}


def put(stack: str, model_name: str, version: str | None, measures: Measures) -> None:
    """Put metrics of one version of a model, all in one line; those that are None are left out."""
    _put([_of_model(stack, model_name) | _of_version(version)], measures)


def put_of_all(stack: str, model_name: str, measures: Measures) -> None:
    """Put metrics of a model, whatever its version is: an alarm knows the values of all dimensions beforehand."""
    _put([_of_model(stack, model_name)], measures)


def put_of_both(stack: str, model_name: str, version: str, measures: Measures) -> None:
    """Put metrics of one version and of its model."""
    of_model = _of_model(stack, model_name)
    _put([of_model, of_model | _of_version(version)], measures)


def _of_model(stack: str, model_name: str) -> dict[str, str]:
    return {"stack": stack, "model_name": model_name}


def _of_version(version: str | None) -> dict[str, str]:
    # What the registry's pointer names may be anything.
    return {"version": (version or NO_VERSION)[:_DIMENSION_CHARACTERS]}


def _put(dimension_sets: list[dict[str, str]], measures: Measures) -> None:
    metrics = EphemeralMetrics(namespace=NAMESPACE)
    first, *others = dimension_sets
    for name, text in first.items():
        metrics.add_dimension(name, text)
    for each in others:
        metrics.add_dimensions(**each)
    for name, value in measures.items():
        if value is not None:
            metrics.add_metric(name, _UNITS.get(name, MetricUnit.Count), value)
    metrics.flush_metrics()
