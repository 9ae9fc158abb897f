"""Where the metrics of a run go besides its folder: an interface, and one file for each tracker."""
