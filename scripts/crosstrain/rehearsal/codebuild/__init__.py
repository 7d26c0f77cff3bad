"""What CodeBuild does: a buildspec, the environment that a build gets, and what it leaves behind."""
