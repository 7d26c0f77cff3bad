"""An AWS embedded on this machine, and the training template as it runs there."""

# The environment variable by which the server gives its gate (`guard.py`) the root secret and what else it goes by.
GUARD_VARIABLE = "CROSSTRAIN_GUARD"
