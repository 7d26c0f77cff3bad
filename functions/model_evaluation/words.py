"""How numbers are written in a report."""

from __future__ import annotations

from typing import Any

import numpy as np


def number(value: Any) -> str:
    """Return a number with separators; one that is not whole with six digits.

    Examples
    --------
    >>> number(1234567), number(12345.678), number(0.123456789), number(1e-9), number(None)
    ('1,234,567', '12,345.7', '0.123457', '1e-09', 'undefined')
    """
    if value is None:
        return "undefined"
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if not 1e-4 <= abs(value) < 1e12:
        return f"{value:.6g}"
    decimals = max(0, 5 - int(np.floor(np.log10(abs(value)))))
    digits = f"{value:,.{decimals}f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
