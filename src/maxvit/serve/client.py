"""A client for the server, of the standard library alone."""
