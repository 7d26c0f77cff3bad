"""What CodePipeline does: the declaration, triggers, sources, artifacts, and the one call that builds make to it."""
