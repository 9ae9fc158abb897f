"""What a training will need, before it is spent."""
