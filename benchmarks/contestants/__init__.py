"""The contestants: each does the same preparation, fit and score, and returns the same metric on the same rows."""
