"""Data sets in a few large files: written, indexed, read at random."""
