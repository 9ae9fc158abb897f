"""From files to normalised tensors."""
