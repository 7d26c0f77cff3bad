"""Draws the plots as SVG in docs/."""
