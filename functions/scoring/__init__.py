"""Scoring: rows of a file or folder in, predictions out, and what is watched of both."""
