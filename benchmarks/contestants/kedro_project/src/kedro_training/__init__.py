"""The three steps in Kedro."""
