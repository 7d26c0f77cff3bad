"""What the commands in scripts/ are made of: training, delivery, the embedded AWS, and the rehearsal."""
