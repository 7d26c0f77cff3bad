"""Model training: from the training part to a saved pipeline."""
