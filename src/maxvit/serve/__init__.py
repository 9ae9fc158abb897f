"""Answers over HTTP: a server that batches what arrives together, and its client."""
