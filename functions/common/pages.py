"""HTML pages that need no network, no script and no other file: what the report and the page of a drift share."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.words import number, shorten

if TYPE_CHECKING:
    from jinja2 import Template

NAME_WIDTH = 300
"""How wide a name from the data may be in a page's text,"""
LABEL_WIDTH, VALUE_WIDTH = 20, 40
"""in a figure, and beside one."""


@dataclass(frozen=True)
class Picture:
    """A figure: its title, the SVG element, what it shows in numbers (the text alternative), and how it was made."""

    title: str
    svg: str
    finding: str
    note: str


@functools.cache
def template(path: Path) -> Template:
    """Return a page's template, which a warm worker compiles once; it may build on those of this package.

    Whatever it is rendered with is escaped.
    """
    # Not every image that holds this package writes pages.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, name=lambda text: shorten(text, NAME_WIDTH))
    return environment.get_template(path.name)
