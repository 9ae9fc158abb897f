"""Weights of other programs, translated by one name table per format."""
