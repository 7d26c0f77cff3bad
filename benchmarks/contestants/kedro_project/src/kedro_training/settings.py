"""Kedro's defaults hold."""
