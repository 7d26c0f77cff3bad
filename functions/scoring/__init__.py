"""Predicts with a trained model, one row or a million at a time, and watches what is predicted of."""
