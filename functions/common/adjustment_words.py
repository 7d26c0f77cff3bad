"""What held-out folds have taught a model, in sentences: for the terminal and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def adjustment_in_words(
    adjustment: Mapping[str, Any] | None, second: str, covered: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Yield a sentence for each thing that was tried.

    Parameters
    ----------
    adjustment
        As a model's description has it; None where nothing was tried.
    second
        What the second of two classes is called.
    covered
        What an evaluation says of the intervals around predictions.
    """
    if adjustment is None:
        return
    if adjustment["told"] is not None:
        yield adjustment["told"]
        return
    on = f"on {adjustment['folds']} held-out folds of {adjustment['rows']:,} training rows"
    calibration, decision = adjustment["calibration"], adjustment["decision"]
    if calibration is not None:
        kept = "Probabilities are calibrated" if calibration["kept"] else "Probabilities are as the estimator has them"
        yield f"{kept}: calibrated ones have {_compared(calibration)} {on}."
    if adjustment["interval"] is not None:
        width, share = (adjustment["interval"][name] for name in ("width", "share"))
        of_test = "" if covered is None else f", and holds it in {covered['coverage']:.1%} of the test rows"
        yield (
            f"An interval of \N{PLUS-MINUS SIGN} {width:.4g} around each prediction is to hold the target in "
            f"{share:.4g} of the rows, by the errors {on}{of_test}."
        )
    multipliers = adjustment["multipliers"]
    if multipliers is None:
        rule = "The most probable class is predicted"
    elif len(multipliers) == 2:
        rule = f'"{second}" is predicted where its probability is above {multipliers[0]:.3g}'
    else:
        rule = "The class of the highest probability times a factor of its own is predicted"
    if multipliers is not None and not (decision and decision["kept"]):
        rule += ", as before the calibration"
    if decision is not None:
        yield f"{rule}: a tuned decision has {_compared(decision)} {on}."
    elif multipliers is not None:
        yield f"{rule}."


def _compared(tried: Mapping[str, Any]) -> str:
    chance = "" if tried["kept"] else ", which may be chance,"
    return f"{tried['metric']} {tried['after']:.4g} in place of {tried['before']:.4g}{chance}"
