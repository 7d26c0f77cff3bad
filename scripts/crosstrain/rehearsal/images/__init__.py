"""What functions run from: images in containers or, without a container engine, processes of this machine."""
