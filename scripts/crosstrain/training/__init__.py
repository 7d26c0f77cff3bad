"""Work with a deployed training stack: start runs, follow them, look at models, predict and roll back."""
