"""One file per task: a head on the backbone, its loss, its metric."""
