"""The page with a form for one row: one file, which asks nobody but this function for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def _digests(element: str) -> str:
    """Return the digests of what stands in the elements of a name, as a policy names them."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", PAGE, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in contents)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_digests('script')}",
        f"style-src {_digests('style')}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may do: https://www.w3.org/TR/CSP3/."""
