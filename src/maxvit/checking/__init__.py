"""The state of somebody's images: what cannot be read, comes twice, is labelled wrongly, or is unlike all others."""
