"""A page that runs the network in the browser."""
