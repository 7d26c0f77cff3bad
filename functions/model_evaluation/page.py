"""What the pages that the project writes of models have in common: templates that escape everything, and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from model_evaluation.words import number, shorten

NAME_WIDTH = 300
"""How wide a name or a text of the data set is at most on a page."""


@dataclass(frozen=True)
class Picture:
    """A figure: its title, the SVG element, what it shows in numbers (the text alternative), and how it was made."""

    title: str
    svg: str
    finding: str
    note: str


def page_template(path: Path) -> Template:
    """Return the template of a page, which finds the parts of `page.html.j2` by that name.

    Parameters
    ----------
    path
        Of the template.
    """
    environment = Environment(
        loader=FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, name=lambda text: shorten(text, NAME_WIDTH))
    return environment.get_template(path.name)
