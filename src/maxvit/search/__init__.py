"""Searching by example: an index of pictures by what a network sees of them, and what is found with it."""
