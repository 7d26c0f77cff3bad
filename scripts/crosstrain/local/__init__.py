"""An AWS embedded on this machine, and the training template as it runs there."""
