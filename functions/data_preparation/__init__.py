"""Data preparation: from files to a training part, a test part and a profile."""
