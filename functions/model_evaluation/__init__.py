"""Model evaluation: from a saved pipeline and the test part to metrics and a decision."""
