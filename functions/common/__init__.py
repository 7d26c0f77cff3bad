"""What the three functions share."""
