"""Metrics of CloudWatch, written into the log in its embedded metric format: no call is made for them."""

from __future__ import annotations

from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "Crosstrain"
NO_VERSION = "none"
"""What the dimension says where no version is known, for an empty one is refused."""
Measures = Mapping[str, float]
_UNITS = {"Latency": MetricUnit.Milliseconds, "LargestPsi": MetricUnit.NoUnit, "LiveMetric": MetricUnit.NoUnit}


def put(stack: str, model_name: str, version: str | None, measures: Measures) -> None:
    """Put metrics of one version of a model, all in one line."""
    _put({"stack": stack, "model": model_name, "version": version or NO_VERSION}, measures)


def put_of_all(stack: str, model_name: str, measures: Measures) -> None:
    """Put metrics of a model, whatever its version is: an alarm knows the values of all dimensions beforehand."""
    _put({"stack": stack, "model": model_name}, measures)


def _put(dimensions: Mapping[str, str], measures: Measures) -> None:
    """Put metrics.

    Parameters
    ----------
    dimensions
        By name.
    measures
        Values by name: counts, and milliseconds of `Latency`.
    """
    metrics = EphemeralMetrics(namespace=NAMESPACE)
    for name, value in measures.items():
        metrics.add_metric(name, _UNITS.get(name, MetricUnit.Count), value)
    for name, text in dimensions.items():
        metrics.add_dimension(name, text)
    metrics.flush_metrics()
