"""What the builds of the pipeline do: images, the ledger of releases, and what a stage is deployed with.

Nothing here imports functions/, which a model team replaces: docs/delivery-setup.md has what it knows of a
function.
"""
