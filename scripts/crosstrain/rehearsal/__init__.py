"""The delivery pipeline, run on one machine: what `scripts/rehearse.py` is made of."""
