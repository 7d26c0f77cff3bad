"""Predicts with a trained model: the champion of a registry, one row or a million at a time."""
